# needs: models/base/ (or preferences, to make it or a judge from nothing), data/{dataset}/preferences.parquet
# makes: policies/{policy}/seed-{seed}/, references/{view}/{policy}/seed-{seed}.parquet, displacement/{policy}/seed-{seed}.parquet, data/{dataset}/ches.parquet; models from nothing: models/base/, models/judges/{judge}/


rule policies:
    input:
        policy_files(),
        notices(policy_files()),
    localrule: True


if BASE.get("source") == "scratch":

    use rule step_on_device as pretrain_base with:
        input:
            preferences=f"<results>/data/{scratch_data(BASE)}/preferences.parquet",
        output:
            files=expand("<results>/models/base/{file}", file=POLICY_FILES),
            manifest="<results>/models/base/manifest.json",
            train_log="<results>/models/base/train_log.parquet",
            timing="<timings>/pretrain_base.json",
        log:
            "<logs>/pretrain_base.log",
        benchmark:
            "<benchmarks>/pretrain_base.tsv"
        resources:
            checkpoint_seconds=config["compute"]["checkpoint_seconds"],
            gpu=ONE_GPU,
            mem_mb=per_attempt(8000),
            runtime=per_attempt(240),
        params:
            **runs("training.pretrain_base", scratch_config(BASE, "pretraining")),
            more=checkpoint_option,


use rule step_on_device as train_judge with:
    input:
        preferences=judge_training_data,
    output:
        files=expand("<results>/models/judges/{judge}/{file}", file=JUDGE_FILES, allow_missing=True),
        manifest="<results>/models/judges/{judge}/manifest.json",
        train_log="<results>/models/judges/{judge}/train_log.parquet",
        calibration="<results>/models/judges/{judge}/calibration.json",
        timing="<timings>/train_judge/{judge}.json",
    log:
        "<logs>/train_judge/{judge}.log",
    benchmark:
        "<benchmarks>/train_judge/{judge}.tsv"
    wildcard_constraints:
        judge=one_of(judges_from("scratch")),
    resources:
        checkpoint_seconds=config["compute"]["checkpoint_seconds"],
        gpu=ONE_GPU,
        mem_mb=per_attempt(8000),
        runtime=per_attempt(240),
    params:
        **runs("training.train_judge", judge_training_config),
        more=checkpoint_option,


use rule step_on_device as compute_features with:
    input:
        files=model_files(BASE_MANIFEST),
        policy=BASE_MANIFEST,
        preferences=judge_training_data,
    output:
        "<results>/features/{judge}.parquet",
        timing="<timings>/compute_features/{judge}.json",
    log:
        "<logs>/compute_features/{judge}.log",
    benchmark:
        "<benchmarks>/compute_features/{judge}.tsv"
    wildcard_constraints:
        judge=one_of(judges_from("trained")),
    params:
        **runs("training.compute_features", features_config),


use rule step as train_judge_head with:
    input:
        files=model_files(BASE_MANIFEST),
        policy=BASE_MANIFEST,
        features="<results>/features/{judge}.parquet",
    output:
        files=expand("<results>/models/judges/{judge}/{file}", file=JUDGE_FILES, allow_missing=True),
        manifest="<results>/models/judges/{judge}/manifest.json",
        folds="<results>/models/judges/{judge}/folds.parquet",
        calibration="<results>/models/judges/{judge}/calibration.json",
    log:
        "<logs>/train_judge_head/{judge}.log",
    benchmark:
        "<benchmarks>/train_judge_head/{judge}.tsv"
    wildcard_constraints:
        judge=one_of(judges_from("trained")),
    resources:
        mem_mb=per_attempt(8000),
        runtime=per_attempt(60),
    params:
        **runs("training.train_judge_head", head_config),


use rule launched_step as train_sft with:
    input:
        files=model_files(parent_manifest),
        parent=parent_manifest,
        preferences=training_data,
    output:
        files=expand("<results>/policies/{policy}/seed-{seed}/{file}", file=POLICY_FILES, allow_missing=True),
        manifest="<results>/policies/{policy}/seed-{seed}/manifest.json",
        train_log="<results>/policies/{policy}/seed-{seed}/train_log.parquet",
        quarantine="<results>/policies/{policy}/seed-{seed}/quarantine.parquet",
        timing="<timings>/train_sft/{policy}-seed-{seed}.json",
    log:
        "<logs>/train_sft/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/train_sft/{policy}-seed-{seed}.tsv"
    wildcard_constraints:
        policy=one_of(trained_by("sft")),
    params:
        **runs("training.train_sft", training_config),


use rule step_on_device as compute_references with:
    input:
        files=model_files(policy_input),
        policy=policy_input,
        preferences=reference_data,
    output:
        "<results>/references/{view}/{policy}/seed-{seed}.parquet",
        timing="<timings>/compute_references/{view}/{policy}-seed-{seed}.json",
    log:
        "<logs>/compute_references/{view}/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/compute_references/{view}/{policy}-seed-{seed}.tsv"
    wildcard_constraints:
        view="[^/]+",
    priority: 1
    resources:
        gpu=ONE_GPU,
        mem_mb=per_attempt(16000),
        runtime=per_attempt(360),
    params:
        **runs("training.compute_references", reference_config),


use rule compute_references as compute_ches with:
    input:
        unpack(selected_inputs),
        files=model_files(BASE_MANIFEST),
        policy=BASE_MANIFEST,
    output:
        "<results>/data/{dataset}/ches.parquet",
        timing="<timings>/compute_ches/{dataset}.json",
    log:
        "<logs>/compute_ches/{dataset}.log",
    benchmark:
        "<benchmarks>/compute_ches/{dataset}.tsv"
    wildcard_constraints:
        dataset=one_of(cleaned_by("ches")),
    params:
        **runs("training.compute_ches", ches_config),


use rule launched_step as train_dpo with:
    input:
        files=model_files(parent_manifest),
        parent=parent_manifest,
        preferences=training_data,
        references=policy_reference,
    output:
        files=expand("<results>/policies/{policy}/seed-{seed}/{file}", file=POLICY_FILES, allow_missing=True),
        manifest="<results>/policies/{policy}/seed-{seed}/manifest.json",
        train_log="<results>/policies/{policy}/seed-{seed}/train_log.parquet",
        quarantine="<results>/policies/{policy}/seed-{seed}/quarantine.parquet",
        snapshots="<results>/policies/{policy}/seed-{seed}/snapshots.parquet",
        timing="<timings>/train_dpo/{policy}-seed-{seed}.json",
    log:
        "<logs>/train_dpo/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/train_dpo/{policy}-seed-{seed}.tsv"
    wildcard_constraints:
        policy=one_of(trained_by("dpo")),
    params:
        **runs("training.train_dpo", training_config),
        more=snapshot_option,


use rule train_dpo as train_kto with:
    log:
        "<logs>/train_kto/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/train_kto/{policy}-seed-{seed}.tsv"
    wildcard_constraints:
        policy=one_of(trained_by("kto")),
    params:
        **runs("training.train_kto", training_config),


use rule compute_references as measure_displacement with:
    input:
        files=model_files(policy_input, parent_manifest),
        parent=parent_manifest,
        policy=policy_input,
        preferences=training_data,
    output:
        "<results>/displacement/{policy}/seed-{seed}.parquet",
        timing="<timings>/measure_displacement/{policy}-seed-{seed}.json",
    log:
        "<logs>/measure_displacement/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/measure_displacement/{policy}-seed-{seed}.tsv"
    wildcard_constraints:
        policy=one_of(ON_PAIRS if "displacement" in config else []),
    params:
        **runs("training.measure_displacement", displacement_config),


use rule import_model as merge_adapter with:
    input:
        given_files,
        files=model_files(parent_manifest),
        parent=parent_manifest,
    output:
        files=expand("<results>/policies/{policy}/seed-{seed}/{file}", file=POLICY_FILES, allow_missing=True),
        manifest="<results>/policies/{policy}/seed-{seed}/manifest.json",
    log:
        "<logs>/merge_adapter/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/merge_adapter/{policy}-seed-{seed}.tsv"
    wildcard_constraints:
        policy=one_of(policy for policy in GIVEN if "adapter" in config["policies"][policy]),
    params:
        **runs("training.merge_adapter", adapter_config),


use rule step as merge_snapshot with:
    input:
        files=model_files(parent_manifest),
        parent=parent_manifest,
        snapshots=snapshots_of,
    output:
        files=expand("<results>/policies/{policy}/seed-{seed}/{file}", file=POLICY_FILES, allow_missing=True),
        manifest="<results>/policies/{policy}/seed-{seed}/manifest.json",
    log:
        "<logs>/merge_snapshot/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/merge_snapshot/{policy}-seed-{seed}.tsv"
    wildcard_constraints:
        policy=one_of(SNAPSHOTS),
    resources:
        mem_mb=per_attempt(8000),
        runtime=30,
    params:
        **runs("training.merge_snapshot", snapshot_config),

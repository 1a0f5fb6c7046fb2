rule policies:
    input:
        policy_files(),


rule train_sft:
    input:
        parent=parent_manifest,
        parent_files=beside(parent_manifest),
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
    conda:
        "../../environment.yml"
    threads: config["compute"]["threads"]
    resources:
        checkpoint_seconds=config["compute"]["checkpoint_seconds"],
        processes=config["compute"]["processes"],
        gpu=config["compute"]["gpus"],
        mem_mb=growing(16000 * config["compute"]["processes"]),
        runtime=growing(720),
    params:
        state=f"{STUDY}/state/train_sft/{{policy}}-seed-{{seed}}",
        cfg=training_config,
        code=code_hash("hh_align.training.train_sft"),
    shell:
        r"""
        launch {resources.processes} hh_align.training.train_sft \
            --config {params.cfg:q} \
            --seed {wildcards.seed} \
            --parent {input.parent:q} \
            --preferences {input.preferences:q} \
            --threads {threads} \
            --checkpoint-seconds {resources.checkpoint_seconds} \
            --state {params.state:q} \
            --manifest {output.manifest:q} \
            --train-log {output.train_log:q} \
            --quarantine {output.quarantine:q} \
            --timing {output.timing:q} 2>&1 | tee {log:q}
        """


rule compute_references:
    input:
        policy=policy_input,
        policy_files=beside(policy_input),
        preferences=reference_data,
    output:
        references="<results>/references/{view}/{policy}/seed-{seed}.parquet",
        timing="<timings>/compute_references/{view}/{policy}-seed-{seed}.json",
    log:
        "<logs>/compute_references/{view}/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/compute_references/{view}/{policy}-seed-{seed}.tsv"
    wildcard_constraints:
        view="[^/]+",
    conda:
        "../../environment.yml"
    threads: config["compute"]["threads"]
    resources:
        gpu=ONE_GPU,
        mem_mb=growing(16000),
        runtime=growing(360),
    params:
        state=f"{STUDY}/state/compute_references/{{view}}/{{policy}}-seed-{{seed}}",
        cfg=reference_config,
        code=code_hash("hh_align.training.compute_references"),
    shell:
        r"""
        python -m hh_align.training.compute_references \
            --config {params.cfg:q} \
            --policy {input.policy:q} \
            --preferences {input.preferences:q} \
            --threads {threads} \
            --state {params.state:q} \
            --output {output.references:q} \
            --timing {output.timing:q} 2>&1 | tee {log:q}
        """


rule train_dpo:
    input:
        parent=parent_manifest,
        parent_files=beside(parent_manifest),
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
    conda:
        "../../environment.yml"
    threads: config["compute"]["threads"]
    resources:
        checkpoint_seconds=config["compute"]["checkpoint_seconds"],
        processes=config["compute"]["processes"],
        gpu=config["compute"]["gpus"],
        mem_mb=growing(16000 * config["compute"]["processes"]),
        runtime=growing(720),
    params:
        references=lambda wildcards, input: f"--references {input.references}" if input.references else "",
        state=f"{STUDY}/state/train_dpo/{{policy}}-seed-{{seed}}",
        cfg=training_config,
        snapshot_steps=snapshot_steps,
        code=code_hash("hh_align.training.train_dpo"),
    shell:
        r"""
        launch {resources.processes} hh_align.training.train_dpo \
            --config {params.cfg:q} \
            --seed {wildcards.seed} \
            --parent {input.parent:q} \
            --preferences {input.preferences:q} {params.references} \
            --threads {threads} \
            --checkpoint-seconds {resources.checkpoint_seconds} \
            --state {params.state:q} \
            --manifest {output.manifest:q} \
            --train-log {output.train_log:q} \
            --quarantine {output.quarantine:q} \
            --snapshot-steps {params.snapshot_steps:q} \
            --snapshots {output.snapshots:q} \
            --timing {output.timing:q} 2>&1 | tee {log:q}
        """


rule train_kto:
    input:
        parent=parent_manifest,
        parent_files=beside(parent_manifest),
        preferences=training_data,
        references=policy_reference,
    output:
        files=expand("<results>/policies/{policy}/seed-{seed}/{file}", file=POLICY_FILES, allow_missing=True),
        manifest="<results>/policies/{policy}/seed-{seed}/manifest.json",
        train_log="<results>/policies/{policy}/seed-{seed}/train_log.parquet",
        quarantine="<results>/policies/{policy}/seed-{seed}/quarantine.parquet",
        snapshots="<results>/policies/{policy}/seed-{seed}/snapshots.parquet",
        timing="<timings>/train_kto/{policy}-seed-{seed}.json",
    log:
        "<logs>/train_kto/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/train_kto/{policy}-seed-{seed}.tsv"
    wildcard_constraints:
        policy=one_of(trained_by("kto")),
    conda:
        "../../environment.yml"
    threads: config["compute"]["threads"]
    resources:
        checkpoint_seconds=config["compute"]["checkpoint_seconds"],
        processes=config["compute"]["processes"],
        gpu=config["compute"]["gpus"],
        mem_mb=growing(16000 * config["compute"]["processes"]),
        runtime=growing(720),
    params:
        state=f"{STUDY}/state/train_kto/{{policy}}-seed-{{seed}}",
        cfg=training_config,
        snapshot_steps=snapshot_steps,
        code=code_hash("hh_align.training.train_kto"),
    shell:
        r"""
        launch {resources.processes} hh_align.training.train_kto \
            --config {params.cfg:q} \
            --seed {wildcards.seed} \
            --parent {input.parent:q} \
            --preferences {input.preferences:q} \
            --references {input.references:q} \
            --threads {threads} \
            --checkpoint-seconds {resources.checkpoint_seconds} \
            --state {params.state:q} \
            --manifest {output.manifest:q} \
            --train-log {output.train_log:q} \
            --quarantine {output.quarantine:q} \
            --snapshot-steps {params.snapshot_steps:q} \
            --snapshots {output.snapshots:q} \
            --timing {output.timing:q} 2>&1 | tee {log:q}
        """


if SNAPSHOTS:

    rule merge_snapshot:
        input:
            parent=parent_manifest,
            parent_files=beside(parent_manifest),
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
        conda:
            "../../environment.yml"
        resources:
            mem_mb=8000,
            runtime=30,
        params:
            cfg=snapshot_config,
            code=code_hash("hh_align.training.merge_snapshot"),
        shell:
            r"""
            python -m hh_align.training.merge_snapshot \
                --config {params.cfg:q} \
                --parent {input.parent:q} \
                --snapshots {input.snapshots:q} \
                --manifest {output.manifest:q} 2>&1 | tee {log:q}
            """


rule tune_training:
    input:
        parent="<results>/models/base/manifest.json",
        parent_files=beside("<results>/models/base/manifest.json"),
        preferences=f"<results>/data/{prompts_dataset()}/preferences.parquet",
    output:
        found="<timings>/tune_training/{method}.json",
    log:
        "<logs>/tune_training/{method}.log",
    benchmark:
        "<benchmarks>/tune_training/{method}.tsv"
    wildcard_constraints:
        method=one_of(config.get("methods", {})),
    conda:
        "../../environment.yml"
    threads: config["compute"]["threads"]
    resources:
        gpu=ONE_GPU,
        mem_mb=growing(16000),
        runtime=growing(120),
    params:
        cfg=tuning_config,
        code=code_hash("hh_align.tools.tune_training"),
    shell:
        r"""
        python -m hh_align.tools.tune_training \
            --config {params.cfg:q} \
            --parent {input.parent:q} \
            --preferences {input.preferences:q} \
            --threads {threads} \
            --output {output.found:q} 2>&1 | tee {log:q}
        """

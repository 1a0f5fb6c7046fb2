# needs: a model of the hub or of a local folder; or data/{dataset}/preferences.parquet for one that is made from nothing
# makes: policies/{policy}/seed-0/ of weights that exist; models/base/ and models/judges/{judge}/: config.json, model.safetensors, tokenizer.json, …, manifest.json; NOTICE beside all weights


rule models:
    input:
        base_files(),
        judge_files(),
        notices([*base_files(), *judge_files()]),
    localrule: True


use rule step as import_model with:
    resources:
        mem_mb=per_attempt(12000),
        runtime=per_attempt(30),
    params:
        **runs("models.import_model"),
        more=import_source_option,


if BASE and BASE["source"] != "scratch":

    use rule import_model as import_base with:
        input:
            import_source(BASE),
        output:
            files=expand("<results>/models/base/{file}", file=POLICY_FILES),
            manifest="<results>/models/base/manifest.json",
        log:
            "<logs>/import_base.log",
        benchmark:
            "<benchmarks>/import_base.tsv"
        params:
            cfg=lambda wildcards: policy_import_config(BASE),


use rule import_model as import_policy with:
    input:
        given_files,
    output:
        files=expand("<results>/policies/{policy}/seed-{seed}/{file}", file=POLICY_FILES, allow_missing=True),
        manifest="<results>/policies/{policy}/seed-{seed}/manifest.json",
    log:
        "<logs>/import_policy/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/import_policy/{policy}-seed-{seed}.tsv"
    wildcard_constraints:
        policy=one_of(policy for policy in GIVEN if "source" in config["policies"][policy]),
    params:
        cfg=given_config,


use rule import_model as import_judge with:
    input:
        lambda wildcards: import_source(JUDGES[wildcards.judge]),
    output:
        files=expand("<results>/models/judges/{judge}/{file}", file=JUDGE_FILES, allow_missing=True),
        manifest="<results>/models/judges/{judge}/manifest.json",
    log:
        "<logs>/import_judge/{judge}.log",
    benchmark:
        "<benchmarks>/import_judge/{judge}.tsv"
    wildcard_constraints:
        judge=one_of(judges_from("hub", "local")),
    params:
        cfg=judge_import_config,


use rule step as write_notice with:
    input:
        licences=licence_files,
        parent=parent_notice,
    output:
        "<results>/{folder}/NOTICE",
    log:
        "<logs>/write_notice/{folder}.log",
    benchmark:
        "<benchmarks>/write_notice/{folder}.tsv"
    wildcard_constraints:
        folder=one_of(model_folders()),
    localrule: True
    params:
        **runs("models.write_notice", notice_config),

# needs: models/base/, data/{dataset}/preferences.parquet
# makes: timings/tune_training/{method}.json: which precision and micro-batch train fastest on this machine; for a file of another study, a message that names that study's config


use rule step_on_device as tune_training with:
    input:
        files=model_files("<results>/models/base/manifest.json"),
        parent="<results>/models/base/manifest.json",
        preferences=f"<results>/data/{prompts_dataset()}/preferences.parquet",
    output:
        "<timings>/tune_training/{method}.json",
    log:
        "<logs>/tune_training/{method}.log",
    benchmark:
        "<benchmarks>/tune_training/{method}.tsv"
    wildcard_constraints:
        method=one_of(config.get("methods", {})),
    resources:
        gpu=ONE_GPU,
        mem_mb=per_attempt(16000),
        runtime=per_attempt(120),
    params:
        **runs("tools.tune_training", tuning_config),


if workflow.modifier.is_main_snakefile():

    rule other_study:
        input:
            from_other_study,
        output:
            "results/{other}/{path}",
        log:
            "<logs>/other_study/{other}/{path}.log",
        wildcard_constraints:
            other=f"(?!(?:{one_of(readable_folders())})/)[^/]+",
            path=".+",
        conda:
            "../../environment.yml"
        shell:
            "false &> {log}"

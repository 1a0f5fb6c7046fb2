rule models:
    input:
        model_files(),


if not RELEASED and config["models"]["base"]["source"] == "scratch":

    rule pretrain_base:
        input:
            preferences=f"<results>/data/{scratch_data(config['models']['base'])}/preferences.parquet",
        output:
            files=expand("<results>/models/base/{file}", file=POLICY_FILES),
            manifest="<results>/models/base/manifest.json",
            train_log="<results>/models/base/train_log.parquet",
            timing="<timings>/pretrain_base.json",
        log:
            "<logs>/pretrain_base.log",
        benchmark:
            "<benchmarks>/pretrain_base.tsv"
        conda:
            "../../environment.yml"
        threads: config["compute"]["threads"]
        resources:
            checkpoint_seconds=config["compute"]["checkpoint_seconds"],
            gpu=ONE_GPU,
            mem_mb=growing(8000),
            runtime=growing(240),
        params:
            state=f"{STUDY}/state/pretrain_base",
            cfg=scratch_config(config["models"]["base"], "pretraining"),
            code=code_hash("hh_align.training.pretrain_base"),
        shell:
            r"""
            python -m hh_align.training.pretrain_base \
                --config {params.cfg:q} \
                --preferences {input.preferences:q} \
                --threads {threads} \
                --checkpoint-seconds {resources.checkpoint_seconds} \
                --state {params.state:q} \
                --manifest {output.manifest:q} \
                --train-log {output.train_log:q} \
                --timing {output.timing:q} 2>&1 | tee {log:q}
            """

elif not RELEASED:

    rule import_base:
        input:
            import_source(config["models"]["base"]),
        output:
            files=expand("<results>/models/base/{file}", file=POLICY_FILES),
            manifest="<results>/models/base/manifest.json",
        log:
            "<logs>/import_base.log",
        benchmark:
            "<benchmarks>/import_base.tsv"
        conda:
            "../../environment.yml"
        resources:
            mem_mb=growing(8000),
            runtime=30,
        params:
            source=import_folder,
            cfg=base_import_config(),
            code=code_hash("hh_align.models.import_model"),
        shell:
            r"""
            python -m hh_align.models.import_model \
                --config {params.cfg:q} \
                --source {params.source:q} \
                --manifest {output.manifest:q} 2>&1 | tee {log:q}
            """


rule import_judge:
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
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(12000),
        runtime=30,
    params:
        source=import_folder,
        cfg=judge_import_config,
        code=code_hash("hh_align.models.import_model"),
    shell:
        r"""
        python -m hh_align.models.import_model \
            --config {params.cfg:q} \
            --source {params.source:q} \
            --manifest {output.manifest:q} 2>&1 | tee {log:q}
        """


rule train_judge:
    input:
        preferences=judge_scratch_data,
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
    conda:
        "../../environment.yml"
    threads: config["compute"]["threads"]
    resources:
        checkpoint_seconds=config["compute"]["checkpoint_seconds"],
        gpu=ONE_GPU,
        mem_mb=growing(8000),
        runtime=growing(240),
    params:
        state=f"{STUDY}/state/train_judge/{{judge}}",
        cfg=judge_scratch_config,
        code=code_hash("hh_align.training.train_judge"),
    shell:
        r"""
        python -m hh_align.training.train_judge \
            --config {params.cfg:q} \
            --preferences {input.preferences:q} \
            --threads {threads} \
            --checkpoint-seconds {resources.checkpoint_seconds} \
            --state {params.state:q} \
            --manifest {output.manifest:q} \
            --train-log {output.train_log:q} \
            --calibration {output.calibration:q} \
            --timing {output.timing:q} 2>&1 | tee {log:q}
        """

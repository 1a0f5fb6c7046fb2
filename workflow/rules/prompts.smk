rule prompts:
    input:
        "<results>/prompts/prompts.parquet",


if not RELEASED:

    rule select_prompts:
        input:
            preferences=f"<results>/data/{prompts_dataset()}/preferences.parquet",
        output:
            prompts="<results>/prompts/prompts.parquet",
        log:
            "<logs>/select_prompts.log",
        benchmark:
            "<benchmarks>/select_prompts.tsv"
        conda:
            "../../environment.yml"
        resources:
            mem_mb=growing(2000),
            runtime=10,
        params:
            cfg=step(**config["prompts"]),
            code=code_hash("hh_align.data.select_prompts"),
        shell:
            r"""
            python -m hh_align.data.select_prompts \
                --config {params.cfg:q} \
                --preferences {input.preferences:q} \
                --output {output.prompts:q} 2>&1 | tee {log:q}
            """

rule report:
    input:
        report_files(),


rule plot_figures:
    input:
        rewards=reward_files(),
        metrics="<results>/analysis/metrics.parquet",
    output:
        bars=report(
            "<results>/report/figures/metrics.svg",
            caption="../report/metrics.rst",
            category="Figures",
            labels={"figure": "HmR, HpR and CAS"},
        ),
        boxes=report(
            "<results>/report/figures/rewards.svg",
            caption="../report/rewards.rst",
            category="Figures",
            labels={"figure": "Rewards"},
        ),
        means=report(
            "<results>/report/figures/mean_rewards.svg",
            caption="../report/mean_rewards.rst",
            category="Figures",
            labels={"figure": "Mean rewards"},
        ),
    log:
        "<logs>/plot_figures.log",
    benchmark:
        "<benchmarks>/plot_figures.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        cfg=analysis_config(),
        code=code_hash("plot_figures"),
    shell:
        r"""
        python workflow/scripts/plot_figures.py \
            --config {params.cfg:q} \
            --rewards {input.rewards:q} \
            --metrics {input.metrics:q} \
            --bars {output.bars:q} \
            --boxes {output.boxes:q} \
            --means {output.means:q} 2>&1 | tee {log:q}
        """


rule export_csv:
    input:
        table="<results>/analysis/{table}.parquet",
    output:
        csv=report(
            "<results>/report/{table}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
    log:
        "<logs>/export_csv/{table}.log",
    benchmark:
        "<benchmarks>/export_csv/{table}.tsv"
    wildcard_constraints:
        table="[a-z_]+",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        code=code_hash("export_csv"),
    shell:
        r"""
        python workflow/scripts/export_csv.py \
            --table {input.table:q} \
            --output {output.csv:q} 2>&1 | tee {log:q}
        """


rule summarize_study:
    input:
        metrics="<results>/analysis/metrics.parquet",
        comparisons="<results>/analysis/comparisons.parquet",
        retention="<results>/analysis/retention.parquet",
        published="resources/published.yaml",
    output:
        summary=report(
            "<results>/report/summary.txt",
            caption="../report/summary.rst",
            category="Tables",
            labels={"table": "summary"},
        ),
    log:
        "<logs>/summarize_study.log",
    benchmark:
        "<benchmarks>/summarize_study.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        cfg=analysis_config(study=config["study"], compare_published=is_comparable(), synthetic=is_synthetic()),
        code=code_hash("summarize_study"),
    shell:
        r"""
        python workflow/scripts/summarize_study.py \
            --config {params.cfg:q} \
            --metrics {input.metrics:q} \
            --comparisons {input.comparisons:q} \
            --retention {input.retention:q} \
            --published {input.published:q} \
            --output {output.summary:q} 2>&1 | tee {log:q}
        """

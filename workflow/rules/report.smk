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


rule plot_comparisons:
    input:
        comparisons="<results>/analysis/comparisons.parquet",
    output:
        forest=report(
            "<results>/report/figures/contrasts.svg",
            caption="../report/contrasts.rst",
            category="Figures",
            labels={"figure": "Contrasts"},
        ),
        wins=report(
            "<results>/report/figures/wins.svg",
            caption="../report/wins.rst",
            category="Figures",
            labels={"figure": "Win rates"},
        ),
    log:
        "<logs>/plot_comparisons.log",
    benchmark:
        "<benchmarks>/plot_comparisons.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        cfg=analysis_config(equivalence_margin=config["analysis"]["equivalence_margin"]),
        code=code_hash("plot_comparisons"),
    shell:
        r"""
        python workflow/scripts/plot_comparisons.py \
            --config {params.cfg:q} \
            --comparisons {input.comparisons:q} \
            --forest {output.forest:q} \
            --wins {output.wins:q} 2>&1 | tee {log:q}
        """


rule plot_thresholds:
    input:
        thresholds="<results>/analysis/thresholds.parquet",
        flips="<results>/analysis/threshold_flips.parquet",
    output:
        curves=report(
            "<results>/report/figures/thresholds.svg",
            caption="../report/thresholds.rst",
            category="Figures",
            labels={"figure": "Thresholds"},
        ),
    log:
        "<logs>/plot_thresholds.log",
    benchmark:
        "<benchmarks>/plot_thresholds.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        cfg=analysis_config(),
        code=code_hash("plot_thresholds"),
    shell:
        r"""
        python workflow/scripts/plot_thresholds.py \
            --config {params.cfg:q} \
            --thresholds {input.thresholds:q} \
            --flips {input.flips:q} \
            --curves {output.curves:q} 2>&1 | tee {log:q}
        """


rule plot_retention:
    input:
        retention="<results>/analysis/retention.parquet",
    output:
        flow=report(
            "<results>/report/figures/retention.svg",
            caption="../report/retention.rst",
            category="Figures",
            labels={"figure": "Retention"},
        ),
    log:
        "<logs>/plot_retention.log",
    benchmark:
        "<benchmarks>/plot_retention.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        cfg=analysis_config(),
        code=code_hash("plot_retention"),
    shell:
        r"""
        python workflow/scripts/plot_retention.py \
            --config {params.cfg:q} \
            --retention {input.retention:q} \
            --flow {output.flow:q} 2>&1 | tee {log:q}
        """


rule plot_judge:
    input:
        points="<results>/analysis/judge_roc.parquet",
        bins="<results>/analysis/judge_calibration.parquet",
    output:
        roc=report(
            "<results>/report/figures/judge_roc.svg",
            caption="../report/judge_roc.rst",
            category="Figures",
            labels={"figure": "The judge's ROC"},
        ),
        calibration=report(
            "<results>/report/figures/judge_calibration.svg",
            caption="../report/judge_calibration.rst",
            category="Figures",
            labels={"figure": "The judge's calibration"},
        ),
    log:
        "<logs>/plot_judge.log",
    benchmark:
        "<benchmarks>/plot_judge.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code_hash("plot_judge"),
    shell:
        r"""
        python workflow/scripts/plot_judge.py \
            --points {input.points:q} \
            --bins {input.bins:q} \
            --roc {output.roc:q} \
            --calibration {output.calibration:q} 2>&1 | tee {log:q}
        """


rule plot_drift:
    input:
        drift="<results>/analysis/drift.parquet",
        metrics="<results>/analysis/metrics.parquet",
    output:
        drift=report(
            "<results>/report/figures/drift.svg",
            caption="../report/drift.rst",
            category="Figures",
            labels={"figure": "Reward against drift"},
        ),
    log:
        "<logs>/plot_drift.log",
    benchmark:
        "<benchmarks>/plot_drift.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        cfg=analysis_config(),
        code=code_hash("plot_drift"),
    shell:
        r"""
        python workflow/scripts/plot_drift.py \
            --config {params.cfg:q} \
            --drift {input.drift:q} \
            --metrics {input.metrics:q} \
            --figure {output.drift:q} 2>&1 | tee {log:q}
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
        power="<results>/analysis/power.parquet",
        leads="<results>/analysis/threshold_leads.parquet",
        judge=judge_files(),
        gold=gold_files("gold"),
        label_agreement=gold_files("label_agreement"),
        claims="<results>/analysis/claims.parquet",
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
        cfg=analysis_config(study=config["study"], folder=STUDY, compare_published=is_comparable(), synthetic=is_synthetic()),
        code=code_hash("summarize_study"),
        given=options("judge", "gold", "label_agreement"),
    shell:
        r"""
        python workflow/scripts/summarize_study.py \
            --config {params.cfg:q} \
            --metrics {input.metrics:q} \
            --comparisons {input.comparisons:q} \
            --retention {input.retention:q} \
            --power {input.power:q} \
            --leads {input.leads:q} \
            --claims {input.claims:q} \
            {params.given} \
            --published {input.published:q} \
            --output {output.summary:q} 2>&1 | tee {log:q}
        """

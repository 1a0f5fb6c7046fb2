rule report:
    input:
        report_files(),


rule plot_figures:
    input:
        ratings="<results>/analysis/ratings.parquet",
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
        code=code_hash("hh_align.report.plot_figures"),
    shell:
        r"""
        python -m hh_align.report.plot_figures \
            --config {params.cfg:q} \
            --ratings {input.ratings:q} \
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
        code=code_hash("hh_align.report.plot_comparisons"),
    shell:
        r"""
        python -m hh_align.report.plot_comparisons \
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
        code=code_hash("hh_align.report.plot_thresholds"),
    shell:
        r"""
        python -m hh_align.report.plot_thresholds \
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
        code=code_hash("hh_align.report.plot_retention"),
    shell:
        r"""
        python -m hh_align.report.plot_retention \
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
        code=code_hash("hh_align.report.plot_judge"),
    shell:
        r"""
        python -m hh_align.report.plot_judge \
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
        code=code_hash("hh_align.report.plot_drift"),
    shell:
        r"""
        python -m hh_align.report.plot_drift \
            --config {params.cfg:q} \
            --drift {input.drift:q} \
            --metrics {input.metrics:q} \
            --figure {output.drift:q} 2>&1 | tee {log:q}
        """


if "sweeps" in config:

    rule plot_sweep:
        input:
            sweep="<results>/analysis/sweep.parquet",
        output:
            curves=report(
                "<results>/report/figures/sweep.svg",
                caption="../report/sweep.rst",
                category="Figures",
                labels={"figure": "The sweep"},
            ),
        log:
            "<logs>/plot_sweep.log",
        benchmark:
            "<benchmarks>/plot_sweep.tsv"
        conda:
            "../../environment.yml"
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            code=code_hash("hh_align.report.plot_sweep"),
        shell:
            r"""
            python -m hh_align.report.plot_sweep \
                --sweep {input.sweep:q} \
                --curves {output.curves:q} 2>&1 | tee {log:q}
            """


if NOISE_ARMS:

    rule plot_noise:
        input:
            noise="<results>/analysis/noise.parquet",
        output:
            curves=report(
                "<results>/report/figures/noise.svg",
                caption="../report/noise.rst",
                category="Figures",
                labels={"figure": "Noisy labels"},
            ),
        log:
            "<logs>/plot_noise.log",
        benchmark:
            "<benchmarks>/plot_noise.tsv"
        conda:
            "../../environment.yml"
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            code=code_hash("hh_align.report.plot_noise"),
        shell:
            r"""
            python -m hh_align.report.plot_noise \
                --noise {input.noise:q} \
                --curves {output.curves:q} 2>&1 | tee {log:q}
            """


if SNAPSHOTS:

    rule plot_snapshots:
        input:
            snapshots="<results>/analysis/snapshots.parquet",
        output:
            curves=report(
                "<results>/report/figures/snapshots.svg",
                caption="../report/snapshots.rst",
                category="Figures",
                labels={"figure": "Reward along the training"},
            ),
        log:
            "<logs>/plot_snapshots.log",
        benchmark:
            "<benchmarks>/plot_snapshots.tsv"
        conda:
            "../../environment.yml"
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            code=code_hash("hh_align.report.plot_snapshots"),
        shell:
            r"""
            python -m hh_align.report.plot_snapshots \
                --snapshots {input.snapshots:q} \
                --curves {output.curves:q} 2>&1 | tee {log:q}
            """


rule plot_training:
    input:
        logs=training_logs(),
    output:
        curves=report(
            "<results>/report/figures/training.svg",
            caption="../report/training.rst",
            category="Figures",
            labels={"figure": "Training curves"},
        ),
    log:
        "<logs>/plot_training.log",
    benchmark:
        "<benchmarks>/plot_training.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        cfg=training_plot_config,
        code=code_hash("hh_align.report.plot_training"),
    shell:
        r"""
        python -m hh_align.report.plot_training \
            --config {params.cfg:q} \
            --logs {input.logs:q} \
            --curves {output.curves:q} 2>&1 | tee {log:q}
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
        code=code_hash("hh_align.report.export_csv"),
    shell:
        r"""
        python -m hh_align.report.export_csv \
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
        published=local("resources/published.yaml"),
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
        cfg=analysis_config(
            study=config["study"],
            folder=STUDY,
            compare_published=is_comparable(),
            synthetic=is_synthetic(),
            same_source=same_source(),
        ),
        code=code_hash("hh_align.report.summarize_study"),
        optional=options("judge", "gold", "label_agreement"),
    shell:
        r"""
        python -m hh_align.report.summarize_study \
            --config {params.cfg:q} \
            --metrics {input.metrics:q} \
            --comparisons {input.comparisons:q} \
            --retention {input.retention:q} \
            --power {input.power:q} \
            --leads {input.leads:q} \
            --claims {input.claims:q} \
            {params.optional} \
            --published {input.published:q} \
            --output {output.summary:q} 2>&1 | tee {log:q}
        """


rule render_report:
    input:
        tables=analysis_files(),
        figures=figure_files(),
        logs=training_logs(),
        preferences=preference_files(),
        census=census_files(),
        others=report_reads(),
        templates=page_files("page.html", "index.html", "macros.html", "style.css", "index.css"),
        captions=page_files(*(f"{figure}.rst" for figure in figure_names())),
    output:
        page=report(
            "<results>/report/index.html",
            caption="../report/page.rst",
            category="Pages",
            labels={"page": "The report"},
        ),
    log:
        "<logs>/render_report.log",
    benchmark:
        "<benchmarks>/render_report.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        cfg=report_config,
        code=code_hash("hh_align.report.render_report"),
    shell:
        r"""
        python -m hh_align.report.render_report \
            --config {params.cfg:q} \
            --templates workflow/report \
            --output {output.page:q} 2>&1 | tee {log:q}
        """


rule render_browser:
    input:
        prompts="<results>/prompts/prompts.parquet",
        responses=response_files(),
        ratings="<results>/analysis/ratings.parquet",
        templates=page_files("page.html", "browser.html", "browser.js", "browser.css", "style.css"),
    output:
        page=report(
            "<results>/report/browser.html",
            caption="../report/browser.rst",
            category="Pages",
            labels={"page": "The responses"},
        ),
    log:
        "<logs>/render_browser.log",
    benchmark:
        "<benchmarks>/render_browser.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        cfg=analysis_config(study=config["study"], synthetic=is_synthetic()),
        code=code_hash("hh_align.report.render_browser"),
    shell:
        r"""
        python -m hh_align.report.render_browser \
            --config {params.cfg:q} \
            --prompts {input.prompts:q} \
            --responses {input.responses:q} \
            --ratings {input.ratings:q} \
            --templates workflow/report \
            --output {output.page:q} 2>&1 | tee {log:q}
        """


if not RELEASED:

    rule write_model_card:
        input:
            manifest="<results>/policies/{policy}/seed-{seed}/manifest.json",
            files=beside("<results>/policies/{policy}/seed-{seed}/manifest.json"),
            train_log="<results>/policies/{policy}/seed-{seed}/train_log.parquet",
            metrics="<results>/analysis/metrics.parquet",
            template=local("workflow/report/model_card.md"),
        output:
            card=report(
                "<results>/policies/{policy}/seed-{seed}/README.md",
                caption="../report/model_card.rst",
                category="Cards",
                labels={"card": "{policy}, seed {seed}"},
            ),
        log:
            "<logs>/write_model_card/{policy}-seed-{seed}.log",
        benchmark:
            "<benchmarks>/write_model_card/{policy}-seed-{seed}.tsv"
        conda:
            "../../environment.yml"
        resources:
            mem_mb=1000,
            runtime=5,
        params:
            cfg=card_config,
            code=code_hash("hh_align.report.write_model_card"),
        shell:
            r"""
            python -m hh_align.report.write_model_card \
                --config {params.cfg:q} \
                --manifest {input.manifest:q} \
                --metrics {input.metrics:q} \
                --template {input.template:q} \
                --output {output.card:q} 2>&1 | tee {log:q}
            """

    rule write_dataset_card:
        input:
            unpack(dataset_card_inputs),
        output:
            card=report(
                "<results>/data/{dataset}/README.md",
                caption="../report/dataset_card.rst",
                category="Cards",
                labels={"card": "dataset {dataset}"},
            ),
        log:
            "<logs>/write_dataset_card/{dataset}.log",
        benchmark:
            "<benchmarks>/write_dataset_card/{dataset}.tsv"
        conda:
            "../../environment.yml"
        resources:
            mem_mb=2000,
            runtime=5,
        params:
            cfg=dataset_card_config,
            code=code_hash("hh_align.report.write_dataset_card"),
            optional=options("quarantine", "census"),
        shell:
            r"""
            python -m hh_align.report.write_dataset_card \
                --config {params.cfg:q} \
                --preferences {input.preferences:q} {params.optional} \
                --template {input.template:q} \
                --output {output.card:q} 2>&1 | tee {log:q}
            """

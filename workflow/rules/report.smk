# needs: analysis/{table}.parquet, the training logs, the prompts and responses
# makes: report/: figures/*.svg, {table}.csv, summary.txt, index.html, browser.html; where it is asked for, export/


rule report:
    input:
        report_files(),
    localrule: True


rule export:
    input:
        record_files(),
        sample_files(),
        log_files(),
    localrule: True


use rule step as plot_figures with:
    input:
        ratings=RATINGS,
        metrics="<results>/analysis/metrics.parquet",
    output:
        bars=figure("metrics", "HmR, HpR and CAS"),
        boxes=figure("rewards", "Rewards"),
        means=figure("mean_rewards", "Mean rewards"),
    log:
        "<logs>/plot_figures.log",
    benchmark:
        "<benchmarks>/plot_figures.tsv"
    params:
        **runs("report.plot_figures", analysis_config()),


use rule step as plot_comparisons with:
    input:
        comparisons="<results>/analysis/comparisons.parquet",
    output:
        forest=figure("contrasts", "Contrasts"),
        wins=figure("wins", "Win rates"),
    log:
        "<logs>/plot_comparisons.log",
    benchmark:
        "<benchmarks>/plot_comparisons.tsv"
    params:
        **runs("report.plot_comparisons", analysis_config("equivalence_margin")),


use rule step as plot_pairwise with:
    input:
        pairwise="<results>/analysis/pairwise.parquet",
    output:
        bars=figure("pairwise", "Pairwise judges"),
    log:
        "<logs>/plot_pairwise.log",
    benchmark:
        "<benchmarks>/plot_pairwise.tsv"
    params:
        **runs("report.plot_pairwise"),


use rule step as plot_thresholds with:
    input:
        thresholds="<results>/analysis/thresholds.parquet",
        flips="<results>/analysis/threshold_flips.parquet",
    output:
        curves=figure("thresholds", "Thresholds"),
    log:
        "<logs>/plot_thresholds.log",
    benchmark:
        "<benchmarks>/plot_thresholds.tsv"
    params:
        **runs("report.plot_thresholds", analysis_config()),


use rule step as plot_retention with:
    input:
        retention="<results>/analysis/retention.parquet",
        judge=judge_examination(),
    output:
        flow=figure("retention", "Retention"),
    log:
        "<logs>/plot_retention.log",
    benchmark:
        "<benchmarks>/plot_retention.tsv"
    params:
        **runs("report.plot_retention", analysis_config()),


use rule step as plot_tradeoff with:
    input:
        tradeoff="<results>/analysis/tradeoff.parquet",
    output:
        figure=figure("tradeoff", "HmR against HpR"),
    log:
        "<logs>/plot_tradeoff.log",
    benchmark:
        "<benchmarks>/plot_tradeoff.tsv"
    params:
        **runs("report.plot_tradeoff", analysis_config()),


use rule step as plot_judge with:
    input:
        points="<results>/analysis/judge_roc.parquet",
        bins="<results>/analysis/judge_calibration.parquet",
    output:
        roc=figure("judge_roc", "The judge's ROC"),
        calibration=figure("judge_calibration", "The judge's calibration"),
    log:
        "<logs>/plot_judge.log",
    benchmark:
        "<benchmarks>/plot_judge.tsv"
    params:
        **runs("report.plot_judge"),


use rule step as plot_drift with:
    input:
        drift="<results>/analysis/drift.parquet",
        metrics="<results>/analysis/metrics.parquet",
    output:
        figure=figure("drift", "Reward against drift"),
    log:
        "<logs>/plot_drift.log",
    benchmark:
        "<benchmarks>/plot_drift.tsv"
    params:
        **runs("report.plot_drift", analysis_config()),


if CAPABILITY:

    use rule step as plot_capability with:
        input:
            capability="<results>/analysis/capability.parquet",
        output:
            bars=figure("capability", "Capability"),
        log:
            "<logs>/plot_capability.log",
        benchmark:
            "<benchmarks>/plot_capability.tsv"
        params:
            **runs("report.plot_capability", as_json(order=WITH_WEIGHTS)),


use rule step as plot_sweep with:
    input:
        sweep="<results>/analysis/sweep.parquet",
    output:
        curves=figure("sweep", "The sweep"),
    log:
        "<logs>/plot_sweep.log",
    benchmark:
        "<benchmarks>/plot_sweep.tsv"
    params:
        **runs("report.plot_sweep"),


use rule step as plot_noise with:
    input:
        noise="<results>/analysis/noise.parquet",
    output:
        curves=figure("noise", "Noisy labels"),
    log:
        "<logs>/plot_noise.log",
    benchmark:
        "<benchmarks>/plot_noise.tsv"
    params:
        **runs("report.plot_noise"),


use rule step as plot_snapshots with:
    input:
        snapshots="<results>/analysis/snapshots.parquet",
    output:
        curves=figure("snapshots", "Reward along the training"),
    log:
        "<logs>/plot_snapshots.log",
    benchmark:
        "<benchmarks>/plot_snapshots.tsv"
    params:
        **runs("report.plot_snapshots"),


use rule step as plot_training with:
    input:
        logs=training_logs(),
    output:
        curves=figure("training", "Training curves"),
    log:
        "<logs>/plot_training.log",
    benchmark:
        "<benchmarks>/plot_training.tsv"
    params:
        **runs("report.plot_training", training_plot_config),


use rule step as export_csv with:
    input:
        table="<results>/analysis/{table}.parquet",
    output:
        report("<results>/report/{table}.csv", caption="../report/table.rst", category="Tables", labels={"table": "{table}"}),
    log:
        "<logs>/export_csv/{table}.log",
    benchmark:
        "<benchmarks>/export_csv/{table}.tsv"
    wildcard_constraints:
        table="[a-z_]+",
    params:
        **runs("report.export_csv"),


use rule step as summarize_study with:
    input:
        **tables_of_summary(),
        judge=judge_examination(),
        gold=gold_files("gold"),
        label_agreement=gold_files("label_agreement"),
        published=local(of_workflow("resources/published.yaml")),
    output:
        report("<results>/report/summary.txt", caption="../report/summary.rst", category="Tables", labels={"table": "summary"}),
    log:
        "<logs>/summarize_study.log",
    benchmark:
        "<benchmarks>/summarize_study.tsv"
    params:
        **runs("report.summarize_study", summary_config),


use rule step as render_report with:
    input:
        analysis_files(),
        figure_files(),
        training_logs(),
        preference_files(),
        census_files(),
        stored_files(),
        page_files(*REPORT_FILES),
        page_files(*(f"{figure}.rst" for figure in figure_names())),
    output:
        report("<results>/report/index.html", caption="../report/page.rst", category="Pages", labels={"page": "The report"}),
    log:
        "<logs>/render_report.log",
    benchmark:
        "<benchmarks>/render_report.tsv"
    params:
        **runs("report.render_report", report_config),
        more=page_options,


use rule step as render_browser with:
    input:
        page_files("page.html", "browser.html", "browser.js", "browser.css", "style.css"),
        prompts="<results>/prompts/prompts.parquet",
        responses=response_files(),
        ratings=RATINGS,
    output:
        report("<results>/report/browser.html", caption="../report/browser.rst", category="Pages", labels={"page": "The responses"}),
    log:
        "<logs>/render_browser.log",
    benchmark:
        "<benchmarks>/render_browser.tsv"
    resources:
        mem_mb=per_attempt(4000),
        runtime=10,
    params:
        **runs("report.render_browser", analysis_config(study=config["study"], synthetic=is_synthetic())),
        more=template_option,


use rule step as export_records with:
    input:
        prompts="<results>/prompts/prompts.parquet",
        ratings=RATINGS,
        metrics="<results>/analysis/metrics.parquet",
        responses=response_files(),
    output:
        records=record_files(),
        samples=sample_files(),
        logs=log_files(),
    log:
        "<logs>/export_records.log",
    benchmark:
        "<benchmarks>/export_records.tsv"
    params:
        **runs("report.export_records", export_config()),

# needs: analysis/{table}.parquet, the training logs, the prompts and responses
# makes: report/: figures/*.svg, {table}.csv, summary.txt, index.html, browser.html


rule report:
    input:
        report_files(),
    localrule: True


use rule step as plot_figures with:
    input:
        ratings=RATINGS,
        metrics="<results>/analysis/metrics.parquet",
    output:
        bars=figure("metrics", "HmR, HpR and CAS"),
        boxes=figure("rewards", "Rewards"),
        means=figure("mean_rewards", "Mean rewards"),
    pathvars:
        job="plot_figures",
    params:
        **runs("report.plot_figures", analysis_config()),


use rule step as plot_comparisons with:
    input:
        comparisons="<results>/analysis/comparisons.parquet",
    output:
        forest=figure("contrasts", "Contrasts"),
        wins=figure("wins", "Win rates"),
    pathvars:
        job="plot_comparisons",
    params:
        **runs("report.plot_comparisons", analysis_config("equivalence_margin")),


use rule step as plot_thresholds with:
    input:
        thresholds="<results>/analysis/thresholds.parquet",
        flips="<results>/analysis/threshold_flips.parquet",
    output:
        curves=figure("thresholds", "Thresholds"),
    pathvars:
        job="plot_thresholds",
    params:
        **runs("report.plot_thresholds", analysis_config()),


use rule step as plot_retention with:
    input:
        retention="<results>/analysis/retention.parquet",
    output:
        flow=figure("retention", "Retention"),
    pathvars:
        job="plot_retention",
    params:
        **runs("report.plot_retention", analysis_config()),


use rule step as plot_judge with:
    input:
        points="<results>/analysis/judge_roc.parquet",
        bins="<results>/analysis/judge_calibration.parquet",
    output:
        roc=figure("judge_roc", "The judge's ROC"),
        calibration=figure("judge_calibration", "The judge's calibration"),
    pathvars:
        job="plot_judge",
    params:
        **runs("report.plot_judge"),


use rule step as plot_drift with:
    input:
        drift="<results>/analysis/drift.parquet",
        metrics="<results>/analysis/metrics.parquet",
    output:
        figure=figure("drift", "Reward against drift"),
    pathvars:
        job="plot_drift",
    params:
        **runs("report.plot_drift", analysis_config()),


use rule step as plot_sweep with:
    input:
        sweep="<results>/analysis/sweep.parquet",
    output:
        curves=figure("sweep", "The sweep"),
    pathvars:
        job="plot_sweep",
    params:
        **runs("report.plot_sweep"),


use rule step as plot_noise with:
    input:
        noise="<results>/analysis/noise.parquet",
    output:
        curves=figure("noise", "Noisy labels"),
    pathvars:
        job="plot_noise",
    params:
        **runs("report.plot_noise"),


use rule step as plot_snapshots with:
    input:
        snapshots="<results>/analysis/snapshots.parquet",
    output:
        curves=figure("snapshots", "Reward along the training"),
    pathvars:
        job="plot_snapshots",
    params:
        **runs("report.plot_snapshots"),


use rule step as plot_training with:
    input:
        logs=training_logs(),
    output:
        curves=figure("training", "Training curves"),
    pathvars:
        job="plot_training",
    params:
        **runs("report.plot_training", training_plot_config),


use rule step as export_csv with:
    input:
        table="<results>/analysis/{table}.parquet",
    output:
        report("<results>/report/{table}.csv", caption="../report/table.rst", category="Tables", labels={"table": "{table}"}),
    pathvars:
        job="export_csv/{table}",
    wildcard_constraints:
        table="[a-z_]+",
    params:
        **runs("report.export_csv"),


use rule step as summarize_study with:
    input:
        metrics="<results>/analysis/metrics.parquet",
        comparisons="<results>/analysis/comparisons.parquet",
        retention="<results>/analysis/retention.parquet",
        power="<results>/analysis/power.parquet",
        leads="<results>/analysis/threshold_leads.parquet",
        judge=judge_examination(),
        gold=gold_files("gold"),
        label_agreement=gold_files("label_agreement"),
        claims="<results>/analysis/claims.parquet",
        published=local(of_workflow("resources/published.yaml")),
    output:
        report("<results>/report/summary.txt", caption="../report/summary.rst", category="Tables", labels={"table": "summary"}),
    pathvars:
        job="summarize_study",
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
        page_files("page.html", "index.html", "macros.html", "style.css", "index.css"),
        page_files(*(f"{figure}.rst" for figure in figure_names())),
    output:
        report("<results>/report/index.html", caption="../report/page.rst", category="Pages", labels={"page": "The report"}),
    pathvars:
        job="render_report",
    params:
        **runs("report.render_report", report_config),
        more=template_option,


use rule step as render_browser with:
    input:
        page_files("page.html", "browser.html", "browser.js", "browser.css", "style.css"),
        prompts="<results>/prompts/prompts.parquet",
        responses=response_files(),
        ratings=RATINGS,
    output:
        report("<results>/report/browser.html", caption="../report/browser.rst", category="Pages", labels={"page": "The responses"}),
    pathvars:
        job="render_browser",
    resources:
        mem_mb=per_attempt(4000),
        runtime=10,
    params:
        **runs("report.render_browser", analysis_config(study=config["study"], synthetic=is_synthetic())),
        more=template_option,

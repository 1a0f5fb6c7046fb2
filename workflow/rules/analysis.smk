# needs: prompts/prompts.parquet, responses/, rewards/, choices/, and for some tables drift/, the judges' pairs, labels or another study's results
# makes: analysis/ratings.parquet, the one table that every step here reads, and analysis/{table}.parquet


rule analysis:
    input:
        analysis_files(),
    localrule: True


use rule step as gather_ratings with:
    input:
        prompts="<results>/prompts/prompts.parquet",
        responses=response_files(),
        rewards=reward_files(),
    output:
        RATINGS,
    log:
        "<logs>/gather_ratings.log",
    benchmark:
        "<benchmarks>/gather_ratings.tsv"
    params:
        **runs("analysis.gather_ratings", analysis_config()),


use rule step as compute_metrics with:
    input:
        ratings=RATINGS,
    output:
        "<results>/analysis/metrics.parquet",
    log:
        "<logs>/compute_metrics.log",
    benchmark:
        "<benchmarks>/compute_metrics.tsv"
    params:
        **runs("analysis.compute_metrics", analysis_config("bootstrap")),


use rule step as compute_retention with:
    input:
        ratings=RATINGS,
    output:
        "<results>/analysis/retention.parquet",
        changed="<results>/analysis/changed_prompts.parquet",
    log:
        "<logs>/compute_retention.log",
    benchmark:
        "<benchmarks>/compute_retention.tsv"
    params:
        **runs("analysis.compute_retention", analysis_config("contrasts")),


use rule step as examine_text with:
    input:
        responses=response_files(),
        drift="<results>/analysis/drift.parquet" if drift_files() else [],
        logs=training_logs(),
    output:
        "<results>/analysis/text.parquet",
    log:
        "<logs>/examine_text.log",
    benchmark:
        "<benchmarks>/examine_text.tsv"
    params:
        **runs("analysis.examine_text", text_config()),


use rule step as compare_policies with:
    input:
        ratings=RATINGS,
        pairs=pair_files(),
        choices=choice_files(),
        judge=judge_examination(),
        text="<results>/analysis/text.parquet",
    output:
        "<results>/analysis/comparisons.parquet",
    log:
        "<logs>/compare_policies.log",
    benchmark:
        "<benchmarks>/compare_policies.tsv"
    params:
        **runs("analysis.compare_policies", contrast_config()),


use rule step as control_length with:
    input:
        ratings=RATINGS,
        comparisons="<results>/analysis/comparisons.parquet",
        choices=choice_files(),
    output:
        "<results>/analysis/length.parquet",
    log:
        "<logs>/control_length.log",
    benchmark:
        "<benchmarks>/control_length.tsv"
    params:
        **runs("analysis.control_length", length_config()),


use rule step as model_labels with:
    input:
        ratings=RATINGS,
        comparisons="<results>/analysis/comparisons.parquet",
    output:
        "<results>/analysis/mixed_model.parquet",
    log:
        "<logs>/model_labels.log",
    benchmark:
        "<benchmarks>/model_labels.tsv"
    params:
        **runs("analysis.model_labels", model_config()),


use rule step as check_claims with:
    input:
        ratings=RATINGS,
        judge=judge_examination(),
        text="<results>/analysis/text.parquet",
        gold=gold_files("gold"),
    output:
        "<results>/analysis/claims.parquet",
    log:
        "<logs>/check_claims.log",
    benchmark:
        "<benchmarks>/check_claims.tsv"
    params:
        **runs("analysis.check_claims", analysis_config("equivalence_margin", "bootstrap", claims=COMPARISONS)),


use rule step as compare_published with:
    input:
        metrics="<results>/analysis/metrics.parquet",
        text="<results>/analysis/text.parquet",
        published=local(of_workflow("resources/published.yaml")),
    output:
        "<results>/analysis/agreement.parquet",
    log:
        "<logs>/compare_published.log",
    benchmark:
        "<benchmarks>/compare_published.tsv"
    params:
        **runs("analysis.compare_published", analysis_config()),


use rule step as compare_judges with:
    input:
        ratings=RATINGS,
    output:
        "<results>/analysis/judge_agreement.parquet",
    log:
        "<logs>/compare_judges.log",
    benchmark:
        "<benchmarks>/compare_judges.tsv"
    params:
        **runs("analysis.compare_judges", analysis_config(seed=config["analysis"]["bootstrap"]["seed"])),


use rule step as sweep_thresholds with:
    input:
        ratings=RATINGS,
        judge=judge_examination(),
        text="<results>/analysis/text.parquet",
    output:
        "<results>/analysis/thresholds.parquet",
        leads="<results>/analysis/threshold_leads.parquet",
        flips="<results>/analysis/threshold_flips.parquet",
    log:
        "<logs>/sweep_thresholds.log",
    benchmark:
        "<benchmarks>/sweep_thresholds.tsv"
    params:
        **runs("analysis.sweep_thresholds", analysis_config()),


use rule step as compute_tradeoff with:
    input:
        ratings=RATINGS,
        judge=judge_examination(),
        text="<results>/analysis/text.parquet",
    output:
        "<results>/analysis/tradeoff.parquet",
    log:
        "<logs>/compute_tradeoff.log",
    benchmark:
        "<benchmarks>/compute_tradeoff.tsv"
    params:
        **runs("analysis.compute_tradeoff", analysis_config()),


use rule step as compute_power with:
    input:
        ratings=RATINGS,
        comparisons="<results>/analysis/comparisons.parquet",
    output:
        "<results>/analysis/power.parquet",
    log:
        "<logs>/compute_power.log",
    benchmark:
        "<benchmarks>/compute_power.tsv"
    params:
        **runs("analysis.compute_power", analysis_config("contrasts", "equivalence_margin", "sizes", "discordance")),


use rule step as examine_judge with:
    input:
        pairs=pair_files(),
    output:
        "<results>/analysis/judge.parquet",
        calibration="<results>/analysis/judge_calibration.parquet",
        roc="<results>/analysis/judge_roc.parquet",
    log:
        "<logs>/examine_judge.log",
    benchmark:
        "<benchmarks>/examine_judge.tsv"
    params:
        **runs("analysis.examine_judge", as_json(own=own_subsets(), judges=examined_judges())),


use rule step as summarize_drift with:
    input:
        ratings=RATINGS,
        drift=drift_files(),
    output:
        "<results>/analysis/drift.parquet",
    log:
        "<logs>/summarize_drift.log",
    benchmark:
        "<benchmarks>/summarize_drift.tsv"
    params:
        **runs("analysis.summarize_drift", drift_summary_config()),


use rule step as score_oracle with:
    input:
        words=local(of_workflow("resources/synthetic.yaml")),
        prompts="<results>/prompts/prompts.parquet",
        responses=response_files(),
        ratings=RATINGS,
    output:
        "<results>/analysis/oracle.parquet",
        labels="<results>/analysis/oracle_labels.parquet",
    log:
        "<logs>/score_oracle.log",
    benchmark:
        "<benchmarks>/score_oracle.tsv"
    params:
        **runs("analysis.score_oracle", analysis_config()),


rule check:
    input:
        "<results>/analysis/checks.parquet",
    localrule: True


use rule step as check_demo with:
    input:
        labels="<results>/analysis/oracle_labels.parquet",
        oracle="<results>/analysis/oracle.parquet",
        text="<results>/analysis/text.parquet",
        words=local(of_workflow("resources/synthetic.yaml")),
        preferences=f"<results>/data/{prompts_dataset()}/preferences.parquet",
        pairs=pair_files(),
    output:
        "<results>/analysis/checks.parquet",
    log:
        "<logs>/check_demo.log",
    benchmark:
        "<benchmarks>/check_demo.tsv"
    params:
        **runs("analysis.check_demo", analysis_config(examined=examined_judges())),

# needs: prompts/prompts.parquet, responses/, rewards/, and for some tables drift/, the judges' pairs, labels or another study's results
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
    pathvars:
        job="gather_ratings",
    params:
        **runs("analysis.gather_ratings", analysis_config()),


use rule step as compute_metrics with:
    input:
        ratings=RATINGS,
    output:
        "<results>/analysis/metrics.parquet",
    pathvars:
        job="compute_metrics",
    params:
        **runs("analysis.compute_metrics", analysis_config("bootstrap")),


use rule step as compute_retention with:
    input:
        ratings=RATINGS,
    output:
        "<results>/analysis/retention.parquet",
        changed="<results>/analysis/changed_prompts.parquet",
    pathvars:
        job="compute_retention",
    params:
        **runs("analysis.compute_retention", analysis_config()),


use rule step as compare_policies with:
    input:
        ratings=RATINGS,
        pairs=pair_files(),
        judge=judge_examination(),
    output:
        "<results>/analysis/comparisons.parquet",
    pathvars:
        job="compare_policies",
    params:
        **runs("analysis.compare_policies", contrast_config()),


use rule step as check_claims with:
    input:
        ratings=RATINGS,
        judge=judge_examination(),
    output:
        "<results>/analysis/claims.parquet",
    pathvars:
        job="check_claims",
    params:
        **runs("analysis.check_claims", analysis_config("equivalence_margin", "bootstrap", claims=config["claims"])),


use rule step as compare_published with:
    input:
        metrics="<results>/analysis/metrics.parquet",
        published=local(of_workflow("resources/published.yaml")),
    output:
        "<results>/analysis/agreement.parquet",
    pathvars:
        job="compare_published",
    params:
        **runs("analysis.compare_published", analysis_config()),


use rule step as compare_judges with:
    input:
        ratings=RATINGS,
    output:
        "<results>/analysis/judge_agreement.parquet",
    pathvars:
        job="compare_judges",
    params:
        **runs("analysis.compare_judges", analysis_config(seed=config["analysis"]["bootstrap"]["seed"])),


use rule step as sweep_thresholds with:
    input:
        ratings=RATINGS,
    output:
        "<results>/analysis/thresholds.parquet",
        leads="<results>/analysis/threshold_leads.parquet",
        flips="<results>/analysis/threshold_flips.parquet",
    pathvars:
        job="sweep_thresholds",
    params:
        **runs("analysis.sweep_thresholds", analysis_config()),


use rule step as compute_power with:
    input:
        ratings=RATINGS,
    output:
        "<results>/analysis/power.parquet",
    pathvars:
        job="compute_power",
    params:
        **runs("analysis.compute_power", as_json(**{key: config["analysis"][key] for key in ("sizes", "discordance")})),


use rule step as examine_judge with:
    input:
        pairs=pair_files(),
    output:
        "<results>/analysis/judge.parquet",
        calibration="<results>/analysis/judge_calibration.parquet",
        roc="<results>/analysis/judge_roc.parquet",
    pathvars:
        job="examine_judge",
    params:
        **runs("analysis.examine_judge", as_json(own=own_subsets(), judges=examined_judges())),


use rule step as summarize_drift with:
    input:
        ratings=RATINGS,
        drift=drift_files(),
    output:
        "<results>/analysis/drift.parquet",
    pathvars:
        job="summarize_drift",
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
    pathvars:
        job="score_oracle",
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
        words=local(of_workflow("resources/synthetic.yaml")),
        preferences=f"<results>/data/{prompts_dataset()}/preferences.parquet",
        pairs=pair_files(),
    output:
        "<results>/analysis/checks.parquet",
    pathvars:
        job="check_demo",
    params:
        **runs("analysis.check_demo", analysis_config(examined=examined_judges())),

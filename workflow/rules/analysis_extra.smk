# What some studies ask for: another run beside theirs, true labels, over-refusal, capability, suites, a second judge of a release, pairwise judges, sweeps, noise, snapshots, claims of fact.
# needs: analysis/ratings.parquet and what the config names
# makes: analysis/{reproduction,gold,label_agreement,overrefusal,capability,suites,pairwise,displacement,rescoring,sweep,noise,snapshots,facts}.parquet


use rule step as compare_runs with:
    input:
        unpack(both_runs),
    output:
        "<results>/analysis/reproduction.parquet",
        summary="<results>/analysis/reproduction_summary.parquet",
    log:
        "<logs>/compare_runs.log",
    benchmark:
        "<benchmarks>/compare_runs.tsv"
    params:
        **runs("analysis.compare_runs", reproduction_config),


use rule step as correct_by_labels with:
    input:
        unpack(label_files),
        prompts="<results>/prompts/prompts.parquet",
        responses=response_files(),
        ratings=RATINGS,
    output:
        "<results>/analysis/gold.parquet",
        agreement="<results>/analysis/label_agreement.parquet",
    log:
        "<logs>/correct_by_labels.log",
    benchmark:
        "<benchmarks>/correct_by_labels.tsv"
    params:
        **runs("analysis.correct_by_labels", label_config),


if FACTS:

    use rule step as check_facts with:
        input:
            artifacts=fact_files(),
        output:
            "<results>/analysis/facts.parquet",
        log:
            "<logs>/check_facts.log",
        benchmark:
            "<benchmarks>/check_facts.tsv"
        params:
            **runs("analysis.check_facts", as_json(claims=FACTS)),


if OVERREFUSAL:

    use rule step as measure_overrefusal with:
        input:
            prompts="<results>/overrefusal/prompts.parquet",
            responses=twin_responses(),
            rewards=twin_rewards(),
            phrases=config_file(OVERREFUSAL["phrases"]),
        output:
            "<results>/analysis/overrefusal.parquet",
        log:
            "<logs>/measure_overrefusal.log",
        benchmark:
            "<benchmarks>/measure_overrefusal.tsv"
        params:
            **runs("analysis.measure_overrefusal", overrefusal_config()),


if CAPABILITY:

    use rule step as summarize_capability with:
        input:
            questions=[f"{folder}/items.parquet" for folder in item_folders()],
            scores=capability_files(),
        output:
            "<results>/analysis/capability.parquet",
        log:
            "<logs>/summarize_capability.log",
        benchmark:
            "<benchmarks>/summarize_capability.tsv"
        params:
            **runs("analysis.summarize_capability", capability_summary_config()),


if SUITES:

    use rule step as measure_suites with:
        input:
            prompts=suite_prompts(SUITES),
            responses=suite_responses(),
            rewards=suite_rewards(),
            preferences=expand("<results>/data/{dataset}/preferences.parquet", dataset=trained_data()),
            phrases=config_file(OVERREFUSAL.get("phrases", "resources/refusal_phrases.txt")),
        output:
            "<results>/analysis/suites.parquet",
        log:
            "<logs>/measure_suites.log",
        benchmark:
            "<benchmarks>/measure_suites.tsv"
        params:
            **runs("analysis.measure_suites", suites_config()),


if RESCORED:

    use rule step as compare_ratings with:
        input:
            ratings=RATINGS,
        output:
            "<results>/analysis/rescoring.parquet",
        log:
            "<logs>/compare_ratings.log",
        benchmark:
            "<benchmarks>/compare_ratings.tsv"
        params:
            **runs("analysis.compare_ratings", as_json(judges=thresholds(), released=config["release"]["judge"])),


if "sweeps" in config:

    use rule step as summarize_sweep with:
        input:
            metrics="<results>/analysis/metrics.parquet",
        output:
            "<results>/analysis/sweep.parquet",
        log:
            "<logs>/summarize_sweep.log",
        benchmark:
            "<benchmarks>/summarize_sweep.tsv"
        params:
            **runs("analysis.summarize_sweep", as_json(arms=config["sweeps"]["policies"])),


if NOISE_ARMS:

    use rule step as summarize_noise with:
        input:
            ratings=RATINGS,
            labels="<results>/analysis/oracle_labels.parquet",
        output:
            "<results>/analysis/noise.parquet",
        log:
            "<logs>/summarize_noise.log",
        benchmark:
            "<benchmarks>/summarize_noise.tsv"
        params:
            **runs("analysis.summarize_noise", as_json(arms=NOISE_ARMS)),


if SNAPSHOTS:

    use rule step as summarize_snapshots with:
        input:
            metrics="<results>/analysis/metrics.parquet",
            drift="<results>/analysis/drift.parquet" if drift_files() else [],
            logs=snapshot_logs(),
        output:
            "<results>/analysis/snapshots.parquet",
        log:
            "<logs>/summarize_snapshots.log",
        benchmark:
            "<benchmarks>/summarize_snapshots.tsv"
        params:
            **runs("analysis.summarize_snapshots", snapshot_summary_config()),


if displacement_files():

    use rule step as summarize_displacement with:
        input:
            displacement=displacement_files(),
        output:
            "<results>/analysis/displacement.parquet",
        log:
            "<logs>/summarize_displacement.log",
        benchmark:
            "<benchmarks>/summarize_displacement.tsv"
        params:
            **runs("analysis.summarize_displacement", displacement_summary_config()),


if PAIRWISE:

    use rule step as examine_pairwise with:
        input:
            ratings=RATINGS,
            choices=choice_files(),
        output:
            "<results>/analysis/pairwise.parquet",
        log:
            "<logs>/examine_pairwise.log",
        benchmark:
            "<benchmarks>/examine_pairwise.tsv"
        params:
            **runs("analysis.examine_pairwise", analysis_config("contrasts", **pairwise_axes())),

# needs: files of items, the policies' models
# makes: capability/items.parquet, capability/{policy}/seed-{seed}.parquet, analysis/capability.parquet


if CAPABILITY:

    use rule step as select_items with:
        input:
            files=[config_file(task["path"]) for task in CAPABILITY.values()],
        output:
            "<results>/capability/items.parquet",
            quarantine="<results>/capability/quarantine.parquet",
        log:
            "<logs>/select_items.log",
        benchmark:
            "<benchmarks>/select_items.tsv"
        params:
            **runs("data.select_items", items_config()),

    use rule step_on_device as measure_capability with:
        input:
            files=model_files(policy_input),
            policy=policy_input,
            questions="<results>/capability/items.parquet",
        output:
            "<results>/capability/{policy}/seed-{seed}.parquet",
            timing="<timings>/measure_capability/{policy}-seed-{seed}.json",
        log:
            "<logs>/measure_capability/{policy}-seed-{seed}.log",
        benchmark:
            "<benchmarks>/measure_capability/{policy}-seed-{seed}.tsv"
        wildcard_constraints:
            policy=one_of(WITH_WEIGHTS),
        params:
            **runs("evaluation.measure_capability", capability_config),

    use rule step as summarize_capability with:
        input:
            questions="<results>/capability/items.parquet",
            scores=capability_files(),
        output:
            "<results>/analysis/capability.parquet",
        log:
            "<logs>/summarize_capability.log",
        benchmark:
            "<benchmarks>/summarize_capability.tsv"
        params:
            **runs("analysis.summarize_capability", capability_summary_config()),

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

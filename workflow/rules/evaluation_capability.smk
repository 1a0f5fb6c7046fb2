# needs: capability/items.parquet, the policies' models
# makes: capability/{policy}/seed-{seed}.parquet


if CAPABILITY:

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

# needs: capability/items.parquet and capability/lm_eval/items.parquet, the policies' models
# makes: capability/{,lm_eval/}{policy}/seed-{seed}.parquet


if ITEM_FILES:

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


if LM_EVAL:

    use rule step_on_device as measure_lm_eval with:
        input:
            files=model_files(policy_input),
            policy=policy_input,
            questions="<results>/capability/lm_eval/items.parquet",
        output:
            "<results>/capability/lm_eval/{policy}/seed-{seed}.parquet",
            timing="<timings>/measure_lm_eval/{policy}-seed-{seed}.json",
        log:
            "<logs>/measure_lm_eval/{policy}-seed-{seed}.log",
        benchmark:
            "<benchmarks>/measure_lm_eval/{policy}-seed-{seed}.tsv"
        wildcard_constraints:
            policy=one_of(WITH_WEIGHTS),
        params:
            **runs("evaluation.measure_lm_eval", capability_config),

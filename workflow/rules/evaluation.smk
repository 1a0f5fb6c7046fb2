# needs: prompts/prompts.parquet, the policies' and judges' models, or responses and ratings from elsewhere; data/{dataset}/preferences.parquet
# makes: responses/{policy}/seed-{seed}.parquet, rewards/{judge}/{policy}/seed-{seed}.parquet, rewards/{judge}/pairs.parquet,
#        choices/{judge}/{policy}/{against}/seed-{seed}.parquet, drift/{policy}/seed-{seed}.parquet, data/{dataset}/margins.parquet; the same of the twins under overrefusal/


rule responses:
    input:
        response_files(),
    localrule: True


rule rewards:
    input:
        reward_files(),
    localrule: True


use rule step_on_device as generate_responses with:
    input:
        files=model_files(policy_input),
        policy=policy_input,
        prompts="<results>/prompts/prompts.parquet",
    output:
        shard("<results>/responses/{policy}/seed-{seed}.parquet"),
        timing=shard("<timings>/generate_responses/{policy}-seed-{seed}.json"),
    log:
        shard("<logs>/generate_responses/{policy}-seed-{seed}.log"),
    benchmark:
        shard("<benchmarks>/generate_responses/{policy}-seed-{seed}.tsv")
    wildcard_constraints:
        policy=one_of(policy for policy in WITH_WEIGHTS if policy not in IMPORTED_RESPONSES),
    params:
        **runs("evaluation.generate_responses", generation_config),


use rule step as import_responses with:
    input:
        prompts="<results>/prompts/prompts.parquet",
        file=imported_file,
    output:
        "<results>/responses/{policy}/seed-{seed}.parquet",
    log:
        "<logs>/import_responses/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/import_responses/{policy}-seed-{seed}.tsv"
    wildcard_constraints:
        policy=one_of(IMPORTED_RESPONSES),
    params:
        **runs("evaluation.import_responses", import_config),


use rule step_on_device as score_responses with:
    input:
        files=model_files("<results>/models/judges/{judge}/manifest.json"),
        judge="<results>/models/judges/{judge}/manifest.json",
        prompts="<results>/prompts/prompts.parquet",
        responses="<results>/responses/{policy}/seed-{seed}.parquet",
    output:
        shard("<results>/rewards/{judge}/{policy}/seed-{seed}.parquet"),
        timing=shard("<timings>/score_responses/{judge}/{policy}-seed-{seed}.json"),
    log:
        shard("<logs>/score_responses/{judge}/{policy}-seed-{seed}.log"),
    benchmark:
        shard("<benchmarks>/score_responses/{judge}/{policy}-seed-{seed}.tsv")
    wildcard_constraints:
        judge=one_of(judges_from(*JUDGES_WITH_WEIGHTS)),
    params:
        **runs("evaluation.score_responses", scoring_config),


use rule step as import_ratings with:
    input:
        ratings=ratings_files,
        prompts="<results>/prompts/prompts.parquet",
        responses=response_files(),
    output:
        rewards=reward_files(["{judge}"]),
    log:
        "<logs>/import_ratings/{judge}.log",
    benchmark:
        "<benchmarks>/import_ratings/{judge}.tsv"
    wildcard_constraints:
        judge=one_of(judges_from("imported")),
    params:
        **runs("evaluation.import_ratings", ratings_config),


use rule step as ask_endpoint with:
    input:
        rubrics=rubric_files,
        prompts="<results>/prompts/prompts.parquet",
        responses="<results>/responses/{policy}/seed-{seed}.parquet",
    output:
        "<results>/rewards/{judge}/{policy}/seed-{seed}.parquet",
        quarantine="<results>/rewards/{judge}/{policy}/quarantine-seed-{seed}.parquet",
        timing="<timings>/ask_endpoint/{judge}/{policy}-seed-{seed}.json",
    log:
        "<logs>/ask_endpoint/{judge}/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/ask_endpoint/{judge}/{policy}-seed-{seed}.tsv"
    wildcard_constraints:
        judge=one_of(judges_from("endpoint")),
    resources:
        mem_mb=1000,
        runtime=720,
    params:
        **runs("evaluation.ask_endpoint", asking_config),
        options=options_of_asking,
        more=asking_effort,


use rule ask_endpoint as ask_preferences with:
    input:
        rubrics=rubric_files,
        prompts="<results>/prompts/prompts.parquet",
        policy=responses_of("policy"),
        against=responses_of("against"),
    output:
        "<results>/choices/{judge}/{policy}/{against}/seed-{seed}.parquet",
        quarantine="<results>/choices/{judge}/{policy}/{against}/quarantine-seed-{seed}.parquet",
        timing="<timings>/ask_preferences/{judge}/{policy}/{against}-seed-{seed}.json",
    log:
        "<logs>/ask_preferences/{judge}/{policy}/{against}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/ask_preferences/{judge}/{policy}/{against}-seed-{seed}.tsv"
    wildcard_constraints:
        judge=one_of(PAIRWISE),
    params:
        **runs("evaluation.ask_preferences", asking_config),


if SHARDS > 1:

    ruleorder: import_ratings > gather_shards
    ruleorder: ask_endpoint > gather_shards
    ruleorder: import_responses > gather_shards

    use rule step as gather_shards with:
        input:
            shards=gather.evaluation("<results>/shards/{{table}}/{{item}}/{scatteritem}.parquet"),
        output:
            "<results>/{table}/{item}.parquet",
        log:
            "<logs>/gather_shards/{table}/{item}.log",
        benchmark:
            "<benchmarks>/gather_shards/{table}/{item}.tsv"
        wildcard_constraints:
            table="responses|rewards",
            item=r".+/seed-\d+",
        localrule: True
        params:
            **runs("evaluation.gather_shards"),


use rule step_on_device as score_pairs with:
    input:
        files=model_files("<results>/models/judges/{judge}/manifest.json"),
        judge="<results>/models/judges/{judge}/manifest.json",
        preferences=f"<results>/data/{prompts_dataset()}/preferences.parquet",
        seen=seen_files,
    output:
        "<results>/rewards/{judge}/pairs.parquet",
        timing="<timings>/score_pairs/{judge}.json",
    log:
        "<logs>/score_pairs/{judge}.log",
    benchmark:
        "<benchmarks>/score_pairs/{judge}.tsv"
    wildcard_constraints:
        judge=one_of(examined_judges()),
    params:
        **runs("evaluation.score_pairs", pairs_config),


use rule step_on_device as score_training_pairs with:
    input:
        unpack(selected_inputs),
        files=model_files(margin_judge),
        judge=margin_judge,
    output:
        "<results>/data/{dataset}/margins.parquet",
        timing="<timings>/score_training_pairs/{dataset}.json",
    log:
        "<logs>/score_training_pairs/{dataset}.log",
    benchmark:
        "<benchmarks>/score_training_pairs/{dataset}.tsv"
    wildcard_constraints:
        dataset=one_of(cleaned_by("judge_margin")),
    resources:
        gpu=ONE_GPU,
        mem_mb=per_attempt(8000),
        runtime=per_attempt(720),
    params:
        **runs("evaluation.score_training_pairs", margin_config),


use rule step_on_device as measure_drift with:
    input:
        files=model_files(policy_input, drift_reference_files),
        policy=policy_input,
        references=drift_reference_files,
        prompts="<results>/prompts/prompts.parquet",
        preferences=f"<results>/data/{prompts_dataset()}/preferences.parquet",
        seen=seen_files,
        text=config_file(config["drift"]["text"]) if "drift" in config else [],
    output:
        "<results>/drift/{policy}/seed-{seed}.parquet",
        timing="<timings>/measure_drift/{policy}-seed-{seed}.json",
    log:
        "<logs>/measure_drift/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/measure_drift/{policy}-seed-{seed}.tsv"
    resources:
        gpu=ONE_GPU,
        mem_mb=per_attempt(16000),
        runtime=per_attempt(360),
    params:
        **runs("evaluation.measure_drift", drift_config),


if OVERREFUSAL:

    use rule generate_responses as answer_twins with:
        input:
            files=model_files(policy_input),
            policy=policy_input,
            prompts="<results>/overrefusal/prompts.parquet",
        output:
            "<results>/overrefusal/responses/{policy}/seed-{seed}.parquet",
            timing="<timings>/answer_twins/{policy}-seed-{seed}.json",
        log:
            "<logs>/answer_twins/{policy}-seed-{seed}.log",
        benchmark:
            "<benchmarks>/answer_twins/{policy}-seed-{seed}.tsv"
        wildcard_constraints:
            policy=one_of(WITH_WEIGHTS),

    use rule score_responses as score_twins with:
        input:
            files=model_files("<results>/models/judges/{judge}/manifest.json"),
            judge="<results>/models/judges/{judge}/manifest.json",
            prompts="<results>/overrefusal/prompts.parquet",
            responses="<results>/overrefusal/responses/{policy}/seed-{seed}.parquet",
        output:
            "<results>/overrefusal/rewards/{judge}/{policy}/seed-{seed}.parquet",
            timing="<timings>/score_twins/{judge}/{policy}-seed-{seed}.json",
        log:
            "<logs>/score_twins/{judge}/{policy}-seed-{seed}.log",
        benchmark:
            "<benchmarks>/score_twins/{judge}/{policy}-seed-{seed}.tsv"
        params:
            cfg=twin_scoring_config,

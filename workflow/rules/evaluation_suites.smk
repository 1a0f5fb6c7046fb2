# needs: suites/{suite}/prompts.parquet, the policies' and judges' models
# makes: suites/{suite}/responses/{policy}/seed-{seed}.parquet, suites/{suite}/rewards/{judge}/{policy}/seed-{seed}.parquet


use rule generate_responses as answer_suite with:
    input:
        files=model_files(policy_input),
        policy=policy_input,
        prompts="<results>/suites/{suite}/prompts.parquet",
    output:
        "<results>/suites/{suite}/responses/{policy}/seed-{seed}.parquet",
        timing="<timings>/answer_suite/{suite}/{policy}-seed-{seed}.json",
    log:
        "<logs>/answer_suite/{suite}/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/answer_suite/{suite}/{policy}-seed-{seed}.tsv"
    wildcard_constraints:
        suite=one_of(SUITES),
        policy=one_of(WITH_WEIGHTS),


use rule score_responses as score_suite with:
    input:
        files=model_files("<results>/models/judges/{judge}/manifest.json"),
        judge="<results>/models/judges/{judge}/manifest.json",
        prompts="<results>/suites/{suite}/prompts.parquet",
        responses="<results>/suites/{suite}/responses/{policy}/seed-{seed}.parquet",
    output:
        "<results>/suites/{suite}/rewards/{judge}/{policy}/seed-{seed}.parquet",
        timing="<timings>/score_suite/{suite}/{judge}/{policy}-seed-{seed}.json",
    log:
        "<logs>/score_suite/{suite}/{judge}/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/score_suite/{suite}/{judge}/{policy}-seed-{seed}.tsv"
    wildcard_constraints:
        suite=one_of(SUITES),
        judge=one_of(judges_from(*JUDGES_WITH_WEIGHTS)),


use rule ask_endpoint as ask_suite with:
    input:
        rubrics=rubric_files,
        prompts="<results>/suites/{suite}/prompts.parquet",
        responses="<results>/suites/{suite}/responses/{policy}/seed-{seed}.parquet",
    output:
        "<results>/suites/{suite}/rewards/{judge}/{policy}/seed-{seed}.parquet",
        quarantine="<results>/suites/{suite}/rewards/{judge}/{policy}/quarantine-seed-{seed}.parquet",
        timing="<timings>/ask_suite/{suite}/{judge}/{policy}-seed-{seed}.json",
    log:
        "<logs>/ask_suite/{suite}/{judge}/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/ask_suite/{suite}/{judge}/{policy}-seed-{seed}.tsv"
    wildcard_constraints:
        suite=one_of(SUITES),
        judge=one_of(judges_from("endpoint")),

# needs: a dataset of the hub, of a local folder, or of the demo's words; files of suites; or a release of prompts, responses and ratings
# makes: data/{dataset}/preferences.parquet, prompts/prompts.parquet, overrefusal/prompts.parquet, suites/{suite}/prompts.parquet, capability/{,lm_eval/}items.parquet;
#        downloads under results/hub/


rule data:
    input:
        preference_files(),
    localrule: True


rule prompts:
    input:
        "<results>/prompts/prompts.parquet",
    localrule: True


use rule step as fetch_hub with:
    input:
        checksums=ancient(config_file(config["checksums"])),
    output:
        manifest=local(f"{HUB}/{{kind}}/{{repo}}/{{revision}}/{{manifest}}.json"),
        timing="<timings>/fetch_hub/{kind}-{repo}-{revision}-{manifest}.json",
    log:
        "<logs>/fetch_hub/{kind}-{repo}-{revision}-{manifest}.log",
    benchmark:
        "<benchmarks>/fetch_hub/{kind}-{repo}-{revision}-{manifest}.tsv"
    wildcard_constraints:
        kind="datasets|models",
        repo="[^/]+",
        revision="[0-9a-f]{40}",
        manifest="manifest(-[0-9a-f]{8})?",
    localrule: True
    resources:
        mem_mb=1000,
        runtime=240,
    params:
        **runs("data.fetch_hub", hub_request),
        besides=known_sums,


use rule step as generate_corpus with:
    input:
        words=local(of_workflow("resources/synthetic.yaml")),
    output:
        expand(
            "<results>/data/{dataset}/raw/{subset}/{split}.jsonl.gz",
            subset=["harmless-base", "helpful-base"],
            split=["train", "test"],
            allow_missing=True,
        ),
    log:
        "<logs>/generate_corpus/{dataset}.log",
    benchmark:
        "<benchmarks>/generate_corpus/{dataset}.tsv"
    params:
        **runs("data.generate_corpus", corpus_config),


use rule step as prepare_preferences with:
    input:
        dataset_inputs,
    output:
        preferences="<results>/data/{dataset}/preferences.parquet",
        quarantine="<results>/data/{dataset}/quarantine.parquet",
    log:
        "<logs>/prepare_preferences/{dataset}.log",
    benchmark:
        "<benchmarks>/prepare_preferences/{dataset}.tsv"
    wildcard_constraints:
        dataset=one_of(name for name, dataset in DATASETS.items() if "source" in dataset),
    resources:
        mem_mb=per_attempt(4000),
        runtime=20,
    params:
        **runs("data.prepare_preferences", preferences_config),
        more=dataset_options,


use rule step as derive_dataset with:
    input:
        unpack(derived_inputs),
    output:
        "<results>/data/{dataset}/preferences.parquet",
        census="<results>/data/{dataset}/census.parquet",
        dropped="<results>/data/{dataset}/dropped.parquet",
        contaminated="<results>/data/{dataset}/contaminated.parquet",
    log:
        "<logs>/derive_dataset/{dataset}.log",
    benchmark:
        "<benchmarks>/derive_dataset/{dataset}.tsv"
    wildcard_constraints:
        dataset=one_of(name for name, dataset in DATASETS.items() if "from" in dataset),
    resources:
        mem_mb=per_attempt(4000),
        runtime=20,
    params:
        **runs("data.derive_dataset", derived_config),


if RELEASED:

    use rule step as import_release with:
        input:
            release_inputs,
        output:
            prompts="<results>/prompts/prompts.parquet",
            responses=response_files(),
            rewards=reward_files(judges_from("released")),
        log:
            "<logs>/import_release.log",
        benchmark:
            "<benchmarks>/import_release.tsv"
        params:
            **runs("data.import_release", as_json(**{key: config["release"][key] for key in ("judge", "policies", "sums")})),
            more=f"--release {shlex.quote(release_folder())}",

    use rule step as fetch_release with:
        output:
            manifest=local(f"{HUB}/releases/{{repo}}/{{revision}}/manifest.json"),
        log:
            "<logs>/fetch_release/{repo}-{revision}.log",
        benchmark:
            "<benchmarks>/fetch_release/{repo}-{revision}.tsv"
        localrule: True
        params:
            **runs("data.fetch_release", as_json(**{key: config["release"].get(key) for key in ("repo", "revision", "endpoint", "sums")})),

else:

    use rule step as select_prompts with:
        input:
            preferences=drawn_preferences(),
            suites=axis_suites(),
        output:
            "<results>/prompts/prompts.parquet",
        log:
            "<logs>/select_prompts.log",
        benchmark:
            "<benchmarks>/select_prompts.tsv"
        params:
            **runs("data.select_prompts", prompts_config()),


if OVERREFUSAL:

    use rule step as select_twins with:
        input:
            questions=config_file(OVERREFUSAL["path"]),
        output:
            "<results>/overrefusal/prompts.parquet",
        log:
            "<logs>/select_twins.log",
        benchmark:
            "<benchmarks>/select_twins.tsv"
        params:
            **runs("data.select_twins"),


if ITEM_FILES:

    use rule step as select_items with:
        input:
            sources=[config_file(task["path"]) for task in ITEM_FILES.values()],
        output:
            "<results>/capability/items.parquet",
            quarantine="<results>/capability/quarantine.parquet",
        log:
            "<logs>/select_items.log",
        benchmark:
            "<benchmarks>/select_items.tsv"
        params:
            **runs("data.select_items", items_config()),


if LM_EVAL:

    use rule step as select_lm_eval with:
        input:
            include=included_files(),
        output:
            "<results>/capability/lm_eval/items.parquet",
            quarantine="<results>/capability/lm_eval/quarantine.parquet",
        log:
            "<logs>/select_lm_eval.log",
        benchmark:
            "<benchmarks>/select_lm_eval.tsv"
        localrule: True  # it may download
        resources:
            mem_mb=per_attempt(4000),
        params:
            **runs("data.select_lm_eval", lm_eval_config()),


if ASKED_SUITES:

    use rule step as fetch_suite with:
        output:
            manifest=local(f"{HUB}/suites/{{repo}}/{{revision}}/{{manifest}}.json"),
        log:
            "<logs>/fetch_suite/{repo}-{revision}-{manifest}.log",
        benchmark:
            "<benchmarks>/fetch_suite/{repo}-{revision}-{manifest}.tsv"
        localrule: True
        params:
            **runs("data.fetch_suite", raw_request),

    use rule step as select_suite with:
        input:
            suite_inputs,
        output:
            "<results>/suites/{suite}/prompts.parquet",
            quarantine="<results>/suites/{suite}/quarantine.parquet",
        log:
            "<logs>/select_suite/{suite}.log",
        benchmark:
            "<benchmarks>/select_suite/{suite}.tsv"
        wildcard_constraints:
            suite=one_of(ASKED_SUITES),
        params:
            **runs("data.select_suite", suite_config),
            more=suite_options,

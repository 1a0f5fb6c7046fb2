rule responses:
    input:
        response_files(),


rule rewards:
    input:
        reward_files(),


rule score_responses:
    input:
        judge="<results>/models/judges/{judge}/manifest.json",
        prompts="<results>/prompts/prompts.parquet",
        responses="<results>/responses/{policy}/seed-{seed}.parquet",
    output:
        rewards=shard("<results>/rewards/{judge}/{policy}/seed-{seed}.parquet"),
        timing=shard("<timings>/score_responses/{judge}/{policy}-seed-{seed}.json"),
    log:
        shard("<logs>/score_responses/{judge}/{policy}-seed-{seed}.log"),
    benchmark:
        shard("<benchmarks>/score_responses/{judge}/{policy}-seed-{seed}.tsv")
    wildcard_constraints:
        judge=one_of(judges_from("hub", "local", "scratch")),
    conda:
        "../../environment.yml"
    threads: config["compute"]["threads"]
    resources:
        gpu=config["compute"]["gpus"],
        mem_mb=8000,
        runtime=120,
    params:
        state=shard(f"{STUDY}/state/score_responses/{{judge}}/{{policy}}-seed-{{seed}}"),
        shard=SHARD_OPTION,
        cfg=scoring_config,
        code=code_hash("score_responses"),
    shell:
        r"""
        python workflow/scripts/score_responses.py \
            --config {params.cfg:q} \
            --judge {input.judge:q} \
            --prompts {input.prompts:q} \
            --responses {input.responses:q} {params.shard} \
            --threads {threads} \
            --state {params.state:q} \
            --output {output.rewards:q} \
            --timing {output.timing:q} 2>&1 | tee {log:q}
        """


if SHARDS > 1:

    localrules:
        gather_shards,

    rule gather_shards:
        input:
            gather.evaluation("<results>/shards/{{table}}/{{item}}/{scatteritem}.parquet"),
        output:
            "<results>/{table}/{item}.parquet",
        log:
            "<logs>/gather_shards/{table}/{item}.log",
        benchmark:
            "<benchmarks>/gather_shards/{table}/{item}.tsv"
        wildcard_constraints:
            table="responses|rewards",
            item=r".+/seed-\d+",
        conda:
            "../../environment.yml"
        params:
            code=code_hash("gather_shards"),
        shell:
            r"""
            python workflow/scripts/gather_shards.py \
                --shards {input:q} \
                --output {output:q} 2>&1 | tee {log:q}
            """


if RELEASED:

    if SHARDS > 1:

        ruleorder: import_release > gather_shards

    rule import_release:
        input:
            release_inputs,
        output:
            prompts="<results>/prompts/prompts.parquet",
            responses=response_files(),
            rewards=released_reward_files(),
        log:
            "<logs>/import_release.log",
        benchmark:
            "<benchmarks>/import_release.tsv"
        conda:
            "../../environment.yml"
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            release=release_folder(),
            cfg=step(**{key: config["release"][key] for key in ("judge", "policies", "sums")}),
            code=code_hash("import_release"),
        shell:
            r"""
            python workflow/scripts/import_release.py \
                --config {params.cfg:q} \
                --release {params.release:q} \
                --prompts {output.prompts:q} \
                --responses {output.responses:q} \
                --rewards {output.rewards:q} 2>&1 | tee {log:q}
            """

    localrules:
        fetch_release,

    rule fetch_release:
        output:
            manifest=f"{HUB}/releases/{{repo}}/{{revision}}/manifest.json",
        log:
            "<logs>/fetch_release/{repo}-{revision}.log",
        benchmark:
            "<benchmarks>/fetch_release/{repo}-{revision}.tsv"
        conda:
            "../../environment.yml"
        resources:
            mem_mb=1000,
            runtime=30,
        params:
            cfg=release_request,
            code=code_hash("fetch_release"),
        shell:
            r"""
            python workflow/scripts/fetch_release.py \
                --config {params.cfg:q} \
                --manifest {output.manifest:q} 2>&1 | tee {log:q}
            """

else:

    rule generate_responses:
        input:
            policy=policy_input,
            prompts="<results>/prompts/prompts.parquet",
        output:
            responses=shard("<results>/responses/{policy}/seed-{seed}.parquet"),
            timing=shard("<timings>/generate_responses/{policy}-seed-{seed}.json"),
        log:
            shard("<logs>/generate_responses/{policy}-seed-{seed}.log"),
        benchmark:
            shard("<benchmarks>/generate_responses/{policy}-seed-{seed}.tsv")
        conda:
            "../../environment.yml"
        threads: config["compute"]["threads"]
        resources:
            gpu=config["compute"]["gpus"],
            mem_mb=8000,
            runtime=120,
        params:
            state=shard(f"{STUDY}/state/generate_responses/{{policy}}-seed-{{seed}}"),
            shard=SHARD_OPTION,
            cfg=generation_config(),
            code=code_hash("generate_responses"),
        shell:
            r"""
            python workflow/scripts/generate_responses.py \
                --config {params.cfg:q} \
                --policy {input.policy:q} \
                --prompts {input.prompts:q} {params.shard} \
                --threads {threads} \
                --state {params.state:q} \
                --output {output.responses:q} \
                --timing {output.timing:q} 2>&1 | tee {log:q}
            """

    rule score_pairs:
        input:
            judge="<results>/models/judges/{judge}/manifest.json",
            preferences=f"<results>/data/{prompts_dataset()}/preferences.parquet",
            seen=seen_files,
        output:
            pairs="<results>/rewards/{judge}/pairs.parquet",
            timing="<timings>/score_pairs/{judge}.json",
        log:
            "<logs>/score_pairs/{judge}.log",
        benchmark:
            "<benchmarks>/score_pairs/{judge}.tsv"
        conda:
            "../../environment.yml"
        threads: config["compute"]["threads"]
        resources:
            gpu=config["compute"]["gpus"],
            mem_mb=8000,
            runtime=240,
        params:
            cfg=pairs_config,
            code=code_hash("score_pairs"),
            given=options("seen"),
        shell:
            r"""
            python workflow/scripts/score_pairs.py \
                --config {params.cfg:q} \
                --judge {input.judge:q} \
                --preferences {input.preferences:q} {params.given} \
                --threads {threads} \
                --output {output.pairs:q} \
                --timing {output.timing:q} 2>&1 | tee {log:q}
            """

    rule measure_drift:
        input:
            policy=policy_input,
            references=drift_reference_files,
            prompts="<results>/prompts/prompts.parquet",
            preferences=f"<results>/data/{prompts_dataset()}/preferences.parquet",
            seen=seen_files,
            text=config["drift"]["text"] if "drift" in config else [],
        output:
            drift="<results>/drift/{policy}/seed-{seed}.parquet",
            timing="<timings>/measure_drift/{policy}-seed-{seed}.json",
        log:
            "<logs>/measure_drift/{policy}-seed-{seed}.log",
        benchmark:
            "<benchmarks>/measure_drift/{policy}-seed-{seed}.tsv"
        conda:
            "../../environment.yml"
        threads: config["compute"]["threads"]
        resources:
            gpu=config["compute"]["gpus"],
            mem_mb=16000,
            runtime=240,
        params:
            cfg=drift_config,
            code=code_hash("measure_drift"),
            given=options("references", "seen"),
        shell:
            r"""
            python workflow/scripts/measure_drift.py \
                --config {params.cfg:q} \
                --policy {input.policy:q} \
                --prompts {input.prompts:q} \
                --preferences {input.preferences:q} {params.given} \
                --text {input.text:q} \
                --threads {threads} \
                --output {output.drift:q} \
                --timing {output.timing:q} 2>&1 | tee {log:q}
            """

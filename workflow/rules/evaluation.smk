rule responses:
    input:
        response_files(),


rule rewards:
    input:
        reward_files(),


rule score_responses:
    input:
        judge="<results>/models/judges/{judge}/manifest.json",
        judge_files=beside("<results>/models/judges/{judge}/manifest.json"),
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
        gpu=ONE_GPU,
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        state=shard(f"{STUDY}/state/score_responses/{{judge}}/{{policy}}-seed-{{seed}}"),
        shard=SHARD_OPTION,
        cfg=scoring_config,
        code=code_hash("hh_align.evaluation.score_responses"),
    shell:
        r"""
        python -m hh_align.evaluation.score_responses \
            --config {params.cfg:q} \
            --judge {input.judge:q} \
            --prompts {input.prompts:q} \
            --responses {input.responses:q} {params.shard} \
            --threads {threads} \
            --state {params.state:q} \
            --output {output.rewards:q} \
            --timing {output.timing:q} 2>&1 | tee {log:q}
        """


rule import_ratings:
    input:
        ratings=ratings_source,
        prompts="<results>/prompts/prompts.parquet",
        responses=response_files(),
    output:
        rewards=reward_files(judges=["{judge}"]),
    log:
        "<logs>/import_ratings/{judge}.log",
    benchmark:
        "<benchmarks>/import_ratings/{judge}.tsv"
    wildcard_constraints:
        judge=one_of(judges_from("imported")),
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=10,
    params:
        cfg=ratings_config,
        code=code_hash("hh_align.evaluation.import_ratings"),
    shell:
        r"""
        python -m hh_align.evaluation.import_ratings \
            --config {params.cfg:q} \
            --ratings {input.ratings:q} \
            --prompts {input.prompts:q} \
            --responses {input.responses:q} \
            --rewards {output.rewards:q} 2>&1 | tee {log:q}
        """


rule ask_endpoint:
    input:
        rubrics=rubric_files,
        prompts="<results>/prompts/prompts.parquet",
        responses="<results>/responses/{policy}/seed-{seed}.parquet",
    output:
        rewards="<results>/rewards/{judge}/{policy}/seed-{seed}.parquet",
        quarantine="<results>/rewards/{judge}/{policy}/quarantine-seed-{seed}.parquet",
        timing="<timings>/ask_endpoint/{judge}/{policy}-seed-{seed}.json",
    log:
        "<logs>/ask_endpoint/{judge}/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/ask_endpoint/{judge}/{policy}-seed-{seed}.tsv"
    wildcard_constraints:
        judge=one_of(judges_from("endpoint")),
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
        runtime=720,
        timeout_s=asking_effort("timeout"),
        tries=asking_effort("tries"),
        price=asking_price,
    params:
        state=f"{STUDY}/state/ask_endpoint/{{judge}}/{{policy}}-seed-{{seed}}",
        cfg=asking_config,
        code=code_hash("hh_align.evaluation.ask_endpoint"),
    shell:
        r"""
        python -m hh_align.evaluation.ask_endpoint \
            --config {params.cfg:q} \
            --timeout {resources.timeout_s} \
            --tries {resources.tries} \
            --price {resources.price:q} \
            --rubrics {input.rubrics:q} \
            --prompts {input.prompts:q} \
            --responses {input.responses:q} \
            --state {params.state:q} \
            --output {output.rewards:q} \
            --quarantine {output.quarantine:q} \
            --timing {output.timing:q} 2>&1 | tee {log:q}
        """


if SHARDS > 1:

    localrules:
        gather_shards,

    ruleorder: import_ratings > gather_shards
    ruleorder: ask_endpoint > gather_shards

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
            code=code_hash("hh_align.evaluation.gather_shards"),
        shell:
            r"""
            python -m hh_align.evaluation.gather_shards \
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
            code=code_hash("hh_align.evaluation.import_release"),
        shell:
            r"""
            python -m hh_align.evaluation.import_release \
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
            manifest=local(f"{HUB}/releases/{{repo}}/{{revision}}/manifest.json"),
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
            code=code_hash("hh_align.data.fetch_release"),
        shell:
            r"""
            python -m hh_align.data.fetch_release \
                --config {params.cfg:q} \
                --manifest {output.manifest:q} 2>&1 | tee {log:q}
            """

else:

    if SHARDS > 1:

        ruleorder: import_responses > gather_shards

    rule import_responses:
        input:
            prompts="<results>/prompts/prompts.parquet",
            file=brought_file,
        output:
            responses="<results>/responses/{policy}/seed-{seed}.parquet",
        log:
            "<logs>/import_responses/{policy}-seed-{seed}.log",
        benchmark:
            "<benchmarks>/import_responses/{policy}-seed-{seed}.tsv"
        wildcard_constraints:
            policy=one_of(BROUGHT),
        conda:
            "../../environment.yml"
        resources:
            mem_mb=growing(2000),
            runtime=10,
        params:
            cfg=brought_config,
            code=code_hash("hh_align.evaluation.import_responses"),
        shell:
            r"""
            python -m hh_align.evaluation.import_responses \
                --config {params.cfg:q} \
                --file {input.file:q} \
                --prompts {input.prompts:q} \
                --output {output.responses:q} 2>&1 | tee {log:q}
            """

    rule generate_responses:
        input:
            policy=policy_input,
            policy_files=beside(policy_input),
            prompts="<results>/prompts/prompts.parquet",
        output:
            responses=shard("<results>/responses/{policy}/seed-{seed}.parquet"),
            timing=shard("<timings>/generate_responses/{policy}-seed-{seed}.json"),
        log:
            shard("<logs>/generate_responses/{policy}-seed-{seed}.log"),
        benchmark:
            shard("<benchmarks>/generate_responses/{policy}-seed-{seed}.tsv")
        wildcard_constraints:
            policy=one_of(policy for policy in POLICIES if policy not in BROUGHT),
        conda:
            "../../environment.yml"
        threads: config["compute"]["threads"]
        resources:
            gpu=ONE_GPU,
            mem_mb=growing(8000),
            runtime=growing(120),
        params:
            state=shard(f"{STUDY}/state/generate_responses/{{policy}}-seed-{{seed}}"),
            shard=SHARD_OPTION,
            cfg=generation_config(),
            code=code_hash("hh_align.evaluation.generate_responses"),
        shell:
            r"""
            python -m hh_align.evaluation.generate_responses \
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
            judge_files=beside("<results>/models/judges/{judge}/manifest.json"),
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
            gpu=ONE_GPU,
            mem_mb=growing(8000),
            runtime=growing(240),
        params:
            state=f"{STUDY}/state/score_pairs/{{judge}}",
            cfg=pairs_config,
            code=code_hash("hh_align.evaluation.score_pairs"),
            given=options("seen"),
        shell:
            r"""
            python -m hh_align.evaluation.score_pairs \
                --config {params.cfg:q} \
                --judge {input.judge:q} \
                --preferences {input.preferences:q} {params.given} \
                --threads {threads} \
                --state {params.state:q} \
                --output {output.pairs:q} \
                --timing {output.timing:q} 2>&1 | tee {log:q}
            """

    rule measure_drift:
        input:
            policy=policy_input,
            policy_files=beside(policy_input),
            references=drift_reference_files,
            reference_files=beside(drift_reference_files),
            prompts="<results>/prompts/prompts.parquet",
            preferences=f"<results>/data/{prompts_dataset()}/preferences.parquet",
            seen=seen_files,
            text=named(config["drift"]["text"]) if "drift" in config else [],
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
            gpu=ONE_GPU,
            mem_mb=growing(16000),
            runtime=growing(360),
        params:
            state=f"{STUDY}/state/measure_drift/{{policy}}-seed-{{seed}}",
            cfg=drift_config,
            code=code_hash("hh_align.evaluation.measure_drift"),
            given=options("references", "seen"),
        shell:
            r"""
            python -m hh_align.evaluation.measure_drift \
                --config {params.cfg:q} \
                --policy {input.policy:q} \
                --prompts {input.prompts:q} \
                --preferences {input.preferences:q} {params.given} \
                --text {input.text:q} \
                --threads {threads} \
                --state {params.state:q} \
                --output {output.drift:q} \
                --timing {output.timing:q} 2>&1 | tee {log:q}
            """

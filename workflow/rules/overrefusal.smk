rule select_twins:
    input:
        questions=named(config["overrefusal"]["path"]),
    output:
        prompts="<results>/overrefusal/prompts.parquet",
    log:
        "<logs>/select_twins.log",
    benchmark:
        "<benchmarks>/select_twins.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        code=code_hash("hh_align.data.select_twins"),
    shell:
        r"""
        python -m hh_align.data.select_twins \
            --questions {input.questions:q} \
            --output {output.prompts:q} 2>&1 | tee {log:q}
        """


rule answer_twins:
    input:
        policy=policy_input,
        policy_files=beside(policy_input),
        prompts="<results>/overrefusal/prompts.parquet",
    output:
        responses="<results>/overrefusal/responses/{policy}/seed-{seed}.parquet",
        timing="<timings>/answer_twins/{policy}-seed-{seed}.json",
    log:
        "<logs>/answer_twins/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/answer_twins/{policy}-seed-{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: config["compute"]["threads"]
    resources:
        gpu=ONE_GPU,
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        state=f"{STUDY}/state/answer_twins/{{policy}}-seed-{{seed}}",
        cfg=generation_config(),
        code=code_hash("hh_align.evaluation.generate_responses"),
    shell:
        r"""
        python -m hh_align.evaluation.generate_responses \
            --config {params.cfg:q} \
            --policy {input.policy:q} \
            --prompts {input.prompts:q} \
            --threads {threads} \
            --state {params.state:q} \
            --output {output.responses:q} \
            --timing {output.timing:q} 2>&1 | tee {log:q}
        """


rule score_twins:
    input:
        judge="<results>/models/judges/{judge}/manifest.json",
        judge_files=beside("<results>/models/judges/{judge}/manifest.json"),
        prompts="<results>/overrefusal/prompts.parquet",
        responses="<results>/overrefusal/responses/{policy}/seed-{seed}.parquet",
    output:
        rewards="<results>/overrefusal/rewards/{judge}/{policy}/seed-{seed}.parquet",
        timing="<timings>/score_twins/{judge}/{policy}-seed-{seed}.json",
    log:
        "<logs>/score_twins/{judge}/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/score_twins/{judge}/{policy}-seed-{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: config["compute"]["threads"]
    resources:
        gpu=ONE_GPU,
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        state=f"{STUDY}/state/score_twins/{{judge}}/{{policy}}-seed-{{seed}}",
        cfg=twin_scoring_config,
        code=code_hash("hh_align.evaluation.score_responses"),
    shell:
        r"""
        python -m hh_align.evaluation.score_responses \
            --config {params.cfg:q} \
            --judge {input.judge:q} \
            --prompts {input.prompts:q} \
            --responses {input.responses:q} \
            --threads {threads} \
            --state {params.state:q} \
            --output {output.rewards:q} \
            --timing {output.timing:q} 2>&1 | tee {log:q}
        """


rule measure_overrefusal:
    input:
        prompts="<results>/overrefusal/prompts.parquet",
        responses=twin_responses(),
        rewards=twin_rewards(),
        phrases=named(config["overrefusal"]["phrases"]),
    output:
        overrefusal="<results>/analysis/overrefusal.parquet",
    log:
        "<logs>/measure_overrefusal.log",
    benchmark:
        "<benchmarks>/measure_overrefusal.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        cfg=twin_config(),
        code=code_hash("hh_align.analysis.measure_overrefusal"),
        optional=options("rewards"),
    shell:
        r"""
        python -m hh_align.analysis.measure_overrefusal \
            --config {params.cfg:q} \
            --prompts {input.prompts:q} \
            --responses {input.responses:q} {params.optional} \
            --phrases {input.phrases:q} \
            --output {output.overrefusal:q} 2>&1 | tee {log:q}
        """

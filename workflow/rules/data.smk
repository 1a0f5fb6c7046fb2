rule data:
    input:
        preference_files(),


rule fetch_hub:
    input:
        checksums=named(config["checksums"]),
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
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
        runtime=240,
    params:
        cfg=hub_request,
        code=code_hash("hh_align.data.fetch_hub"),
    shell:
        r"""
        python -m hh_align.data.fetch_hub \
            --config {params.cfg:q} \
            --checksums {input.checksums:q} \
            --manifest {output.manifest:q} \
            --timing {output.timing:q} 2>&1 | tee {log:q}
        """


rule generate_corpus:
    input:
        words=local("resources/synthetic.yaml"),
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
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cfg=corpus_config,
        code=code_hash("hh_align.data.generate_corpus"),
    shell:
        r"""
        python -m hh_align.data.generate_corpus \
            --config {params.cfg:q} \
            --words {input.words:q} \
            --output {output:q} 2>&1 | tee {log:q}
        """


rule prepare_preferences:
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
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=20,
    params:
        files=dataset_files,
        manifest=dataset_manifest_option,
        cfg=step(),
        code=code_hash("hh_align.data.prepare_preferences"),
    shell:
        r"""
        python -m hh_align.data.prepare_preferences \
            --config {params.cfg:q} \
            --files {params.files:q} {params.manifest} \
            --preferences {output.preferences:q} \
            --quarantine {output.quarantine:q} 2>&1 | tee {log:q}
        """


rule derive_dataset:
    input:
        unpack(derived_inputs),
    output:
        preferences="<results>/data/{dataset}/preferences.parquet",
        census="<results>/data/{dataset}/census.parquet",
        dropped="<results>/data/{dataset}/dropped.parquet",
        contaminated="<results>/data/{dataset}/contaminated.parquet",
    log:
        "<logs>/derive_dataset/{dataset}.log",
    benchmark:
        "<benchmarks>/derive_dataset/{dataset}.tsv"
    wildcard_constraints:
        dataset=one_of(name for name, dataset in DATASETS.items() if "from" in dataset),
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=20,
    params:
        cfg=derived_config,
        code=code_hash("hh_align.data.derive_dataset"),
        given=options("prompts", "margins"),
    shell:
        r"""
        python -m hh_align.data.derive_dataset \
            --config {params.cfg:q} \
            --preferences {input.preferences:q} {params.given} \
            --census {output.census:q} \
            --dropped {output.dropped:q} \
            --contaminated {output.contaminated:q} \
            --output {output.preferences:q} 2>&1 | tee {log:q}
        """


rule score_training_pairs:
    input:
        unpack(margin_inputs),
        judge_files=beside(margin_judge),
    output:
        margins="<results>/data/{dataset}/margins.parquet",
        timing="<timings>/score_training_pairs/{dataset}.json",
    log:
        "<logs>/score_training_pairs/{dataset}.log",
    benchmark:
        "<benchmarks>/score_training_pairs/{dataset}.tsv"
    wildcard_constraints:
        dataset=one_of(name for name, dataset in DATASETS.items() if "judge_margin" in dataset),
    conda:
        "../../environment.yml"
    threads: config["compute"]["threads"]
    resources:
        gpu=ONE_GPU,
        mem_mb=growing(8000),
        runtime=growing(720),
    params:
        state=f"{STUDY}/state/score_training_pairs/{{dataset}}",
        cfg=margin_config,
        code=code_hash("hh_align.evaluation.score_training_pairs"),
        given=options("prompts"),
    shell:
        r"""
        python -m hh_align.evaluation.score_training_pairs \
            --config {params.cfg:q} \
            --judge {input.judge:q} \
            --preferences {input.preferences:q} {params.given} \
            --threads {threads} \
            --state {params.state:q} \
            --output {output.margins:q} \
            --timing {output.timing:q} 2>&1 | tee {log:q}
        """

# needs: policies/{policy}/seed-{seed}/, data/{dataset}/, analysis/metrics.parquet, analysis/text.parquet
# makes: README.md beside each policy and dataset: a card as the hub shows it


use rule step as write_model_card with:
    input:
        expand("<results>/policies/{policy}/seed-{seed}/{file}", file=["train_log.parquet", "NOTICE"], allow_missing=True),
        files=model_files("<results>/policies/{policy}/seed-{seed}/manifest.json"),
        manifest="<results>/policies/{policy}/seed-{seed}/manifest.json",
        metrics="<results>/analysis/metrics.parquet",
        text="<results>/analysis/text.parquet",
        template=page_files("model_card.md"),
    output:
        report(
            "<results>/policies/{policy}/seed-{seed}/README.md",
            caption="../report/model_card.rst",
            category="Cards",
            labels={"card": "{policy}, seed {seed}"},
        ),
    log:
        "<logs>/write_model_card/{policy}-seed-{seed}.log",
    benchmark:
        "<benchmarks>/write_model_card/{policy}-seed-{seed}.tsv"
    params:
        **runs("report.write_model_card", model_card_config),
        more=values_option,


use rule step as write_dataset_card with:
    input:
        unpack(dataset_card_inputs),
        template=page_files("dataset_card.md"),
    output:
        report(
            "<results>/data/{dataset}/README.md",
            caption="../report/dataset_card.rst",
            category="Cards",
            labels={"card": "dataset {dataset}"},
        ),
    log:
        "<logs>/write_dataset_card/{dataset}.log",
    benchmark:
        "<benchmarks>/write_dataset_card/{dataset}.tsv"
    params:
        **runs("report.write_dataset_card", dataset_card_config),
        more=values_option,

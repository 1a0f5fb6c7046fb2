"""What the steps of the models ask for."""


def import_source(source):
    """A downloaded folder's manifest, or a local folder's files that count."""
    if source["source"] == "hub":
        return local(f"{hub_folder('models', source)}/manifest.json")
    files = [str(path) for path in sorted(Path(source["path"]).glob("*")) if path.suffix in (".json", ".safetensors", ".txt", ".jinja")]
    if not files:
        raise WorkflowError(
            f"config: {source['path']} holds no model: config.json, model.safetensors and the tokenizer's files are needed."
        )
    return [named(path) for path in files]


def base_import_config():
    base = config["models"]["base"]
    chat = {"chat_template": True} if base["chat_template"] else {}
    return step(kind="policy", notice=base["notice"], **chat)


def judge_import_config(wildcards):
    judge = JUDGES[wildcards.judge]
    return step(kind="judge", notice=judge["notice"], **output_settings(judge))


def import_folder(wildcards, input):
    """What import_model reads: the one manifest, or the folder of the local files."""
    return input[0] if len(input) == 1 else str(Path(input[0]).parent)


def scratch_data(source):
    return source.get("data", prompts_dataset())


def scratch_config(source, *keys, **more):
    """What a model from nothing depends on."""
    settings = {key: source[key] for key in ("architecture", "seed", "notice", *keys) if key in source}
    return step(train_split=DATASETS[scratch_data(source)]["train_split"], device=config["compute"]["device"], **settings, **more)


def judge_scratch_data(wildcards):
    return f"<results>/data/{scratch_data(JUDGES[wildcards.judge])}/preferences.parquet"


def judge_scratch_config(wildcards):
    judge, axes = JUDGES[wildcards.judge], axes_of(wildcards.judge)
    subsets = subset_axes(config, scratch_data(judge))
    return scratch_config(judge, "training", "max_length", "calibration_share", axes=axes, subsets=subsets)

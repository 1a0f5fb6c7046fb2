"""What the steps of the data ask for."""

HH_RLHF = "Anthropic/hh-rlhf"
PAPER = yaml.safe_load((Path(workflow.basedir) / "resources/published.yaml").read_text())


def prompts_dataset():
    return config["prompts"]["dataset"]


def is_synthetic():
    return not RELEASED and DATASETS[prompts_dataset()].get("source") == "synthetic"


def source_of(dataset):
    """The entry of the dataset that this one, perhaps derived, comes from."""
    return DATASETS[DATASETS[dataset].get("from", dataset)]


def origin(dataset):
    """The hub's name of what a dataset's rows are, None where it is not known."""
    source = source_of(dataset)
    return source.get("repo", source.get("copy_of"))


def origins():
    """The hub's datasets whose rows the study holds."""
    return [HH_RLHF] if RELEASED else sorted({name for name in map(origin, DATASETS) if name})


def agrees(ours, theirs):
    """Whether `ours` has every setting of `theirs`."""
    return all(agrees(ours.get(key, {}), value) if isinstance(value, dict) else ours.get(key) == value for key, value in theirs.items())


def is_comparable():
    """Whether the paper's numbers belong beside ours: its released responses, or its model answering its prompts its way."""
    return RELEASED or (origin(prompts_dataset()) == HH_RLHF and agrees(config, PAPER["settings"]))


def hub_folder(kind, source):
    return download_folder(HUB, kind, source["repo"], source["revision"])


def hub_files(dataset):
    """The files of a hub's dataset that a study reads."""
    return [f"{subset}/{split}.jsonl.gz" for subset in dataset["subsets"] for split in dataset["splits"]]


def hub_manifest(dataset):
    """The manifest of this selection of files: studies that read other files of the same dataset share the folder, not the manifest."""
    chosen = hashlib.sha256("\n".join(sorted(hub_files(dataset))).encode()).hexdigest()[:8]
    return f"{hub_folder('datasets', dataset)}/manifest-{chosen}.json"


def dataset_paths(wildcards):
    """The dataset's own files, in the order in which they are read."""
    dataset = DATASETS[wildcards.dataset]
    synthetic = f"{STUDY}/data/{wildcards.dataset}/raw"
    folder = {"hub": lambda: hub_folder("datasets", dataset), "local": lambda: dataset["path"], "synthetic": lambda: synthetic}[
        dataset["source"]
    ]()
    return [f"{folder}/{subset}/{split}.jsonl.gz" for subset in dataset["subsets"] for split in dataset["splits"]]


def dataset_inputs(wildcards):
    """What a change is looked for in: the manifest of a download, else the files themselves."""
    dataset = DATASETS[wildcards.dataset]
    if dataset["source"] == "hub":
        return local(hub_manifest(dataset))
    return dataset_paths(wildcards) if dataset["source"] == "synthetic" else [named(path) for path in dataset_paths(wildcards)]


def dataset_files(wildcards, input):
    """The dataset's own files, where the step finds them."""
    return dataset_paths(wildcards) if DATASETS[wildcards.dataset]["source"] == "hub" else [str(path) for path in input]


def dataset_manifest_option(wildcards):
    dataset = DATASETS[wildcards.dataset]
    return f"--manifest {hub_manifest(dataset)}" if dataset["source"] == "hub" else ""


def corpus_config(wildcards):
    dataset = DATASETS[wildcards.dataset]
    return step(**{key: dataset[key] for key in ("seed", "pairs", "flips", "train_rows", "test_rows")})


SELECTING = ("subsets", "training_half")
CLEANING = ("deduplicate", "near", "decontaminate", "drop_near_identical", "judge_margin", "balance_length", "balance_seed")


def derived_config(wildcards):
    dataset = DATASETS[wildcards.dataset]
    cleaning = {key: dataset[key] for key in CLEANING if key in dataset}
    looked_at = {key: dataset[key] for key in ("train_split", "exclude_prompts") if cleaning}
    selecting = {key: dataset[key] for key in (*SELECTING, "labels", "label_seed", "noise") if key in dataset}
    return step(**selecting, **cleaning, **looked_at)


def derived_inputs(wildcards):
    dataset = DATASETS[wildcards.dataset]
    reads_prompts = dataset["exclude_prompts"] or "decontaminate" in dataset
    prompts = {"prompts": "<results>/prompts/prompts.parquet"} if reads_prompts else {}
    margins = {"margins": "<results>/data/{dataset}/margins.parquet"} if "judge_margin" in dataset else {}
    return {"preferences": f"<results>/data/{dataset['from']}/preferences.parquet", **prompts, **margins}


def margin_config(wildcards):
    """The pairs that `subsets`, `training_half` and `exclude_prompts` leave: what cleans them later is of no account here."""
    dataset = DATASETS[wildcards.dataset]
    selecting = {key: dataset[key] for key in (*SELECTING, "train_split") if key in dataset}
    return step(**reading_settings(dataset["judge_margin"]["judge"]), **selecting)


def margin_judge(wildcards):
    return f"<results>/models/judges/{DATASETS[wildcards.dataset]['judge_margin']['judge']}/manifest.json"


def margin_inputs(wildcards):
    dataset = DATASETS[wildcards.dataset]
    prompts = {"prompts": "<results>/prompts/prompts.parquet"} if dataset["exclude_prompts"] else {}
    return {"judge": margin_judge(wildcards), "preferences": f"<results>/data/{dataset['from']}/preferences.parquet", **prompts}


def hub_request(wildcards):
    """What fetch_hub downloads into the folder of one repository and revision, for one manifest."""
    models = [*config.get("models", {}).values(), *JUDGES.values()]
    wanted = f"{HUB}/{wildcards.kind}/{wildcards.repo}/{wildcards.revision}/{wildcards.manifest}.json"
    for source in models if wildcards.kind == "models" else DATASETS.values():
        if source.get("source") != "hub":
            continue
        request = {"kind": wildcards.kind, "repo": source["repo"], "revision": source["revision"]}
        if wildcards.kind == "models" and wanted == import_source(source):
            return step(**request)
        if wildcards.kind == "datasets" and wanted == hub_manifest(source):
            return step(**request, files=sorted(hub_files(source)))
    raise WorkflowError(f"{wildcards.repo} at {wildcards.revision} is no source in the config of study {config['study']}.")

"""The datasets of a study: where their rows come from, and their files."""

HH_RLHF = "Anthropic/hh-rlhf"
PAPER = yaml.safe_load((CHECKOUT / "resources/published.yaml").read_text())
PREFERENCE_FILES = (".jsonl.gz", ".jsonl", ".json", ".parquet", ".csv")
CLEANING = ("deduplicate", "near", "decontaminate", "drop_near_identical", "judge_margin", "ches", "balance_length", "balance_seed")
SELECTING = ("subsets", "training_half", "hash_range")
SCORES = {"judge_margin": "margins", "ches": "ches"}  # keys that clean by what a model says of the pairs -> the table of it


def prompts_dataset():
    return config["prompts"]["dataset"]


def is_synthetic():
    return DATASETS.get(prompts_dataset(), {}).get("source") == "synthetic"


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
    if RELEASED:
        return True
    its_prompts = origin(prompts_dataset()) == HH_RLHF and not any("suite" in config["prompts"][axis] for axis in AXES)
    return its_prompts and agrees(config, PAPER["settings"])


def hub_folder(kind, source):
    return download_folder(HUB, kind, source["repo"], source["revision"])


def hub_manifest(dataset):
    return f"{hub_folder('datasets', dataset)}/{manifest_name(hub_selection(dataset))}"


def release_folder():
    """Where the released prompts and responses lie."""
    release = config["release"]
    return release["path"] if "path" in release else hub_folder("releases", release)


def dataset_paths(name):
    """The dataset's own files, in the order in which they are read."""
    dataset = DATASETS[name]
    if dataset["source"] == "local":
        return [local_file(f"{dataset['path']}/{file}") for file in named_files(dataset)]
    folder = hub_folder("datasets", dataset) if dataset["source"] == "hub" else f"{STUDY}/data/{name}/raw"
    return [f"{folder}/{file}" for file in named_files(dataset)]


def local_file(path):
    """A file of the user's: of the kind that is there, or else as the hub has it. Raises WorkflowError where there are two."""
    stem = path.removesuffix(".jsonl.gz")
    kinds = [f"{stem}{kind}" for kind in PREFERENCE_FILES]
    there = [file for file in kinds if Path(file).is_file() or (CHECKOUT / file).is_file()]
    if len(there) > 1:
        raise WorkflowError(f"config: {' and '.join(there)}: one of them is meant. Take the other away.")
    return there[0] if there else path


def require_local(name, files):
    """Raises WorkflowError where a local dataset is still to be read, and its folder or a file of it is not there."""
    folder = DATASETS[name]["path"]
    if IN_BUCKET or folder.startswith("results/") or Path(f"{STUDY}/data/{name}/preferences.parquet").is_file():
        return
    missing = [file for file in files if not (Path(file).is_file() or (CHECKOUT / file).is_file())]
    if not missing:
        return
    said = f"config: datasets.{name}.path is {folder}: "
    if not (Path(folder).is_dir() or (CHECKOUT / folder).is_dir()):
        raise WorkflowError(with_file(f"{said}no such folder. Correct the path.", LAYERS[1:]))
    layout = "<split>" if "where" in DATASETS[name] else "<subset>/<split>"
    more = f", nor are {len(missing) - 1} more" if missing[1:] else ""
    raise WorkflowError(
        with_file(
            f"{said}{os.path.relpath(missing[0], folder)} is not there{more}. The folder holds a file {layout} of each subset and split that the "
            f"config names, with the ending {', '.join(PREFERENCE_FILES[:-1])} or {PREFERENCE_FILES[-1]}.",
            LAYERS[1:],
        )
    )


def preference_files():
    return expand("<results>/data/{dataset}/preferences.parquet", dataset=DATASETS)


def census_files():
    """What each step of the derived datasets dropped."""
    return expand("<results>/data/{dataset}/census.parquet", dataset=[name for name in DATASETS if "from" in DATASETS[name]])


def data_files():
    """Every file that a step of the data makes."""
    synthetic = [path for name, dataset in DATASETS.items() if dataset.get("source") == "synthetic" for path in dataset_paths(name)]
    scores = [f"<results>/data/{name}/{table}.parquet" for key, table in SCORES.items() for name in cleaned_by(key)]
    return [*synthetic, *preference_files(), *scores, "<results>/prompts/prompts.parquet", *suite_prompts(ASKED_SUITES)]


def hub_request(wildcards):
    """What fetch_hub downloads into the folder of one repository and revision, for one manifest."""
    wanted = f"{HUB}/{wildcards.kind}/{wildcards.repo}/{wildcards.revision}/{wildcards.manifest}.json"
    for source in model_sources() if wildcards.kind == "models" else DATASETS.values():
        if source.get("source") != "hub":
            continue
        request = {"kind": wildcards.kind, "repo": source["repo"], "revision": source["revision"]}
        if wildcards.kind == "models" and wanted == import_source(source):
            return as_json(**request, **model_selection(source))
        if wildcards.kind == "datasets" and wanted == hub_manifest(source):
            return as_json(**request, **hub_selection(source))
    if asked := hub_suite_request(wanted):
        return as_json(**asked)
    raise WorkflowError(f"{wildcards.repo} at {wildcards.revision} is no source in the config of study {config['study']}.")


def known_sums(wildcards, input):
    """Of the table of checksums what speaks of this download: other repositories' lines change nothing of it."""
    tables = read_config(input.checksums) if Path(input.checksums).is_file() else {}
    name = f"{wildcards.repo.replace('--', '/', 1)}@{wildcards.revision}"
    return as_json(sums=tables.get(name) if isinstance(tables, dict) else "unreadable")


def preferences_config(wildcards):
    """How the files of a dataset are read."""
    dataset = DATASETS[wildcards.dataset]
    layout = {key: value for key, value in hub_selection(dataset).items() if key == "layout"}
    subset = {"subset": dataset["subsets"][0]} if "config" in dataset and "where" not in dataset else {}
    return as_json(**{key: dataset[key] for key in ("columns", "where") if key in dataset}, **layout, **subset)


def corpus_config(wildcards):
    dataset = DATASETS[wildcards.dataset]
    return as_json(**{key: dataset[key] for key in ("seed", "pairs", "flips", "train_rows", "test_rows")})


def dataset_inputs(wildcards):
    """What a change is looked for in: the manifest of a download, else the files themselves."""
    dataset, files = DATASETS[wildcards.dataset], dataset_paths(wildcards.dataset)
    if dataset["source"] == "hub":
        return local(hub_manifest(dataset))
    if dataset["source"] == "synthetic":
        return files
    require_local(wildcards.dataset, files)
    return [config_file(path) for path in files]


def dataset_options(wildcards, input):
    """The dataset's own files, where the step finds them, and the manifest that holds their sums."""
    dataset = DATASETS[wildcards.dataset]
    if dataset["source"] != "hub":
        return f"--files {shlex.join(map(str, input))}"
    files = "" if "layout" in dataset else f"--files {shlex.join(dataset_paths(wildcards.dataset))}"
    return f"{files} --manifest {hub_manifest(dataset)}"


def cleaned_by(key):
    """The datasets that have this key."""
    return [name for name in DATASETS if key in DATASETS[name]]


def selected_inputs(wildcards):
    """What selected_pairs reads."""
    dataset = DATASETS[wildcards.dataset]
    prompts = {"prompts": "<results>/prompts/prompts.parquet"} if dataset["exclude_prompts"] else {}
    return {"preferences": f"<results>/data/{dataset['from']}/preferences.parquet", **prompts}


def selecting_settings(dataset):
    """Which pairs are left to be cleaned; what cleans them is of no account to their scores."""
    return {key: dataset[key] for key in (*SELECTING, "train_split") if key in dataset}


def derived_config(wildcards):
    dataset = DATASETS[wildcards.dataset]
    cleaning = {key: dataset[key] for key in CLEANING if key in dataset}
    looked_at = {key: dataset[key] for key in ("train_split", "exclude_prompts") if cleaning}
    selecting = {key: dataset[key] for key in (*SELECTING, "labels", "label_seed", "noise") if key in dataset}
    return as_json(**selecting, **cleaning, **looked_at)


def derived_inputs(wildcards):
    dataset = DATASETS[wildcards.dataset]
    reads_prompts = dataset["exclude_prompts"] or "decontaminate" in dataset
    prompts = {"prompts": "<results>/prompts/prompts.parquet"} if reads_prompts else {}
    scores = {table: f"<results>/data/{{dataset}}/{table}.parquet" for key, table in SCORES.items() if key in dataset}
    return {"preferences": f"<results>/data/{dataset['from']}/preferences.parquet", **prompts, **scores}


def release_inputs(wildcards):
    folder = release_folder()
    return local([f"{folder}/{name}" for name in config["release"]["sums"]] if "path" in config["release"] else f"{folder}/manifest.json")

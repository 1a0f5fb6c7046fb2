"""What the steps of the evaluation ask for."""


def release_folder():
    """Where the released prompts and responses lie."""
    release = config["release"]
    return release["path"] if "path" in release else f"{hub_folder('releases', release)}"


def release_inputs(wildcards):
    folder = release_folder()
    return local([f"{folder}/{name}" for name in config["release"]["sums"]] if "path" in config["release"] else f"{folder}/manifest.json")


def release_request(wildcards):
    return step(**{key: config["release"][key] for key in ("repo", "revision", "endpoint", "sums")})


def brought_file(wildcards):
    """The file that a policy's responses come from."""
    check_seed(wildcards.policy, wildcards.seed)
    return named(BROUGHT[wildcards.policy]["path"].replace("{seed}", wildcards.seed))


def brought_config(wildcards):
    """How that file is read."""
    return step(**{key: BROUGHT[wildcards.policy][key] for key in ("layout", "records", "columns") if key in BROUGHT[wildcards.policy]})


def generation_config():
    return step(device=config["compute"]["device"], **config["generation"])


OUTPUT_KEYS = {"label": ("output", "label", "scale", "higher_is"), "attribute": ("output", "attribute", "higher_is")}


def output_settings(judge):
    """Which of a judge's outputs is its reward, where there are several."""
    return {key: judge[key] for key in OUTPUT_KEYS.get(judge.get("output"), ())}


def reading_settings(judge):
    """How a judge reads, and what of its answer is the reward."""
    judge = JUDGES[judge]
    length = {"max_length": judge["max_length"]} if "max_length" in judge else {}
    alone = {"reads": "response"} if judge.get("reads") == "response" else {}
    return {"device": config["compute"]["device"], **config["scoring"], **length, **alone, **output_settings(judge)}


def scoring_config(wildcards):
    axes = axes_of(wildcards.judge)
    return step(**reading_settings(wildcards.judge), **({} if axes == list(AXES) else {"axes": axes}))


def held_out_subsets():
    """Subset -> the axis that its pairs speak about, and the split that is held out."""
    axes = subset_axes(config, prompts_dataset())
    return {subset: {"axis": axis, "split": config["prompts"][axis]["split"]} for subset, axis in axes.items()}


def seen_files(wildcards):
    """Preferences of the evaluation's own split that something of this study trains on: none of their rows is held out."""
    scratch = [source for source in (config["models"]["base"], *JUDGES.values()) if source["source"] == "scratch"]
    trained = {data_of(policy) for policy in TRAINED} | {scratch_data(source) for source in scratch}
    splits = {place["split"] for place in held_out_subsets().values()}
    return [f"<results>/data/{name}/preferences.parquet" for name in sorted(trained) if DATASETS[name]["train_split"] in splits]


def pairs_config(wildcards):
    """The judge is examined on every subset of the dataset that the prompts come from, of its own axes."""
    reply_tokens = config["generation"]["max_new_tokens"]
    subsets = {name: place for name, place in held_out_subsets().items() if place["axis"] in axes_of(wildcards.judge)}
    return step(**reading_settings(wildcards.judge), subsets=subsets, reply_tokens=reply_tokens, **config["examination"])


def policy_seeds():
    """Policy -> the seeds that it has responses of."""
    return {policy: seeds_of(policy) for policy in POLICIES}


def ratings_source(wildcards):
    return named(JUDGES[wildcards.judge]["path"])


def ratings_config(wildcards):
    """What a file of ratings must hold."""
    judge = JUDGES[wildcards.judge]
    return step(columns=judge["columns"], axes=axes_of(wildcards.judge), policies=policy_seeds())


ASKING_KEYS = ("url", "model", "key_env", "lowest", "highest", "seed", "max_tokens", "failed")


def rubric_files(wildcards):
    return [named(JUDGES[wildcards.judge]["rubric"][axis]) for axis in axes_of(wildcards.judge)]


def asking_config(wildcards):
    """What the answers of a judge behind an endpoint depend on."""
    judge = JUDGES[wildcards.judge]
    rubrics = {axis: judge["rubric"][axis] for axis in axes_of(wildcards.judge)}
    return step(judge=wildcards.judge, rubrics=rubrics, **{key: judge[key] for key in ASKING_KEYS if key in judge})


def asking_effort(key):
    """A number that changes no answer: as a resource it reruns nothing."""
    return lambda wildcards: JUDGES[wildcards.judge][key]


def asking_price(wildcards):
    """Of a million tokens, sent:received."""
    judge = JUDGES[wildcards.judge]
    return f"{judge['price_in']}:{judge['price_out']}" if "price_in" in judge else "unknown"


def drift_references(policy):
    """What a policy's drift is measured from: its parent, and the root where that is another."""
    parent = config["policies"][policy].get("parent")
    return [] if parent is None else list(dict.fromkeys([parent, ROOT]))


def drift_reference_files(wildcards):
    policy_manifest(wildcards.policy, wildcards.seed)
    names = drift_references(wildcards.policy)
    return [policy_manifest(name, 0 if name == ROOT else wildcards.seed) for name in names]


def drift_config(wildcards):
    """Responses are sampled as long as they are generated; of the prompts' own subsets the held-out replies are read."""
    drift = {key: config["drift"][key] for key in ("samples", "rows", "seed")}
    subsets = {name: place for name, place in held_out_subsets().items() if name in own_subsets().values()}
    references = drift_references(wildcards.policy)
    generation = {key: config["generation"][key] for key in ("max_new_tokens", "dtype", "cue", "long_prompts", "batch_tokens")}
    return step(device=config["compute"]["device"], drift=drift, references=references, subsets=subsets, **generation)


def own_subsets():
    return {axis: config["prompts"][axis]["subset"] for axis in ("harmlessness", "helpfulness")}

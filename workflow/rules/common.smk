"""The resolved config, and the paths and step configs that rules ask for."""

import json
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))

from study.codehash import code_hash
from study.command import StudyError
from study.config import download_folder, policy_order, resolve
from study.models import JUDGE_FILES, POLICY_FILES

try:
    config.update(resolved := resolve(config, Path(workflow.basedir) / "workflow/schemas/config.schema.yaml"))
except StudyError as error:
    raise WorkflowError(str(error)) from None
for key in set(config) - set(resolved):
    del config[key]

# jobs run the Python that runs Snakemake, activated or not
shell.prefix(
    f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
    'launch() {{ if [ "$1" = 1 ]; then python "${{@:2}}"; '
    'else python -m torch.distributed.run --standalone --nproc-per-node "$1" "${{@:2}}"; fi; }}; '
)

STUDY = f"results/{config['study']}"
HUB = "results/hub"
RELEASED = "release" in config
POLICIES = policy_order(config)
ROOT = POLICIES[0]
DATASETS = config.get("datasets", {})
JUDGES = config["judges"]


def step(**settings):
    """A step's config as one JSON string: the only form that Snakemake compares exactly."""
    return json.dumps(settings, sort_keys=True)


def options(*names):
    """The command line's options for those of these inputs that the study has."""

    def given(wildcards, input):
        files = {name: [input.get(name)] if isinstance(input.get(name), str) else input.get(name) for name in names}
        return " ".join(f"--{name.replace('_', '-')} {shlex.join(found)}" for name, found in files.items() if found)

    return given


def one_of(names):
    """A wildcard constraint that matches these names only."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def seeds_of(policy):
    """The root is the same for every seed and lives under 0."""
    return [0] if policy == ROOT else config["seeds"]


def policy_manifest(policy, seed):
    """Raises WorkflowError for a seed that the study does not have: the artifact would belong to nothing."""
    if int(seed) not in seeds_of(policy):
        raise WorkflowError(f"{policy} has no seed {seed} in study {config['study']}. Allowed: {', '.join(map(str, seeds_of(policy)))}.")
    return "<results>/models/base/manifest.json" if policy == ROOT else f"<results>/policies/{policy}/seed-{seed}/manifest.json"


def trained_by(trainer):
    return [policy for policy in POLICIES[1:] if config["methods"][config["policies"][policy]["method"]]["trainer"] == trainer]


def judges_from(*sources):
    return [name for name, judge in JUDGES.items() if judge["source"] in sources]


SHARDS = config["compute"]["shards"]
SHARD_OPTION = "--shard {scatteritem}" if SHARDS > 1 else ""


def shard(path):
    """Where one job of a generation or scoring writes, with its place among the others where there are several."""
    if SHARDS == 1:
        return path
    stem, suffix = re.fullmatch(r"(.*?)(\.\w+)?", path).groups()
    return f"{stem.replace('<results>', '<results>/shards')}/{{scatteritem}}{suffix or ''}"


# --- files of a stage, for targets and for the steps that read all of it


def prompts_dataset():
    return config["prompts"]["dataset"]


def preference_files():
    return [] if RELEASED else expand("<results>/data/{dataset}/preferences.parquet", dataset=DATASETS)


def model_files():
    judges = expand("<results>/models/judges/{judge}/manifest.json", judge=judges_from("hub", "local", "scratch"))
    return judges if RELEASED else ["<results>/models/base/manifest.json", *judges]


def policy_files():
    return [] if RELEASED else [policy_manifest(policy, seed) for policy in POLICIES for seed in seeds_of(policy)]


def response_files():
    return [f"<results>/responses/{policy}/seed-{seed}.parquet" for policy in POLICIES for seed in seeds_of(policy)]


def reward_files(wildcards=None, judges=None):
    return [
        f"<results>/rewards/{judge}/{policy}/seed-{seed}.parquet"
        for judge in sorted(judges or JUDGES)
        for policy in POLICIES
        for seed in seeds_of(policy)
    ]


def released_reward_files():
    return reward_files(judges=judges_from("released"))


def pair_files():
    """The held-out pairs that the judges are examined on; a released study has no weights to do that."""
    return [] if RELEASED else expand("<results>/rewards/{judge}/pairs.parquet", judge=sorted(JUDGES))


def drift_files():
    """How far each policy has moved; a released study has no weights to measure that."""
    if RELEASED or "drift" not in config:
        return []
    return [f"<results>/drift/{policy}/seed-{seed}.parquet" for policy in POLICIES for seed in seeds_of(policy)]


def judge_files():
    return [] if RELEASED else ["<results>/analysis/judge.parquet"]


def gold_files(table):
    """What true labels make of the verdict, where the study has some."""
    return f"<results>/analysis/{table}.parquet" if "labels" in config["analysis"] else []


def analysis_tables():
    """The released study has no judge to examine, only the synthetic one has an oracle."""
    judge = [] if RELEASED else ["judge", "judge_calibration", "judge_roc"]
    synthetic = ["oracle"] if is_synthetic() else []
    always = [
        "metrics",
        "comparisons",
        "retention",
        "changed_prompts",
        "thresholds",
        "threshold_leads",
        "threshold_flips",
        "power",
        "claims",
    ]
    comparable = ["agreement"] if is_comparable() else []
    reproduction = ["reproduction", "reproduction_summary"] if "reproduction" in config else []
    gold = ["gold", "label_agreement"] if "labels" in config["analysis"] else []
    drift = ["drift"] if drift_files() else []
    rescoring = ["rescoring"] if RELEASED and len(JUDGES) > 1 else []
    return [*always, *judge, *synthetic, *comparable, *reproduction, *gold, *drift, *rescoring]


def analysis_files():
    return expand("<results>/analysis/{table}.parquet", table=analysis_tables())


def figure_names():
    judge = [] if RELEASED else ["judge_roc", "judge_calibration"]
    drift = ["drift"] if drift_files() else []
    return ["metrics", "rewards", "mean_rewards", "contrasts", "wins", "thresholds", "retention", *judge, *drift]


def report_files():
    figures = expand("<results>/report/figures/{figure}.svg", figure=figure_names())
    return [*figures, *expand("<results>/report/{table}.csv", table=analysis_tables()), "<results>/report/summary.txt"]


# --- data


def is_synthetic():
    return not RELEASED and DATASETS[prompts_dataset()].get("source") == "synthetic"


def is_comparable():
    """Whether the paper's numbers belong beside ours: its released responses, or a model as large as its own."""
    return RELEASED or config["models"]["base"]["source"] == "hub"


def hub_folder(kind, source):
    return download_folder(HUB, kind, source["repo"], source["revision"])


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
    return f"{hub_folder('datasets', dataset)}/manifest.json" if dataset["source"] == "hub" else dataset_paths(wildcards)


def dataset_manifest_option(wildcards):
    dataset = DATASETS[wildcards.dataset]
    return f"--manifest {hub_folder('datasets', dataset)}/manifest.json" if dataset["source"] == "hub" else ""


def corpus_config(wildcards):
    dataset = DATASETS[wildcards.dataset]
    return step(**{key: dataset[key] for key in ("seed", "pairs", "train_rows", "test_rows")})


def derived_config(wildcards):
    dataset = DATASETS[wildcards.dataset]
    return step(**{key: dataset[key] for key in ("subsets", "training_half", "labels", "label_seed") if key in dataset})


def derived_inputs(wildcards):
    dataset = DATASETS[wildcards.dataset]
    prompts = {"prompts": "<results>/prompts/prompts.parquet"} if dataset["exclude_prompts"] else {}
    return {"preferences": f"<results>/data/{dataset['from']}/preferences.parquet", **prompts}


def hub_request(wildcards):
    """What fetch_hub downloads into the folder of one repository and revision."""
    if wildcards.kind == "models":
        sources = [*config.get("models", {}).values(), *JUDGES.values()]
    else:
        sources = [dataset for dataset in DATASETS.values() if dataset.get("source") == "hub"]
    for source in sources:
        if source["source"] == "hub" and hub_folder(wildcards.kind, source).endswith(f"{wildcards.repo}/{wildcards.revision}"):
            request = {"kind": wildcards.kind, "repo": source["repo"], "revision": source["revision"]}
            if wildcards.kind == "datasets":
                request["files"] = [f"{subset}/{split}.jsonl.gz" for subset in source["subsets"] for split in source["splits"]]
            return step(**request)
    raise WorkflowError(f"{wildcards.repo} at {wildcards.revision} is no source in the config of study {config['study']}.")


# --- models


def import_source(source):
    """A downloaded folder's manifest, or a local folder's files that count."""
    if source["source"] == "hub":
        return f"{hub_folder('models', source)}/manifest.json"
    files = [str(path) for path in sorted(Path(source["path"]).glob("*")) if path.suffix in (".json", ".safetensors", ".txt")]
    if not files:
        raise WorkflowError(
            f"config: {source['path']} holds no model: config.json, model.safetensors and the tokenizer's files are needed."
        )
    return files


def import_folder(wildcards, input):
    """What import_model reads: the one manifest, or the folder of the local files."""
    return input[0] if len(input) == 1 else str(Path(input[0]).parent)


def scratch_data(source):
    return source.get("data", prompts_dataset())


def scratch_config(source, *keys):
    """What a model from nothing depends on."""
    settings = {key: source[key] for key in ("architecture", "seed", "notice", *keys) if key in source}
    return step(train_split=DATASETS[scratch_data(source)]["train_split"], device=config["compute"]["device"], **settings)


def judge_scratch_data(wildcards):
    return f"<results>/data/{scratch_data(JUDGES[wildcards.judge])}/preferences.parquet"


def judge_scratch_config(wildcards):
    return scratch_config(JUDGES[wildcards.judge], "training", "max_length", "calibration_share")


# --- training


def method_of(policy):
    return config["methods"][config["policies"][policy]["method"]]


def data_of(policy):
    return config["policies"][policy].get("data", prompts_dataset())


def parent_manifest(wildcards):
    policy_manifest(wildcards.policy, wildcards.seed)
    parent = config["policies"][wildcards.policy]["parent"]
    return policy_manifest(parent, 0 if parent == ROOT else wildcards.seed)


def training_data(wildcards):
    return f"<results>/data/{data_of(wildcards.policy)}/preferences.parquet"


def training_config(wildcards):
    split = DATASETS[data_of(wildcards.policy)]["train_split"]
    return step(method=method_of(wildcards.policy), train_split=split, device=config["compute"]["device"])


VIEW_KEYS = ("trainer", "max_length", "max_prompt_length", "max_rows", "dropout", "precision")


def token_view(method):
    """What the reference log-probabilities of a DPO method depend on, beside the reference and the rows."""
    return {key: method[key] for key in VIEW_KEYS if key in method}


def view_name(policy):
    """The method with the shortest name and the policy's token view (betas and losses share it); `@dataset` where the data are not the default."""
    view = token_view(method_of(policy))
    name = min((name for name, method in config["methods"].items() if token_view(method) == view), key=lambda name: (len(name), name))
    data = data_of(policy)
    return name if data == prompts_dataset() else f"{name}@{data}"


def policy_reference(wildcards):
    """The reference log-probabilities that a DPO policy reads; none where the reference runs in the loop."""
    if method_of(wildcards.policy)["dropout"] == "as_published":
        return []
    parent = config["policies"][wildcards.policy]["parent"]
    seed = 0 if parent == ROOT else wildcards.seed
    return f"<results>/references/{view_name(wildcards.policy)}/{parent}/seed-{seed}.parquet"


def reference_data(wildcards):
    return f"<results>/data/{(wildcards.view.split('@') + [prompts_dataset()])[1]}/preferences.parquet"


def reference_config(wildcards):
    name, _, data = wildcards.view.partition("@")
    return step(
        view=token_view(config["methods"][name]),
        train_split=DATASETS[data or prompts_dataset()]["train_split"],
        batch_tokens=config["scoring"]["batch_tokens"],
        device=config["compute"]["device"],
    )


def tuning_config(wildcards):
    return step(
        method=config["methods"][wildcards.method],
        view_keys=VIEW_KEYS,
        train_split=DATASETS[prompts_dataset()]["train_split"],
        batch_tokens=config["scoring"]["batch_tokens"],
        device=config["compute"]["device"],
    )


def policy_input(wildcards):
    return policy_manifest(wildcards.policy, wildcards.seed)


# --- evaluation and analysis


def release_folder():
    """Where the released prompts and responses lie."""
    release = config["release"]
    return release["path"] if "path" in release else f"{hub_folder('releases', release)}"


def release_inputs(wildcards):
    folder = release_folder()
    return [f"{folder}/{name}" for name in config["release"]["sums"]] if "path" in config["release"] else f"{folder}/manifest.json"


def release_request(wildcards):
    return step(**{key: config["release"][key] for key in ("repo", "revision", "endpoint", "sums")})


def generation_config():
    return step(device=config["compute"]["device"], **config["generation"])


def scoring_config(wildcards, **more):
    length = {"max_length": JUDGES[wildcards.judge]["max_length"]} if "max_length" in JUDGES[wildcards.judge] else {}
    return step(device=config["compute"]["device"], **config["scoring"], **length, **more)


def held_out_subsets():
    """Subset -> the axis that its pairs speak about, and the split that is held out."""
    places = {axis: config["prompts"][axis] for axis in ("harmlessness", "helpfulness")}
    subsets = {}
    for subset in DATASETS[prompts_dataset()]["subsets"]:
        axis = "harmlessness" if subset == places["harmlessness"]["subset"] else "helpfulness"
        subsets[subset] = {"axis": axis, "split": places[axis]["split"]}
    return subsets


def seen_files(wildcards):
    """Preferences of the evaluation's own split that something of this study trains on: none of their rows is held out."""
    scratch = [source for source in (config["models"]["base"], *JUDGES.values()) if source["source"] == "scratch"]
    trained = {data_of(policy) for policy in POLICIES[1:]} | {scratch_data(source) for source in scratch}
    splits = {place["split"] for place in held_out_subsets().values()}
    return [f"<results>/data/{name}/preferences.parquet" for name in sorted(trained) if DATASETS[name]["train_split"] in splits]


def pairs_config(wildcards):
    """The judge is examined on every subset of the dataset that the prompts come from."""
    reply_tokens = config["generation"]["max_new_tokens"]
    return scoring_config(wildcards, subsets=held_out_subsets(), reply_tokens=reply_tokens, **config["examination"])


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


def thresholds():
    return {name: {key: judge[key] for key in ("harmless_min", "helpful_above")} for name, judge in JUDGES.items()}


def analysis_config(**more):
    parents = {policy: {"parent": config["policies"][policy].get("parent")} for policy in POLICIES}
    return step(judges=thresholds(), policies=parents, order=POLICIES, seeds=config["seeds"], **more)


def contrast_config():
    keys = ("contrasts", "all_pairs", "equivalence_margin", "bootstrap")
    return analysis_config(primary=config["analysis"].get("primary", []), **{key: config["analysis"][key] for key in keys})


def label_files(wildcards):
    """What people (or the oracle) said of some responses."""
    labels = config["analysis"].get("labels", {})
    return {name: labels[key] for name, key in (("labels", "path"), ("choices", "choices")) if key in labels}


def label_config(wildcards):
    """Of the declared contrasts, and which labels of the file count."""
    labels = config["analysis"].get("labels", {})
    keys = ("contrasts", "equivalence_margin")
    settings = {key: config["analysis"][key] for key in keys}
    sample = {"sample": labels["sample"]} if "sample" in labels else {}
    return analysis_config(primary=config["analysis"].get("primary", []), seed=labels.get("seed", 1), **settings, **sample)


def drift_analysis_config():
    references = {policy: drift_references(policy) for policy in POLICIES}
    return step(references=references, bootstrap=config["analysis"]["bootstrap"])


def both_runs(wildcards):
    """Prompts, responses and rewards of this study and of the run that it is held against, for the policies that both have."""
    other = config["reproduction"]
    found = {}
    for whose, folder in (("our", STUDY), ("their", other["folder"])):
        seeds = {policy: seeds_of(policy)[0] for policy in other.get("policies", POLICIES)}
        found[f"{whose}_prompts"] = f"{folder}/prompts/prompts.parquet"
        found[f"{whose}_responses"] = [f"{folder}/responses/{policy}/seed-{seed}.parquet" for policy, seed in seeds.items()]
        found[f"{whose}_rewards"] = [
            f"{folder}/rewards/{judge}/{policy}/seed-{seed}.parquet" for judge in other["judges"] for policy, seed in seeds.items()
        ]
    return found if RELEASED else {**found, "tokenizer": "<results>/models/base/tokenizer.json"}


def base_tokenizer(wildcards, input):
    return f"--tokenizer {shlex.quote(input.tokenizer)}" if "tokenizer" in input.keys() else ""


def claim_config():
    keys = ("equivalence_margin", "bootstrap")
    return analysis_config(claims=config["claims"], **{key: config["analysis"][key] for key in keys})


def readable_folders():
    """Folders under results/ that this study makes or reads; the run that it is held against is made by its own config."""
    other = Path(config.get("reproduction", {}).get("folder", ""))
    return [config["study"], "hub", "bench", *([other.name] if other.parent == Path("results") else [])]


def from_other_study(wildcards):
    raise WorkflowError(
        f"results/{wildcards.other}/ belongs to study {wildcards.other}, but the config is that of study {config['study']}. "
        f"Add: --configfile config/{wildcards.other}.yaml"
    )

"""What the steps of the analysis ask for."""


def thresholds():
    """Judge -> the thresholds of its axes, and what stands for a rating that it failed to give."""
    failed = {name: {"lowest": judge["lowest"]} for name, judge in JUDGES.items() if judge.get("failed") == "lowest"}
    return {name: {LIMITS[axis]: judge[LIMITS[axis]] for axis in axes_of(name)} | failed.get(name, {}) for name, judge in JUDGES.items()}


def analysis_config(**more):
    parents = {policy: {"parent": GRAPH[policy].get("parent")} for policy in POLICIES}
    fixed = {policy: {**parents[policy], "fixed": True} for policy in POLICIES if is_fixed(policy)}
    return step(judges=thresholds(), policies=parents | fixed, order=POLICIES, seeds=config["seeds"], **more)


def contrast_config():
    keys = ("contrasts", "all_pairs", "equivalence_margin", "bootstrap")
    named = {"primary": config["analysis"].get("primary", []), "examined": examined_judges()}
    return analysis_config(**named, **{key: config["analysis"][key] for key in keys})


def label_files(wildcards):
    """What people (or the oracle) said of some responses."""
    labels = config["analysis"].get("labels", {})
    return {name: named(labels[key]) for name, key in (("labels", "path"), ("choices", "choices")) if key in labels}


def label_config(wildcards):
    """Of the declared contrasts, and which labels of the file count."""
    labels = config["analysis"].get("labels", {})
    keys = ("contrasts", "equivalence_margin")
    settings = {key: config["analysis"][key] for key in keys}
    sample = {"sample": labels["sample"]} if "sample" in labels else {}
    return analysis_config(primary=config["analysis"].get("primary", []), seed=labels.get("seed", 1), **settings, **sample)


def drift_analysis_config():
    references = {policy: drift_references(policy) for policy in WITH_WEIGHTS}
    measured = [(policy, seed) for policy in WITH_WEIGHTS for seed in seeds_of(policy)]
    return step(references=references, measured=measured, bootstrap=config["analysis"]["bootstrap"])


def held_against():
    """The judges and the (policy, seed) that this study shares with the run that it is held against."""
    other = config["reproduction"]
    return {"judges": other["judges"], "checkpoints": [(policy, seeds_of(policy)[0]) for policy in other.get("policies", POLICIES)]}


def reproduction_config(wildcards):
    return analysis_config(bootstrap=config["analysis"]["bootstrap"], held_against=held_against())


def both_runs(wildcards):
    """Prompts and responses of this study and of the run that it is held against, this one's ratings and that one's rewards."""
    theirs, shared = config["reproduction"]["folder"], held_against()
    files = {"ratings": "<results>/analysis/ratings.parquet"}
    for whose, folder in (("our", STUDY), ("their", theirs)):
        files[f"{whose}_prompts"] = named(f"{folder}/prompts/prompts.parquet")
        files[f"{whose}_responses"] = [named(f"{folder}/responses/{policy}/seed-{seed}.parquet") for policy, seed in shared["checkpoints"]]
    files["their_rewards"] = [
        named(f"{theirs}/rewards/{judge}/{policy}/seed-{seed}.parquet")
        for judge in shared["judges"]
        for policy, seed in shared["checkpoints"]
    ]
    return files if RELEASED else {**files, "tokenizer": "<results>/models/base/tokenizer.json"}


def claim_config():
    keys = ("equivalence_margin", "bootstrap")
    return analysis_config(claims=config["claims"], **{key: config["analysis"][key] for key in keys})


def noise_arms():
    """The policies that train on noisy labels or on the pairs that those come from, each with its series and the plain DPO of the same start."""
    shares = {name: (dataset["from"], dataset["noise"]) for name, dataset in DATASETS.items() if dataset.get("labels") == "noisy"}
    shares = {**{source: (source, 0.0) for source, _ in shares.values()}, **shares}
    arms = {}
    for policy in TRAINED:
        source, noise = shares.get(data_of(policy), (None, None))
        if source and method_of(policy)["trainer"] != "sft":
            arms[config["policies"][policy]["parent"], source, config["policies"][policy]["method"], noise] = policy
    rows = []
    for (parent, source, method, noise), policy in arms.items():
        clean = {other: arms[parent, source, other, 0.0] for other in config["methods"] if (parent, source, other, 0.0) in arms}
        plain = [name for other, name in clean.items() if is_plain(config["methods"][other])]
        if method in clean:
            series = {"series": clean[method], "plain": plain[0] if len(plain) == 1 else None}
            rows.append({"policy": policy, "method": method, "noise": 100 * noise, **series})
    return sorted(rows, key=lambda row: (POLICIES.index(row["series"]), row["noise"])) if is_synthetic() else []


def is_plain(method):
    """DPO that takes every label for right."""
    return method["trainer"] == "dpo" and method["loss"] == "sigmoid" and not method.get("label_smoothing") and not method.get("sft_weight")


NOISE_ARMS = [] if RELEASED else noise_arms()


def snapshot_analysis_config(wildcards):
    """Each policy with snapshots: its parent, and its arms with their steps."""
    policies = {}
    for arm, snapshot in SNAPSHOTS.items():
        entry = policies.setdefault(snapshot["of"], {"parent": config["policies"][arm]["parent"], "arms": {}})
        entry["arms"][arm] = snapshot["step"]
    trained = [(policy, seed) for policy in TRAINED if policy in policies for seed in seeds_of(policy)]
    return step(root=ROOT, policies=policies, trained=trained)

"""The analysis of a study: what its steps are asked, and which tables there are."""

RATINGS = "<results>/analysis/ratings.parquet"
RESCORED = RELEASED and len(JUDGES) > 1
COMPARISONS, FACTS = comparing(config["claims"]), stating(config["claims"])


def thresholds():
    """Judge -> the thresholds of its axes, and what stands for a rating that it failed to give."""
    failed = {name: {"lowest": lowest_of(judge)} for name, judge in JUDGES.items() if judge.get("failed") == "lowest"}
    return {
        name: {THRESHOLD_KEYS[axis]: judge[THRESHOLD_KEYS[axis]] for axis in axes_of(name)} | failed.get(name, {})
        for name, judge in JUDGES.items()
    }


def lowest_of(judge):
    """The lowest rating that a judge behind an endpoint can give."""
    return min(judge["classes"].values()) if "classes" in judge else judge["lowest"]


def policy_graph(order=POLICIES):
    """Who descends from whom, in order, and at which seeds; `fixed` where there is one of a policy for all seeds."""
    parents = {policy: {"parent": GRAPH[policy].get("parent")} for policy in order}
    fixed = {policy: {**parents[policy], "fixed": True} for policy in order if is_fixed(policy)}
    return {"policies": parents | fixed, "order": order, "seeds": config["seeds"]}


def analysis_config(*keys, **more):
    """The graph of the policies and the judges' thresholds, these entries of `analysis`, and more."""
    chosen = {key: config["analysis"][key] for key in keys}
    return as_json(judges=thresholds(), **policy_graph(), **chosen, **more)


def is_plain(method):
    """DPO that takes every label for right."""
    return method["trainer"] == "dpo" and method["loss"] == "sigmoid" and not method.get("label_smoothing") and not method.get("sft_weight")


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
    return sorted(rows, key=lambda row: (POLICIES.index(row["series"]), row["noise"])) if knows_the_truth() else []


NOISE_ARMS = noise_arms()


def judge_examination():
    """The examination of the judges with weights, where there are pairs for it."""
    return ["<results>/analysis/judge.parquet"] if pair_files() else []


def judges_that_share_an_axis():
    return any(sum(axis in axes_of(judge) for judge in JUDGES) > 1 for axis in AXES)


def weighs_both_axes():
    """Whether some judge speaks about both axes of a study with several policies."""
    return len(POLICIES) > 1 and any(len(axes_of(judge)) == len(AXES) for judge in JUDGES)


def analysis_tables():
    """The tables of the report, in its order: those that the config asks for and that there is something to make of."""
    always = [
        "metrics",
        "comparisons",
        "length",
        "mixed_model",
        "retention",
        "changed_prompts",
        "thresholds",
        "threshold_leads",
        "threshold_flips",
        "power",
        "claims",
        "text",
    ]
    where = [
        (weighs_both_axes(), ["tradeoff"]),
        (pair_files(), ["judge", "judge_calibration", "judge_roc"]),
        (judges_that_share_an_axis(), ["judge_agreement"]),
        (PAIRWISE, ["pairwise"]),
        (OVERREFUSAL, ["overrefusal"]),
        (SUITES, ["suites"]),
        (CAPABILITY, ["capability"]),
        (knows_the_truth(), ["oracle"]),
        (is_comparable(), ["agreement"]),
        ("reproduction" in config, ["reproduction", "reproduction_summary"]),
        ("labels" in config["analysis"], ["gold", "label_agreement"]),
        (drift_files(), ["drift"]),
        (displacement_files(), ["displacement"]),
        (RESCORED, ["rescoring"]),
        ("sweeps" in config, ["sweep"]),
        (NOISE_ARMS, ["noise"]),
        (SNAPSHOTS, ["snapshots"]),
        (FACTS, ["facts"]),
    ]
    return always + [table for asked, tables in where if asked for table in tables]


def analysis_files():
    return expand("<results>/analysis/{table}.parquet", table=analysis_tables())


def fact_files():
    """What the claims of fact are held against, of all that the study makes."""
    manifests = dict.fromkeys([*base_files(), *judge_files(), *policy_files()])
    models = [manifest.replace("manifest.json", "provenance.json") for manifest in manifests]
    made = [
        "<results>/prompts/prompts.parquet",
        *preference_files(),
        *response_files(),
        *reward_files(),
        *models,
        RATINGS,
        *analysis_files(),
    ]
    asked = [fact["artifact"] for claim in FACTS for fact in claim.get("facts", [])]
    return [path for path in made if any(Path(path).match(artifact) for artifact in asked)]


def pairwise_axes():
    """Pairwise judge -> its axes; nothing where there is none."""
    return {"pairwise": {judge: axes_of(judge) for judge in sorted(PAIRWISE)}} if PAIRWISE else {}


def length_config():
    """Who is compared, and by which pairwise judges."""
    return as_json(contrasts=config["analysis"]["contrasts"], **policy_graph(), **pairwise_axes())


def model_config():
    """Who is modelled, and what counts as equivalent."""
    return as_json(equivalence_margin=config["analysis"]["equivalence_margin"], **policy_graph())


def contrast_config():
    named = {"primary": config["analysis"].get("primary", []), "examined": examined_judges(), **pairwise_axes()}
    return analysis_config("contrasts", "all_pairs", "equivalence_margin", "bootstrap", **named)


def text_config():
    """The limits, which policies a training made of their parent (neither asked otherwise nor from elsewhere as a whole), and whose logs are read."""
    trained = [policy for policy in POLICIES if {"method", "adapter"} & set(GRAPH[policy])]
    logged = [(policy, seed) for policy in TRAINED for seed in seeds_of(policy)]
    return as_json(**policy_graph(), text=config["analysis"]["text"], trained=trained, logged=logged)


def drift_summary_config():
    references = {policy: drift_references(policy) for policy in WITH_WEIGHTS}
    measured = [(policy, seed) for policy in WITH_WEIGHTS for seed in seeds_of(policy)]
    return as_json(references=references, measured=measured, bootstrap=config["analysis"]["bootstrap"])


def displacement_summary_config():
    measured = [(policy, seed) for policy in ON_PAIRS for seed in seeds_of(policy)]
    return as_json(measured=measured, parents={policy: config["policies"][policy]["parent"] for policy in ON_PAIRS})


def held_against():
    """The judges and the (policy, seed) that this study shares with the run that it is held against."""
    other = config["reproduction"]
    return {"judges": other["judges"], "checkpoints": [(policy, seeds_of(policy)[0]) for policy in other.get("policies", POLICIES)]}


def reproduction_config(wildcards):
    return analysis_config("bootstrap", held_against=held_against())


def both_runs(wildcards):
    """Prompts and responses of this study and of the run that it is held against, this one's ratings and that one's rewards."""
    theirs, shared = config["reproduction"]["folder"], held_against()
    files = {"ratings": RATINGS}
    for whose, folder in (("our", STUDY), ("their", theirs)):
        files[f"{whose}_prompts"] = config_file(f"{folder}/prompts/prompts.parquet")
        files[f"{whose}_responses"] = [
            config_file(f"{folder}/responses/{policy}/seed-{seed}.parquet") for policy, seed in shared["checkpoints"]
        ]
    files["their_rewards"] = [
        config_file(f"{theirs}/rewards/{judge}/{policy}/seed-{seed}.parquet")
        for judge in shared["judges"]
        for policy, seed in shared["checkpoints"]
    ]
    return {**files, "tokenizer": "<results>/models/base/tokenizer.json"} if WITH_WEIGHTS else files


def label_files(wildcards):
    """What people (or the oracle) said of some responses."""
    labels = config["analysis"].get("labels", {})
    return {name: config_file(labels[key]) for name, key in (("labels", "path"), ("choices", "choices")) if key in labels}


def gold_files(table):
    """What true labels make of the verdict, where the study has some."""
    return f"<results>/analysis/{table}.parquet" if "labels" in config["analysis"] else []


def label_config(wildcards):
    """Of the declared contrasts, of those that only sentences speak of, and which labels of the file count."""
    labels = config["analysis"].get("labels", {})
    sample = {"sample": labels["sample"]} if "sample" in labels else {}
    primary = config["analysis"].get("primary", [])
    parts = [claim["parts"] for claim in COMPARISONS]
    return analysis_config("contrasts", "equivalence_margin", primary=primary, seed=labels.get("seed", 1), claim_parts=parts, **sample)


def overrefusal_config():
    name = OVERREFUSAL.get("judge")
    judge = {"name": name, "higher_is": JUDGES[name]["higher_is"], "refused_from": OVERREFUSAL["refused_from"]} if name else {}
    return as_json(**policy_graph(WITH_WEIGHTS), judge=judge)


def capability_summary_config():
    """Who is measured, and the declared contrasts."""
    return as_json(contrasts=config["analysis"]["contrasts"], bootstrap=config["analysis"]["bootstrap"], **policy_graph(WITH_WEIGHTS))


def trained_data():
    """The datasets that policies of the study train on."""
    return sorted({data_of(policy) for policy in TRAINED})


def suites_config():
    """What is asked of each suite's replies and which judges rate them, and what is trained on: the prompts may be among it."""
    suites = {name: {"kind": suite["kind"], "axis": suite["axis"], "judges": raters(suite, JUDGES)} for name, suite in SUITES.items()}
    limits = {name: values for name, values in thresholds().items() if any(name in suite["judges"] for suite in suites.values())}
    splits = [DATASETS[name]["train_split"] for name in trained_data()]
    return as_json(suites=suites, judges=limits, splits=splits, bootstrap=config["analysis"]["bootstrap"], **policy_graph(WITH_WEIGHTS))


def snapshot_summary_config():
    """Each policy with snapshots: its parent, and its arms with their steps."""
    policies = {}
    for arm, snapshot in SNAPSHOTS.items():
        entry = policies.setdefault(snapshot["of"], {"parent": config["policies"][arm]["parent"], "arms": {}})
        entry["arms"][arm] = snapshot["step"]
    trained = [(policy, seed) for policy in TRAINED if policy in policies for seed in seeds_of(policy)]
    return as_json(root=ROOT, policies=policies, trained=trained)


def snapshot_logs():
    """Training logs of the policies that have snapshots."""
    sources = {snapshot["of"] for snapshot in SNAPSHOTS.values()}
    return [log for log in training_logs() if Path(log).parts[2] in sources]

"""The policies of a study: what each is trained on, from and against."""

VIEW_KEYS = ("trainer", "max_length", "max_prompt_length", "max_rows", "dropout", "precision")


def data_of(policy):
    return config["policies"][policy].get("data", prompts_dataset())


def policy_manifest(policy, seed):
    """Raises WorkflowError as check_seed does, and for a policy without weights."""
    if policy in IMPORTED_RESPONSES and policy not in config["policies"]:
        raise WorkflowError(
            f"{policy} has no weights in study {config['study']}: its responses come from {IMPORTED_RESPONSES[policy]['path']}."
        )
    check_seed(policy, seed)
    whose = config["policies"][policy]["parent"] if is_asked(policy) else policy
    return "<results>/models/base/manifest.json" if whose == ROOT else f"<results>/policies/{whose}/seed-{seed}/manifest.json"


def policy_input(wildcards):
    return policy_manifest(wildcards.policy, wildcards.seed)


def lineage(policy):
    """The trainings that lead to a policy, the first one first."""
    entry = config["policies"][policy]
    if "method" not in entry:
        return lineage(entry["parent"]) if is_asked(policy) else []
    method = method_of(policy)
    training = {"method": entry["method"], "trainer": method["trainer"], "parent": entry["parent"], "data": data_of(policy)}
    ended = {"stopped_at": SNAPSHOTS[policy]["step"]} if policy in SNAPSHOTS else {}
    return [*lineage(entry["parent"]), {**training, "settings": {key: value for key, value in method.items() if key != "trainer"} | ended}]


def given_weights(policy):
    """The weights that were not trained here and that a policy comes from: a model, then adapters on it."""
    if policy == ROOT:
        return ["models.base"]
    entry = config["policies"][policy]
    if "source" in entry:
        return [entry.get("repo", entry.get("path"))]
    adapter = entry.get("adapter", [])
    own = [adapter["repo"] if isinstance(adapter, dict) else adapter] if adapter else []
    return [*given_weights(entry["parent"]), *own]


def token_view(method):
    """What the reference log-probabilities of a method depend on, beside the reference and the rows; KTO reads those of DPO."""
    if method["trainer"] == "kto":
        method = {**method, "trainer": "dpo", "dropout": "disabled"}
    return {key: method[key] for key in VIEW_KEYS if key in method}


def named_views():
    """Name -> token view, of each method, and of a swept one by its own name where no arm has another view: more arms rename nothing."""
    views = {name: token_view(method) for name, method in config.get("methods", {}).items()}
    swept = config.get("sweeps", {}).get("methods", {})
    for name in dict.fromkeys(swept.values()):
        view, *others = [views[arm] for arm in swept if swept[arm] == name]
        if all(other == view for other in others):
            views[name] = view
    return views


VIEWS = named_views()


def view_name(policy):
    """The shortest name of the policy's token view (betas and losses share it); `@dataset` where the data are not the default."""
    view = token_view(method_of(policy))
    name = min((name for name in VIEWS if VIEWS[name] == view), key=lambda name: (len(name), name))
    data = data_of(policy)
    return name if data == prompts_dataset() else f"{name}@{data}"


def policy_reference(wildcards):
    """The reference log-probabilities that a DPO or KTO policy reads; none where the reference runs in the loop."""
    if method_of(wildcards.policy).get("dropout") == "as_published":
        return []
    parent = config["policies"][wildcards.policy]["parent"]
    return f"<results>/references/{view_name(wildcards.policy)}/{parent}/seed-{seed_beside(parent, wildcards.seed)}.parquet"


def policy_files():
    return list(dict.fromkeys(policy_manifest(policy, seed) for policy in WITH_WEIGHTS for seed in seeds_of(policy)))


def reference_files():
    """What the policies that train on preferences are held against."""
    arms = [SimpleNamespace(policy=policy, seed=seed) for policy in trained_by("dpo") + trained_by("kto") for seed in seeds_of(policy)]
    return sorted({path for arm in arms if (path := policy_reference(arm))})


def training_logs():
    """Of the policies that the study trains."""
    return [f"<results>/policies/{policy}/seed-{seed}/train_log.parquet" for policy in TRAINED for seed in seeds_of(policy)]


ON_PAIRS = trained_by("dpo") + trained_by("kto")


def displacement_files():
    """What each training on pairs has done to the probabilities of its replies, where the study asks."""
    policies = ON_PAIRS if "displacement" in config else []
    return [f"<results>/displacement/{policy}/seed-{seed}.parquet" for policy in policies for seed in seeds_of(policy)]


def displacement_config(wildcards):
    return as_json(
        view=token_view(method_of(wildcards.policy)),
        train_split=DATASETS[data_of(wildcards.policy)]["train_split"],
        pairs=config["displacement"]["pairs"],
        batch_tokens=config["scoring"]["batch_tokens"],
        **DEVICE,
    )


def scratch_config(source, *keys, **more):
    """What a model from nothing depends on."""
    settings = {key: source[key] for key in ("architecture", "seed", *keys) if key in source}
    return as_json(train_split=DATASETS[scratch_data(source)]["train_split"], **DEVICE, **settings, **more)


def judge_training_data(wildcards):
    return f"<results>/data/{scratch_data(JUDGES[wildcards.judge])}/preferences.parquet"


def judge_training_config(wildcards):
    judge, axes = JUDGES[wildcards.judge], axes_of(wildcards.judge)
    subsets = subset_axes(config, scratch_data(judge))
    return scratch_config(judge, "training", "max_length", "calibration_share", axes=axes, subsets=subsets)


BASE_MANIFEST = "<results>/models/base/manifest.json"


def features_config(wildcards):
    """Which pairs are read for a judge with a trained head, and how."""
    judge, axis = JUDGES[wildcards.judge], JUDGES[wildcards.judge]["axis"]
    dataset = scratch_data(judge)
    subsets = [subset for subset, about in subset_axes(config, dataset).items() if about == axis]
    settings = {key: judge[key] for key in ("reads", "max_length", "max_rows") if key in judge}
    budget = {"batch_tokens": config["scoring"]["batch_tokens"]}
    return as_json(
        depths=sorted(judge["depths"]), subsets=subsets, train_split=DATASETS[dataset]["train_split"], **DEVICE, **settings, **budget
    )


def head_config(wildcards):
    judge = JUDGES[wildcards.judge]
    return as_json(**{key: judge[key] for key in ("axis", "seed", "reads") if key in judge})


def ches_config(wildcards):
    """How the base model reads the pairs; the share that is dropped is of no account here."""
    dataset = DATASETS[wildcards.dataset]
    lengths = {key: dataset["ches"][key] for key in ("max_length", "max_prompt_length")}
    return as_json(**lengths, batch_tokens=config["scoring"]["batch_tokens"], **DEVICE, **selecting_settings(dataset))


def parent_manifest(wildcards):
    check_seed(wildcards.policy, wildcards.seed)
    parent = config["policies"][wildcards.policy]["parent"]
    return policy_manifest(parent, seed_beside(parent, wildcards.seed))


def training_data(wildcards):
    return f"<results>/data/{data_of(wildcards.policy)}/preferences.parquet"


def training_config(wildcards):
    split = DATASETS[data_of(wildcards.policy)]["train_split"]
    return as_json(method=method_of(wildcards.policy), train_split=split, **DEVICE)


def reference_data(wildcards):
    return f"<results>/data/{(wildcards.view.split('@') + [prompts_dataset()])[1]}/preferences.parquet"


def reference_config(wildcards):
    name, _, data = wildcards.view.partition("@")
    return as_json(
        view=VIEWS[name],
        train_split=DATASETS[data or prompts_dataset()]["train_split"],
        batch_tokens=config["scoring"]["batch_tokens"],
        **DEVICE,
    )


def snapshot_option(wildcards):
    """The steps of a training after which its adapter is saved, as JSON: apart from its config, for they change nothing of the policy."""
    steps = sorted(snapshot["step"] for snapshot in SNAPSHOTS.values() if snapshot["of"] == wildcards.policy)
    return f"--snapshot-steps {shlex.quote(json.dumps(steps))}"


def snapshots_of(wildcards):
    """What the training of a snapshot's policy has kept."""
    check_seed(wildcards.policy, wildcards.seed)
    return f"<results>/policies/{SNAPSHOTS[wildcards.policy]['of']}/seed-{wildcards.seed}/snapshots.parquet"


def snapshot_config(wildcards):
    return as_json(step=SNAPSHOTS[wildcards.policy]["step"], lora=method_of(wildcards.policy)["lora"])

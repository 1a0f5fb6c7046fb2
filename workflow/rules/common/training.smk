"""What the steps of the training ask for."""


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


def snapshot_steps(wildcards):
    """The steps of a training after which its adapter is saved, as JSON: apart from its config, for they change nothing of the policy."""
    return json.dumps(sorted(snapshot["step"] for snapshot in SNAPSHOTS.values() if snapshot["of"] == wildcards.policy))


def snapshots_of(wildcards):
    """The snapshots that the training of a snapshot's policy has saved."""
    check_seed(wildcards.policy, wildcards.seed)
    return f"<results>/policies/{SNAPSHOTS[wildcards.policy]['of']}/seed-{wildcards.seed}/snapshots.parquet"


def snapshot_config(wildcards):
    return step(step=SNAPSHOTS[wildcards.policy]["step"], lora=method_of(wildcards.policy)["lora"])


VIEW_KEYS = ("trainer", "max_length", "max_prompt_length", "max_rows", "dropout", "precision")


def token_view(method):
    """What the reference log-probabilities of a method depend on, beside the reference and the rows; KTO reads those of DPO."""
    if method["trainer"] == "kto":
        method = {**method, "trainer": "dpo", "dropout": "disabled"}
    return {key: method[key] for key in VIEW_KEYS if key in method}


def named_views():
    """Name -> token view, of each method, and of a swept one by its own name where no arm has another view: more arms rename nothing."""
    found = {name: token_view(method) for name, method in config.get("methods", {}).items()}
    swept = config.get("sweeps", {}).get("methods", {})
    for name in dict.fromkeys(swept.values()):
        view, *others = [found[arm] for arm in swept if swept[arm] == name]
        if all(other == view for other in others):
            found[name] = view
    return found


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
    seed = 0 if parent == ROOT else wildcards.seed
    return f"<results>/references/{view_name(wildcards.policy)}/{parent}/seed-{seed}.parquet"


def reference_data(wildcards):
    return f"<results>/data/{(wildcards.view.split('@') + [prompts_dataset()])[1]}/preferences.parquet"


def reference_config(wildcards):
    name, _, data = wildcards.view.partition("@")
    return step(
        view=VIEWS[name],
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

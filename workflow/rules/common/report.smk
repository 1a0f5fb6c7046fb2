"""The report of a study: its figures, pages and cards."""


def compared():
    """The declared contrasts of two policies that the study trains or starts from, the primary one among them."""
    analysis = config["analysis"]
    return [pair for pair in [analysis.get("primary", [])[:2], *analysis["contrasts"]] if pair and set(pair) <= set(WITH_WEIGHTS)]


def differing(policy, against):
    """What sets a policy apart from another: weights that are given, trainings, and how it is asked."""
    asked = asked_otherwise(generation_of(policy), generation_of(against))
    given = other_weights(given_weights(policy), given_weights(against))
    return [*given, *differences(lineage(policy), lineage(against)), *asked]


# the templates and styles of the report's page
REPORT_FILES = "page.html index.html kept.html length.html mixed.html tradeoff.html capability.html macros.html style.css index.css".split()


def report_config(wildcards=None):
    """All that the report shows of the config: not what belongs to the machine or to records, nor methods that no policy uses."""
    used = {policy.get("method") for policy in config["policies"].values()}
    methods = {name: method for name, method in config["methods"].items() if name in used}
    return as_json(
        study={**{key: value for key, value in config.items() if key not in ("compute", "export", "tracking")}, "methods": methods},
        order=POLICIES,
        tables=analysis_tables(),
        figures=figure_names(),
        logs=[path.removeprefix("<results>/") for path in training_logs()],
        differs={f"{policy} {other}": differing(policy, other) for policy, other in compared()},
        unlike_training=asked_unlike_trained(),
        synthetic=is_synthetic(),
        origins=origins(),
        same_source=same_source(),
        options=config_option(),
        **({"stored": True} if IN_BUCKET else {}),
        **({"uncompared": UNCOMPARED} if UNCOMPARED else {}),
    )


def same_source():
    """The judges that are known to be trained on data of the policies' own source: the paper's, and those made of the same dataset."""
    trained = [data_of(policy) for policy in TRAINED]
    made = [name for name in judges_from(*JUDGES_MADE_HERE) if source_of(scratch_data(JUDGES[name])) in map(source_of, trained)]
    of_hh_rlhf = RELEASED or HH_RLHF in map(origin, trained)
    papers = [name for name in JUDGES if JUDGES[name].get("repo") == PAPER["judge"]] if of_hh_rlhf else []
    return sorted([*judges_from("released"), *made, *papers])


def figure_names():
    """The figures of the report, in its order."""
    always = ["metrics", "rewards", "mean_rewards", "contrasts", "wins", "thresholds", "retention"]
    where = [
        (weighs_both_axes(), ["tradeoff"]),
        (PAIRWISE, ["pairwise"]),
        (pair_files(), ["judge_roc", "judge_calibration"]),
        (training_logs(), ["training"]),
        (drift_files(), ["drift"]),
        (CAPABILITY, ["capability"]),
        ("sweeps" in config, ["sweep"]),
        (NOISE_ARMS, ["noise"]),
        (SNAPSHOTS and drift_files(), ["snapshots"]),
    ]
    return always + [figure for asked, figures in where if asked for figure in figures]


def figure_files():
    return expand("<results>/report/figures/{figure}.svg", figure=figure_names())


def card_files():
    """A card for every policy that the study trains, and for every dataset."""
    models = [path.replace("train_log.parquet", "README.md") for path in training_logs()]
    return [*models, *(path.replace("preferences.parquet", "README.md") for path in preference_files())]


def report_files():
    tables = expand("<results>/report/{table}.csv", table=analysis_tables())
    pages = ["<results>/report/summary.txt", "<results>/report/index.html", "<results>/report/browser.html"]
    return [*figure_files(), *tables, *pages, *card_files()]


def step_files():
    """A file of every step before the report. A step that fails leaves its files missing, which Snakemake does not notice where what follows
    is still there from before and nobody asks for them."""
    root_is_read = TRAINED or drift_files() or ROOT not in IMPORTED_RESPONSES
    unread = [] if root_is_read else base_files()
    models = [*judge_files(), *(path for path in policy_files() if path not in unread)]  # the root's model is the first of the policies'
    return [*data_files(), *models, *notices(models), *reference_files(), *evaluation_files(), RATINGS, *analysis_files()]


def print_summary():
    """The study's table, at the end of a run that was asked for the report, also of one with nothing to do."""
    jobs = {job.rule.name: job for job in workflow.dag.jobs}
    if "render_report" not in jobs or "summarize_study" not in jobs:
        return
    summary = Path(jobs["summarize_study"].output[0])  # of a bucket, the copy here
    if summary.is_file():
        print(summary.read_text(encoding="utf-8"), end="", flush=True)


def partial_report():
    return Path(STUDY, "report/partial.html")


def render_partial_report():
    """What there is of the report where a step has failed, beside a complete one of an earlier run."""
    if Path(STUDY, "analysis").is_dir():
        options = ["--config", report_config(), "--templates", of_workflow("workflow/report"), "--output", str(partial_report())]
        command = [sys.executable, "-m", "hh_align.report.render_report", *options, *shlex.split(values_option(None, None))]
        subprocess.run(command, env=os.environ | {"PYTHONPATH": str(SCRIPTS)}, check=False)


def figure(name, label):
    return report(f"<results>/report/figures/{name}.svg", caption=f"../report/{name}.rst", category="Figures", labels={"figure": label})


def training_plot_config(wildcards):
    trained = [policy for policy in TRAINED for _ in seeds_of(policy)]
    return as_json(order=POLICIES, trained=trained, trainers={policy: method_of(policy)["trainer"] for policy in TRAINED})


def tables_of_summary():
    """What the summary reads of the analysis under the table's own name."""
    names = ["metrics", "comparisons", "retention", "text", *(["pairwise"] if PAIRWISE else [])]
    return {name: f"<results>/analysis/{name}.parquet" for name in names}


def summary_config(wildcards):
    return analysis_config(
        study=config["study"],
        primary=config["analysis"].get("primary", []),
        folder=STUDY,
        compare_published=is_comparable(),
        synthetic=is_synthetic(),
        same_source=same_source(),
        unlike_training=asked_unlike_trained(),
        **pairwise_axes(),
    )


def stored_files():
    """What the report reads beside its tables, figures and logs, to be fetched from a bucket: rows put aside, each artifact's provenance."""
    if not IN_BUCKET:
        return []
    manifests = dict.fromkeys([*base_files(), *judge_files(), *policy_files()])
    read = [*response_files(), *reward_files(), *choice_files(), *pair_files(), *drift_files(), "<results>/prompts/prompts.parquet"]
    read += [manifest.replace("manifest.json", "provenance.json") for manifest in manifests]
    read += [f"<results>/data/{name}/quarantine.parquet" for name, dataset in DATASETS.items() if "source" in dataset]
    return read + [log.replace("train_log", "quarantine") for log in training_logs()]


def started_from(policy):
    """How a card names the weights that a policy's trainings start from; nothing where they were made here from a seed."""
    given = given_weights(policy)
    if given == ["models.base"] and "repo" in BASE:
        return {"base": BASE["repo"]}
    base = {"local": [Path(BASE.get("path", "")).name], "hub": [BASE.get("repo")]}.get(BASE.get("source"), [])
    names = [name for weights in given for name in (base if weights == "models.base" else [weights])]
    return {"base": None} | ({"given": names} if names else {})


def model_card_config(wildcards):
    """What a policy's card says of the study."""
    trainings = lineage(wildcards.policy)
    return as_json(
        study=config["study"],
        policy=wildcards.policy,
        seed=int(wildcards.seed),
        root=ROOT,
        lineage=trainings,
        judges=thresholds(),
        same_source=same_source(),
        datasets=sorted({name for training in trainings if (name := origin(training["data"]))}),
        **started_from(wildcards.policy),
        synthetic=is_synthetic(),
        folder=f"{STUDY}/policies/{wildcards.policy}/seed-{wildcards.seed}",
        options=config_option(),
    )


def dataset_card_config(wildcards):
    """What a dataset's card says of the study."""
    dataset, source = DATASETS[wildcards.dataset], source_of(wildcards.dataset)
    changes = ("subsets", "training_half", "hash_range", "exclude_prompts", *CLEANING, "labels", "noise")
    return as_json(
        study=config["study"],
        dataset=wildcards.dataset,
        parent=dataset.get("from"),
        changes=", ".join(f"{key} {json.dumps(dataset[key])}" for key in changes if dataset.get(key)) if "from" in dataset else "",
        repo=origin(wildcards.dataset),
        revision=source.get("revision"),
        synthetic=source["source"] == "synthetic",
        folder=f"{STUDY}/data/{wildcards.dataset}",
        options=config_option(),
    )


def dataset_card_inputs(wildcards):
    counted = "census" if "from" in DATASETS[wildcards.dataset] else "quarantine"
    return {name: f"<results>/data/{wildcards.dataset}/{name}.parquet" for name in ("preferences", counted)}


def weights_of(policy):
    """Where a policy's weights are from as they are; nothing where it has none, or they are made of a parent's."""
    return BASE if policy == ROOT else config["policies"].get(policy, {})


def exported_model(policy, seed):
    """A policy's name as owner/name: the hub's where its weights are from there as they are."""
    if repo := weights_of(policy).get("repo"):
        return repo
    owner = re.sub(r"[^A-Za-z0-9.-]+", "-", config.get("export", {}).get("organization", "local")).strip(".-") or "local"
    return f"{owner}/{config['study']}-{policy}" + (f"-seed-{seed}" if seed else "")


def exported(name):
    """Of each policy and seed the file of this name; `{id}` in it is a version-4 UUID that the study, the policy and the seed make."""
    files = []
    for policy, seed in [(policy, seed) for policy in POLICIES for seed in seeds_of(policy)]:
        digest = hashlib.sha256(f"{config['study']} {policy} {seed}".encode()).digest()
        model = exported_model(policy, seed)
        folder = policy if len(seeds_of(policy)) == 1 else f"{policy}-seed-{seed}"
        path = name.format(id=UUID(bytes=digest[:16], version=4), model=model, folder=folder)
        files.append(f"<results>/export/{path}")
    return files


def record_files():
    return exported(f"every_eval_ever/data/{config['study']}/{{model}}/{{id}}.json")


def sample_files():
    return exported(f"every_eval_ever/data/{config['study']}/{{model}}/{{id}}_samples.jsonl")


def log_files():
    return [path.format(axis=axis) for path in exported("lm_eval/{folder}/samples_{{axis}}.jsonl") for axis in AXES]


def export_config():
    """What the records say of the study: all that no table has. No clock: SOURCE_DATE_EPOCH is the time, or 0."""
    models = {}
    for policy in POLICIES:
        for seed in seeds_of(policy):
            asked = policy in WITH_WEIGHTS and policy not in IMPORTED_RESPONSES
            models[f"{policy} {seed}"] = {
                "policy": policy,
                "name": policy,
                "id": exported_model(policy, seed),
                "seed": seed,
                "parent": GRAPH[policy].get("parent"),
                "trained": policy in WITH_WEIGHTS and (bool(lineage(policy)) or weights_of(policy).get("source") == "scratch"),
                "public": "repo" in weights_of(policy),
                "generation": generation_of(policy) if asked else None,
            }
    name, project = HH_RLHF if RELEASED else prompts_dataset(), CHECKOUT / "pyproject.toml"
    return analysis_config(
        study=config["study"],
        models=models,
        judge_models={judge: entry.get("repo") or entry["model"] for judge, entry in JUDGES.items() if {"repo", "model"} & set(entry)},
        dataset={"name": name, "repo": HH_RLHF if RELEASED else origin(name)},
        organization=config.get("export", {}).get("organization", "unknown"),
        version=tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"] if project.is_file() else "unknown",
        timestamp=os.environ.get("SOURCE_DATE_EPOCH", "0"),
    )

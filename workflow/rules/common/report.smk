"""What the steps of the report ask for."""


def report_config(wildcards=None):
    """All that the report shows of the config: not what belongs to the machine, nor methods that no policy uses."""
    used = {policy.get("method") for policy in config["policies"].values()}
    methods = {name: method for name, method in config["methods"].items() if name in used}
    return step(
        study={**{key: value for key, value in config.items() if key != "compute"}, "methods": methods},
        order=POLICIES,
        tables=analysis_tables(),
        figures=figure_names(),
        logs=[path.removeprefix("<results>/") for path in training_logs()],
        differs={} if RELEASED else {f"{policy} {other}": differences(lineage(policy), lineage(other)) for policy, other in compared()},
        synthetic=is_synthetic(),
        origins=origins(),
        same_source=same_source(),
        options=config_option(),
        **({"stored": True} if IN_BUCKET else {}),
    )


def training_plot_config(wildcards):
    trained = [policy for policy in TRAINED for _ in seeds_of(policy)]
    return step(order=POLICIES, trained=trained, trainers={policy: method_of(policy)["trainer"] for policy in TRAINED})


def compared():
    """The declared contrasts of two policies that the study trains or starts from, the primary one among them."""
    analysis = config["analysis"]
    return [pair for pair in [analysis.get("primary", []), *analysis["contrasts"]] if pair and set(pair) <= set(config["policies"])]


def lineage(policy):
    """The trainings that lead to a policy, the first one first."""
    entry = config["policies"][policy]
    if "method" not in entry:
        return []
    method = method_of(policy)
    training = {"method": entry["method"], "trainer": method["trainer"], "parent": entry["parent"], "data": data_of(policy)}
    ended = {"stopped_at": SNAPSHOTS[policy]["step"]} if policy in SNAPSHOTS else {}
    return [*lineage(entry["parent"]), {**training, "settings": {key: value for key, value in method.items() if key != "trainer"} | ended}]


def same_source():
    """The judges that are known to be trained on data of the policies' own source: the paper's, and those made of the same dataset."""
    trained = [] if RELEASED else [data_of(policy) for policy in TRAINED]
    made = [name for name in judges_from("scratch") if source_of(scratch_data(JUDGES[name])) in map(source_of, trained)]
    of_paper = (
        [name for name in JUDGES if JUDGES[name].get("repo") == PAPER["judge"]] if RELEASED or HH_RLHF in map(origin, trained) else []
    )
    return sorted([*judges_from("released"), *made, *of_paper])


def card_config(wildcards):
    """What a policy's card says of the study."""
    trainings = lineage(wildcards.policy)
    return step(
        study=config["study"],
        policy=wildcards.policy,
        seed=int(wildcards.seed),
        root=ROOT,
        lineage=trainings,
        judges=thresholds(),
        same_source=same_source(),
        datasets=sorted({name for training in trainings if (name := origin(training["data"]))}),
        base=config["models"]["base"].get("repo"),
        synthetic=is_synthetic(),
        folder=f"{STUDY}/policies/{wildcards.policy}/seed-{wildcards.seed}",
        options=config_option(),
    )


def dataset_card_config(wildcards):
    """What a dataset's card says of the study."""
    dataset, source = DATASETS[wildcards.dataset], source_of(wildcards.dataset)
    changes = ("subsets", "training_half", "exclude_prompts", *CLEANING, "labels", "noise")
    return step(
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
    folder = f"<results>/data/{wildcards.dataset}"
    files = {"preferences": f"{folder}/preferences.parquet", "template": local("workflow/report/dataset_card.md")}
    beside = "census" if "from" in DATASETS[wildcards.dataset] else "quarantine"
    return {**files, beside: f"{folder}/{beside}.parquet"}


def card_files():
    """A card for every policy that the study trains, and for every dataset."""
    models = [path.replace("train_log.parquet", "README.md") for path in training_logs()]
    return [*models, *(path.replace("preferences.parquet", "README.md") for path in preference_files())]


def config_option():
    """What a command needs to mean this study: the files that refine the default config, as seen from here."""
    files = [os.path.relpath(path) for path in workflow.overwrite_configfiles]
    return f" --configfile {shlex.join(files)}" if files else ""


def print_summary():
    """The study's table, at the end of a run that was asked for the report; `make` prints it itself, after a run without a job too."""
    jobs = {job.rule.name: job for job in workflow.dag.jobs}
    if "render_report" not in jobs or "summarize_study" not in jobs or os.environ.get("HH_ALIGN_SUMMARY") == "off":
        return
    summary = Path(jobs["summarize_study"].output[0])
    if summary.is_file():
        print(summary.read_text(encoding="utf-8"), end="", flush=True)


def partial_report():
    return Path(STUDY, "report/partial.html")


def render_partial_report():
    """What there is of the report where a step has failed, beside a complete one of an earlier run."""
    if Path(STUDY, "analysis").is_dir():
        options = ["--config", report_config(), "--templates", "workflow/report", "--output", str(partial_report())]
        subprocess.run(
            [sys.executable, "-m", "hh_align.report.render_report", *options], env=os.environ | {"PYTHONPATH": str(SCRIPTS)}, check=False
        )


def page_files(*names):
    """The templates and styles that a page is made of."""
    return [local(f"workflow/report/{name}") for name in names]

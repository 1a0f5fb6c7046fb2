"""The files of each stage, for targets and for the steps that read all of it."""


def preference_files():
    return [] if RELEASED else expand("<results>/data/{dataset}/preferences.parquet", dataset=DATASETS)


def census_files():
    """What each step of the derived datasets dropped."""
    return (
        []
        if RELEASED
        else expand("<results>/data/{dataset}/census.parquet", dataset=[name for name in DATASETS if "from" in DATASETS[name]])
    )


def model_files():
    judges = expand("<results>/models/judges/{judge}/manifest.json", judge=judges_from("hub", "local", "scratch"))
    return judges if RELEASED else ["<results>/models/base/manifest.json", *judges]


def policy_files():
    return [] if RELEASED else [policy_manifest(policy, seed) for policy in WITH_WEIGHTS for seed in seeds_of(policy)]


def response_files():
    return [f"<results>/responses/{policy}/seed-{seed}.parquet" for policy in POLICIES for seed in seeds_of(policy)]


def reward_files(wildcards=None, judges=JUDGES):
    return [
        f"<results>/rewards/{judge}/{policy}/seed-{seed}.parquet"
        for judge in sorted(judges)
        for policy in POLICIES
        for seed in seeds_of(policy)
    ]


def released_reward_files():
    return reward_files(judges=judges_from("released"))


def examined_judges():
    """The judges with weights; a released study has no pairs to examine them on."""
    return [] if RELEASED else sorted(judges_from("hub", "local", "scratch"))


def pair_files():
    """The held-out pairs that these judges are examined on."""
    return expand("<results>/rewards/{judge}/pairs.parquet", judge=examined_judges())


def drift_files():
    """How far each policy with weights has moved; a released study has none to measure that."""
    if RELEASED or "drift" not in config:
        return []
    return [f"<results>/drift/{policy}/seed-{seed}.parquet" for policy in WITH_WEIGHTS for seed in seeds_of(policy)]


def training_logs():
    """Of the policies that a study trains; a released study trains none."""
    if RELEASED:
        return []
    return [f"<results>/policies/{policy}/seed-{seed}/train_log.parquet" for policy in TRAINED for seed in seeds_of(policy)]


def snapshot_logs():
    """Training logs of the policies that have snapshots."""
    kept = {snapshot["of"] for snapshot in SNAPSHOTS.values()}
    return [log for log in training_logs() if Path(log).parts[2] in kept]


def judge_files():
    return ["<results>/analysis/judge.parquet"] if pair_files() else []


def judges_that_share_an_axis():
    return any(sum(axis in axes_of(judge) for judge in JUDGES) > 1 for axis in AXES)


def gold_files(table):
    """What true labels make of the verdict, where the study has some."""
    return f"<results>/analysis/{table}.parquet" if "labels" in config["analysis"] else []


def analysis_tables():
    """The released study has no judge to examine, only the synthetic one has an oracle."""
    judge = ["judge", "judge_calibration", "judge_roc"] if pair_files() else []
    agreement = ["judge_agreement"] if judges_that_share_an_axis() else []
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
    sweep = ["sweep"] if "sweeps" in config else []
    noise = ["noise"] if NOISE_ARMS else []
    snapshots = ["snapshots"] if SNAPSHOTS else []
    overrefusal = ["overrefusal"] if "overrefusal" in config else []
    return [
        *always,
        *judge,
        *agreement,
        *overrefusal,
        *synthetic,
        *comparable,
        *reproduction,
        *gold,
        *drift,
        *rescoring,
        *sweep,
        *noise,
        *snapshots,
    ]


def analysis_files():
    return expand("<results>/analysis/{table}.parquet", table=analysis_tables())


def figure_names():
    judge = ["judge_roc", "judge_calibration"] if pair_files() else []
    drift = ["drift"] if drift_files() else []
    training = ["training"] if training_logs() else []
    sweep = ["sweep"] if "sweeps" in config else []
    noise = ["noise"] if NOISE_ARMS else []
    snapshots = ["snapshots"] if SNAPSHOTS and drift else []
    always = ["metrics", "rewards", "mean_rewards", "contrasts", "wins", "thresholds", "retention"]
    return [*always, *judge, *training, *drift, *sweep, *noise, *snapshots]


def figure_files():
    return expand("<results>/report/figures/{figure}.svg", figure=figure_names())


def reference_files():
    """What the policies that train on preferences are held against; none where the reference runs in the loop."""
    arms = [SimpleNamespace(policy=policy, seed=seed) for policy in trained_by("dpo") + trained_by("kto") for seed in seeds_of(policy)]
    return [] if RELEASED else sorted({path for arm in arms if (path := policy_reference(arm))})


def step_files():
    """A file of every step before the report. A step that fails leaves its files missing, which Snakemake does not notice where what follows
    is still there from before and nobody asks for them."""
    synthetic = [SimpleNamespace(dataset=name) for name, dataset in DATASETS.items() if dataset.get("source") == "synthetic"]
    margins = [f"<results>/data/{name}/margins.parquet" for name, dataset in DATASETS.items() if "judge_margin" in dataset]
    data = [*(path for dataset in synthetic for path in dataset_paths(dataset)), *preference_files(), *margins]
    models = [*model_files(), *policy_files(), *reference_files()]
    if not TRAINED and ROOT in BROUGHT and not drift_files():  # nobody loads the root
        models = [path for path in models if path != "<results>/models/base/manifest.json"]
    twins = [*twin_responses(), *twin_rewards()] if TWINS else []
    rated = [*response_files(), *reward_files(), *pair_files(), *drift_files(), *twins]
    return [*data, "<results>/prompts/prompts.parquet", *models, *rated, "<results>/analysis/ratings.parquet", *analysis_files()]


def report_files():
    pages = expand("<results>/report/{page}.html", page=["index", "browser"])
    return [
        *figure_files(),
        *expand("<results>/report/{table}.csv", table=analysis_tables()),
        "<results>/report/summary.txt",
        *pages,
        *card_files(),
    ]

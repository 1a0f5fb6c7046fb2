"""The evaluation of a study: how judges read, what is held out, and the files of responses, rewards, pairs and drift."""


def shard(path):
    """Where one job of a generation or scoring writes, with its place among the others where there are several."""
    if SHARDS == 1:
        return path
    stem, suffix = re.fullmatch(r"(.*?)(\.\w+)?", path).groups()
    return f"{stem.replace('<results>', '<results>/shards')}/{{scatteritem}}{suffix or ''}"


def reading_settings(judge):
    """How a judge reads, and what of its answer is the reward."""
    judge = JUDGES[judge]
    reading = {key: judge[key] for key in ("max_length", "reads") if key in judge}
    return {**DEVICE, **config["scoring"], **reading, **output_settings(judge)}


def own_subsets():
    """Axis -> the subset that its prompts come from."""
    return {axis: config["prompts"][axis]["subset"] for axis in AXES}


def held_out_subsets():
    """Subset -> the axis that its pairs speak about, and the split that is held out."""
    axes = subset_axes(config, prompts_dataset())
    return {subset: {"axis": axis, "split": config["prompts"][axis]["split"]} for subset, axis in axes.items()}


def seen_files(wildcards):
    """Preferences of the evaluation's own split that something of this study trains on: none of their rows is held out."""
    made_here = [source for source in (BASE, *JUDGES.values()) if source["source"] in JUDGES_MADE_HERE]
    trained = {data_of(policy) for policy in TRAINED} | {scratch_data(source) for source in made_here}
    splits = {held_out["split"] for held_out in held_out_subsets().values()}
    return [f"<results>/data/{name}/preferences.parquet" for name in sorted(trained) if DATASETS[name]["train_split"] in splits]


def generation_of(policy):
    """How a policy is asked: as the study's `generation` says, but for what its own says."""
    return {**config["generation"], **config["policies"][policy].get("generation", {})}


def asked_unlike_trained():
    """`lead` and `cue` -> the policies that are trained on transcripts here, and asked without it."""
    made_here = [policy for policy in WITH_WEIGHTS if BASE["source"] == "scratch" and given_weights(policy) == ["models.base"]]
    trained = [policy for policy in WITH_WEIGHTS if lineage(policy) or policy in made_here]
    asked = [policy for policy in trained if policy not in IMPORTED_RESPONSES and not template_key(config, policy)]
    unlike = {key: [policy for policy in asked if not generation_of(policy)[key]] for key in ("lead", "cue")}
    return {key: policies for key, policies in unlike.items() if policies}


def drift_references(policy):
    """What a policy's drift is measured from: its parent, and the root where that is another."""
    parent = config["policies"][policy].get("parent")
    return [] if parent is None else list(dict.fromkeys([parent, ROOT]))


def response_files(policies=POLICIES):
    return [f"<results>/responses/{policy}/seed-{seed}.parquet" for policy in policies for seed in seeds_of(policy)]


def reward_files(judges=JUDGES, policies=POLICIES):
    checkpoints = [(policy, seed) for policy in policies for seed in seeds_of(policy)]
    return [f"<results>/rewards/{judge}/{policy}/seed-{seed}.parquet" for judge in sorted(judges) for policy, seed in checkpoints]


def choice_files():
    """What the pairwise judges say of the declared contrasts; a pair that is the same for every seed lies under seed 0."""
    pairs = [
        (policy, against, sorted({*seeds_of(policy), *seeds_of(against)} - {0}) or [0])
        for policy, against in config["analysis"]["contrasts"]
    ]
    return [
        f"<results>/choices/{judge}/{policy}/{against}/seed-{seed}.parquet"
        for judge in sorted(PAIRWISE)
        for policy, against, seeds in pairs
        for seed in seeds
    ]


def responses_of(side):
    """The responses of the `policy` or `against` of a pair."""

    def file(wildcards):
        policy = wildcards[side]
        return f"<results>/responses/{policy}/seed-{0 if seeds_of(policy) == [0] else wildcards.seed}.parquet"

    return file


def examined_judges():
    """The judges with weights, where the study has pairs to examine them on."""
    return sorted(judges_from(*JUDGES_WITH_WEIGHTS)) if DATASETS else []


def pair_files():
    """The held-out pairs that these judges are examined on."""
    return expand("<results>/rewards/{judge}/pairs.parquet", judge=examined_judges())


def drift_files():
    """How far each policy with weights has moved."""
    policies = WITH_WEIGHTS if "drift" in config else []
    return [f"<results>/drift/{policy}/seed-{seed}.parquet" for policy in policies for seed in seeds_of(policy)]


def of_twins(files):
    """The same of the twins of refused questions."""
    return [path.replace("<results>", "<results>/overrefusal") for path in files] if OVERREFUSAL else []


def twin_responses():
    """Of the policies that can be asked: those with weights."""
    return of_twins(response_files(WITH_WEIGHTS))


def twin_rewards():
    return of_twins(reward_files([OVERREFUSAL["judge"]] if "judge" in OVERREFUSAL else [], WITH_WEIGHTS))


def of_suites(files_of):
    """The files that files_of gives for each suite beside the axes, where they lie."""
    return [path.replace("<results>", f"<results>/suites/{name}") for name in SUITES for path in files_of(SUITES[name])]


def suite_responses():
    """Of the policies that can be asked: those with weights."""
    return of_suites(lambda suite: response_files(WITH_WEIGHTS))


def suite_rewards():
    return of_suites(lambda suite: reward_files(raters(suite, JUDGES), WITH_WEIGHTS))


def item_folders():
    """Where items of multiple choice lie, and what policies make of them: those out of files, and those of lm-evaluation-harness."""
    return [
        *(["<results>/capability"] if ITEM_FILES else []),
        *(["<results>/capability/lm_eval"] if LM_EVAL else []),
    ]


def capability_files():
    """What each policy with weights makes of the items of multiple choice."""
    return [f"{folder}/{policy}/seed-{seed}.parquet" for folder in item_folders() for policy in WITH_WEIGHTS for seed in seeds_of(policy)]


def items_config():
    """How the files of items are read."""
    reading = ("columns", "template", "records", "n", "seed")
    tasks = [{"task": name, **{key: task[key] for key in reading if key in task}} for name, task in ITEM_FILES.items()]
    return as_json(tasks=tasks)


def lm_eval_config():
    """Which tasks of lm-evaluation-harness, and what of them."""
    draw = {name: ("lm_eval", "fewshot", "n", *(["seed"] if "n" in task else [])) for name, task in LM_EVAL.items()}
    return as_json(tasks=[{"task": name, **{key: task[key] for key in draw[name] if key in task}} for name, task in LM_EVAL.items()])


def included_files():
    """Every file of the folders of tasks for lm-evaluation-harness. Raises WorkflowError for a folder without a task."""
    found = {}
    for name, task in LM_EVAL.items():
        if "include" in task:
            folder = Path(str(config_file(task["include"])))
            files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
            if not any(path.suffix == ".yaml" for path in files):
                raise WorkflowError(
                    f"config: capability.{name}.include is {task['include']}: no folder with a task's YAML file. Check the path."
                )
            found |= {str(path): config_file(str(path)) for path in files}
    return [*found.values()]


def capability_config(wildcards):
    """Items are read as plain text: of how responses are made only the precision and what a batch holds."""
    generation = generation_of(wildcards.policy)
    return as_json(**DEVICE, **{key: generation[key] for key in ("dtype", "batch_tokens")})


def evaluation_files():
    """Every file that a step of the evaluation makes."""
    beside = [*twin_responses(), *twin_rewards(), *suite_responses(), *suite_rewards()]
    return [*response_files(), *reward_files(), *choice_files(), *pair_files(), *drift_files(), *capability_files(), *beside]


def generation_config(wildcards):
    return as_json(**DEVICE, **generation_of(wildcards.policy))


def imported_file(wildcards):
    """The file that a policy's responses come from."""
    check_seed(wildcards.policy, wildcards.seed)
    return config_file(IMPORTED_RESPONSES[wildcards.policy]["path"].replace("{seed}", wildcards.seed))


def import_config(wildcards):
    """How that file is read."""
    entry = IMPORTED_RESPONSES[wildcards.policy]
    return as_json(**{key: entry[key] for key in ("layout", "records", "columns", "only", "clean") if key in entry})


def scoring_config(wildcards):
    axes = axes_of(wildcards.judge)
    return as_json(**reading_settings(wildcards.judge), **({} if axes == list(AXES) else {"axes": axes}))


def rated_files(judge):
    """(file, what its name says of its rows: policy, seed, axis) of every file of an imported judge's ratings."""
    files = {}
    for policy, seed, axis in [(policy, seed, axis) for policy in POLICIES for seed in seeds_of(policy) for axis in axes_of(judge)]:
        said = {"policy": policy, "seed": seed, "axis": axis}
        path = JUDGES[judge]["path"]
        for name in said:
            path = path.replace(f"{{{name}}}", str(said[name]))
        files.setdefault(path, {name: value for name, value in said.items() if f"{{{name}}}" in JUDGES[judge]["path"]})
    return files


def ratings_files(wildcards):
    return [config_file(path) for path in rated_files(wildcards.judge)]


def ratings_config(wildcards):
    """What files of ratings must hold, and how they are read."""
    judge, said = JUDGES[wildcards.judge], list(rated_files(wildcards.judge).values())
    policies = {policy: seeds_of(policy) for policy in POLICIES}
    reading = {key: judge[key] for key in ("score", "only", "axes") if key in judge} | ({"files": said} if any(said) else {})
    return as_json(columns=judge["columns"], judged=axes_of(wildcards.judge), policies=policies, **reading)


ASKING_KEYS = ("model", "lowest", "highest", "classes", "seed", "max_tokens", "failed")


def rubric_files(wildcards):
    rubrics = (JUDGES | PAIRWISE)[wildcards.judge]["rubric"]
    return [config_file(rubrics[axis]) for axis in axes_of(wildcards.judge)]


def asking_config(wildcards):
    """What the answers of a judge behind an endpoint depend on: not the variable that holds the key, nor a slash at the end of the url."""
    judge, axes = (JUDGES | PAIRWISE)[wildcards.judge], axes_of(wildcards.judge)
    return as_json(
        judge=wildcards.judge, url=judge["url"].rstrip("/"), axes=axes, **{key: judge[key] for key in ASKING_KEYS if key in judge}
    )


def asking_effort(wildcards, resources):
    """Numbers that change no answer: as options that depend on a resource they rerun nothing. The price is of a million tokens, sent:received."""
    judge = (JUDGES | PAIRWISE)[wildcards.judge]
    price = f"{judge['price_in']}:{judge['price_out']}" if "price_in" in judge else "unknown"
    key = f" --key-env {judge['key_env']}" if "key_env" in judge else ""
    return f"--timeout {judge['timeout']} --tries {judge['tries']} --price {price}{key}"


def options_of_asking(wildcards, input, output):
    """As options_of_long_step, with the file of the paid answers, which outlasts the state: nothing asks for them again."""
    name = re.fullmatch(r".*/timings/(.+)\.json", str(output.timing))[1]
    return options_of_long_step(wildcards, input, output) + f" --answers {shlex.quote(f'{STUDY}/answers/{name}.jsonl')}"


def pairs_config(wildcards):
    """The judge is examined on every subset of the dataset that the prompts come from, of its own axes."""
    subsets = {name: held_out for name, held_out in held_out_subsets().items() if held_out["axis"] in axes_of(wildcards.judge)}
    reply_tokens = config["generation"]["max_new_tokens"]
    return as_json(**reading_settings(wildcards.judge), subsets=subsets, reply_tokens=reply_tokens, **config["examination"])


def margin_judge(wildcards):
    return f"<results>/models/judges/{DATASETS[wildcards.dataset]['judge_margin']['judge']}/manifest.json"


def margin_config(wildcards):
    dataset = DATASETS[wildcards.dataset]
    return as_json(**reading_settings(dataset["judge_margin"]["judge"]), **selecting_settings(dataset))


def drift_reference_files(wildcards):
    policy_manifest(wildcards.policy, wildcards.seed)
    return [policy_manifest(name, seed_beside(name, wildcards.seed)) for name in drift_references(wildcards.policy)]


def drift_config(wildcards):
    """Responses are sampled as long as they are generated; of the prompts' own subsets the held-out replies are read."""
    drift = {key: value for key, value in config["drift"].items() if key != "text"}  # that is an input
    subsets = {name: held_out for name, held_out in held_out_subsets().items() if name in own_subsets().values()}
    references = drift_references(wildcards.policy)
    asked = generation_of(wildcards.policy)
    generation = {key: asked[key] for key in ("max_new_tokens", "dtype", "lead", "cue", "long_prompts", "batch_tokens")}
    return as_json(**DEVICE, drift=drift, references=references, subsets=subsets, **generation)


def twin_scoring_config(wildcards):
    """The judge's label as a probability, of both sets of questions."""
    return as_json(**{**reading_settings(wildcards.judge), "scale": "probability"}, axes=["safe", "contrast"])

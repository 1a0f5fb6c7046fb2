"""The study's resolved config, and what it says of policies, seeds and judges."""

DEFAULTS = read_config(CHECKOUT / "config/config.yaml")
if workflow.modifier.skip_configfile:  # a module with a config of its own, which refines the defaults
    LAYERS = [("", DEFAULTS), ("config", copy.deepcopy(dict(config)))]
    update_config(defaults := copy.deepcopy(DEFAULTS), config)
    config.update(defaults)
else:
    files = [*([OWN_CONFIG] if OWN_CONFIG else []), *workflow.overwrite_configfiles]
    LAYERS = [("", DEFAULTS), *((str(file).removeprefix(f"{Path.cwd()}/"), read_config(file)) for file in files)]
    if workflow.config_settings.config:
        LAYERS.append(("--config", workflow.config_settings.config))
try:
    config.update(resolved := resolve(config, CHECKOUT / "workflow/schemas/config.schema.yaml", [layer for _, layer in LAYERS]))
except StudyError as error:
    raise WorkflowError(with_file(str(error), LAYERS[1:])) from None
for key in set(config) - set(resolved):
    del config[key]

STUDY = f"results/{config['study']}"
HUB = "results/hub"
TRACKED = "" if config["tracking"] == "none" else f"{config['tracking']}:{STUDY}/tracking"
# BUILDS: the folders in which a step may move a damaged file aside, for the next run makes it again
shell.prefix(f"{PREFIX}export {BUILDS}={STUDY}:{HUB} {TRACKING}={TRACKED}; ")
JUDGES = config["judges"]
PAIRWISE = config.get("pairwise", {})  # judges that say which of two responses is better; those of JUDGES give each a reward
IMPORTED_RESPONSES = config.get("responses", {})
SNAPSHOTS = config.get("snapshots", {})  # arm -> {of, step}: weights that another policy's training leaves on its way
GRAPH = graph(config)
POLICIES = policy_order(config)
ROOT = POLICIES[0]
UNCOMPARED = uncompared(config)
if UNCOMPARED and workflow.exec_mode == ExecMode.DEFAULT:  # once, and not by every job
    more = f" and {len(UNCOMPARED) - LISTED} more" if len(UNCOMPARED) > LISTED else ""
    logger.info(f"In no entry of analysis.contrasts, so that no verdict is given: {', '.join(UNCOMPARED[:LISTED])}{more}.")

# A study of released responses has no data, weights or trainings of its own: what follows from these lists is empty then.
RELEASED = "release" in config
DATASETS = {} if RELEASED else config["datasets"]
BASE = {} if RELEASED else config["models"]["base"]
WITH_WEIGHTS = [] if RELEASED else [policy for policy in POLICIES if policy in config["policies"]]
GIVEN = [policy for policy in WITH_WEIGHTS if has_weights(config["policies"][policy])]
TRAINED = [policy for policy in WITH_WEIGHTS if "method" in config["policies"][policy] and policy not in SNAPSHOTS]

OVERREFUSAL = config.get("overrefusal", {})
CAPABILITY = dict(sorted(config.get("capability", {}).items()))
ITEM_FILES = {name: task for name, task in CAPABILITY.items() if "lm_eval" not in task}
LM_EVAL = {name: task for name, task in CAPABILITY.items() if "lm_eval" in task}
ONE_GPU = min(1, config["compute"]["gpus"])  # of a job that no processes share
SHARDS = config["compute"]["shards"]
DEVICE = {"device": config["compute"]["device"]}  # what a step's config says of it; deterministic is what a step is without a word
if DEVICE["device"] != "cpu" and not config["compute"]["deterministic"]:
    DEVICE["deterministic"] = False


def is_asked(policy):
    """Whether a policy trains nothing: it has its parent's weights, asked otherwise."""
    return "generation" in config["policies"].get(policy, {})


def is_fixed(policy):
    """Whether there is one of a policy, of no seed of the study: weights that are given, these or the root's asked otherwise, or one file of
    responses."""
    if policy in config["policies"]:
        return policy in GIVEN or (is_asked(policy) and config["policies"][policy]["parent"] in (ROOT, *GIVEN))
    return "{seed}" not in IMPORTED_RESPONSES[policy]["path"]


def seeds_of(policy):
    """The root, and what is fixed, is the same for every seed and lives under 0."""
    return [0] if policy == ROOT or is_fixed(policy) else config["seeds"]


def seed_beside(policy, seed):
    """The seed under which a policy stands beside others of `seed`: the study's first beside one that is the same for every seed."""
    return 0 if policy == ROOT or is_fixed(policy) else seed if int(seed) in config["seeds"] else config["seeds"][0]


def check_seed(policy, seed):
    """Raises WorkflowError for a seed that the study does not have: the artifact would belong to nothing."""
    if int(seed) not in seeds_of(policy):
        raise WorkflowError(f"{policy} has no seed {seed} in study {config['study']}. Allowed: {', '.join(map(str, seeds_of(policy)))}.")


def method_of(policy):
    return config["methods"][config["policies"][policy]["method"]]


def trained_by(trainer):
    return [policy for policy in TRAINED if method_of(policy)["trainer"] == trainer]


def judges_from(*sources):
    return [name for name, judge in JUDGES.items() if judge["source"] in sources]


def axes_of(judge):
    """The axes that a judge speaks about."""
    axis = (JUDGES | PAIRWISE)[judge]["axis"]
    return list(AXES) if axis == "both" else [axis]


def config_option():
    """What a command needs to mean this study: the files that refine the default config, as seen from here."""
    files = [os.path.relpath(path) for path in workflow.overwrite_configfiles]
    return f" --configfile {shlex.join(files)}" if files else ""


def values_option(wildcards, resources):
    """The run's values of --config, which printed commands repeat: as options that depend on a resource they rerun nothing."""
    values = [f"{key}={json.dumps(value, sort_keys=True)}" for key, value in sorted(workflow.config_settings.config.items())]
    return f"--values {shlex.quote(f' --config {shlex.join(values)}')}" if values else ""

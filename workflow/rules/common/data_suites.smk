"""The suites of a study: prompts out of files of their own, for an axis or beside both."""

ASKED_SUITES = {name: {**entry, "key": key} for key, name, entry in asked_suites(config)}
SUITES = dict(sorted(config.get("suites", {}).items()))  # those beside the axes, which policies answer for themselves
RAW_FILES = "https://raw.githubusercontent.com"


def suite_folder(suite):
    """Where the file of a suite that is downloaded lies."""
    return hub_folder({"hub": "datasets", "github": "suites"}[suite["source"]], suite)


def suite_manifest(suite):
    return f"{suite_folder(suite)}/{manifest_name({'files': [suite['file']]})}"


def suite_prompts(names):
    return [f"<results>/suites/{name}/prompts.parquet" for name in names]


def axis_suites():
    """The prompts of the suites that axes ask, in the order of the axes."""
    return suite_prompts([axis for axis in AXES if axis in ASKED_SUITES])


def knows_the_truth():
    """Whether the oracle can label every reply: the prompts are the synthetic language's own."""
    return is_synthetic() and not axis_suites()


def drawn_preferences():
    """The preferences that an axis draws its prompts from."""
    return [] if set(AXES) <= set(ASKED_SUITES) else f"<results>/data/{prompts_dataset()}/preferences.parquet"


def prompts_config():
    """How prompts are drawn; of an axis that asks a suite that it does: how is said of the suite."""
    asked = {axis: {"suite": True} for axis in AXES if axis in ASKED_SUITES}
    return as_json(**{**config["prompts"], **asked})


def suite_inputs(wildcards):
    """What a change is looked for in: the manifest of a download, else the file itself."""
    suite = ASKED_SUITES[wildcards.suite]
    return config_file(suite["path"]) if suite["source"] == "local" else local(suite_manifest(suite))


def suite_options(wildcards, input):
    """The suite's file, where the step finds it, and the manifest that holds its sum."""
    suite = ASKED_SUITES[wildcards.suite]
    if suite["source"] == "local":
        return f"--file {shlex.quote(str(input[0]))}"
    file = f"{suite_folder(suite)}/{suite['file']}"
    return f"--file {shlex.quote(file)} --manifest {suite_manifest(suite)}"


def suite_config(wildcards):
    """How a suite's file is read and drawn from. Judges rate the replies by its axis; a suite that an axis asks bears the axis's name."""
    suite = ASKED_SUITES[wildcards.suite]
    reading = {key: suite[key] for key in ("key", "records", "column", "category", "where", "n", "seed") if key in suite}
    return as_json(name=wildcards.suite, axis=suite.get("axis", wildcards.suite), **reading)


def hub_suite_request(wanted):
    """What fetch_hub is asked for by this manifest, with the file's sum where it is known; nothing where no suite needs it."""
    for suite in ASKED_SUITES.values():
        if suite["source"] == "hub" and wanted == suite_manifest(suite):
            sums = {"sums": {suite["file"]: suite["sha256"]}} if "sha256" in suite else {}
            return {"kind": "datasets", "repo": suite["repo"], "revision": suite["revision"], "files": [suite["file"]], **sums}
    return {}


def raw_request(wildcards):
    """What fetch_suite downloads. Raises WorkflowError for a repository that no suite names."""
    wanted = f"{HUB}/suites/{wildcards.repo}/{wildcards.revision}/{wildcards.manifest}.json"
    for suite in ASKED_SUITES.values():
        if suite["source"] == "github" and suite_manifest(suite) == wanted:
            return as_json(endpoint=suite.get("endpoint", RAW_FILES), **{key: suite[key] for key in ("repo", "revision", "file", "sha256")})
    raise WorkflowError(f"{wildcards.repo} at {wildcards.revision} is no suite in the config of study {config['study']}.")

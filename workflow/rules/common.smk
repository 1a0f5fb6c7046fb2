"""The resolved config, and the paths and step configs that rules ask for."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import yaml
from snakemake.exceptions import WorkflowError

SCRIPTS = Path(workflow.basedir) / "workflow/scripts"
sys.path.insert(0, str(SCRIPTS))

from hh_align.core.axes import AXES, LIMITS
from hh_align.core.code_hash import code_hash
from hh_align.core.errors import StudyError
from hh_align.config.graph import graph, policy_order
from hh_align.config.resolve import download_folder, resolve
from hh_align.config.lineage import differences
from hh_align.config.subsets import subset_axes
from hh_align.models.folders import JUDGE_FILES, POLICY_FILES

try:
    config.update(resolved := resolve(config, Path(workflow.basedir) / "workflow/schemas/config.schema.yaml"))
except StudyError as error:
    raise WorkflowError(str(error)) from None
for key in set(config) - set(resolved):
    del config[key]

# jobs run the Python that runs Snakemake, activated or not, and the package here, installed or not, whatever lies in the working
# directory; a prefix of our own replaces Snakemake's strict mode
shell.prefix(
    f"set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
    f"export PYTHONPATH={shlex.quote(str(SCRIPTS))}${{{{PYTHONPATH:+:$PYTHONPATH}}}} PYTHONSAFEPATH=1; "
    'launch() {{ if [ "$1" = 1 ]; then python -m "${{@:2}}"; else python -m hh_align.models.devices "$1" '
    'accelerate launch --config_file workflow/accelerate.yaml --num_processes "$1" --module "${{@:2}}"; fi; }}; '
)

STUDY = f"results/{config['study']}"
HUB = "results/hub"
RELEASED = "release" in config
GRAPH = graph(config)
POLICIES = policy_order(config)
ROOT = POLICIES[0]
SNAPSHOTS = config.get("snapshots", {})  # arm -> {of, step}: weights that another policy's training leaves on its way
WITH_WEIGHTS = [policy for policy in POLICIES if policy in config["policies"]]
TRAINED = [policy for policy in WITH_WEIGHTS[1:] if policy not in SNAPSHOTS]
BROUGHT = config.get("responses", {})
DATASETS = config.get("datasets", {})
JUDGES = config["judges"]


def step(**settings):
    """A step's config as one JSON string: the only form that Snakemake compares exactly."""
    return json.dumps(settings, sort_keys=True)


def options(*names):
    """The command line's options for those of these inputs that the study has."""

    def given(wildcards, input):
        files = {name: [input.get(name)] if isinstance(input.get(name), str) else input.get(name) for name in names}
        return " ".join(f"--{name.replace('_', '-')} {shlex.join(found)}" for name, found in files.items() if found)

    return given


def growing(amount):
    """MB or minutes of a step whose need depends on the study: a retry asks for twice as much, the next for three times."""
    return lambda wildcards, attempt: amount * attempt


def one_of(names):
    """A wildcard constraint that matches these names only."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def is_fixed(policy):
    """Whether one file of responses, of no seed of the study, is all that there is of a policy."""
    return policy not in config["policies"] and "{seed}" not in BROUGHT[policy]["path"]


def seeds_of(policy):
    """The root, and what is fixed, is the same for every seed and lives under 0."""
    return [0] if policy == ROOT or is_fixed(policy) else config["seeds"]


def check_seed(policy, seed):
    """Raises WorkflowError for a seed that the study does not have: the artifact would belong to nothing."""
    if int(seed) not in seeds_of(policy):
        raise WorkflowError(f"{policy} has no seed {seed} in study {config['study']}. Allowed: {', '.join(map(str, seeds_of(policy)))}.")


def policy_manifest(policy, seed):
    """Raises WorkflowError as check_seed does, and for a policy without weights."""
    if policy in BROUGHT and policy not in config["policies"]:
        raise WorkflowError(f"{policy} has no weights in study {config['study']}: its responses come from {BROUGHT[policy]['path']}.")
    check_seed(policy, seed)
    return "<results>/models/base/manifest.json" if policy == ROOT else f"<results>/policies/{policy}/seed-{seed}/manifest.json"


def trained_by(trainer):
    return [policy for policy in TRAINED if config["methods"][config["policies"][policy]["method"]]["trainer"] == trainer]


def judges_from(*sources):
    return [name for name, judge in JUDGES.items() if judge["source"] in sources]


def axes_of(judge):
    """The axes that a judge speaks about."""
    return list(AXES) if JUDGES[judge]["axis"] == "both" else [JUDGES[judge]["axis"]]


ONE_GPU = min(1, config["compute"]["gpus"])  # of a job that no processes share
SHARDS = config["compute"]["shards"]
SHARD_OPTION = "--shard {scatteritem}" if SHARDS > 1 else ""


def shard(path):
    """Where one job of a generation or scoring writes, with its place among the others where there are several."""
    if SHARDS == 1:
        return path
    stem, suffix = re.fullmatch(r"(.*?)(\.\w+)?", path).groups()
    return f"{stem.replace('<results>', '<results>/shards')}/{{scatteritem}}{suffix or ''}"


include: "common/storage.smk"
include: "common/targets.smk"
include: "common/data.smk"
include: "common/models.smk"
include: "common/training.smk"
include: "common/evaluation.smk"
include: "common/overrefusal.smk"
include: "common/analysis.smk"
include: "common/report.smk"
include: "common/guards.smk"


check_bucket()

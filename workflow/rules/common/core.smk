"""Where things lie, and what a rule says of its step."""

import copy
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

CHECKOUT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[2]
HOME = Path.cwd() == CHECKOUT  # else the workflow runs from another folder, or as a module of another workflow
SCRIPTS = CHECKOUT / "workflow/scripts"
sys.path.insert(0, str(SCRIPTS))
if "hh_align" in sys.modules and SCRIPTS not in Path(sys.modules["hh_align"].__file__).parents:
    for name in [name for name in sys.modules if name.partition(".")[0] == "hh_align"]:
        del sys.modules[name]  # the profile of another checkout, in the working directory, has read it there

from hh_align.config.check_facts import comparing, stating
from hh_align.config.check_weights import has_weights, template_key
from hh_align.config.graph import JUDGES_MADE_HERE, JUDGES_WITH_WEIGHTS, graph, policy_order, uncompared
from hh_align.config.keys import with_file
from hh_align.config.lineage import asked_otherwise, differences, other_weights
from hh_align.config.resolve import download_folder, resolve
from hh_align.config.selection import given_source, hub_selection, manifest_name, model_selection, named_files
from hh_align.config.subsets import subset_axes
from hh_align.config.suites import asked_suites, raters
from hh_align.core.artifacts import BUILDS
from hh_align.core.axes import AXES, THRESHOLD_KEYS
from hh_align.core.code_hash import code_hash
from hh_align.core.cores import usable_cores
from hh_align.core.errors import StudyError
from hh_align.models.folders import JUDGE_FILES, POLICY_FILES
from hh_align.models.licences import is_licence
from hh_align.training.tracking import TRACKING, require_package

# jobs run the Python that runs Snakemake, activated or not, and the package here, installed or not, whatever lies in the working
# directory; a prefix of our own replaces Snakemake's strict mode. How OpenMP's threads wait follows from what others leave of the cores when the job begins
PREFIX = (
    f"set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
    f"export PYTHONPATH={shlex.quote(str(SCRIPTS))}${{{{PYTHONPATH:+:$PYTHONPATH}}}} PYTHONSAFEPATH=1; "
    'if [ "${{OMP_NUM_THREADS:-1}}" != 1 ] && [ -z "${{GOMP_SPINCOUNT-}}${{OMP_WAIT_POLICY-}}" ]; then '
    "export GOMP_SPINCOUNT=$(python -m hh_align.core.cores); fi; "
    'launch() {{ if [ "$1" = 1 ]; then python -m "${{@:2}}"; else python -m hh_align.models.devices "$1" '
    f'accelerate launch --config_file {shlex.quote(str(CHECKOUT / "workflow/accelerate.yaml"))} --num_processes "$1" --module "${{{{@:2}}}}"; fi; }}}}; '
)

OWN_CONFIG = "" if HOME or not workflow.modifier.is_main_snakefile() or not Path("config/config.yaml").is_file() else "config/config.yaml"
REMEMBERED = os.environ.get("HH_ALIGN_REMEMBER") != "off"  # else a tuning, perhaps beside a run of the study
IN_BUCKET = workflow.storage_settings.default_storage_provider is not None


def read_config(path):
    """A config file as it stands, by libyaml where PyYAML was built with it."""
    return yaml.load(Path(path).read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}


LAUNCHER = read_config(CHECKOUT / "workflow/accelerate.yaml")


def of_workflow(path):
    """A file that belongs to the workflow, as seen from the working directory."""
    return path if HOME else str(CHECKOUT / path)


def config_file(path):
    """A file that the config names: a study's where it lies under results/, else one of this machine, in the working directory or, as the
    defaults are, in the workflow's checkout."""
    if path.startswith("results/"):
        return path
    return local(of_workflow(path) if not Path(path).exists() and (CHECKOUT / path).exists() else path)


def page_files(*names):
    """The templates and styles that a page is made of."""
    return [local(of_workflow(f"workflow/report/{name}")) for name in names]


def page_options(wildcards, resources):
    """Where the pages' templates lie, and the run's values of --config."""
    return f"{template_option(wildcards, None)} {values_option(wildcards, resources)}"


def template_option(wildcards, input):
    """Where the pages' templates lie."""
    return f"--templates {shlex.quote(of_workflow('workflow/report'))}"


def as_json(**settings):
    """A step's config as one JSON string: the only form that Snakemake compares exactly."""
    return json.dumps(settings, sort_keys=True)


def runs(step, config=as_json()):
    """The params of a rule that runs hh_align.<step>. `config` is a string of as_json, or a function of the wildcards that returns one.

    Snakemake gets a function in any case, as it takes braces in a string, here in a config's texts, for wildcards.
    """
    return {
        "script": f"hh_align.{step}",
        "cfg": config if callable(config) else lambda wildcards: config,
        "code": code_hash(f"hh_align.{step}", SCRIPTS),
    }


def options(wildcards, input, output):
    """A step's options: its named inputs and outputs by their names, an output without a name as --output. Inputs without a name, and
    `files`, which a manifest speaks for, are none."""
    named = {path for _, value in output.items() for path in paths(value)}
    unnamed = [path for path in output if path not in named]
    given = {**dict(input.items()), "output": unnamed, **dict(output.items())}
    return " ".join(f"--{name.replace('_', '-')} {shlex.join(paths(value))}" for name, value in given.items() if name != "files" and value)


def paths(value):
    return [str(value)] if isinstance(value, str) else [str(path) for path in value]


def options_of_long_step(wildcards, input, output):
    """As options, with the folder of the step's state, which carries the name of its timing, and its part of the work where that is shared."""
    state = re.fullmatch(r".*/timings/(.+)\.json", str(output.timing))[1] if "timing" in output.keys() else ""
    shard = f" --shard {wildcards.scatteritem}" if "scatteritem" in wildcards.keys() else ""
    return options(wildcards, input, output) + (f" --state {shlex.quote(f'{STUDY}/state/{state}')}" if state else "") + shard


def launcher_settings(wildcards, input):
    """How processes that share a training are started: a change of it may change what they add in which order."""
    return as_json(launcher=LAUNCHER)


def checkpoint_option(wildcards, resources):
    return f"--checkpoint-seconds {resources.checkpoint_seconds}"


def per_attempt(amount):
    """MB or minutes of a step whose need depends on the study: a retry asks for twice as much, the next for three times."""
    return lambda wildcards, attempt: amount * attempt


def one_of(names):
    """A wildcard constraint that matches these names only."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def model_files(*manifests):
    """The files of models, which their manifests (paths, or input functions) speak for.

    On this machine they lie beside them. From a bucket they must be fetched, and still only a change of a manifest counts.
    """
    if not IN_BUCKET:
        return []
    if not any(map(callable, manifests)):
        names = [(path, JUDGE_FILES if "/judges/" in path else POLICY_FILES) for path in manifests]
        return [ancient(path.replace("manifest.json", name)) for path, files in names for name in files]

    def files(wildcards):
        found = [manifest(wildcards) if callable(manifest) else manifest for manifest in manifests]
        return model_files(*(path for value in found for path in paths(value)))

    return files

"""The shipped configs, as Snakemake merges them, and the schema that they are held against."""

import copy
import re

import yaml
from study_folder import REPOSITORY

from hh_align.config.layers import leave_behind

SCHEMA = REPOSITORY / "workflow/schemas/config.schema.yaml"


def merged(base: dict, more: dict) -> dict:
    """`base` with `more` merged into it as Snakemake merges a second config file: dicts deeply, everything else replaced."""
    for key, value in more.items():
        base[key] = merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return base


def load(name: str, *more: dict) -> dict:
    """A shipped config on the default one, and `more` on it, as the workflow merges them; a file that is given behind others says so at its top
    (--configfile config/a.yaml config/b.yaml)."""
    text = (REPOSITORY / f"config/{name}.yaml").read_text()
    command = re.search(r"^#.*--configfile((?: config/\w+\.yaml){2,})$", text, re.MULTILINE)
    paths = ["config/config.yaml", *(command[1].split() if command else [f"config/{name}.yaml"])]
    layers, config = [*(yaml.safe_load((REPOSITORY / path).read_text()) for path in paths), *more], {}
    for layer in layers:
        config = merged(config, copy.deepcopy(layer))
    leave_behind(config, layers, yaml.safe_load(SCHEMA.read_text()))
    return config

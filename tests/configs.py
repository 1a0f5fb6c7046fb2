"""The shipped configs, as Snakemake merges them, and the schema that they are held against."""

import copy
import re
from functools import cache

import yaml
from study_folder import REPOSITORY

from hh_align.config.layers import leave_behind
from hh_align.config.resolve import read_schema

SCHEMA = REPOSITORY / "workflow/schemas/config.schema.yaml"


@cache
def layer(path: str) -> dict:
    """A shipped config file, to read only."""
    return yaml.load((REPOSITORY / path).read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


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
    layers, config = [*map(layer, paths), *more], {}
    for each in layers:
        config = merged(config, copy.deepcopy(each))
    leave_behind(config, layers, read_schema(SCHEMA))
    return config

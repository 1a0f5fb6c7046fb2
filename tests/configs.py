"""The shipped configs, as Snakemake merges them, and the schema that they are held against."""

import re

import yaml
from study_folder import REPOSITORY

SCHEMA = REPOSITORY / "workflow/schemas/config.schema.yaml"


def merged(base: dict, more: dict) -> dict:
    """`base` with `more` merged into it as Snakemake merges a second config file: dicts deeply, everything else replaced."""
    for key, value in more.items():
        base[key] = merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return base


def load(name: str) -> dict:
    """A shipped config on the default one; a file that is given behind others says so at its top (--configfile config/a.yaml config/b.yaml)."""
    text = (REPOSITORY / f"config/{name}.yaml").read_text()
    command = re.search(r"^#.*--configfile((?: config/\w+\.yaml){2,})$", text, re.MULTILINE)
    config = {}
    for path in ["config/config.yaml", *(command[1].split() if command else [f"config/{name}.yaml"])]:
        config = merged(config, yaml.safe_load((REPOSITORY / path).read_text()))
    return config

"""The settings of a verdict on a file of ratings: those of the user, over those that the file brings."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from jsonschema.exceptions import best_match

from hh_align.analysis.ratings import judged_axes
from hh_align.config import resolve
from hh_align.config.check_facts import check_claims
from hh_align.config.check_texts import check_sentences
from hh_align.config.resolve import SCHEMA, Validator, explain, read_schema
from hh_align.core.axes import AXES, THRESHOLD_KEYS
from hh_align.core.errors import StudyError
from hh_align.tools.config_files import unreadable
from hh_align.tools.judge_gate import SAID
from hh_align.tools.rated import KINDS

CONFIG = Path(resolve.__file__).with_name("config.yaml")  # a link to config/config.yaml, so that it is installed with the package
ANALYSIS = ("contrasts", "primary", "all_pairs", "equivalence_margin", "bootstrap", "discordance", "sizes", "text")

NAME = {"type": "string", "minLength": 1}
READING = {
    "score": {"anyOf": [NAME, {"type": "array", "items": NAME, "minItems": 1, "uniqueItems": True}]},
    "only": {"type": "object", "minProperties": 1, "additionalProperties": {"type": ["string", "number"]}},
    "columns": {"type": "object", "additionalProperties": False, "properties": dict.fromkeys(KINDS, NAME)},
    "axes": {"type": "object", "additionalProperties": {"enum": list(AXES)}},
    "files": {"type": "object", "additionalProperties": NAME},
}
"""Keys that say how files are read, with their schemas."""


def read_settings(path: Path) -> dict:
    """The settings, checked against the parts of the config's schema that they share. Raises StudyError with one message."""
    study = read_schema(SCHEMA)
    parts = study["properties"]
    judge_keys = {
        "axis": {"enum": [*AXES, "both"]},
        "harmless_min": {"type": "number"},
        "helpful_above": {"type": "number"},
        "accuracy": SAID,
    }
    schema = {
        "$defs": study["$defs"]
        | {"name": {"type": "string", "minLength": 1}},  # a study's name folders, those in a file of ratings nothing
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "records": NAME,
            **READING,
            "root": {"type": "string"},
            "parents": {"type": "object", "additionalProperties": {"type": "string"}},
            "judges": {
                "type": "object",
                "additionalProperties": {"type": "object", "additionalProperties": False, "properties": judge_keys},
            },
            "claims": parts["claims"],
            **{name: parts["analysis"]["properties"][name] for name in ANALYSIS},
        },
    }
    try:
        settings = yaml.safe_load(path.read_bytes())
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # PyYAML lets other errors through: a date, a number, a depth that is none
        raise StudyError(unreadable(path, error)) from None
    if isinstance(settings, dict):  # YAML reads some names as numbers
        named = {key: settings[key] for key in ("parents", "judges", "files") if isinstance(settings.get(key), dict)}
        settings |= {key: {str(name): entry for name, entry in entries.items()} for key, entries in named.items()}
    if error := best_match(Validator(schema).iter_errors(settings)):
        raise StudyError(f"{path}: {explain(error, settings, 'the file')}")
    claims = settings.get("claims", [])
    check_claims(claims, f"{path}: claims")
    for claim in claims:
        claim.setdefault("source", "")
    check_sentences(claims, f"{path}: claims")
    return settings


def defaults() -> dict:
    """The study's own settings of the analysis, where a verdict's settings name none."""
    return yaml.safe_load(CONFIG.read_bytes())


def settings_in(path: Path) -> dict:
    """Root, parents and thresholds of the study that made a table of ratings, from its provenance; nothing where another hand made the file."""
    stored = (pq.read_schema(path).metadata or {}).get(b"provenance") if path.suffix == ".parquet" else None
    try:
        study = json.loads(stored)["config"] if stored else {}
        return settings_of(study) if {"order", "policies", "judges"} <= set(study) else {}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):  # another tool's word of the same name
        return {}


def settings_of(study: dict) -> dict:
    """Root, parents and thresholds in the config of an analysis."""
    judges = {}
    for judge, thresholds in study["judges"].items():
        axes = judged_axes(thresholds)
        judges[judge] = {"axis": "both" if axes == AXES else axes[0]} | {
            THRESHOLD_KEYS[axis]: thresholds[THRESHOLD_KEYS[axis]] for axis in axes
        }
    parents = {policy: entry["parent"] for policy, entry in study["policies"].items() if entry["parent"]}
    return {"root": study["order"][0], "parents": parents, "judges": judges}


def joined(own: dict, settings: dict) -> dict:
    """The settings, over those that the file brings."""
    both = own | settings
    for key in ("parents", "judges"):
        both[key] = own.get(key, {}) | settings.get(key, {})
    names = set(own.get("judges", {})) & set(settings.get("judges", {}))
    both["judges"] |= {name: own["judges"][name] | settings["judges"][name] for name in names}
    return both

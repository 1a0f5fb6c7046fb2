"""The words of --config: those of a run joined with those of its repetition, key by key."""

import argparse
import json
from collections.abc import Sequence
from contextlib import suppress

import yaml

from hh_align.tools.runs import differing, listed


def told_apart(options: Sequence[str]) -> tuple[list[str], list[str]]:
    """(the words of every --config of a command line of Snakemake's, what else stands there)."""
    end = list(options).index("--") if "--" in options else len(options)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", "-C", nargs="*", action="extend", default=[])
    given, others = parser.parse_known_args(options[:end])
    return given.config, [*others, *options[end:]]


def joined(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """The words of both, those of `now` last: Snakemake refines mappings by later ones of their key. A word that a later one replaces is left
    out: the same, or one of a key that is set to no mapping."""
    whole = {key(word) for word in now if not isinstance(value(word), dict)}
    return [*(word for word in before if word not in now and key(word) not in whole), *now]


def key(word: str) -> str:
    return word.partition("=")[0]


def value(word: str) -> object:
    """What a word sets its key to, as YAML reads it; a date or null in it is text, as Snakemake takes all; what YAML cannot read is text as well."""
    text = word.partition("=")[2]
    with suppress(yaml.YAMLError, ValueError, TypeError, RecursionError):
        read = yaml.safe_load(text)
        if "null" not in json.dumps(read):
            return read
    with suppress(yaml.YAMLError, RecursionError):
        return yaml.BaseLoader(text).get_single_data() or text
    return text


def values(words: Sequence[str]) -> dict[str, object]:
    """The mapping that the words make together."""
    made: dict[str, object] = {}
    for word in words:
        made[key(word)] = refined(made.get(key(word)), value(word))
    return made


def refined(before: object, now: object) -> object:
    """A mapping with the keys of both, those of `now` first; anything else is `now`."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return now
    return before | {name: refined(before.get(name), entry) for name, entry in now.items()}


def changes(before: Sequence[str], now: Sequence[str]) -> str:
    """What --config says otherwise than that of the last run, and how many words of that stay."""
    changed = differing(values(before), values(joined(before, now)))
    kept = f"the last run's --config ({' '.join(before)}) stays otherwise" if before else "the last run had no --config"
    return f"{listed(changed)}; {kept}" if changed else "nothing, the last run's said the same"

"""Suites of prompts: what the table of known ones says of an entry, and what one must hold."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

from hh_align.config.graph import JUDGES_WITH_WEIGHTS, require_known
from hh_align.core.axes import AXES
from hh_align.core.errors import StudyError

TABLE = Path(__file__).with_name("suites.yaml")  # a link to resources, so that it is installed with the package
WHERE_IT_LIES = ("source", "path", "repo", "revision", "file", "sha256", "licence")
OF_SUITES = ("kind", "axis")
NEEDED = {"local": ("path",), "hub": ("repo", "revision", "file"), "github": ("repo", "revision", "file", "sha256")}
FILES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
ABLE = (*JUDGES_WITH_WEIGHTS, "endpoint")
"""Sources of the judges that can rate replies which nobody has rated yet."""


@cache
def known_suites() -> dict[str, dict]:
    """The table of known suites: name -> its entry."""
    return yaml.safe_load(TABLE.read_text(encoding="utf-8"))


def asked_suites(config: dict) -> Iterator[tuple[str, str, dict]]:
    """(key, name, entry) of every suite: those that prompts of an axis come from, named as the axis, and those beside the axes."""
    for axis in AXES:
        how = config["prompts"][axis]
        if "suite" in how:
            yield f"prompts.{axis}.suite", axis, how["suite"]
    for name, entry in config.get("suites", {}).items():
        yield f"suites.{name}", name, entry


def write_suites(config: dict) -> None:
    """Fill in, in `config`, what the table says of each suite: of the entry that `name` names, or else of the suite's own name.

    What the config says wins; where it names another file, nothing of where the prompts lie comes from the table. Entries of another shape are left
    to the schema. Raises StudyError for a `name` that the table lacks.
    """
    prompts, suites = config.get("prompts"), config.get("suites")
    for axis in AXES:
        how = prompts.get(axis) if isinstance(prompts, dict) else None
        if isinstance(how, dict) and isinstance(how.get("suite"), dict):
            how["suite"] = _filled(f"prompts.{axis}.suite", "", how["suite"], OF_SUITES)
    for name, entry in suites.items() if isinstance(suites, dict) else ():
        if isinstance(entry, dict):
            suites[name] = _filled(f"suites.{name}", name, entry, ())


def _filled(key: str, own_name: str, entry: dict, without: tuple[str, ...]) -> dict:
    name = entry.get("name", own_name)
    if "name" in entry:
        require_known(f"{key}.name", str(name), known_suites())
    known = known_suites().get(name, {})
    lies_elsewhere = any(part in entry and entry[part] != known.get(part) for part in ("source", "path", "repo", "file"))
    left = {part for part in known if part in without or (lies_elsewhere and part in WHERE_IT_LIES)}
    return {part: value for part, value in {**known, **entry}.items() if part != "name" and part not in left - set(entry)}


def check_suites(config: dict) -> None:
    """Raise StudyError where a suite does not say where its prompts lie, bears the name of an axis, or can be answered or rated by nobody."""
    for key, name, entry in asked_suites(config):
        if missing := [part for part in NEEDED[entry["source"]] if part not in entry]:
            known = ", ".join(known_suites())
            raise StudyError(f"config: {key} lacks the key {', '.join(missing)}, or a name that resources/suites.yaml knows: {known}.")
        for part in ("path", "repo", "revision", "file", "sha256"):
            if part in entry and part not in (*NEEDED[entry["source"]], "sha256"):
                raise StudyError(f"config: {key}.{part} has no meaning with source: {entry['source']}.")
        part = "path" if "path" in entry else "file"
        if not entry[part].lower().removesuffix(".gz").endswith(FILES):
            raise StudyError(
                f"config: {key}.{part} is {entry[part]}, no known kind of file. Allowed: {', '.join(FILES)}, and .gz behind it."
            )
        if "release" in config:
            raise StudyError(f"config: {key} has policies answer prompts, but a release has no weights. Take it out.")
        if key.startswith("suites."):
            _check_beside(key, name, entry, config["judges"])


def _check_beside(key: str, name: str, entry: dict, judges: dict) -> None:
    if name in AXES:
        raise StudyError(f"config: {key} bears the name of an axis. Give it another; prompts.{name}.suite has an axis ask a suite.")
    if entry["kind"] == "reward" and not raters(entry, judges):
        raise StudyError(
            f"config: {key}.kind is reward, but no judge can rate replies on {entry['axis']}: that takes one with weights or an endpoint."
        )


def raters(entry: dict, judges: dict) -> list[str]:
    """The judges that rate the replies to a suite: those of its axis that can read what nobody has rated yet."""
    return sorted(name for name, judge in judges.items() if judge["source"] in ABLE and judge["axis"] in (entry["axis"], "both"))

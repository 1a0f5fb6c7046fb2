"""Checks of what a config says in words: names that would be taken for files, marks in paths, sentences that stand twice."""

import re
from collections import Counter
from collections.abc import Iterator

from hh_align.config.check_facts import of_study
from hh_align.core.errors import StudyError

NAMED = ("datasets", "methods", "policies", "responses", "judges", "pairwise", "suites")
"""Sections whose entries' names become folders."""
FILE_ENDING = re.compile(r"\.(parquet|json|jsonl|csv|tsv|svg|html|txt|log|lock|tmp|damaged)\Z")
MARKS = {"responses": ("seed",), "judges": ("policy", "seed", "axis"), "pairwise": ("policy", "seed", "axis")}
"""What may stand in braces in a section's paths."""
PATHS = ("path", "folder", "adapter", "phrases", "choices", "harmlessness", "helpfulness")


def check_texts(config: dict) -> None:
    """Raise StudyError as the checks of this module do."""
    check_endings(config)
    check_marks(config)
    check_sentences(of_study(config.get("claims", []), config["study"]), "config: claims")


def check_endings(config: dict) -> None:
    """Raise StudyError where an entry is named like a file: its folder would lie where a file of the study does; or like the folder that
    holds all studies, by which a file's study is known."""
    for section in NAMED:
        if "results" in config.get(section, {}):
            raise StudyError(f"config: {section}.results: that is the name of the folder that holds all studies. Call it otherwise.")
        if wrong := [name for name in config.get(section, {}) if FILE_ENDING.search(name)]:
            raise StudyError(
                f"config: {section}.{wrong[0]}: a name that ends with {FILE_ENDING.search(wrong[0])[0]} is a file's. Call it "
                f"{FILE_ENDING.sub('', wrong[0])}."
            )


def check_marks(config: dict) -> None:
    """Raise StudyError where braces in a path hold what means nothing there: Snakemake would look for a wildcard of that name."""
    for section, entries in config.items():
        for key, path in paths_in(entries, section):
            allowed = MARKS.get(section, ())
            if unknown := sorted(set(re.findall(r"[{}]", re.sub(r"\{(" + "|".join(allowed or "-") + r")\}", "", path)))):
                meant = f"only {' and '.join(f'{{{mark}}}' for mark in allowed)} may" if allowed else "none may"
                raise StudyError(
                    f"config: {key} is {path}: {' and '.join(unknown)} in it, but {meant} stand in braces there. Rename the file or folder."
                )


def paths_in(value: object, key: str) -> Iterator[tuple[str, str]]:
    """(key, path) of the paths within a section."""
    for name, entry in value.items() if isinstance(value, dict) else ():
        if isinstance(entry, str) and name in PATHS:
            yield f"{key}.{name}", entry
        yield from paths_in(entry, f"{key}.{name}")


def check_sentences(claims: list[dict], where: str) -> None:
    """Raise StudyError where two claims have one sentence: their parts could not be told apart."""
    if twice := [sentence for sentence, count in Counter(claim["claim"] for claim in claims).items() if count > 1]:
        raise StudyError(f"{where}: {twice[0]!r} stands twice. Give all its parts under one, or another sentence.")

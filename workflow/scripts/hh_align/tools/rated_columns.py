"""What the columns of a file of ratings are called elsewhere, and what is said where one is missing."""

import json
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

import pandas as pd
import yaml

from hh_align.analysis.verdict import listed
from hh_align.core.errors import StudyError

REQUIRED = ("policy", "axis", "reward")
PROMPT, TEXT = "prompt_id", "prompt"
"""Which prompt, where the file does not have its text."""
ALSO = {
    "policy": ("model", "model_name", "system"),
    "axis": ("category", "dimension"),
    "prompt_id": ("id", "question_id", "prompt_number"),
    "prompt": ("question", "instruction"),
    "reward": ("score", "rating"),
    "judge": ("rater", "annotator", "evaluator", "grader"),
    "seed": ("random_seed", "run"),
}
"""Column -> its names elsewhere."""
NEAR = 0.9
"""How alike a misspelt name is, from 0 to 1."""


def require_columns(frame: pd.DataFrame, path: Path) -> None:
    """Raise StudyError where a column is missing that a verdict cannot do without, naming those that are meant where that is sure."""
    needed = [*REQUIRED[:2], *([PROMPT] if TEXT not in frame else []), REQUIRED[2]]
    missing = [name for name in needed if name not in frame]
    if not missing:
        return
    others = [name for name in frame if name not in needed]
    there = meant(missing, others)
    if PROMPT in missing and PROMPT not in there and (text := meant([TEXT], others)):  # the prompts themselves do as well
        missing, there = [TEXT if name == PROMPT else name for name in missing], there | text
    one = len(missing) == 1
    them, names = ("it", "column") if one else ("them", "columns")
    form = ", ".join(f"{name}: {in_yaml(there[name]) if name in there else '…'}" for name in missing)
    raise StudyError(
        f"{path}: {names} {listed([titled(name) for name in missing])} {'is' if one else 'are'} missing; it has {', '.join(map(str, frame)) or 'none'}. "
        f"Needed: {', '.join(map(titled, (*REQUIRED[:2], PROMPT, REQUIRED[2])))}. {'Rename' if len(there) == len(missing) else 'Add or rename'} {them}, "
        f"or say columns: {{{form}}} in the settings."
    )


def titled(name: str) -> str:
    return f"{name} (or prompt)" if name == PROMPT else name


def meant(missing: Iterable[str], there: Sequence[str]) -> dict[str, str]:
    """Missing column -> the one of those that are there which is surely meant: no other is, and it is meant for no other."""
    alike = {name: [column for column in there if is_like(name, column)] for name in missing}
    taken = [column for columns in alike.values() for column in columns]
    return {name: columns[0] for name, columns in alike.items() if len(columns) == 1 and taken.count(columns[0]) == 1}


def in_yaml(column: object) -> str:
    """A column's name as YAML reads it again."""
    text = str(column)
    return text if re.fullmatch(r"[A-Za-z_][\w.-]*", text) and yaml.safe_load(text) == text else json.dumps(text, ensure_ascii=False)


def is_like(name: str, column: object) -> bool:
    """Whether a column has this name or one of its names elsewhere, in other letters or slightly misspelt."""
    word = re.sub(r"[\W_]+", "_", str(column)).strip("_").lower()
    return bool(get_close_matches(word, (name, *ALSO[name]), n=1, cutoff=NEAR))

"""The rules of the workflow as their files say them."""

import re
from functools import cache
from typing import NamedTuple

from study_folder import REPOSITORY

RULES = sorted((REPOSITORY / "workflow/rules").glob("*.smk"))
BASES = {"step", "step_on_device", "launched_step", "import_model"}  # never run themselves


class Rule(NamedTuple):
    base: str
    file: str
    text: str


@cache
def derived_rules() -> dict[str, Rule]:
    """Name -> each `use rule base as name with` of the rule files."""
    rules = {}
    for path in RULES:
        for match in re.finditer(r"^( *)use rule (\w+) as (\w+) with:\n((?:\1 +.*\n|\n(?=\1 +))+)", path.read_text() + "\n", re.MULTILINE):
            rules[match[3]] = Rule(match[2], path.stem, match[0])
    return rules


def root_of(name: str) -> str:
    """The base rule that a rule derives from."""
    rules = derived_rules()
    while name in rules and rules[name].base in rules:
        name = rules[name].base
    return rules[name].base


def runtime_of(name: str) -> int:
    """Minutes that a rule asks for at its first attempt, its own or those of the rule that it derives from."""
    rules = derived_rules()
    while name in rules:
        if minutes := re.search(r"runtime=(?:per_attempt\()?(\d+)", rules[name].text):
            return int(minutes[1])
        name = rules[name].base
    base = re.search(rf"^rule {name}:\n((?: +.*\n|\n(?= ))+)", (REPOSITORY / "workflow/rules/core.smk").read_text(), re.MULTILINE)
    return int(re.search(r"runtime=per_attempt\((\d+)\)", base[1])[1])


def steps() -> list[str]:
    return [name for name in derived_rules() if name not in BASES]

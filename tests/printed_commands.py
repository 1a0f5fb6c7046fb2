"""The commands that the project prints: on README, docs and cards, at the head of configs, in messages of the code, and on a report's page."""

import ast
import html
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from study_folder import REPOSITORY

PROGRAMS = r"(?:snakemake|make|hh-align|python|pip|pytest)"
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "config/README.md", "workflow/report/workflow.rst")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
IN_A_MESSAGE = r"make (?:[a-z][\w-]*)(?: [A-Z]+=(?:'[^']*'|[^\s,;:)`'\"]+))*|hh-align (?!\()[a-z]+(?: [\w/.…-]+)*|snakemake (?:-[\w-]+)[^`,;.()\n]*|python -m [\w.]+"


def in_pages() -> dict[str, list[str]]:
    """Command -> the pages that show it, in a block of sh or bash, or in backticks."""
    found: dict[str, list[str]] = {}
    for page in PAGES:
        for command in in_markdown(page.read_text()):
            found.setdefault(command, []).append(page.name)
    return found


def in_markdown(text: str) -> Iterator[str]:
    """Each line of the blocks without its remark, and what stands in backticks and begins with a program's name."""
    for block in re.findall(r"^```(?:sh|bash)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        lines = re.sub(r"\\\n\s*", " ", block).splitlines()
        yield from (command for line in lines if (command := re.sub(r"(^|\s+)# .*$", "", line).strip()))
    for words in re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)):
        if re.match(rf"{PROGRAMS} \S", words):
            yield " ".join(words.split())


def in_configs() -> dict[str, list[str]]:
    """The same of the remarks in configs and profiles."""
    found: dict[str, list[str]] = {}
    for path in sorted([*(REPOSITORY / "config").glob("*.yaml"), *(REPOSITORY / "profiles").glob("*/*.yaml")]):
        for remark in re.findall(r"#(.*)$", path.read_text(), re.MULTILINE):
            for command in re.findall(r"snakemake -.*?(?=   |$)", remark):
                found.setdefault(command.strip(), []).append(path.name)
    return found


def in_code() -> dict[str, list[str]]:
    """Command -> the files of the code whose texts hold it; a value that is put in is `…`."""
    code = [*sorted((REPOSITORY / "workflow/scripts").rglob("*.py")), *sorted((REPOSITORY / "workflow").rglob("*.smk"))]
    found: dict[str, list[str]] = {}
    for path in code:
        texts = templates(path.read_text()) if path.suffix == ".py" else [path.read_text()]
        for command in (match.strip() for text in texts for match in re.findall(IN_A_MESSAGE, text)):
            found.setdefault(command, []).append(path.name)
    return found


def templates(source: str) -> Iterator[str]:
    """The texts of Python code, `…` in the place of every value."""
    inside: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def in_page(page: Path) -> list[str]:
    """Each command of a page of HTML."""
    blocks = re.findall(r"<(?:code|pre)[^>]*>([^<]*)</(?:code|pre)>", page.read_text())
    lines = [html.unescape(line).strip() for block in blocks for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if re.match(rf"{PROGRAMS} \S", line)))


def in_cards(folder: Path) -> list[str]:
    """Each command of a study's cards."""
    return [command for card in sorted(folder.rglob("README.md")) for command in in_markdown(card.read_text())]


def ask_for_all(commands: list[str]) -> tuple[list[str], int]:
    """(the words of one command that asks for all that these commands of Snakemake ask for, their number), as --cores all TARGETS --configfile ….

    What forces steps, or has no config of the study's (the paper's), is left out. The commands must have the same options.
    """
    words = [shlex.split(command)[1:] for command in commands if " --configfile " in command and "--forcerun" not in command]
    options = {tuple(line[line.index("--configfile") :]) for line in words}
    assert len(options) == 1 and all(line[:2] == ["--cores", "all"] for line in words), options
    targets = {target for line in words for target in line[2 : line.index("--configfile")]}
    return ["--cores", "all", *sorted(targets), *options.pop()], len(words)

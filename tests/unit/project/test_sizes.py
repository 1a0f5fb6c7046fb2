"""Nothing is longer than a reader holds in mind: a function has at most 60 lines and 7 parameters, a file of code at most 300 lines."""

import ast
import re
import textwrap

import pytest
from study_folder import REPOSITORY

FILES = [REPOSITORY / "Snakefile", *(path for folder in ("workflow", "tests", "docs") for path in (REPOSITORY / folder).rglob("*"))]
CODE = sorted(path for path in FILES if path.suffix in (".py", ".smk", ".js") or path.name == "Snakefile")


def named(path):
    return path.relative_to(REPOSITORY).as_posix()


def python_functions(source):
    """(name, lines, parameters) of every function, methods and inner functions too; self and cls are not counted."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            parameters = [each.arg for each in ast.iter_child_nodes(node.args) if isinstance(each, ast.arg)]
            yield node.name, node.end_lineno - node.lineno + 1, len([name for name in parameters if name not in ("self", "cls")])


def functions(path):
    """(name, lines, parameters) of every function of a file; those of a rule file and of a page end where their indentation does."""
    text = path.read_text()
    if path.suffix == ".py":
        yield from python_functions(text)
    elif path.suffix == ".js":
        for function in re.finditer(r"^( *)(?:\S.*)?(?:\bfunction\b.*|=>) \{\n(?:(?:\1 .*)?\n)*", text, re.MULTILINE):
            header, *body = function[0].rstrip().split("\n")
            yield header, len(body) + 2, len(re.findall(r"\w+,|\w+\)", header))
    else:
        for function in re.finditer(r"^( *)def .*\n(?:(?:\1[ )].*)?\n)*", text, re.MULTILINE):
            yield from python_functions(textwrap.dedent(function[0]))


@pytest.mark.parametrize("path", CODE, ids=named)
def test_a_file_and_its_functions_are_short(path):
    length, every = len(path.read_text().splitlines()), list(functions(path))
    assert length <= 300
    assert [name for name, lines, _ in every if lines > 60] == []
    assert [name for name, _, count in every if count > 7] == []


@pytest.mark.parametrize("suffix", [".smk", ".js"])
def test_functions_of_rule_files_and_pages_are_seen(suffix):
    every = [function for path in CODE if path.suffix == suffix for function in functions(path)]
    assert len(every) > 10 and max(lines for _, lines, _ in every) > 8 and max(count for *_, count in every) > 1

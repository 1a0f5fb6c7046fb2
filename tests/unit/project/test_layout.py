"""The house: a wing per stage, and imports that point one way."""

import ast
import re
from collections import defaultdict
from functools import cache

import pytest
from study_folder import REPOSITORY

SCRIPTS = REPOSITORY / "workflow/scripts"
ARROWS = {  # wing -> the wings that it may import, in the order of the data
    "core": set(),
    "config": {"core"},
    "data": {"core"},
    "models": {"core", "data"},
    "training": {"core", "data", "models"},
    "evaluation": {"core", "data", "models"},
    "analysis": {"core", "data"},
    "report": {"core", "analysis"},
    "tools": {"core", "config", "data", "analysis", "report"},
}
WINGS = list(ARROWS)
STAGES = WINGS[2:]
MODULES = {".".join(path.relative_to(SCRIPTS).with_suffix("").parts): path for path in SCRIPTS.rglob("*.py") if path.name != "__init__.py"}


def wing_of(module):
    return module.split(".")[1]


@cache
def parsed(path):
    return ast.parse(path.read_text())


@cache
def imports():
    """Module -> the modules of the package that it imports, at its top or inside a function."""
    imported = defaultdict(set)
    for module, path in MODULES.items():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{module}: a relative import hides the wing"
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            imported[module] |= {name for name in names if name in MODULES}
    return imported


# --- wings


def test_the_arrows_point_to_wings_before():
    assert {path.name for path in (SCRIPTS / "hh_align").iterdir() if path.is_dir() and path.name != "__pycache__"} == set(WINGS)
    for wing, others in ARROWS.items():
        assert others <= set(WINGS[: WINGS.index(wing)])


def test_a_wing_imports_only_what_its_arrows_allow():
    arrows = {(module, other) for module, others in imports().items() for other in others if wing_of(module) != wing_of(other)}
    assert len(arrows) > 100
    assert sorted(f"{module} -> {other}" for module, other in arrows if wing_of(other) not in ARROWS[wing_of(module)]) == []


def test_no_module_imports_itself_by_way_of_others():
    finished, on_the_way = set(), []

    def visit(module):
        assert module not in on_the_way, " -> ".join([*on_the_way, module])
        if module not in finished:
            on_the_way.append(module)
            for other in sorted(imports()[module]):
                visit(other)
            finished.add(on_the_way.pop())

    for module in sorted(MODULES):
        visit(module)
    assert finished == set(MODULES)


# --- a stage's name


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_found_by_its_name(stage):
    # code, tests and docs: whoever knows one of them finds the others
    assert any((SCRIPTS / "hh_align" / stage).glob("*.py"))
    assert any((REPOSITORY / "tests/unit" / stage).glob("test_*.py"))
    headings = re.findall(r"^#+ (.*)$", (REPOSITORY / "docs/architecture.md").read_text(), re.MULTILINE)
    assert stage in headings or (REPOSITORY / f"docs/{stage}.md").is_file()


def test_every_folder_of_tests_is_a_wings():
    folders = {path.name for path in (REPOSITORY / "tests/unit").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders - set(WINGS) == {"project"}

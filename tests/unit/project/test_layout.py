"""The house: a wing per stage, imports that point one way, a rule per step."""

import ast
import re
from collections import defaultdict
from functools import cache

import pytest
from study_folder import REPOSITORY

SCRIPTS = REPOSITORY / "workflow/scripts"
RULES = REPOSITORY / "workflow/rules"
ARROWS = {  # wing -> the wings that it may import, in the order of the data
    "core": set(),
    "config": {"core"},
    "data": {"core"},
    "models": {"core", "data"},
    "training": {"core", "data", "models"},
    "evaluation": {"core", "data", "models"},
    "analysis": {"core", "data"},
    "report": {"core", "analysis"},
    "tools": {"core", "config", "data", "models", "analysis", "report"},
}
DOORS = {"cli": {"core", "tools"}, "cli_runs": {"core", "tools"}}  # modules before the wings: the command
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
    allowed = ARROWS | {door: others | set(DOORS) for door, others in DOORS.items()}
    assert sorted(f"{module} -> {other}" for module, other in arrows if wing_of(other) not in allowed[wing_of(module)]) == []


def test_every_module_lies_in_a_wing_or_is_a_door():
    assert {path.stem for path in (SCRIPTS / "hh_align").glob("*.py")} == {"__init__", *DOORS}


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
    # rules, code, tests and docs: whoever knows one of them finds the others
    assert any((SCRIPTS / "hh_align" / stage).glob("*.py"))
    assert any((REPOSITORY / "tests/unit" / stage).glob("test_*.py"))
    headings = re.findall(r"^#+ (.*)$", (REPOSITORY / "docs/architecture.md").read_text(), re.MULTILINE)
    assert stage in headings or (REPOSITORY / f"docs/{stage}.md").is_file()
    assert (RULES / f"{stage}.smk").is_file()


def test_every_rule_file_and_every_folder_of_tests_is_a_stages():
    files = [*RULES.glob("*.smk"), *RULES.glob("common/*.smk")]
    assert [path.name for path in files if path.stem.split("_")[0] not in WINGS] == []
    folders = {path.name for path in (REPOSITORY / "tests/unit").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders - set(WINGS) == {"project"}


@pytest.mark.parametrize("path", sorted(RULES.glob("*.smk")), ids=lambda path: path.name)
def test_a_rule_file_opens_with_what_it_needs_and_makes(path):
    head = re.match(r"(?:#.*\n)*", path.read_text())[0]
    if path.stem == "core":
        assert head.startswith("# Base rules")
    else:
        assert "# needs: " in head and "# makes: " in head


# --- a rule per step


def rules():
    """Rule -> (its file, the rule that it is derived from or None, the `wing.step` that it runs or None), as the rule files say."""
    known = {}
    for path in sorted(RULES.glob("*.smk")):
        statements = re.split(r"^ *(?:rule (\w+):|use rule (\w+) as (\w+) with:)", path.read_text(), flags=re.MULTILINE)
        for name, base, derived, body in zip(*(statements[part::4] for part in (1, 2, 3, 4)), strict=True):
            step = re.search(r'(?:hh_align\.|runs\(\s*")(\w+\.\w+)', body)
            known[name or derived] = path, base, step and step[1]
    return known


def step_of(rule, known):
    """The step that a rule runs, its own or that of the rule from which it is derived."""
    _, base, step = known[rule]
    return step or (step_of(base, known) if base in known else None)


def steps():
    """`wing.step` of every module that is run: one with a main."""
    for module, path in MODULES.items():
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in parsed(path).body):
            yield module.removeprefix("hh_align.")


def test_a_step_is_named_as_its_rule_and_stands_with_its_wings_rules():
    # from a rule's name to its code and back without a search
    known = rules()
    named = {name: step_of(name, known) for name in known}
    in_stages = [step for step in steps() if step not in DOORS and not step.startswith("tools.")]
    assert in_stages and [step for step in in_stages if named.get(step.split(".")[1]) != step] == []


def test_a_rule_that_runs_anothers_step_is_derived_from_it():
    known = rules()
    for name, (path, base, _) in known.items():
        if step := step_of(name, known):
            wing, module = step.split(".")
            assert path.stem.split("_")[0] == wing, f"{name} runs {step}, but stands in {path.name}"
            while name != module:
                name, base = base, known[base][1] if base in known else None
                assert name, f"a rule in {path.name} runs {step}, but is not derived from the rule {module}"


def test_a_tool_that_no_rule_runs_is_called_by_the_command():
    named = {step_of(name, rules()) for name in rules()}
    called = {other for door in DOORS for other in imports()[f"hh_align.{door}"]}
    tools = [step for step in steps() if step.startswith("tools.")]
    assert tools and [step for step in tools if step not in named and f"hh_align.{step}" not in called] == []

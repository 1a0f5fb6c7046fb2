"""The page about the architecture: every function and table that it names is there, and its picture is that of the imports."""

import ast
import re
import sys
from types import ModuleType

import pyarrow.parquet as pq
import pytest
from command_line import call
from rated import write_ratings
from study_folder import REPOSITORY, StudyFolder

sys.path.insert(0, str(REPOSITORY / "docs"))
import wings

PAGE = (REPOSITORY / "docs/architecture.md").read_text()
SCRIPTS = REPOSITORY / "workflow/scripts"
FOLDERS = "|".join(("core", *wings.WINGS))
NAMES = sorted(set(re.findall(rf"`((?:{FOLDERS})(?:\.\w+)+)`", PAGE)))
TABLES = sorted(set(re.findall(r"`([\w<>-]+/[^`]*\.parquet)`", PAGE)))


def defined(tree: ast.Module | ast.ClassDef) -> dict[str, ast.AST]:
    """Name -> what defines it, of the functions, classes and constants of a module, or of a class."""
    names = {}
    for node in tree.body:
        for target in node.targets if isinstance(node, ast.Assign) else [node]:
            names[getattr(target, "id", getattr(target, "name", None))] = node
    return names


def stands_in(name: str) -> bool:
    """Whether wing.module, wing.module.function or wing.module.class.method is in the package."""
    wing, module, *parts = name.split(".")
    path = SCRIPTS / "hh_align" / wing / f"{module}.py"
    node = ast.parse(path.read_text()) if path.is_file() else None
    for part in parts:
        node = defined(node).get(part) if node else None
    return node is not None


def test_the_page_names_functions_and_tables():
    assert len(NAMES) > 50 and len(TABLES) > 6


@pytest.mark.parametrize("name", NAMES)
def test_every_function_on_the_page_is_in_the_package(name):
    assert stands_in(name)


@pytest.mark.parametrize("table", TABLES)
def test_every_table_on_the_page_is_an_artifact(table):
    headings = (REPOSITORY / "docs/artifacts.md").read_text().replace("&lt;", "<").replace("&gt;", ">")
    assert f"\n### {table}\n" in headings


def test_the_picture_is_drawn_from_the_imports():
    assert wings.PICTURE.read_text() == wings.draw(wings.imports()), "python docs/wings.py draws it anew"


@pytest.mark.parametrize("wing", ["core", *wings.WINGS])
def test_the_page_says_what_a_wing_imports(wing):
    section = re.split(r"^#+ ", PAGE.split(f"\n### {wing}\n")[1], flags=re.MULTILINE)[0]
    said = re.search(r"It\s+imports\s+(.*?)\.\s*$", section, re.DOTALL)[1]
    assert set(re.findall(r"`(\w+)`", said)) == {other for name, other in wings.imports() if name == wing}


def test_the_wings_stand_in_the_order_of_the_data():
    headings = re.findall(r"^### (\w+)$", PAGE.split("\n## A row's way")[0], re.MULTILINE)
    assert headings == ["core", *wings.WINGS]
    assert set(headings) == {path.name for path in wings.PACKAGE.iterdir() if (path / "__init__.py").is_file()}


def block(title: str) -> str:
    """The page's block of code with this title."""
    return re.search(rf'^```\w+ title="{re.escape(title)}"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)[1]


STEP, RULES = "workflow/scripts/hh_align/analysis/count_words.py", "workflow/rules/analysis.smk"


def test_the_new_step_of_the_page_runs(tmp_path):
    step = ModuleType("count_words")
    step.__file__ = STEP
    exec(compile(block(STEP), STEP, "exec"), step.__dict__)
    rewards = {("one", policy, 0): {("harmlessness", "a"): 1.0, ("helpfulness", "b"): 2.0} for policy in ("base", "sft")}
    ratings = write_ratings(tmp_path / "ratings.parquet", rewards, {"one": {"harmless_min": 0.0, "helpful_above": 0.0}})
    assert call(step, config={}, ratings=ratings, output=tmp_path / "words.parquet") == (0, "")
    rows = pq.read_table(tmp_path / "words.parquet").to_pylist()
    assert [(row["policy"], row["axis"]) for row in rows] == [(p, a) for p in ("base", "sft") for a in ("harmlessness", "helpfulness")]


def test_the_new_rule_of_the_page_is_planned(tmp_path):
    folder = StudyFolder(tmp_path, "--configfile", "config/demo.yaml")
    (tmp_path / STEP).write_text(block(STEP))
    with open(tmp_path / RULES, "a") as rules:
        rules.write("\n\n" + block(RULES))
    assert "count_words" in folder.planned("results/demo/analysis/words.parquet")

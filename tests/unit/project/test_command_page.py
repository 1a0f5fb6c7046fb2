"""docs/command-line.md says what the command says of itself, and what make calls is the command."""

import re
import subprocess

import pytest
from command_line import command
from command_page import MAKE, PAGE, app, page
from study_folder import REPOSITORY


def test_the_page_is_what_the_command_says():
    assert PAGE.read_text(encoding="utf-8") == page(), "run tests/command_page.py"


@pytest.mark.parametrize("name", app.commands)
def test_every_command_says_what_it_reads_and_writes_and_an_example(name):
    status, said = command(name, "--help")
    assert status == 0
    text = " ".join(said.split())
    assert re.search(r"\bReads ", text) and re.search(r"(Writes|Reads and writes) ", text) and f"Example: hh-align {name}" in text
    assert f"hh-align {name}" in (REPOSITORY / "docs/command-line.md").read_text()


@pytest.mark.parametrize(("name", "words"), MAKE.items())
def test_make_calls_the_command(name, words):
    # with the variables that the page shows, as the words that the command takes
    assert words.startswith("make ")
    target, *variables = re.findall(r"(?:[^\s']|'[^']*')+", words)[1:]
    asked = ["make", "--dry-run", "--old-file=.venv/.installed", target, *(word.replace("'", "") for word in variables)]
    recipe = subprocess.run(asked, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert f"-m hh_align.cli {name} " in recipe
    for word in " ".join(variables).replace("'", "").split():
        assert word.partition("=")[2] in recipe


def test_make_takes_the_pythons_that_the_project_takes():
    text = (REPOSITORY / "Makefile").read_text()
    for minor in (11, 12, 13):
        assert f"python3.{minor}" in text
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in text and ">=3.11,<3.14" in (REPOSITORY / "pyproject.toml").read_text()
    for python in ("", "python3.99"):
        words = ["make", "VENV=nosuch", f"PYTHON={python}", "packages"]
        without = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert without.returncode == 2 and "error: Python 3.11, 3.12 or 3.13 with venv is needed" in without.stdout, python

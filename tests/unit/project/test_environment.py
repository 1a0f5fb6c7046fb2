"""The pins: conda and pip install the same, and this interpreter runs them."""

import re
from importlib.metadata import version

import yaml
from study_folder import REPOSITORY

LOCK = [line for line in (REPOSITORY / "requirements.lock").read_text().splitlines() if line]
PINS = dict(line.split("==") for line in LOCK)


def normal(name):
    return re.sub(r"[-_.]+", "-", name.split("[")[0]).lower()


def test_conda_gets_the_lock():
    # two users of one commit must run the same versions
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    assert environment["channels"][0] == "conda-forge"
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert "python=3.11" in conda and any(entry.startswith("pip") for entry in conda)
    assert pip == LOCK


def test_the_lock_holds_what_the_project_asks_for():
    asked = [line.split("==") for line in (REPOSITORY / "requirements.in").read_text().splitlines() if line and line[0] != "#"]
    pinned = {normal(name): pin for name, pin in PINS.items()}
    assert {normal(name): pin for name, pin in asked}.items() <= pinned.items()


def test_this_interpreter_runs_the_lock():
    assert {name: installed for name, pin in PINS.items() if (installed := version(name).split("+")[0]) != pin} == {}

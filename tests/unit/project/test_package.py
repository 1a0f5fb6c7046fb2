"""The package: pip installs it whole, and its light half runs on the few libraries that pip brings with it."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from glob import glob
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from study_folder import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
LIGHT_WINGS = ("core", "config", "analysis", "report")
LIGHT_TOOLS = ("verdict", "verify_study", "compare_studies", "annotate", "clean_state", "runs", "status")
LIGHT = {"click", "numpy", "pandas", "pyarrow", "scipy", "statsmodels", "matplotlib", "jinja2", "rich", "jsonschema", "psutil", "pyyaml"}
HEAVY = {"torch", "transformers", "trl", "datasets", "snakemake", "huggingface_hub", "boto3"}

IMPORT_EVERY_MODULE = """
import importlib, json, pkgutil, sys

blocked, wings, tools = map(json.loads, sys.argv[1:])


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} is not in the light install")


sys.meta_path.insert(0, Refuse())
import hh_align.cli
assert not {name.partition(".")[0] for name in sys.modules} & {"numpy", "pandas", "pyarrow", "rich"}, "the command itself loads no library but click"
for wing in wings:
    package = importlib.import_module(f"hh_align.{wing}")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
for tool in tools:
    importlib.import_module(f"hh_align.tools.{tool}")
print(package.__file__)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder into which pip has installed the package, from a copy of its sources, without a network."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(REPOSITORY / "workflow", folder / "source/workflow", symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("resources", "config"):
        shutil.copytree(REPOSITORY / name, folder / "source" / name)
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder / "source")
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation", "--no-compile"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "installed"), "."]
    done = subprocess.run(command, cwd=folder / "source", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "installed"


def files_below(folder):
    """Relative path -> content of a package's files."""
    paths = [Path(found) for found in glob(f"{folder}/**", recursive=True)]  # a link to a folder is followed
    paths = [path for path in paths if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_every_file_of_the_package_is_installed(installed):
    # also what the code reads beside itself: the config's schema and the table of suites, which are links in the repository, and the page of make annotate
    assert files_below(installed / "hh_align") == files_below(REPOSITORY / "workflow/scripts/hh_align")
    assert (installed / "hh_align/config/config.schema.yaml").read_bytes() == (
        REPOSITORY / "workflow/schemas/config.schema.yaml"
    ).read_bytes()


def with_dependencies(names):
    """These distributions and whatever they need, by their normalised names."""
    ahead, names = list(names), set()
    while ahead:
        if (name := canonicalize_name(ahead.pop())) not in names:
            names.add(name)
            needed = map(Requirement, requires(name) or [])
            ahead += [each.name for each in needed if not each.marker or each.marker.evaluate({"extra": ""})]
    return names


def test_the_light_install_holds_what_the_analysis_and_the_report_import(installed):
    # whoever reads a finished study's tables, or rates responses elsewhere, needs no torch
    light = {"hh-align"} | with_dependencies(Requirement(line).name for line in PROJECT["dependencies"])
    blocked = [module for module, names in packages_distributions().items() if not light & set(map(canonicalize_name, names))]
    assert set(blocked) >= HEAVY
    command = [sys.executable, "-c", IMPORT_EVERY_MODULE, json.dumps(blocked), json.dumps(LIGHT_WINGS), json.dumps(LIGHT_TOOLS)]
    environment = os.environ | {"PYTHONPATH": str(installed), "MPLBACKEND": "agg"}
    done = subprocess.run(command, cwd=installed.parent, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed)


def test_pip_installs_the_pins_of_the_project():
    text = (REPOSITORY / "requirements.in").read_text().split("# development")[0]
    asked = {line for line in text.splitlines() if line and not line.startswith("#")}
    light, study = PROJECT["dependencies"], PROJECT["optional-dependencies"]["study"]
    assert {*light, *study} == asked and not set(light) & set(study)
    assert {canonicalize_name(Requirement(line).name) for line in light} == LIGHT

"""The Dockerfile and the CI of GitHub: neither is run here, so what they say is held to the lock, the README and the repository's files."""

import json
import os
import re
import shlex
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import PurePosixPath

import yaml
from packaging.specifiers import SpecifierSet
from study_folder import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
PYTHONS = SpecifierSet(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["requires-python"])
DEBIAN = {"12": "bookworm"}


def instructions():
    """(instruction, its words) of the Dockerfile in order, without options."""
    text = re.sub(r"\\\n", " ", (REPOSITORY / "Dockerfile").read_text())
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            yield name, json.loads(rest) if rest.startswith("[") else [word for word in shlex.split(rest) if not word.startswith("--")]


DOCKERFILE = list(instructions())


def words_of(name):
    return [words for instruction, words in DOCKERFILE if instruction == name]


def commands():
    """Each command of the image's RUN lines."""
    return [command.split() for words in words_of("RUN") for command in " ".join(words).split(" && ")]


def assert_readmes_system(image):
    """An official Python that the project runs on, on the Debian that the README names."""
    version, debian = re.fullmatch(r"python:(\d+\.\d+\.\d+)-(?:slim-)?([a-z]+)", image).groups()
    assert version in PYTHONS
    assert debian == DEBIAN[re.search(r"On Debian (\d+) with Python ", README)[1]]


def test_the_image_is_the_readmes_system_with_make():
    ((image,),) = words_of("FROM")
    assert_readmes_system(image)
    (installed,) = [command[2:] for command in commands() if command[:2] == ["apt-get", "install"]]
    assert installed == ["make"] and "(with venv), git and make:" in README


def test_what_the_image_copies_is_there():
    ignored = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line]
    sources = [source for *sources, _ in words_of("COPY") for source in sources]
    assert "." in sources
    for source in sources:
        assert (REPOSITORY / source).exists(), source
        assert not any(fnmatch(part, pattern) for part in PurePosixPath(source).parts for pattern in ignored), source


def test_the_image_installs_the_lock_and_no_names_of_its_own():
    assert not any({"pip", "pip3", "conda", "uv"} & set(command) for command in commands())
    before = DOCKERFILE[: DOCKERFILE.index(("RUN", ["make", "packages"]))]
    assert ("RUN", ["make", "env"]) in DOCKERFILE[len(before) :]  # the command, once the package is there
    copied = {source for name, words in before if name == "COPY" for source in words[:-1]}
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", "packages"],
        cwd=REPOSITORY,
        env=os.environ | {"VENV": ".venv"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    installs = [line.split(" install ")[1].split("|")[0].split() for line in recipe.splitlines() if " pip " in line and " install " in line]
    files = [word for words in installs for word in words if not word.startswith("-")]
    assert installs[0][-2:] == ["-r", "requirements.lock"] and "--no-deps" in installs[0]
    assert set(files) == {"requirements.lock", "requirements.in"}  # no package by its name
    assert {"Makefile", *files} <= copied


def test_the_image_runs_the_readmes_first_command_as_a_user():
    assert words_of("CMD") == [["make", "demo"]] and "\nmake demo " in README.split("```")[1]
    ((user,),) = words_of("USER")
    assert user != "root" and ("useradd", user) in [(command[0], command[-1]) for command in commands()]


def test_ci_runs_what_the_repository_says_without_secrets():
    path = REPOSITORY / ".github/workflows/ci.yml"
    workflow = yaml.safe_load(path.read_text())
    ((_, job),) = workflow["jobs"].items()
    assert_readmes_system(job["container"])
    checkout, run = job["steps"]
    assert checkout["uses"].startswith("actions/checkout@") and run == {"run": ".ci/run"}
    assert os.access(REPOSITORY / ".ci/run", os.X_OK)
    assert "secrets" not in path.read_text() and workflow["permissions"] == {"contents": "read"}

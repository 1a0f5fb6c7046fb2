"""Every command that the project prints can be given: its target, options and files are there. The commands of README are planned."""

import os
import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from printed_commands import in_code, in_configs, in_markdown, in_pages
from study_folder import REPOSITORY, StudyFolder

MAKEFILE = (REPOSITORY / "Makefile").read_text()
TARGETS = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split())
SHOWN = in_pages() | in_configs()
SAID = in_code()
README = list(dict.fromkeys(in_markdown((REPOSITORY / "README.md").read_text())))
BLOCK = re.search(r'```yaml title="config/mine.yaml"\n(.*?)```', (REPOSITORY / "README.md").read_text(), re.DOTALL)[1]
ELSEWHERE = {
    "git": "needs a repository on a server",
    "pip": "needs a package registry; tests/unit/project/test_package.py installs the package",
    "docker": "needs Docker; tests/unit/project/test_images.py reads the Dockerfile",
    "export": "sets credentials",
    ".": "activates the environment",
    "pytest": "runs tests",
    "hf": "needs an account of the hub",
}
NOT_PLANNED = {
    "--workflow-profile": "profiles/slurm needs Slurm, profiles/s3 a bucket: tests/cluster and tests/storage run them; hh_all is tests/workflow/test_elsewhere.py's",
    "--lint": "make lint",
    "--unlock": "tests/unit/tools/test_resume.py",
    "--report": "tests/workflow/test_demo.py",
}
"""Options whose commands are read here and run by another test."""


def of(program: str, commands: dict[str, list[str]]) -> list[str]:
    return sorted(command for command in commands if command.split()[0] == program)


def test_every_program_on_a_page_is_one_that_is_checked_here_or_says_why_not():
    known = {"snakemake", "make", "python", "hh-align", *ELSEWHERE}
    assert {command.split()[0] for command in SHOWN} - known == set()
    assert set(ELSEWHERE) - {"hf"} <= {command.split()[0] for command in SHOWN}


def make_words(command: str) -> tuple[str, set[str]]:
    """(target, variables) of a command of make."""
    _, target, *values = shlex.split(command.replace("…", "x"))
    return target, {value.split("=")[0] for value in values if "=" in value}


@pytest.mark.parametrize("command", of("make", SHOWN))
def test_a_make_command_on_a_page_names_a_target_and_variables_that_it_reads(command):
    target, variables = make_words(command)
    assert target in TARGETS
    assert [name for name in variables if not re.search(rf"\$[({{$]*{name}\b", MAKEFILE)] == []


def test_what_make_would_run_for_a_command_on_a_page_is_shell():
    # a comma in a value that make's $(if …) is given ends it in the middle of a quoted word
    named = os.environ | {"VENV": ".venv", "PYTHON": "python3"}
    for command in of("make", SHOWN):
        words = [*shlex.split(command.replace("…", "x")), "--dry-run", "--always-make"]
        recipe = subprocess.run(words, cwd=REPOSITORY, env=named, capture_output=True, text=True, check=False)
        read = subprocess.run(["sh", "-n"], input=recipe.stdout, capture_output=True, text=True, check=False)
        assert (recipe.returncode, recipe.stderr, read.stderr) == (0, "", ""), command


def test_what_make_would_run_for_the_commands_of_the_readme_is_there():
    for command in of("make", dict.fromkeys(README)):
        done = subprocess.run(
            [*shlex.split(command), "--dry-run"],
            cwd=REPOSITORY,
            env=os.environ | {"VENV": ".venv"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert [path for path in re.findall(r"(?:config|tests)/[\w/.]+\w", done.stdout) if not (REPOSITORY / path).exists()] == []


def test_a_make_command_in_a_message_is_one():
    # "make room" is no command; with a value, or the name of a target, it is
    said = [make_words(command) for command in of("make", SAID)]
    asked = [(target, variables) for target, variables in said if variables or target in TARGETS]
    assert len(asked) > 8
    assert [target for target, _ in asked if target not in TARGETS] == []
    assert [name for _, variables in asked for name in variables if f"$({name})" not in MAKEFILE and name not in MAKEFILE] == []


@pytest.fixture(scope="module")
def parser():
    from snakemake.cli import get_argument_parser

    return get_argument_parser()


def snakemake_words(command: str) -> list[str]:
    """The words of a command without the program and with real names in the place of what it leaves open."""
    return shlex.split(command.replace("CHECKOUT", str(REPOSITORY)).replace("…", "x"))[1:]


def test_snakemakes_options_are_snakemakes_and_the_files_are_there(parser):
    commands = [command for command in of("snakemake", SHOWN) + of("snakemake", SAID) if command.split()[1] != "--help"]
    assert len(commands) > 25
    for command in commands:
        args, unknown = parser.parse_known_args(snakemake_words(re.split(r" (?:holds|and|to|then) ", command)[0]))
        assert unknown == [], command
        files = [Path(file) for file in [*(args.configfile or []), *filter(None, [args.workflow_profile])] if "mine" not in str(file)]
        assert [file for file in files if not (REPOSITORY / file).exists() and str(file) != "x"] == [], command


PLANNED = [command for command in of("snakemake", SHOWN) if command.split()[1] != "export" and not set(command.split()) & set(NOT_PLANNED)]
QUICK = [command for command in PLANNED if command in README or "FOLDER" in command or command.endswith(".parquet")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The workflow with the README's config, and empty files in the place of those that a reader has."""
    study = StudyFolder(tmp_path_factory.mktemp("readme"))
    for name in ("config/mine.yaml", "mine.yaml"):
        (study.path / name).write_text(BLOCK)
    released = yaml.safe_load((REPOSITORY / "config/published.yaml").read_text())["release"]["sums"]
    subsets = ("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled")
    for name in [*released, *(f"{subset}/test.jsonl.gz" for subset in subsets)]:
        (study.path / "FOLDER" / name).parent.mkdir(parents=True, exist_ok=True)
        (study.path / "FOLDER" / name).touch()
    return study


@pytest.mark.parametrize("command", [command if command in QUICK else pytest.param(command, marks=pytest.mark.long) for command in PLANNED])
def test_a_snakemake_command_can_be_planned(folder, command):
    output = folder.succeed("--dry-run", "--quiet", "rules", *snakemake_words(command))
    assert re.search(r"^total +[1-9]", output, re.MULTILINE), output[-2000:]


def test_a_python_command_names_a_file_or_module_and_options_that_it_has():
    commands = of("python", SHOWN) + of("python", SAID)
    assert len(commands) > 4
    for command in commands:
        words = shlex.split(command)[1:]
        module = f"workflow/scripts/{words[1].replace('.', '/')}.py" if words[0] == "-m" else words[0]
        others = not words[0].endswith(".py") and not (words[0] == "-m" and words[1].startswith("hh_align."))
        if others or "<" in command or "…" in command or "count_words" in command:
            continue  # another's module, a place for a name, or the page's example of a step that is not there
        assert (REPOSITORY / module).is_file(), command
        source = (REPOSITORY / module).read_text()
        options = [word.removeprefix("--").replace("-", "_") for word in words if word.startswith("--") and word != "--help"]
        assert [name for name in options if name not in source and name.replace("_", "-") not in source] == [], command


@pytest.mark.skipif(not find_spec("hh_align.cli"), reason="the command line is not there")
def test_a_command_of_hh_align_can_be_read():
    import click

    from hh_align.cli import app

    for command in of("hh-align", SHOWN) + of("hh-align", SAID):
        name, *words = shlex.split(command.replace("…", "x"))[1:]
        assert name in app.commands or name.startswith("-") or name.isupper(), command
        if name in app.commands and words:
            try:
                app.commands[name].make_context(name, list(words), parent=click.Context(app, **app.context_settings))
            except click.exceptions.Exit as asked:  # --help
                assert asked.exit_code == 0, command

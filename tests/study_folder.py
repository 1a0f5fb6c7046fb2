"""A copy of the workflow in a folder of its own, to run, edit and plan in."""

import copy
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fork_server import ask, python_function, start

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"
PLANNING = {"--dry-run", "--summary", "--touch", "--dag"}  # options with which Snakemake starts no job
PARTS = ["Snakefile", "workflow", "config", "profiles", "resources", "environment.yml"]


def run_snakemake(
    words: Iterable[str], folder: Path, environment: dict[str, str] | None = None, in_forks: bool = False
) -> subprocess.CompletedProcess:
    """Run snakemake in `folder`; stdout and stderr come back joined, as text.

    It and its jobs run in forks of processes that have loaded their libraries. In an `environment` of its own all are processes as a
    user has them, unless they are to run `in_forks`, which libraries' own variables reach too late.
    """
    command = [str(Path(sys.executable).parent / "snakemake"), "--cores", "2", *words]
    with tempfile.TemporaryFile() as output:
        if environment and not in_forks:
            status = subprocess.run(command, cwd=folder, env=environment, stdout=output, stderr=output, check=False).returncode
        else:
            streams = (0, output.fileno(), output.fileno())
            jobs = {} if PLANNING & set(command) else python_function()
            status = ask(start("snakemake"), command[1:], str(folder), (environment or os.environ) | jobs, streams)
        output.seek(0)
        return subprocess.CompletedProcess(command, status, output.read().decode())


class StudyFolder:
    """The repository's workflow at `path`, with Snakemake's command line on it."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path, self.options = path, options
        for part in PARTS:
            source = REPOSITORY / part
            ignore = shutil.ignore_patterns("*.pyc.*")  # bytecode that is being written
            shutil.copytree(source, path / part, ignore=ignore) if source.is_dir() else shutil.copy(source, path / part)

    def run(self, *arguments: str, in_forks: bool = False, **environment: str) -> subprocess.CompletedProcess:
        """Snakemake on the folder's study, as run_snakemake runs it."""
        return run_snakemake([*arguments, *self.options], self.path, environment, in_forks)

    def succeed(self, *arguments: str, in_forks: bool = False, **environment: str) -> str:
        """Run snakemake and return what it printed; a failure is the test's failure."""
        done = self.run(*arguments, in_forks=in_forks, **environment)
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def planned(self, *arguments: str) -> set[str]:
        """The jobs that a dry run would execute, as 'rule wildcard wildcard …' (targets without a job of their own left out)."""
        output = self.succeed("--dry-run", *arguments)
        jobs = set()
        for block in re.split(r"\n\[[^\n]*\]\n", output)[1:]:
            rule = re.match(r"(?:local)?(?:rule|checkpoint) (\w+):", block)
            wildcards = re.search(r"^    wildcards: (.*)$", block, re.MULTILINE)
            values = [part.split("=", 1)[1] for part in wildcards[1].split(", ")] if wildcards else []
            jobs.add(" ".join([rule[1], *values]))
        return jobs - {"all", "data", "models", "prompts", "policies", "responses", "rewards", "analysis", "report", "export", "check"}

    def pretend_done(self) -> "StudyFolder":
        """Put a file in the place of every output and let Snakemake record it as made by the present config, code and inputs: nothing is due."""
        lines = self.succeed("--summary").splitlines()
        rows = [line.split("\t") for line in lines if line.count("\t") >= 5]
        for row in rows[1:]:
            output = self.path / row[0]
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(row[0])
        self.succeed("--touch", "--forceall")
        return self

    def copy(self, path: Path) -> "StudyFolder":
        """The same at another `path`, with all that it has made and its provenance."""
        shutil.copytree(self.path, path, dirs_exist_ok=True)
        copied = copy.copy(self)
        copied.path = path
        return copied

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace text in one of the folder's files."""
        path = self.path / name
        text = path.read_text()
        assert text.count(old) >= 1, f"{name} does not hold {old!r}"
        path.write_text(text.replace(old, new))

    @contextmanager
    def edited(self, name: str, old: str = "", new: str = "", end: str = "") -> Iterator[None]:
        """A file with other text, and `end` behind it, as long as the block lasts."""
        path = self.path / name
        before = path.read_bytes()
        try:
            self.edit(name, old, new)
            path.write_text(path.read_text() + end)
            yield
        finally:
            path.write_bytes(before)

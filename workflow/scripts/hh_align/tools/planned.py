"""What a study's config asks for, job by job, as a dry run of Snakemake finds it by receipts: without its lock, so also while a run is at work."""

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from hh_align.core.errors import printable
from hh_align.core.state import read_json
from hh_align.tools.expected import Step
from hh_align.tools.runs import RECORD, command_of, read_run

PLAN = "HH_ALIGN_PLAN"
"""Where a dry run writes its jobs: workflow/rules/common/core_receipts.smk."""


class Job(NamedTuple):
    """A job of the plan. changes: (before, now) of what its receipt says otherwise than the config, the files and the code of today; after: the
    first outputs of the due jobs that it waits for; needs: what it takes of each resource; paths are as seen from the working directory, empty where there is none."""

    rule: str
    step: str
    wildcards: dict[str, str]
    output: str
    log: str
    benchmark: str
    state: str
    due: bool
    changes: list[tuple[str, str]]
    after: list[str]
    needs: dict[str, int]

    @property
    def name(self) -> str:
        """The rule and what it is of, as in the names of its files."""
        return Path(self.benchmark or self.output).with_suffix("").as_posix().partition("/benchmarks/")[2] or self.output


class Plan(NamedTuple):
    """The jobs of what a study's last run was asked for, and how much there is of each resource."""

    jobs: list[Job]
    limits: dict[str, int]


def dry_run(study: str) -> Plan | str:
    """What the study's last run was asked for, planned as of today; or why that cannot be known here."""
    record = read_run(Path("results") / study)
    if not record:
        return f"there is no results/{study}/{RECORD} as a run writes it, which names the config"
    command = record.get("command") or {}
    if not Path(command.get("--snakefile", "Snakefile")).is_file() or find_spec("snakemake") is None:
        return "no workflow, or no Snakemake, is here"
    if missing := [name for name in record.get("files", []) if not Path(name).is_file()]:
        return f"its config {missing[0]} is not here"
    targets = command.get("--", [])
    words = ["--dry-run", "--nolock", "--rerun-incomplete", "--quiet", "all", "--cores", "all", *command_of(record)]
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder, "plan.json")
        asked = [sys.executable, "-m", "snakemake", *words, *(["--", *targets] if targets else [])]
        done = subprocess.run(asked, env=os.environ | {PLAN: str(plan)}, capture_output=True, text=True, check=False)
        planned = read_json(plan)
    if done.returncode or not isinstance(planned, dict):
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return f"its config cannot be planned ({printable(said[-1]) if said else f'status {done.returncode}'})"
    return Plan([Job(**job) for job in planned["jobs"]], planned["limits"])


def steps_due(jobs: list[Job]) -> dict[str, Step]:
    """The due jobs by name, as tools.expected takes them."""
    names = {job.output: job.name for job in jobs if job.due}
    return {
        job.name: Step(Path(job.log), tuple(names[output] for output in job.after if output in names), tuple(job.needs.items()))
        for job in jobs
        if job.due
    }


def stale(jobs: list[Job]) -> list[Job]:
    """The jobs whose artifacts are there, and are not what the config asks for by today's files and code."""
    return [job for job in jobs if job.changes]


def difference(job: Job) -> str:
    """`artifact: before -> now` of the first thing that differs, and how many more do."""
    before, now = job.changes[0]
    more = f" (and {len(job.changes) - 1} more)" if job.changes[1:] else ""
    return printable(f"{job.output}: {before} -> {now}{more}")

"""Where a study stands: what is done, at work, next and stale, how long it took and is expected to take. Reads only, also while the study runs."""

import socket
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

import hh_align
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.meant import did_you_mean
from hh_align.core.progress import clock
from hh_align.core.receipts import receipts_of
from hh_align.tools.console import left_by_run
from hh_align.tools.expected import UNKNOWN, Expectation, is_like_demo, remaining, seconds_before, seconds_in
from hh_align.tools.logs import failure, is_current, last_lines, last_losses, last_progress, silence, told
from hh_align.tools.planned import Job, Plan, difference, dry_run, stale, steps_due
from hh_align.tools.runs import RECORD, has_begun, is_alive, read_run

PACKAGE = Path(hh_align.__file__).parent
LISTED = 5
"""Jobs of a kind that are named; more are counted."""
SHOWN_ALONE = ("models", "training", "evaluation")
"""Wings whose steps have a line of their own; the quick ones share their wing's."""


def folder_of(study: str) -> Path:
    """The study's folder below results/. Raises StudyError where there is none, with the nearest name."""
    folder = Path("results") / study
    if study and has_begun(folder):
        return folder
    known = sorted(path.parent.name for path in Path("results").glob(f"*/{RECORD}"))
    begun = f"Begun here: {', '.join(known) or 'none'}.{did_you_mean(study, known)}"
    raise StudyError(f"no study {study}: no run of it has begun in results/ here. {begun}")


def jobs_without_plan(folder: Path, record: dict) -> list[Job]:
    """The jobs that have ended, by their receipts, and those that have left a state, where no plan says which there are."""
    jobs = []
    for state in sorted(state for state in record.get("steps", {}) if Path(state).is_dir()):
        name = state.rpartition("/state/")[2]
        rule = name.partition("/")[0]
        wing = next((path.parent.name for path in PACKAGE.glob(f"*/{rule}.py")), "other")
        log, benchmark = f"{folder}/logs/{name}.log", f"{folder}/benchmarks/{name}.tsv"
        jobs.append(Job(rule, f"hh_align.{wing}.{rule}", {}, state, log, benchmark, state, True, [], [], {}))
    for kept in receipts_of(folder):
        if kept.content and kept.artifact.is_relative_to(folder):
            step = str(kept.content["asked"].get("script", "hh_align.unknown.step"))
            jobs.append(Job(step.rpartition(".")[2], step, {}, str(kept.artifact), "", "", "", not kept.artifact.exists(), [], [], {}))
    return jobs


def kind_of(job: Job) -> str:
    """The line of the table that a job is counted in."""
    wing = job.step.split(".")[1]
    return job.rule if wing in SHOWN_ALONE else wing


def standing(console: Console, folder: Path, jobs: list[Job], record: dict) -> None:
    """How far the study is, and what of its last run is known."""
    due, alive = [job for job in jobs if job.due], is_alive(record)
    old = len(stale(jobs))
    beside = f"; {old} more were done, and are stale" if old else ""
    console.print(f"[bold]{escape(folder.name)}[/]: {len(jobs) - len(due)} of {len(jobs)} jobs done{beside}")
    if "started" not in record:
        return
    began = f"{datetime.fromtimestamp(record['started']):%Y-%m-%d %H:%M}"
    if alive:
        console.print(f"[green]at work[/] since {began} (process {record['pid']}), for {clock(time.time() - record['started'])}")
    elif record.get("host") != socket.gethostname():
        console.print(f"last run: begun {began} on {escape(str(record.get('host')))}; whether it is at work cannot be seen from here")
    else:
        ended = max((kept.path.stat().st_mtime for kept in receipts_of(folder)), default=0)
        lasted = f", its last job ended after {clock(ended - record['started'])}" if ended > record["started"] else ""
        console.print(f"last run: begun {began}{lasted}; it is not at work" + ("" if due else ", and nothing is left to do"))


def expectation_of(folder: Path, record: dict) -> Expectation:
    """What the steps of a study are expected to take, as its next run would."""
    return Expectation(seconds_before(folder / "benchmarks"), is_like_demo(record.get("settings", {})))


def steps_table(jobs: list[Job], expectation: Expectation, known: bool) -> Table:
    """Kinds of steps by jobs done and left, seconds of computing taken and expected; known: whether a plan says what is left."""
    expected = expectation.of(job.name for job in jobs if job.due)
    table = Table(box=None, pad_edge=False)
    table.add_column("step", overflow="fold")
    for name in ("done", *(("left",) if known else ()), "took", *(("expected",) if known else ())):
        table.add_column(name, justify="right", no_wrap=True)
    for kind in dict.fromkeys(kind_of(job) for job in jobs):
        own = [job for job in jobs if kind_of(job) == kind]
        left = [job for job in own if job.due]
        took = [seconds for job in own if not job.due and (seconds := seconds_in(Path(job.benchmark))) is not None]
        cells = [str(len(own) - len(left)), *([str(len(left)) if left else "-"] if known else []), clock(sum(took)) if took else "-"]
        known_time = expectation.is_known(job.name for job in left)
        to_come = ("not known" if not known_time else clock(sum(expected[job.name] for job in left))) if left else "-"
        table.add_row(escape(kind), *cells, *([to_come] if known else []))
    return table


def time_until_done(folder: Path, plan: Plan, running: list[Job], record: dict) -> str:
    """How long the jobs that are due will take, as a sentence's end: as their run reckons where it is at work, else as it would begin."""
    alive = bool(running) or is_alive(record)
    if alive and (left := left_by_run(folder, record)) is not None:
        return f", about {clock(left)} (as its run reckons)"
    steps, expectation = steps_due(plan.jobs), expectation_of(folder, record)
    if not expectation.is_known(steps):
        return f". {UNKNOWN}"
    said = {job.name: left for job in running if (left := told(last_lines(Path(job.log)))[1]) is not None}
    seconds = remaining(steps, (), dict.fromkeys(said, 0.0), said, expectation, plan.limits)
    return f", about {clock(seconds)} ({expectation.basis(steps)})"


def policies_table(jobs: list[Job]) -> Table | None:
    """Policies by jobs done of those of training and evaluation, over seeds and judges; None where no job is of a policy."""
    rows: dict[str, dict[str, Counter]] = {}
    for job in jobs:
        wing = job.step.split(".")[1]
        if wing in ("training", "evaluation") and job.rule != "compute_references" and (policy := job.wildcards.get("policy")):
            rows.setdefault(policy, {}).setdefault(wing, Counter())[job.due] += 1
    if not rows:
        return None
    table = Table(box=None, pad_edge=False)
    table.add_column("policy", overflow="fold")
    for wing in ("training", "evaluation"):
        table.add_column(wing, justify="right", no_wrap=True)
    for policy, by_wing in rows.items():
        cells = [f"{done[False]}/{done.total()}" if (done := by_wing.get(wing)) else "-" for wing in ("training", "evaluation")]
        table.add_row(escape(policy), *cells)
    return table


def at_work(console: Console, jobs: list[Job], record: dict) -> tuple[list[Job], list[Job]]:
    """Print the jobs that write to their logs in this run, with their last progress and losses; return them, and those that have failed in it."""
    elsewhere, began = record.get("host") != socket.gethostname(), record.get("started")
    current = [job for job in jobs if began is not None and job.due and is_current(job.log, began, elsewhere)]
    failed = [job for job in current if failure(Path(job.log))]
    running = [job for job in current if job not in failed] if elsewhere or is_alive(record) else []
    for job in running:
        console.print(f"[green]running[/] {escape(job.name)}: {escape(last_progress(Path(job.log)))} ({silence(Path(job.log))} ago)")
        if losses := last_losses(Path(job.log)):
            console.print(f"  last losses: {', '.join(losses)}")
    return running, failed


def listed(console: Console, title: str, texts: list[str]) -> None:
    """The first few of a list, each in a line, and how many more there are."""
    if not texts:
        return
    more = f"  and {len(texts) - LISTED} more" if len(texts) > LISTED else ""
    for line in (title, *(f"  {escape(text)}" for text in texts[:LISTED]), *([more] if more else [])):
        console.print(line)


def show_status(study: str) -> None:
    """Print where a study of results/ stands. Raises StudyError where there is no such study."""
    folder, console = folder_of(study), Console(highlight=False, emoji=False)
    record, plan = read_run(folder), dry_run(study)
    jobs = jobs_without_plan(folder, record) if isinstance(plan, str) else plan.jobs
    standing(console, folder, jobs, record)
    console.print(steps_table(jobs, expectation_of(folder, record), known=isinstance(plan, Plan)))
    if policies := policies_table(jobs):
        console.print(policies)
    running, failed = at_work(console, jobs, record)
    left = [job for job in jobs if job.due and job not in running]
    stopped = [job for job in left if job.state and Path(job.state).is_dir() and job not in failed]
    listed(console, "[red]failed, made again by the next run:[/]", [f"{job.name}: {failure(Path(job.log))}" for job in failed])
    listed(console, "stopped, goes on from its state:", [job.name for job in stopped])
    ready = [job for job in left if not job.after and job not in stopped and job not in failed]
    listed(console, "next:", [job.name for job in ready])
    listed(console, "[yellow]stale, made again by the next run:[/]", [difference(job) for job in stale(jobs)])
    if isinstance(plan, Plan) and (left or running):
        console.print(f"left: {len(left) + len(running)} jobs{time_until_done(folder, plan, running, record)}")
    if isinstance(plan, str):
        console.print(f"[yellow]not known:[/] what is left and what is stale, for {escape(plan)}")
    elif (page := folder / "report/index.html").is_file():
        console.print(f"The report: {page}")


def main() -> None:
    show_status(parse(__doc__, study="text").study)


if __name__ == "__main__":
    run(main)

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
from hh_align.tools.planned import Job, difference, dry_run, stale
from hh_align.tools.progressed import failure, is_current, last_losses, last_progress, seconds_of, silence
from hh_align.tools.runs import RECORD, is_alive, read_run

PACKAGE = Path(hh_align.__file__).parent
LISTED = 5
"""Jobs of a kind that are named; more are counted."""
SHOWN_ALONE = ("models", "training", "evaluation")
"""Wings whose steps have a line of their own; the quick ones share their wing's."""


def folder_of(study: str) -> Path:
    """The study's folder below results/. Raises StudyError where there is none, with the nearest name."""
    folder = Path("results") / study
    if (study and (folder / RECORD).is_file()) or any(receipts_of(folder)):
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
        jobs.append(Job(rule, f"hh_align.{wing}.{rule}", {}, state, log, benchmark, state, True, [], []))
    for kept in receipts_of(folder):
        if kept.content and kept.artifact.is_relative_to(folder):
            step = str(kept.content["asked"].get("script", "hh_align.unknown.step"))
            jobs.append(Job(step.rpartition(".")[2], step, {}, str(kept.artifact), "", "", "", not kept.artifact.exists(), [], []))
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


def steps_table(folder: Path, jobs: list[Job], known: bool) -> Table:
    """Kinds of steps by jobs done and left, seconds taken and expected; known: whether a plan says what is left."""
    table = Table(box=None, pad_edge=False)
    table.add_column("step", overflow="fold")
    for name in ("done", *(("left",) if known else ()), "took", *(("expected",) if known else ())):
        table.add_column(name, justify="right", no_wrap=True)
    for kind in dict.fromkeys(kind_of(job) for job in jobs):
        own = [job for job in jobs if kind_of(job) == kind]
        left = [job for job in own if job.due]
        took, unknown = summed(folder, [job for job in own if not job.due])
        expected = summed(folder, left)
        cells = [
            str(len(own) - len(left)),
            *([str(len(left)) if left else "-"] if known else []),
            clock(took) if took or not unknown else "-",
        ]
        table.add_row(escape(kind), *cells, *([in_time(*expected) if left else "-"] if known else []))
    return table


def summed(folder: Path, jobs: list[Job]) -> tuple[float, int]:
    """(seconds of jobs by their benchmarks, or by those of jobs of the same rule; of how many nothing is known)."""
    seconds = [seconds_of(folder, job) for job in jobs]
    return sum(value for value in seconds if value is not None), seconds.count(None)


def in_time(seconds: float, unknown: int) -> str:
    """`00:12:00`, `00:12:00 + 3 unknown`"""
    return " + ".join([*([clock(seconds)] if seconds or not unknown else []), *([f"{unknown} unknown"] if unknown else [])])


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
    current = [job for job in jobs if began is not None and job.due and is_current(job, began, elsewhere)]
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
    jobs = jobs_without_plan(folder, record) if isinstance(plan, str) else plan
    standing(console, folder, jobs, record)
    console.print(steps_table(folder, jobs, known=plan is jobs))
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
    if left or running:
        console.print(f"left: {len(left) + len(running)} jobs, of computing {in_time(*summed(folder, left + running))}")
    if isinstance(plan, str):
        console.print(f"[yellow]not known:[/] what is left and what is stale, for {escape(plan)}")
    elif (page := folder / "report/index.html").is_file():
        console.print(f"The report: {page}")


def main() -> None:
    show_status(parse(__doc__, study="text").study)


if __name__ == "__main__":
    run(main)

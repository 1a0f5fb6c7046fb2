"""One pass: a study is made from nothing while faults strike, and compared with the undisturbed run's."""

import subprocess
import time
from collections import Counter
from collections.abc import Iterable

from kinds import FAULTS, Lost, Pair, Pass, Target
from small_study import Study

ATTEMPTS = 3  # of a fault in one pass
ROUNDS = 2  # times that a pass makes steps again which had ended before their fault could strike


def strike(at: Pass, due: list[Pair], seconds: dict[str, float]) -> list[Pair]:
    """Make the study to its end while faults strike; return the pairs that did no harm. Raises Lost where `make resume` does not bring it on.

    seconds: those of a rule's jobs, within which a fault strikes; halved where one came too late.
    """
    due, attempts, rounds, failures = list(due), Counter(), 0, 0
    run = at.study.start()
    while True:
        disturbed = False
        while run.poll() is None:
            if not (hit := next_target(at, run, due)):
                time.sleep(0.03)
                continue
            disturbed, attempts[hit.pair] = True, attempts[hit.pair] + 1
            time.sleep(at.stream.random() * seconds.get(hit.pair[0], 1.0) * (0.5 if hit.pair[1] == "disk full" else 0.9))
            harm = FAULTS[hit.pair[1]].strike(at, hit)
            print(f"  {hit.pair[1]} in {hit.pair[0]}" + ("" if harm else ": too late"), flush=True)
            if harm:
                at.tried.append(hit.pair)
            else:
                seconds[hit.pair[0]] = seconds.get(hit.pair[0], 1.0) / 2
            if harm or attempts[hit.pair] == ATTEMPTS:
                due.remove(hit.pair)
        failures = 0 if disturbed or run.returncode == 0 else failures + 1
        if failures == 3:
            raise Lost("the study does not go on:\n" + at.study.said(0)[-3000:])
        if run.returncode:
            run = at.study.start()
        elif due and rounds < ROUNDS:
            rounds += 1
            run = at.study.start("make", "resume", "STUDY=small", "CORES=2", f"OPTIONS=--forcerun {' '.join({rule for rule, _ in due})}")
        else:
            return due


def next_target(at: Pass, run: subprocess.Popen, due: list[Pair]) -> Target | None:
    """A job at work on which a fault is due."""
    jobs = at.study.jobs() if due else {}
    return next((Target(run, at.stream.choice(jobs[pair[0]]), pair) for pair in due if pair[0] in jobs), None)


def seconds_of(study: Study) -> dict[str, float]:
    """Rule -> seconds of one of its jobs, from the benchmarks."""
    seconds = {}
    for path in (study.results / "benchmarks").rglob("*.tsv"):
        rule = path.relative_to(study.results / "benchmarks").parts[0].removesuffix(".tsv")
        seconds[rule] = float(path.read_text().splitlines()[1].split("\t")[0])
    return seconds


def verify(study: Study) -> list[tuple[str, str]]:
    """(artifact, what `make verify` complains of)."""
    command = [".venv/bin/python", "-m", "hh_align.tools.verify_study", "--folder", "results/small"]
    done = subprocess.run(command, cwd=study.folder, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines() if done.returncode else []
    return [tuple(line.removeprefix("results/small/").split(": ", 1)) for line in lines]


def differences(study: Study, expected: dict[str, bytes], harmed: Iterable[str] = ()) -> list[str]:
    """Artifacts that are missing or have other bytes than the undisturbed run's, but for those that a fault has harmed."""
    made = study.artifacts()
    wrong = {name: "other bytes" if name in made else "missing" for name in expected if made.get(name) != expected[name]}
    return [f"{what}: {name}" for name, what in sorted(wrong.items()) if name not in harmed]


def losses(at: Pass, expected: dict[str, bytes]) -> list[str]:
    """What is lost at the end of a pass.

    An artifact that was harmed when nothing was left to read it may be wrong or missing. `make verify` finds it; it is deleted, as that
    says, and asked for by name. Nothing else may differ, before or after.
    """
    complaints = verify(at.study)
    innocent = [
        f"make verify: {name}: {why}"
        for name, why in complaints
        if not {name, why.removeprefix("was made from another small/")} & at.harmed
    ]
    lost = [*innocent, *differences(at.study, expected, at.harmed)]
    for name in {name for name, _ in complaints} & at.harmed:
        (at.study.results / name).unlink(missing_ok=True)
    if missing := sorted(set(expected) - set(at.study.artifacts())):
        targets = [f"results/small/{name}" for name in missing]
        at.study.start(".venv/bin/snakemake", "--cores", "2", *targets, "--configfile", "config/small.yaml").wait()
    return [
        *lost,
        *differences(at.study, expected),
        *(f"moved aside though good: {name}" for name in sorted(at.study.damaged() - at.harmed)),
        *(f"make verify: {name}: {why}" for name, why in verify(at.study)),
    ]

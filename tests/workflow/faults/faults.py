"""Faults all over a small study, and whether `make resume` brings back what an undisturbed run makes.

A pass makes the study from nothing. Faults strike while steps are at work, and after each the documented command goes on. At the end every
artifact is compared with the undisturbed run's, byte for byte. Only a fault that did harm counts as tried; one that came too late is due again.

    python tests/workflow/faults/faults.py --passes 5 --seed 1
"""

import argparse
import math
import os
import random
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from kinds import FAULTS, Lost, Pair, Pass
from passes import losses, seconds_of, strike
from small_study import REPOSITORY, Study, can_mount

MORE = 2  # passes beyond the planned ones, while faults are lacking
ENOUGH, ENOUGH_SHORT = 100, 12  # faults in all


def plan(seconds: dict[str, float], stateful: set[str], kinds: list[str], stream: random.Random) -> list[Pair]:
    """Every fault of the bench: disk full in each rule, damaged state in each that keeps some, the others spread over all rules."""
    steps = {kind: sorted(stateful if kind == "state damaged" else seconds) for kind in kinds}
    pairs = []
    for kind in kinds:
        order = stream.sample(steps[kind], len(steps[kind]))
        pairs += [(order[number % len(order)], kind) for number in range(FAULTS[kind].planned or len(order))]
    return stream.sample(pairs, len(pairs))


def short_plan(seconds: dict[str, float], stateful: set[str], kinds: list[str]) -> list[Pair]:
    """Each kind once and kills more often, each in another of the rules that take longest: there a fault seldom comes too late."""
    longest = sorted(seconds, key=seconds.get, reverse=True)
    state = next(rule for rule in longest if rule in stateful)
    others = [rule for rule in longest if rule != state]
    kills = ["kill -9 of a job", "kill -9 of Snakemake with its jobs"] * 2
    return [(state, "state damaged"), *zip(others, [kind for kind in kinds if kind != "state damaged"] + kills, strict=False)]


def shortfall(tried: list[Pair], planned: list[Pair], short: bool) -> list[str]:
    """What the faults that did harm lack."""
    counts, enough = Counter(kind for _, kind in tried), ENOUGH_SHORT if short else ENOUGH
    lacking = [] if len(tried) >= enough else [f"{len(tried)} faults, {enough} are needed"]
    for kind in [] if short else sorted({kind for _, kind in planned}):
        if needed := FAULTS[kind].needed:
            lacking += [] if counts[kind] >= needed else [f"{kind}: {counts[kind]} times, {needed} are needed"]
        elif left := {pair for pair in planned if pair[1] == kind} - set(tried):
            lacking.append(f"{kind}: not in {', '.join(sorted(rule for rule, _ in left))}")
    return lacking


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="a dozen faults of all kinds, in one pass where they come in time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "results/bench/faults.parquet")
    args = parser.parse_args()
    stream, mounted, passes = random.Random(args.seed), can_mount(), 1 if args.short else args.passes
    kinds = [kind for kind in FAULTS if kind != "read-only results" or mounted or os.geteuid() != 0]
    if not mounted:
        print("no disk can be mounted: a limit on file sizes stands for a full one")
    if missing := sorted(set(FAULTS) - set(kinds)):
        print(f"root without the right to mount, left out: {', '.join(missing)}")

    tried: list[tuple[Pair, bool]] = []
    hung: list[Pair] = []
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        calm = undisturbed(Path(folder) / "calm")
        expected, seconds, stateful = calm.artifacts(), seconds_of(calm), calm.stateful()
        due = planned = short_plan(seconds, stateful, kinds) if args.short else plan(seconds, stateful, kinds, stream)
        for number in range(1, passes + MORE + 1):
            if number > passes and not shortfall([pair for pair, _ in tried], planned, args.short):
                break
            began, count = time.monotonic(), math.ceil(len(due) / max(passes - number + 1, 1))
            at = Pass(Study(Path(folder) / f"pass-{number}", mounted), stream)
            due = due[count:] + make_under_faults(at, due[:count], seconds, expected)
            tried += [(pair, bool(at.lost)) for pair in at.tried]
            hung += at.hung
            said = "; ".join(dict.fromkeys(at.lost)) or "nothing lost"
            print(f"pass {number}: {len(at.tried)} faults in {time.monotonic() - began:.0f} s, {said}", flush=True)
    write(kinds, tried, hung, args.output)
    lacking = shortfall([pair for pair, _ in tried], planned, args.short)
    print(*(f"too few: {text}" for text in lacking), sep="\n")
    if lacking or any(lost for _, lost in tried):
        raise SystemExit(1)


def undisturbed(folder: Path) -> Study:
    """The study made without a fault; the bench ends where that fails."""
    began, study = time.monotonic(), Study(folder)
    if study.start().wait() != 0:
        raise SystemExit("the undisturbed run fails:\n" + study.said(0)[-3000:])
    seconds = time.monotonic() - began
    print(f"undisturbed: {len(study.artifacts())} artifacts of {len(seconds_of(study))} rules in {seconds:.0f} s", flush=True)
    return study


def make_under_faults(at: Pass, due: list[Pair], seconds: dict[str, float], expected: dict[str, bytes]) -> list[Pair]:
    """Make the pass's study under these faults and note what is lost; return the pairs that are still due."""
    try:
        left = strike(at, due, seconds)
        at.lost += losses(at, expected)
        return left
    except Lost as error:
        at.lost.append(str(error))
        return []
    finally:
        if at.study.mounted:
            subprocess.run(["umount", "-l", str(at.study.folder / "results")], check=False)


def write(kinds: list[str], tried: list[tuple[Pair, bool]], hung: list[Pair], output: Path) -> None:
    """Print the table and write it as Parquet."""

    def row(name: str, of: list[str]) -> dict:
        these = [(pair, lost) for pair, lost in tried if pair[1] in of]
        return {
            "fault": name,
            "tried": len(these),
            "survived": sum(not lost for _, lost in these),
            "lost": sum(lost for _, lost in these),
            "steps": len({rule for (rule, _), _ in these}),
            "hung": sum(kind in of for _, kind in hung),
        }

    rows = [row(kind, [kind]) for kind in kinds]
    columns = list(rows[0])[1:]
    print(f"{'fault':40}" + "".join(f"{column:>10}" for column in columns) + "   (hung: the run had to be killed before it could go on)")
    for entry in [*rows, row("all", kinds)]:
        print(f"{entry['fault']:40}" + "".join(f"{entry[column]:10}" for column in columns))
    output.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), output)


if __name__ == "__main__":
    main()

"""Faults all over a small study, and whether `make resume` brings back what an undisturbed run makes.

A pass makes the study from nothing. Faults strike while steps are at work, and after each the documented command goes on. At the end every
artifact is compared with the undisturbed run's, byte for byte. Only a fault that did harm counts as tried; one that came too late is due again.

    python tests/workflow/faults/faults.py --passes 5 --seed 1
"""

import argparse
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psutil
import yaml

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
PARTS = ["Snakefile", "Makefile", "workflow", "config", "profiles", "resources", "environment.yml", "requirements.lock", "requirements.in"]
CONTRACT = ("*.parquet", "*.jsonl.gz", "manifest.json", "calibration.json", "*.safetensors", "*.csv", "*.svg", "summary.txt")
QUIET = 120.0  # seconds after a fault in which a run should end
ATTEMPTS = 3  # of a fault in one pass
MORE = 2  # passes beyond the planned ones, while faults are lacking
ROUNDS = 2  # times that a pass makes steps again which had ended before their fault could strike
ENOUGH, ENOUGH_SHORT = 100, 12  # faults in all
TRACEBACK = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t].*\n)*?[ \t].*workflow/scripts/.*\n(?:[ \t].*\n)*(.*)")

Pair = tuple[str, str]  # rule, kind of fault


class Lost(Exception):
    """The study cannot be brought to its end, or something is not as promised."""


def merged(base: dict, over: dict) -> dict:
    """`over` laid on `base`, level by level; null stays, it removes an entry of the study."""
    return {
        key: merged(base.get(key) or {}, over[key]) if isinstance(over.get(key), dict) else over.get(key, base.get(key))
        for key in {**base, **over}
    }


class Study:
    """The small study in a folder of its own, with the project's Makefile on it; mounted: its results lie on a small disk of their own."""

    def __init__(self, folder: Path, mounted: bool = False) -> None:
        self.folder, self.results, self.mounted = folder, folder / "results/small", mounted
        for part in PARTS:
            source = REPOSITORY / part
            shutil.copytree(source, folder / part) if source.is_dir() else shutil.copy2(source, folder / part)
        (folder / ".venv").symlink_to(Path(sys.prefix))
        demo, small = (yaml.safe_load(path.read_text()) for path in (REPOSITORY / "config/demo.yaml", HERE / "small.yaml"))
        (folder / "config/small.yaml").write_text(yaml.safe_dump(merged(demo, small), sort_keys=False))
        (folder / "results").mkdir()
        if mounted:
            mount(folder / "results", "-t", "tmpfs", "-o", "size=400m", "tmpfs")
        self.log = folder / "run.log"
        self.log.touch()

    def start(self, *command: str) -> subprocess.Popen:
        """`make resume`, or another command, in a process group of its own."""
        with open(self.log, "ab") as log:
            words = command or ("make", "resume", "STUDY=small", "CORES=2")
            return subprocess.Popen(words, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)

    def said(self, since: int) -> str:
        """What the runs have printed from this byte on."""
        return self.log.read_bytes()[since:].decode(errors="replace")

    def jobs(self) -> dict[str, list[psutil.Process]]:
        """Rule -> the processes of its jobs at work here."""
        found: dict[str, list[psutil.Process]] = {}
        for process, words in self.processes():
            steps = [word.rpartition(".")[2] for word in words[1:4] if word.startswith("hh_align.")]
            if steps and "python" in words[0]:
                found.setdefault(steps[0], []).append(process)
        return found

    def snakemake(self) -> list[psutil.Process]:
        """The Snakemake at work here."""
        return [process for process, words in self.processes() if any(word.endswith("bin/snakemake") for word in words)]

    def processes(self) -> Iterable[tuple[psutil.Process, list[str]]]:
        """(process, its command line) of all that have this working directory."""
        for process in psutil.process_iter(["cmdline"]):
            with suppress(psutil.Error):
                if (words := process.info["cmdline"]) and process.cwd() == str(self.folder):
                    yield process, words

    def artifacts(self) -> dict[str, bytes]:
        """Every file under the byte contract."""
        paths = {
            path for pattern in CONTRACT for path in self.results.rglob(pattern) if "state" not in path.relative_to(self.results).parts
        }
        return {path.relative_to(self.results).as_posix(): path.read_bytes() for path in sorted(paths)}

    def damaged(self) -> set[str]:
        """What has been moved aside."""
        return {path.relative_to(self.results).as_posix().removesuffix(".damaged") for path in self.results.rglob("*.damaged")}

    def stateful(self) -> set[str]:
        """The rules that keep state between kills: its locks stay."""
        state = self.results / "state"
        return {path.relative_to(state).parts[0].removesuffix(".lock") for path in state.rglob("*.lock")}

    def fill(self) -> None:
        """Take all space that is left on the results' disk."""
        ballast = self.folder / "results/ballast"
        with open(ballast, "ab") as file, suppress(OSError):  # the step at work took the space meanwhile
            while free := os.statvfs(ballast.parent).f_bavail * os.statvfs(ballast.parent).f_frsize:
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, free)

    def protect(self, on: bool) -> None:
        """Make the results read-only, or writable again."""
        if self.mounted:
            return mount(self.folder / "results", "-o", "remount,ro" if on else "remount,rw")
        for path in (self.folder / "results", *(self.folder / "results").rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222 if on else path.stat().st_mode | 0o200)


@dataclass
class Pass:
    """One making of the study under faults."""

    study: Study
    stream: random.Random
    harmed: set[str] = field(default_factory=set)
    tried: list[Pair] = field(default_factory=list)
    hung: list[Pair] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def harm(self, path: Path, *ways: str) -> None:
        """Cut a file short, flip one of its bits, or remove it."""
        content, way = bytearray(path.read_bytes()), self.stream.choice(ways)
        if way == "deleted" or not content:
            path.unlink()
        elif way == "truncated":
            path.write_bytes(content[: self.stream.randrange(len(content))])
        else:
            content[self.stream.randrange(len(content))] ^= 1 << self.stream.randrange(8)
            path.write_bytes(content)


class Target(NamedTuple):
    """Where a fault strikes: a job of a rule, in a run."""

    run: subprocess.Popen
    job: psutil.Process
    pair: Pair


def mount(place: Path, *options: str) -> None:
    """Call mount until it succeeds; a process that was just killed may hold a file for a moment."""
    for left in range(20, -1, -1):
        done = subprocess.run(["mount", *options, str(place)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        if left:
            time.sleep(0.1)
    raise OSError(done.stderr.strip())


def can_mount() -> bool:
    """Whether this process may mount a tmpfs: an ordinary container's root may not."""
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True, check=False).returncode:
            return False
        subprocess.run(["umount", place], check=True)
        return True


def ended(at: Pass, hit: Target, run: subprocess.Popen | None = None) -> int:
    """The exit status of a run once it has ended; a hung one (an interrupted Snakemake can wait forever) is counted and killed, as its user would."""
    run = run or hit.run
    try:
        return run.wait(QUIET)
    except subprocess.TimeoutExpired:
        at.hung.append(hit.pair)
        os.killpg(run.pid, signal.SIGKILL)
        return run.wait()


# --- faults: each says whether it did harm


def kill_job(at: Pass, hit: Target) -> bool:
    """kill -9 of a job."""
    try:
        hit.job.kill()
    except psutil.NoSuchProcess:
        return False
    return ended(at, hit) != 0


def kill_all(at: Pass, hit: Target) -> bool:
    """kill -9 of Snakemake with its jobs."""
    with suppress(psutil.NoSuchProcess):
        at_work = hit.job.is_running() and hit.job.status() != psutil.STATUS_ZOMBIE and hit.run.poll() is None
        if at_work:
            os.killpg(hit.run.pid, signal.SIGKILL)
            hit.run.wait()
        return at_work
    return False


def terminate(at: Pass, hit: Target) -> bool:
    """SIGTERM to Snakemake."""
    for process in at.study.snakemake():
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    return ended(at, hit) != 0


def interrupt_twice(at: Pass, hit: Target) -> bool:
    """Ctrl-C twice."""
    for _ in range(2):
        if hit.run.poll() is None:
            os.killpg(hit.run.pid, signal.SIGINT)
            time.sleep(0.5)
    return ended(at, hit) != 0


def damage_state(at: Pass, hit: Target) -> bool:
    """kill -9 once the step keeps state, and a file of it truncated, flipped or deleted."""
    state = at.study.results / "state" / hit.pair[0]
    while hit.run.poll() is None and hit.job.is_running() and not list(state.rglob("fingerprint.json")):
        time.sleep(0.01)
    if not kill_all(at, hit):
        return False
    files = sorted(path for path in state.rglob("*") if path.is_file() and path.suffix != ".lock")
    if files:
        at.harm(at.stream.choice(files), "truncated", "flipped", "deleted")
    return bool(files)


def damage_artifact(at: Pass, hit: Target) -> bool:
    """kill -9, and an artifact truncated or deleted; of weights, which have a checksum, also a bit flipped."""
    if not kill_all(at, hit):
        return False
    files = [name for name in at.study.artifacts() if name.endswith((".parquet", ".safetensors"))]
    if files:
        path, weights = at.study.results / (name := at.stream.choice(files)), name.endswith(".safetensors")
        at.harm(path, "truncated", "deleted", *["flipped"] * weights)
        at.harmed |= {name, *[(path.parent / "manifest.json").relative_to(at.study.results).as_posix()] * weights}
    return bool(files)


def set_clock_back(at: Pass, hit: Target) -> bool:
    """kill -9, and the dates of half of all files a day back."""
    if not kill_all(at, hit):
        return False
    for path in sorted(at.study.results.rglob("*")):
        if path.is_file() and at.stream.random() < 0.5:
            os.utime(path, (time.time() - 86_400,) * 2)
    return True


def second_snakemake(at: Pass, hit: Target) -> bool:
    """A second `make resume` and a second Snakemake on the same study: both must refuse, and leave the first at work."""
    for command in ((), (".venv/bin/snakemake", "--cores", "2", "--configfile", "config/small.yaml")):
        second = at.study.start(*command)
        while second.poll() is None and hit.run.poll() is None:
            time.sleep(0.05)
        if hit.run.poll() is not None:  # nothing keeps the second from work any more
            with suppress(ProcessLookupError):
                os.killpg(second.pid, signal.SIGKILL)
            second.wait()
            return False
        if second.returncode == 0:
            raise Lost(f"{' '.join(command) or 'make resume'} ran beside the first")
    return True


def fill_disk(at: Pass, hit: Target) -> bool:
    """No space left while the step writes: on the results' own disk, else none of the job's files may grow."""
    since = at.study.log.stat().st_size
    if at.study.mounted:
        until = time.monotonic() + QUIET
        while hit.run.poll() is None and time.monotonic() < until:
            at.study.fill()
            time.sleep(0.05)
    else:
        with suppress(psutil.NoSuchProcess):
            hit.job.rlimit(psutil.RLIMIT_FSIZE, (0, 0))  # Python ignores SIGXFSZ: a write fails
    ended(at, hit)
    (at.study.folder / "results/ballast").unlink(missing_ok=True)
    at.lost += bare_tracebacks(at.study.said(since))
    return hit.pair[0] in re.findall(r"^Error in rule (\w+):", at.study.said(since), re.MULTILINE)


def make_read_only(at: Pass, hit: Target) -> bool:
    """kill -9, and a run on a read-only results folder."""
    if not kill_all(at, hit):
        return False
    since = at.study.log.stat().st_size
    at.study.protect(True)
    status = ended(at, hit, at.study.start())
    at.study.protect(False)
    said = at.study.said(since)
    if "Traceback" in said or not re.search("results/ is read-only|Write-protected output files", said):
        at.lost.append("a read-only folder without one message")
    return status != 0


def bare_tracebacks(said: str) -> list[str]:
    """What ended in one of the project's scripts as a traceback, where a message is due."""
    return [f"a traceback instead of a message: {last.strip()}" for last in TRACEBACK.findall(said)]


class Fault(NamedTuple):
    """A kind of fault: what it does, how often it is planned, how often it must have struck (None: once in each step that it concerns)."""

    strike: Callable[[Pass, Target], bool]
    planned: int | None
    needed: int | None


FAULTS = {
    "kill -9 of a job": Fault(kill_job, 24, 20),
    "kill -9 of Snakemake with its jobs": Fault(kill_all, 24, 20),
    "SIGTERM": Fault(terminate, 6, 4),
    "SIGINT twice": Fault(interrupt_twice, 6, 4),
    "state damaged": Fault(damage_state, None, None),
    "artifact damaged": Fault(damage_artifact, 9, 6),
    "dates set back": Fault(set_clock_back, 6, 4),
    "two Snakemakes": Fault(second_snakemake, 6, 4),
    "disk full": Fault(fill_disk, None, None),
    "read-only results": Fault(make_read_only, 6, 4),
}


# --- a pass


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
    found = {}
    for path in (study.results / "benchmarks").rglob("*.tsv"):
        rule = path.relative_to(study.results / "benchmarks").parts[0].removesuffix(".tsv")
        found[rule] = float(path.read_text().splitlines()[1].split("\t")[0])
    return found


def verify(study: Study) -> list[tuple[str, str]]:
    """(artifact, what `make verify` complains of)."""
    command = [".venv/bin/python", "-m", "hh_align.tools.verify_study", "--folder", "results/small"]
    done = subprocess.run(command, cwd=study.folder, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines() if done.returncode else []
    return [tuple(line.removeprefix("results/small/").split(": ", 1)) for line in lines]


def differences(study: Study, expected: dict[str, bytes], harmed: Iterable[str] = ()) -> list[str]:
    """Artifacts that are missing or have other bytes than the undisturbed run's, but for those that a fault has harmed."""
    found = study.artifacts()
    wrong = {name: "other bytes" if name in found else "missing" for name in expected if found.get(name) != expected[name]}
    return [f"{what}: {name}" for name, what in sorted(wrong.items()) if name not in harmed]


def compare(at: Pass, expected: dict[str, bytes]) -> list[str]:
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


# --- the bench


def plan(seconds: dict[str, float], stateful: set[str], kinds: list[str], stream: random.Random) -> list[Pair]:
    """Every fault of the bench: disk full in each rule, damaged state in each that keeps some, the others spread over all rules."""
    steps = {kind: sorted(stateful if kind == "state damaged" else seconds) for kind in kinds}
    pairs = []
    for kind in kinds:
        order = stream.sample(steps[kind], len(steps[kind]))
        pairs += [(order[place % len(order)], kind) for place in range(FAULTS[kind].planned or len(order))]
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
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as place:
        began = time.monotonic()
        calm = make_study(Path(place) / "calm", False)
        if calm.start().wait() != 0:
            raise SystemExit("the undisturbed run fails:\n" + calm.said(0)[-3000:])
        expected, seconds = calm.artifacts(), seconds_of(calm)
        print(f"undisturbed: {len(expected)} artifacts of {len(seconds)} rules in {time.monotonic() - began:.0f} s", flush=True)
        stateful = calm.stateful()
        due = planned = short_plan(seconds, stateful, kinds) if args.short else plan(seconds, stateful, kinds, stream)
        for number in range(1, passes + MORE + 1):
            if number > passes and not shortfall([pair for pair, _ in tried], planned, args.short):
                break
            began, count = time.monotonic(), math.ceil(len(due) / max(passes - number + 1, 1))
            at = Pass(make_study(Path(place) / f"pass-{number}", mounted), stream)
            try:
                due = due[count:] + strike(at, due[:count], seconds)
                at.lost += compare(at, expected)
            except Lost as error:
                due, at.lost = due[count:], [*at.lost, str(error)]
            finally:
                if mounted:
                    subprocess.run(["umount", "-l", str(at.study.folder / "results")], check=False)
            tried += [(pair, bool(at.lost)) for pair in at.tried]
            hung += at.hung
            print(
                f"pass {number}: {len(at.tried)} faults in {time.monotonic() - began:.0f} s, "
                + ("; ".join(dict.fromkeys(at.lost)) or "nothing lost"),
                flush=True,
            )
    write(kinds, tried, hung, args.output)
    lacking = shortfall([pair for pair, _ in tried], planned, args.short)
    print(*(f"too few: {text}" for text in lacking), sep="\n")
    if lacking or any(lost for _, lost in tried):
        raise SystemExit(1)


def make_study(folder: Path, mounted: bool) -> Study:
    folder.mkdir()
    return Study(folder, mounted)


def write(kinds: list[str], tried: list[tuple[Pair, bool]], hung: list[Pair], output: Path) -> None:
    """Print the table and write it as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def row(name: str, of: list[str]) -> dict:
        found = [(pair, lost) for pair, lost in tried if pair[1] in of]
        return {
            "fault": name,
            "tried": len(found),
            "survived": sum(not lost for _, lost in found),
            "lost": sum(lost for _, lost in found),
            "steps": len({rule for (rule, _), _ in found}),
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

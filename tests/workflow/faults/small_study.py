"""The small study that faults strike: its folder, its runs and their processes, its artifacts, and a small disk of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil
import yaml

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
PARTS = ["Snakefile", "Makefile", "workflow", "config", "profiles", "resources", "environment.yml", "requirements.lock", "requirements.in"]
FIRST = (".venv/bin/python", "-m", "hh_align.cli", "run", "config/small.yaml", "--cores", "2", "--printshellcmds")
CONTRACT = ("*.parquet", "*.jsonl.gz", "manifest.json", "calibration.json", "*.safetensors", "*.csv", "*.svg", "summary.txt")


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
        folder.mkdir()
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
        """The first run, then `make resume`, or another command, in a process group of its own."""
        with open(self.log, "ab") as log:
            begun = (self.results / "run.json").is_file()
            words = command or (("make", "resume", "STUDY=small", "CORES=2") if begun else FIRST)
            whole = os.environ | {"OPTIONS": "--printshellcmds"}  # Snakemake's own blocks, and all that steps print
            return subprocess.Popen(words, cwd=self.folder, env=whole, stdout=log, stderr=log, start_new_session=True)

    def said(self, since: int) -> str:
        """What the runs have printed from this byte on."""
        return self.log.read_bytes()[since:].decode(errors="replace")

    def jobs(self) -> dict[str, list[psutil.Process]]:
        """Rule -> the processes of its jobs at work here."""
        jobs: dict[str, list[psutil.Process]] = {}
        for process, words in self.processes():
            steps = [word.rpartition(".")[2] for word in words[1:4] if word.startswith("hh_align.")]
            if steps and "python" in words[0]:
                jobs.setdefault(steps[0], []).append(process)
        return jobs

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


def mount(folder: Path, *options: str) -> None:
    """Call mount until it succeeds; a process that was just killed may hold a file for a moment."""
    for left in range(20, -1, -1):
        done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        if left:
            time.sleep(0.1)
    raise OSError(done.stderr.strip())


def can_mount() -> bool:
    """Whether this process may mount a tmpfs: an ordinary container's root may not."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False).returncode:
            return False
        subprocess.run(["umount", folder], check=True)
        return True

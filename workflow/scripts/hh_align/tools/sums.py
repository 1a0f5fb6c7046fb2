"""The sums of a study's outputs: when a step has ended, its rule notes them below sums/, in the form that sha256sum writes and checks."""

import re
from pathlib import Path

from hh_align.core.artifacts import write_text

FOLDER = "sums"
NOT_KEPT = ("state", "logs", "benchmarks", "labels", "answers", "receipts", FOLDER)
"""Folders of a study without sums: what a run leaves on its way, and answers, which carry a sum in every line."""
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def kept_files(folder: Path) -> list[Path]:
    """The files of a study that are meant to be kept, but for those that its runs, no step, write into its folder."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] not in NOT_KEPT)
    return sorted(
        path for path in files if len(path.relative_to(folder).parts) > 1 and path.name != "partial.html" and not is_leftover(path)
    )


def is_leftover(path: Path) -> bool:
    """Whether a file is what a kill or a damage has left: a half written one, or one that was moved aside."""
    return any(part.endswith((".tmp", ".damaged")) for part in path.parts)


def recorded_sums(folder: Path) -> tuple[dict[str, set[str]], list[str]]:
    """(a file's name in the study -> the sums that its records hold, lines that are none). Two steps have a record of one file where the
    config has changed which of them makes it."""
    sums: dict[str, set[str]] = {}
    faults = []
    for record in sorted((folder / FOLDER).rglob("*.sha256")):
        for line in record.read_text(encoding="utf-8", errors="replace").splitlines():
            if not (found := LINE.fullmatch(line)):
                faults.append(f"{record}: damaged")
                continue
            sums.setdefault(found[2], set()).add(found[1])
    return sums, faults


def sum_faults(folder: Path, present: dict[Path, str]) -> tuple[dict[Path, str], list[str], set[Path]]:
    """(file -> what is wrong with it, lines of the records that are none, files of which no sum is known).

    present: a kept file -> its sha256.
    """
    recorded, unreadable = recorded_sums(folder)
    known = {folder / name: sums for name, sums in recorded.items()}
    faults = {
        path: "damaged, or changed since its step ended" if path in present else "missing"
        for path, sums in sorted(known.items())
        if present.get(path) not in sums
    }
    return faults, unreadable, set(present) - set(known)


def forget_missing(folder: Path) -> int:
    """Take files that are not there out of the records; how many."""
    gone = 0
    for record in sorted((folder / FOLDER).rglob("*.sha256")):
        lines = record.read_text(encoding="utf-8", errors="replace").splitlines()
        left = [line for line in lines if not (found := LINE.fullmatch(line)) or (folder / found[2]).is_file()]
        if len(left) < len(lines):
            gone += len(lines) - len(left)
            write_text(record, "".join(f"{line}\n" for line in left)) if left else record.unlink()
    return gone

"""Check every file of a study that is meant to be kept: as it was when its job ended, readable, made from the inputs that lie there, and, where
all of that holds, what the study's config asks for today. Changes nothing."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hh_align.core.artifacts import CHECKOUT, logical_name, read_provenance, say, sha256, sums_of
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.meant import did_you_mean
from hh_align.core.receipts import FOLDER, receipts_of
from hh_align.tools.planned import difference, dry_run, stale

NOT_KEPT = ("state", "logs", "benchmarks", "labels", "answers", FOLDER)
"""Folders of a study that are not looked at: what a run leaves on its way, and answers, which carry a sum in every line."""
SHOWN = 3
LISTED = 10
"""Artifacts of which it is said what the config asks for otherwise."""


def kept_files(folder: Path) -> list[Path]:
    """The files of a study that are meant to be kept, but for those that its runs, no step, write into its folder."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] not in NOT_KEPT)
    return sorted(
        path for path in files if len(path.relative_to(folder).parts) > 1 and path.name != "partial.html" and not is_leftover(path)
    )


def is_leftover(path: Path) -> bool:
    """Whether a file is what a kill or a damage has left: a half written one, or one that was moved aside."""
    return any(part.endswith((".tmp", ".damaged")) for part in path.parts)


def sum_faults(folder: Path, present: dict[Path, str]) -> tuple[dict[Path, str], set[Path]]:
    """(file -> what is wrong with it by the receipts, files of which none holds a sum). Two jobs have made one file where the config has
    changed which of them does.

    present: a kept file -> its sha256.
    """
    known: dict[Path, set[str]] = {}
    for receipt in receipts_of(folder):
        for name, total in receipt.made().items():
            if folder / name in present or name not in receipt.forgotten():
                known.setdefault(folder / name, set()).add(total)
    faults = {
        path: "damaged, or changed since its job ended" if path in present else "missing"
        for path, sums in sorted(known.items())
        if present.get(path) not in sums
    }
    return faults, set(present) - set(known)


def manifest_faults(manifest: Path, present: dict[Path, str]) -> dict[Path, str]:
    """File -> what is wrong with it, of those that a manifest vouches for; present: sums that are known already."""
    try:
        sums = sums_of(manifest)
    except (ValueError, AttributeError, RecursionError):
        return {manifest: "not readable"}
    found = {path: present.get(path) or (sha256(path) if path.is_file() else None) for path in map(manifest.parent.joinpath, sums)}
    wrong = [path for path, expected in zip(found, sums.values(), strict=True) if found[path] != expected]
    return {path: "damaged" if found[path] else "missing" for path in wrong}


def recorded_inputs(path: Path, whole: bool) -> dict[str, str]:
    """Logical name -> sha256 of the inputs that an artifact says it was made from; whole: every page of a table is read as well. Raises
    ValueError where it cannot be read."""
    if path.suffix != ".parquet":
        return dict(json.loads(path.read_text(encoding="utf-8"))["inputs"])
    for batch in pq.ParquetFile(path, page_checksum_verification=True).iter_batches() if whole else []:
        batch.validate()
    return dict(read_provenance(path)["inputs"])


def read_inputs(artifacts: list[Path], unknown: set[Path]) -> tuple[dict[Path, dict[str, str]], dict[Path, str]]:
    """(artifact -> its recorded inputs, artifact -> why it cannot be read). Of `unknown` ones nothing else says that they are sound."""
    inputs, faults = {}, {}
    for path in artifacts:
        try:
            inputs[path] = recorded_inputs(path, path in unknown)
        except (StudyError, ValueError, KeyError, TypeError, OSError, pa.ArrowException) as error:
            faults[path] = f"not readable ({str(error).splitlines()[0]})"
    return inputs, faults


def study_faults(folder: Path) -> tuple[int, list[str], list[Path]]:
    """(files looked at, what is wrong with them, files of which nothing says what they were)."""
    present = {path: sha256(path) for path in kept_files(folder)}
    wrong, unknown = sum_faults(folder, present)
    for manifest in (path for path in present if path.name == "manifest.json"):
        wrong |= manifest_faults(manifest, present)
        unknown -= set(map(manifest.parent.joinpath, names_of(manifest)))
    artifacts = [path for path in present if path not in wrong and (path.suffix == ".parquet" or path.name == "provenance.json")]
    inputs, faults = read_inputs(artifacts, unknown)
    wrong |= faults
    downloads = {folder.parent / name for read in inputs.values() for name in read if name.startswith("hub/")}
    downloads = {path: sha256(path) for path in sorted(downloads) if path.is_file()}
    for manifest in (path for path in downloads if path.name.startswith("manifest")):
        wrong |= manifest_faults(manifest, {})
    sums = {logical_name(path): value for path, value in {**present, **downloads}.items() if path not in wrong}
    others = [
        f"{path}: was made from another {name}"
        for path, read in inputs.items()
        for name, recorded in read.items()
        if sums.get(name, recorded) != recorded
    ]
    return len(present) + len(downloads), [*(f"{path}: {why}" for path, why in sorted(wrong.items())), *others], sorted(unknown)


def names_of(manifest: Path) -> list[str]:
    """The files that a manifest vouches for; none where it cannot be read."""
    try:
        return list(sums_of(manifest))
    except (ValueError, AttributeError, RecursionError):
        return []


def place(name: str, folder: Path) -> Path | None:
    """Where a file of this logical name lies: beside the study, in the working directory or in the checkout; None where it is elsewhere."""
    return next((path for base in (folder.parent, Path.cwd(), CHECKOUT) if (path := base / name).is_file()), None)


def outside_faults(folder: Path) -> tuple[list[str], list[str]]:
    """(receipts that are damaged, and artifacts that were made from other files than those of now, which come from outside the study; names of
    files that lie elsewhere). Of what is not there nothing is said."""
    faults, sums, elsewhere = [], {}, set()
    for receipt in receipts_of(folder):
        if not receipt.artifact.exists():
            continue
        if receipt.content is None:
            faults.append(f"{receipt.artifact}: its receipt is damaged")
            continue
        for name, recorded in receipt.content["inputs"].items():
            if name.startswith((f"{receipt.study}/", "hub/")):
                continue
            if name not in sums:
                found = place(name, folder)
                sums[name] = sha256(found) if found else None
            if recorded is None:
                faults.append(f"{receipt.artifact}: {name} changed while it was read")
            elif sums[name] is None:
                elsewhere.add(name)
            elif sums[name] != recorded:
                faults.append(f"{receipt.artifact}: was made from another {name}")
    return faults, sorted(elsewhere)


def asked_faults(folder: Path) -> tuple[list[str], str]:
    """(artifacts that are not what the study's config asks for today, and what differs; why that is not known, if it is not)."""
    if folder.resolve() != (Path.cwd() / "results" / folder.name).resolve():
        return [], "the study lies in another folder than results/ here"
    plan = dry_run(folder.name)
    return ([], plan) if isinstance(plan, str) else ([difference(job) for job in stale(plan.jobs)], "")


def some(names: list) -> str:
    """The first of many, to be read."""
    return f"{', '.join(map(str, names[:SHOWN]))}{', …' if names[SHOWN:] else ''}"


def verify(folder: Path) -> None:
    """Say what is wrong with a study's files. Raises StudyError where something is."""
    if not folder.is_dir():
        studies = sorted({path.name for path in Path("results").glob("*") if path.is_dir()} - {"hub", "compare", "verdict"})
        raise StudyError(f"{folder}: no such study.{did_you_mean(folder.name, studies)} There are: {', '.join(studies) or 'none'}.")
    count, faults, unknown = study_faults(folder)
    others, elsewhere = outside_faults(folder)
    faults += others
    for fault in faults:
        say(fault)
    if elsewhere:
        say(f"{len(elsewhere)} files of another place were not looked at ({some(elsewhere)}): snakemake -n holds them against the receipts")
    if unknown:
        say(f"of {len(unknown)} files no receipt holds a sum ({some(unknown)}): a changed byte may not be seen in them")
    if not any((folder / FOLDER).rglob("*.json")):
        say(f"{folder} has no receipts: files that are gone, and files of yours that have changed since, are not seen")
    if faults:
        raise StudyError(f"{len(faults)} of {count} artifacts are wrong. Delete them; the next run rebuilds them.")
    differing, why = asked_faults(folder)
    for text in differing[:LISTED]:
        say(text)
    if why:
        say(f"whether the config asks for the same today is not known: {why}")
    beside = f"; {len(differing)} jobs are not what the config asks for today: the next run makes them again" if differing else ""
    say(f"{folder}: {count} artifacts, all as they were made{beside}")


def main() -> None:
    verify(parse(__doc__, folder="path").folder)


if __name__ == "__main__":
    run(main)

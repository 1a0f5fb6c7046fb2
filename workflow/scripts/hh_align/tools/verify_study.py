"""Check every file of a study that is meant to be kept: as it was when its step ended, readable, and made from the inputs that lie there. Changes nothing."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hh_align.core.artifacts import logical_name, read_provenance, say, sha256
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.tools.sums import kept_files, sum_faults
from hh_align.tools.verify_receipts import outside_faults

SHOWN = 3


def manifest_faults(manifest: Path, present: dict[Path, str]) -> dict[Path, str]:
    """File -> what is wrong with it, of those that a manifest names; present: sums that are known already."""
    try:
        sums = dict(json.loads(manifest.read_text(encoding="utf-8")).items())
    except (ValueError, AttributeError):
        return {manifest: "not readable"}
    found = {path: present.get(path) or (sha256(path) if path.is_file() else None) for path in map(manifest.parent.joinpath, sums)}
    wrong = [path for path, expected in zip(found, sums.values(), strict=True) if found[path] != expected]
    return {path: "damaged" if found[path] else "missing" for path in wrong}


def recorded_inputs(path: Path, whole: bool) -> dict[str, str]:
    """Logical name -> sha256 of the inputs that an artifact says it was made from; whole: every page of a table is read as well. Raises
    ValueError where it cannot be read."""
    if path.suffix != ".parquet":
        return json.loads(path.read_text(encoding="utf-8"))["inputs"]
    for batch in pq.ParquetFile(path, page_checksum_verification=True).iter_batches() if whole else []:
        batch.validate()
    return read_provenance(path)["inputs"]


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
    wrong, unreadable, unknown = sum_faults(folder, present)
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
    return (
        len(present) + len(downloads),
        [*unreadable, *(f"{path}: {why}" for path, why in sorted(wrong.items())), *others],
        sorted(unknown),
    )


def names_of(manifest: Path) -> list[str]:
    """The files that a manifest speaks for; none where it cannot be read."""
    try:
        return list(json.loads(manifest.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return []


def main() -> None:
    args = parse(__doc__, folder="path")
    if not args.folder.is_dir():
        raise StudyError(
            f"{args.folder}: no such study. Existing: {', '.join(sorted(path.name for path in Path('results').glob('*'))) or 'none'}."
        )
    count, faults, unknown = study_faults(args.folder)
    faults += outside_faults(args.folder)
    for fault in faults:
        say(fault)
    if unknown:
        say(
            f"of {len(unknown)} files no sum was noted ({', '.join(map(str, unknown[:SHOWN]))}{', …' if unknown[SHOWN:] else ''}): "
            "a changed byte may not be seen in them"
        )
    if faults:
        raise StudyError(f"{len(faults)} of {count} artifacts are wrong. Delete them; the next run rebuilds them.")
    say(f"{args.folder}: {count} artifacts, all as they were made")


if __name__ == "__main__":
    run(main)

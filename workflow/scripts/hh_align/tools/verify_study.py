"""Check every artifact of a study: readable, as its manifest says, and made from the inputs that lie there now. Changes nothing."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hh_align.core.artifacts import logical_name, read_provenance, say, sha256
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.tools.verify_receipts import outside_faults


def manifest_faults(manifest: Path) -> list[str]:
    """Files of a manifest that are missing or have other bytes."""
    try:
        sums = json.loads(manifest.read_text())
    except ValueError:
        return [f"{manifest}: not readable"]
    present = {name: sha256(manifest.parent / name) if (manifest.parent / name).is_file() else None for name in sums}
    return [f"{manifest.parent / name}: {'damaged' if present[name] else 'missing'}" for name in sums if present[name] != sums[name]]


def recorded_inputs(path: Path) -> dict[str, str]:
    """Logical name -> sha256 of the inputs that an artifact says it was made from. Raises ValueError where it cannot be read."""
    if path.suffix == ".parquet":
        for batch in pq.ParquetFile(path, page_checksum_verification=True).iter_batches():
            batch.validate()
        return read_provenance(path)["inputs"]
    return json.loads(path.read_text())["inputs"]


def study_faults(folder: Path) -> tuple[int, list[str]]:
    """(artifacts looked at, what is wrong with them)."""
    faults = []
    manifests = sorted(folder.rglob("manifest.json"))
    artifacts = sorted([*folder.rglob("*.parquet"), *folder.rglob("provenance.json")])
    artifacts = [path for path in artifacts if "state" not in path.relative_to(folder).parts]
    for manifest in manifests:
        faults += manifest_faults(manifest)
    sums = {logical_name(path): sha256(path) for path in [*artifacts, *manifests]}
    for path in artifacts:
        try:
            inputs = recorded_inputs(path)
        except (StudyError, ValueError, KeyError, TypeError, OSError, pa.ArrowException) as error:
            faults.append(f"{path}: not readable ({str(error).splitlines()[0]})")
            continue
        faults += [f"{path}: was made from another {name}" for name, recorded in inputs.items() if sums.get(name, recorded) != recorded]
    return len(artifacts) + len(manifests), faults


def main() -> None:
    args = parse(__doc__, folder="path")
    if not args.folder.is_dir():
        raise StudyError(
            f"{args.folder}: no such study. Existing: {', '.join(sorted(path.name for path in Path('results').glob('*'))) or 'none'}."
        )
    count, faults = study_faults(args.folder)
    faults += outside_faults(args.folder)
    for fault in faults:
        say(fault)
    if faults:
        raise StudyError(f"{len(faults)} of {count} artifacts are wrong. Delete them; the next run rebuilds them.")
    say(f"{args.folder}: {count} artifacts, all as they were made")


if __name__ == "__main__":
    run(main)

"""What a study's receipts say of files from outside: whether an artifact was made from what lies there now."""

from collections.abc import Iterator
from pathlib import Path

from hh_align.core.artifacts import CHECKOUT, say, sha256
from hh_align.core.receipts import FOLDER, read_receipt

SHOWN = 3


def receipts(folder: Path) -> Iterator[tuple[str, dict | None]]:
    """(path of an artifact, its receipt or None where that cannot be read) of a study."""
    for path in sorted((folder / FOLDER).rglob("*.json")):
        yield str(folder / path.relative_to(folder / FOLDER).with_suffix("")), read_receipt(path)


def place(name: str, folder: Path) -> Path | None:
    """Where a file of this logical name lies: beside the study, in the working directory or in the checkout; None where it is elsewhere."""
    return next((path for base in (folder.parent, Path.cwd(), CHECKOUT) if (path := base / name).is_file()), None)


def outside_faults(folder: Path) -> list[str]:
    """Artifacts that were made from other files than those of now, which come from outside the study, or whose receipt is damaged. Says which
    files lie elsewhere and were not looked at."""
    faults, sums, elsewhere = [], {}, set()
    for artifact, receipt in receipts(folder):
        if receipt is None:
            faults.append(f"{artifact}: its receipt is damaged")
            continue
        for name, recorded in receipt["inputs"].items():
            if name.startswith((f"{folder.name}/", "hub/")):
                continue
            if name not in sums:
                path = place(name, folder)
                sums[name] = sha256(path) if path else None
            if recorded is None:
                faults.append(f"{artifact}: {name} changed while it was read")
            elif sums[name] is None:
                elsewhere.add(name)
            elif sums[name] != recorded:
                faults.append(f"{artifact}: was made from another {name}")
    if names := sorted(elsewhere):
        say(
            f"{len(names)} files of another place were not looked at ({', '.join(names[:SHOWN])}{', …' if names[SHOWN:] else ''}): snakemake -n holds them against the receipts"
        )
    return faults

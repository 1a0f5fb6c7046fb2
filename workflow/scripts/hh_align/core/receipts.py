"""Receipts: what each job of a study was asked, read and made, kept with the study. They alone decide whether an artifact is due, and say to
`make verify` what its bytes were."""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hh_align.core.artifacts import logical_name, write_json
from hh_align.core.sums import Sums

FOLDER = "receipts"
PARTS = ("asked", "inputs", "outputs", "uncounted")
SHOWN = 8
"""Digits of a sum that people are shown."""
LONGEST = 80
"""Characters of a setting that they are shown."""
named = cache(logical_name)


def receipt_path(output: str) -> Path:
    """Where the receipt of the job lies that makes `output`: below the study's receipts/, or those of results/hub. Raises ValueError for a file
    that is of no study."""
    parts = Path(output).parts
    study = len(parts) - parts[::-1].index("results") + 1
    return Path(*parts[:study], FOLDER, *parts[study:-1], parts[-1] + ".json")


def read_receipt(path: Path) -> dict | None:
    """A receipt; None where there is none that can be read."""
    try:
        receipt = json.loads(path.read_text(encoding="utf-8"))
        known = isinstance(receipt["asked"], dict) and all(are_sums(receipt[part]) for part in PARTS if part != "asked")
        return receipt if known and all(isinstance(name, str) for name in receipt.get("forgotten", [])) else None
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None


def are_sums(value: object) -> bool:
    """Whether a value is sums by name, as a receipt holds them."""
    return isinstance(value, dict) and all(isinstance(total, str | None) for total in value.values())


class Kept(NamedTuple):
    """A receipt as it lies on disk.

    artifact: its job's first output; content: None where it cannot be read; study: what it calls the study, whose folder may have had another
    name when it was written.
    """

    path: Path
    artifact: Path
    content: dict | None
    study: str

    def made(self) -> dict[str, str]:
        """Files of the study that the job has made -> their sums, by their paths in the study's folder."""
        made = self.content["outputs"] | self.content["uncounted"] if self.content else {}
        return {name.removeprefix(f"{self.study}/"): total for name, total in made.items() if name.startswith(f"{self.study}/")}

    def forgotten(self) -> set[str]:
        """Those of them that were taken away on purpose."""
        return set(self.content.get("forgotten", [])) if self.content else set()


def receipts_of(folder: Path) -> Iterator[Kept]:
    """A study's receipts, and those of the downloads beside it, which hold the times of downloading."""
    for home in (folder, folder.parent / "hub"):
        for path in sorted((home / FOLDER).rglob("*.json")):
            content = read_receipt(path)
            first = next(iter(content["outputs"]), "") if content and home == folder else ""
            artifact = home / path.relative_to(home / FOLDER).with_suffix("")
            yield Kept(path, artifact, content, first.partition("/")[0] or folder.name)


def own_provenance(output: str) -> dict | None:
    """What an artifact itself says of its config and inputs; None where it says nothing, or is no table or model."""
    path = Path(output)
    try:
        if path.name == "manifest.json":
            said = json.loads(path.with_name("provenance.json").read_text(encoding="utf-8"))
        elif path.suffix == ".parquet":
            import pyarrow.parquet as pq

            said = json.loads((pq.read_schema(path).metadata or {})[b"provenance"])
        else:
            return None
        return {"cfg": said["config"], "inputs": said["inputs"]} if are_sums(said["inputs"]) else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def known_differences(said: dict, asked: dict, inputs: Mapping[str, str | None]) -> list[tuple[str, str]]:
    """What `differences` says of an artifact without a receipt, from its own provenance, which says nothing of its code and may not name every
    input. said: as own_provenance gives it. The provenance of a step without a config holds the config of its inputs: it is not compared."""
    shared = said["inputs"].keys() & inputs.keys()
    known = {"asked": {"cfg": said["cfg"]}, "inputs": {name: said["inputs"][name] for name in shared}, "outputs": {}}
    return differences(known, {"cfg": asked["cfg"] or said["cfg"]}, {name: inputs[name] for name in shared}, {})


def names(paths: Iterable[str]) -> dict[str, str]:
    """Path -> logical name; a name that several files have is numbered."""
    found: dict[str, str] = {}
    for path in sorted(set(paths)):
        name, number = named(path), 2
        while name in found:
            name, number = f"{named(path)} ({number})", number + 1
        found[name] = path
    return {path: name for name, path in found.items()}


def summed(paths: Iterable[str], sums: Sums) -> dict[str, str | None]:
    """Logical name -> sum of each file, None where there is no file."""
    return {name: sums.of(path) for path, name in names(paths).items()}


def write_receipt(
    path: Path, asked: dict, inputs: Mapping[str, str | None], outputs: Mapping[str, str], uncounted: Mapping[str, str] | None = None
) -> None:
    """asked: what the step was told (config, code, …); inputs, outputs, and outputs by which nothing is due (`uncounted`, times): logical
    name -> sum. The sum of an input that changed while the step ran is None: no later sum equals it, so the job is due."""
    write_json(path, {"asked": asked, "inputs": dict(inputs), "outputs": dict(outputs), "uncounted": dict(uncounted or {})})


def differences(receipt: dict, asked: dict, inputs: Mapping[str, str | None], outputs: Mapping[str, str | None]) -> list[tuple[str, str]]:
    """(before, now), in words, of everything that the same job is asked, reads or has made otherwise than its receipt says.

    A missing output, or a missing input that was read before, is no difference: Snakemake decides whether it is needed.
    """
    changes = asked_otherwise(receipt["asked"], asked) if receipt["asked"] != asked else []
    for name in sorted({*receipt["inputs"], *inputs}):
        before, now = receipt["inputs"].get(name), inputs.get(name)
        gone = before is not None and name in inputs and now is None
        if before is None or (before != now and not gone):
            unknown = name in receipt["inputs"] and before is None
            changes.append((f"{name} {'changed while it was read' if unknown else short(before)}", f"{name} {short(now)}"))
    there = [name for name, now in outputs.items() if now is not None]
    made = [(name, receipt["outputs"].get(name), outputs[name]) for name in sorted(there)]
    return changes + [(f"{name} {short(before)}", f"{name} {short(now)}") for name, before, now in made if before != now]


def asked_otherwise(before: dict, now: dict) -> list[tuple[str, str]]:
    """The entries in which two jobs' tasks differ."""
    old, new = flat(before), flat(now)
    keys = sorted(key for key in {*old, *new} if key not in old or key not in new or old[key] != new[key])
    return [tuple(shown(key, side) for side in (old, new)) for key in keys] or [("another order", "this order")]


def flat(value: object, prefix: str = "") -> dict[str, object]:
    """The entries of nested mappings by their dotted names."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    return {name: entry for key, inner in value.items() for name, entry in flat(inner, f"{prefix}.{key}" if prefix else str(key)).items()}


def shown(key: str, entries: dict[str, object]) -> str:
    text = json.dumps(entries[key], ensure_ascii=False) if key in entries else "absent"
    return f"{key} {text if len(text) <= LONGEST else text[:LONGEST] + '…'}"


def short(total: str | None) -> str:
    return total[:SHOWN] if total else "absent"

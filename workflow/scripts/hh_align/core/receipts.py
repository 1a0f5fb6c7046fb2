"""Receipts: what each job of a study was asked, read and made, kept with the study. They alone decide whether an artifact is due."""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from hh_align.core.artifacts import logical_name, write_json
from hh_align.core.sums import Sums

FOLDER = "receipts"
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
        return receipt if {"asked", "inputs", "outputs"} <= set(receipt) else None
    except (OSError, ValueError, TypeError):
        return None


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
        return {"cfg": said["config"], "inputs": dict(said["inputs"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def known_differences(said: dict, asked: dict, inputs: Mapping[str, str | None]) -> list[tuple[str, str]]:
    """As differences, of an artifact without a receipt, as far as its own provenance goes: not its code, nor an input that it does not name.
    A step without a config has that of its inputs in its provenance."""
    shared = said["inputs"].keys() & inputs.keys()
    known = {"asked": {"cfg": said["cfg"]}, "inputs": {name: said["inputs"][name] for name in shared}, "outputs": {}}
    return differences(known, {"cfg": asked["cfg"] or said["cfg"]}, {name: inputs[name] for name in shared}, {})


def summed(paths: Iterable[str], sums: Sums) -> dict[str, str | None]:
    """Logical name -> sum of each file, None where there is no file; a name that several files have is numbered."""
    found: dict[str, str | None] = {}
    for path in sorted(set(paths)):
        name, number = named(path), 2
        while name in found:
            name, number = f"{named(path)} ({number})", number + 1
        found[name] = sums.of(path)
    return found


def write_receipt(path: Path, asked: dict, inputs: Mapping[str, str | None], outputs: Mapping[str, str | None]) -> None:
    """asked: what the step was told (config, code, …); inputs and outputs: logical name -> sum. A sum of None is one that nobody knows, as of
    an input that changed while the step ran: it fits nothing."""
    write_json(path, {"asked": asked, "inputs": dict(inputs), "outputs": dict(outputs)})


def differences(receipt: dict, asked: dict, inputs: Mapping[str, str | None], outputs: Mapping[str, str | None]) -> list[tuple[str, str]]:
    """(before, now) of everything in which a receipt is not what the same job is asked, reads and has made there now, in words.

    An output that is not there is no difference: whether it is needed is another question.
    """
    changes = asked_otherwise(receipt["asked"], asked) if receipt["asked"] != asked else []
    for name in sorted({*receipt["inputs"], *inputs}):
        before, now = receipt["inputs"].get(name), inputs.get(name)
        if before != now or now is None:
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

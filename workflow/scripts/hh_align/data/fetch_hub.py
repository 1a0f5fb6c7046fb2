"""Download the needed files of one pinned hub revision, check every file, and write the manifest last."""

import fcntl
import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from hh_align.core.artifacts import say, sha256, write_json
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.state import State, state_folder
from hh_align.data.hub import amount, download, list_revision, refuse_offline
from hh_align.data.hub_layout import CARDS, layout_file, layout_of

WEIGHTS = (["model.safetensors"], ["pytorch_model.bin"])
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
TOKENIZER = (["tokenizer.json"], ["vocab.json", "merges.txt"])
IF_THERE = ["generation_config.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json", "LICENSE*", "NOTICE*"]


def model_files(available: Iterable[str]) -> list[str]:
    """The files of a model repository that an import reads: one kind of weights, one form of tokenizer, settings, licences."""
    available = set(available)
    shards = sorted(filter(SHARD.fullmatch, available))
    weights = (*WEIGHTS[:1], ["model.safetensors.index.json", *shards], *WEIGHTS[1:]) if shards else WEIGHTS

    def first_there(choices: tuple[list[str], ...]) -> list[str]:
        return next((names for names in choices if available.issuperset(names)), choices[0])

    return ["config.json", *first_there(weights), *first_there(TOKENIZER), *IF_THERE]


def pick_files(available: Iterable[str], wanted: list[str]) -> list[str]:
    """The names among `available` that `wanted` picks, sorted.

    A name must be there (else KeyError with the missing names); a shell pattern or one of IF_THERE takes what there is, in no folder.
    """
    available = set(available)
    optional = [name for name in wanted if name in IF_THERE or (name not in available and any(sign in name for sign in "*?["))]
    missing = sorted(set(wanted) - set(optional) - available)
    if missing:
        raise KeyError(", ".join(missing))
    patterns = [pattern for pattern in wanted if pattern in optional]
    return sorted({*wanted} - {*optional} | {name for name in available if "/" not in name and any(fnmatchcase(name, p) for p in patterns)})


def checksum(path: Path, like: str) -> str | None:
    """The file's sha256, or its git blob id where `like` is one (40 digits); None where there is no file."""
    if not path.is_file():
        return None
    if len(like) == 64:
        return sha256(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def require_space(folder: Path, needed: int, free: int) -> None:
    """Raise StudyError where `needed` bytes do not fit into `free` bytes."""
    if needed > free:
        raise StudyError(
            f"{folder}: the download needs {amount(needed)}, and {amount(free)} are free on that disk. Make room and run again."
        )


def is_listing(path: Path) -> bool:
    """Whether this is a whole listing as list_revision gives it."""
    try:
        listing = json.loads(path.read_text(encoding="utf-8"))
        return bool(listing) and all({"size", "sum"} <= set(file) for file in listing.values())
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def read_checksums(path: Path) -> dict[str, dict[str, str]]:
    """repo@revision -> file -> sha256. Raises StudyError for a file of another shape."""
    try:
        tables = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        sums = [total for table in tables.values() for total in table.values()]
    except (yaml.YAMLError, ValueError, AttributeError):
        sums = [None]
    if not all(isinstance(total, str) and re.fullmatch("[0-9a-f]{64}", total) for total in sums):
        raise StudyError(f"{path}: not a table of checksums (repository@commit -> file -> sha256).")
    return tables


def fetch_file(config: dict, name: str, expected: str, folder: Path, what: str) -> None:
    """Bring one file into the folder and check it. Raises StudyError, and leaves no file, where its bytes are not the expected ones."""
    path = folder / name
    download(config, name, folder, f"{what}/{name}")
    actual = checksum(path, expected)
    if actual != expected:
        path.unlink()
        raise StudyError(
            f"{what}/{name}: wrong bytes, removed (sum {actual}, expected {expected}). "
            "Run again; if it stays so, the source or the table of checksums is wrong."
        )


def listing_of(config: dict, folder: Path, what: str) -> dict[str, dict]:
    """Every file of the revision: size and sum, as the hub stated them on first contact, kept in `.listing.json`."""
    listed = folder / ".listing.json"
    if not is_listing(listed):
        refuse_offline(what, "it has")
        write_json(listed, list_revision(config, what))
    return json.loads(listed.read_text(encoding="utf-8"))


def fetch_revision(config: dict, table: dict[str, str], manifest: Path, state: State) -> tuple[list[str], int]:
    """Bring every needed file into the manifest's folder, checked; return their names, and the bytes that had to be downloaded for them.

    `table` holds the sha256 sums known in advance, by file name; the rest is held to the sums of the revision's listing. Of a dataset
    with a `layout` the cards come first, then what they say, and a file beside the manifest says which file is which split. `state` notes
    the seconds after each file. Raises StudyError for whatever the user can mend.
    """
    what = f"{config['kind']}/{config['repo']}@{config['revision'][:12]}"
    folder, note = manifest.parent, layout_file(manifest)
    listing = listing_of(config, folder, what)
    if "layout" not in config:
        return fetch_files(config, config.get("files") or model_files(listing), table, listing, folder, state)
    cards, size = fetch_files(config, [name for name in CARDS if name in listing], table, listing, folder, state)
    layout = layout_of(config["layout"], listing, folder, what)
    write_json(note, layout)
    data, more = fetch_files(config, [name for entry in layout for name in entry["files"]], table, listing, folder, state)
    return sorted({*cards, *data, note.name}), size + more


def fetch_files(
    config: dict, wanted: list[str], table: dict[str, str], listing: dict[str, dict], folder: Path, state: State
) -> tuple[list[str], int]:
    """Bring the files that `wanted` picks into the folder, as fetch_revision does. Complete ones are not requested again."""
    what = f"{config['kind']}/{config['repo']}@{config['revision'][:12]}"
    try:
        names = pick_files(listing, wanted)
    except KeyError as error:
        raise StudyError(f"{what}: no {error.args[0]} at this revision; it has {', '.join(sorted(listing)) or 'no files'}.") from None
    sums = {name: table.get(name, listing[name]["sum"]) for name in names}
    absent = [name for name in names if checksum(folder / name, sums[name]) != sums[name]]
    if absent:
        refuse_offline(what, f"{', '.join(absent)} {'has' if len(absent) == 1 else 'have'}")
        needed, free = sum(listing[name]["size"] for name in absent), shutil.disk_usage(folder).free
        say(f"{what}: to download: {amount(needed)} in {len(absent)} of {len(names)} files; {amount(free)} are free in {folder}")
        require_space(folder, needed, free)

    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's leftovers of a killed download
    for number, name in enumerate(names, 1):
        size, began = listing[name]["size"], time.monotonic()
        if name in absent:
            fetch_file(config, name, sums[name], folder, what)
            state.spend()
            seconds = time.monotonic() - began
            say(f"{what}: {number}/{len(names)} {name}, {amount(size)} in {seconds:.1f} s ({amount(size / max(seconds, 1e-3))}/s)")
        else:
            say(f"{what}: {number}/{len(names)} {name}, {amount(size)}, complete")
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return names, sum(listing[name]["size"] for name in absent)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One download at a time in a folder: datasets that read other files of one repository share it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> None:
    started = time.monotonic()
    args = parse(__doc__, config="config", checksums="path", manifest="path", timing="path")
    tables = read_checksums(args.checksums)
    folder, mark = args.manifest.parent, json.dumps(args.config, sort_keys=True)
    known = tables.get(f"{args.config['repo']}@{args.config['revision']}", {}) | args.config.get("sums", {})
    with locked(folder), state_folder(folder / ".state" / args.manifest.stem, mark, started) as state:
        names, size = fetch_revision(args.config, known, args.manifest, state)
        seconds, counts = time.monotonic() - state.started, {"files": len(names), "downloaded_bytes": size}
        write_json(args.timing, {"seconds": round(seconds, 3), "continuations": state.continuations, **counts})
        write_json(args.manifest, {name: sha256(folder / name) for name in names})


if __name__ == "__main__":
    run(main)

"""Download the needed files of one pinned hub revision, check every file, and write the manifest last."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

# Read when the hub's client is imported, so set before. Plain HTTP: no cache outside the folder, and one tested path.
os.environ |= {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_VERBOSITY": "error",
}

import httpx2
import yaml
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

from hh_align.core.artifacts import say, sha256, write_json
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.state import State, state_folder

WEIGHTS = (["model.safetensors"], ["pytorch_model.bin"])
TOKENIZER = (["tokenizer.json"], ["vocab.json", "merges.txt"])
IF_THERE = ["generation_config.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json", "LICENSE*"]
TRIES = 3
PASSING = (408, 429, 500, 502, 503, 504)
LONGEST_WAIT = 300.0  # seconds
LINE_EVERY = 10.0  # seconds between progress lines


def model_files(available: Iterable[str]) -> list[str]:
    """The files of a model repository that an import reads: one kind of weights, one form of tokenizer, settings, licences."""
    available = set(available)

    def first_there(choices: tuple[list[str], ...]) -> list[str]:
        return next((names for names in choices if available.issuperset(names)), choices[0])

    return ["config.json", *first_there(WEIGHTS), *first_there(TOKENIZER), *IF_THERE]


def select(available: Iterable[str], wanted: list[str]) -> list[str]:
    """The names among `available` that `wanted` picks, sorted.

    A name must be there (else KeyError with the missing names); a shell pattern or one of IF_THERE takes what there is, in no folder.
    """
    available = set(available)
    optional = [name for name in wanted if name in IF_THERE or any(sign in name for sign in "*?[")]
    missing = sorted(set(wanted) - set(optional) - available)
    if missing:
        raise KeyError(", ".join(missing))
    patterns = [pattern for pattern in wanted if pattern in optional]
    return sorted({*wanted} - {*optional} | {name for name in available if "/" not in name and any(fnmatchcase(name, p) for p in patterns)})


def fingerprint(path: Path, like: str) -> str | None:
    """The file's sha256, or its git blob id where `like` is one (40 digits); None where there is no file."""
    if not path.is_file():
        return None
    if len(like) == 64:
        return sha256(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def amount(size: float) -> str:
    """A number of bytes in words: 1743 -> '1.7 kB'."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000


def require_space(folder: Path, needed: int, free: int) -> None:
    """Raise StudyError where `needed` bytes do not fit into `free` bytes."""
    if needed > free:
        raise StudyError(
            f"{folder}: the download needs {amount(needed)}, and {amount(free)} are free on that disk. Make room and run again."
        )


class Progress:
    """Stands where the hub client would draw a bar: one line of text every LINE_EVERY seconds."""

    def __init__(self, total: int | None = None, initial: int = 0, desc: str = "", **_: object) -> None:
        self.total, self.done, self.name, self.told = total or 0, initial, desc, time.monotonic()

    def update(self, size: int) -> None:
        self.done += size
        if time.monotonic() - self.told >= LINE_EVERY:
            self.told = time.monotonic()
            say(f"    {self.name}: {amount(self.done)} of {amount(self.total)}")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def underlying(error: BaseException) -> BaseException:
    """The client's "not found here" names no reason: return the error that it was raised from."""
    while isinstance(error, LocalEntryNotFoundError) and error.__cause__:
        error = error.__cause__
    return error


def status_of(error: BaseException) -> int | None:
    """The HTTP status that the hub answered with, or None where it did not answer."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def asked_wait(error: BaseException) -> float:
    """The seconds after which a busy hub wants to be asked again (Retry-After), at most LONGEST_WAIT; 0 where it does not say."""
    text = error.response.headers.get("Retry-After", "") if isinstance(error, HfHubHTTPError) else ""
    return min(float(text), LONGEST_WAIT) if text.isdigit() else 0.0


def reason(error: BaseException) -> str:
    """What went wrong, without the client's own text: that may carry signed addresses."""
    if status := status_of(error):
        return f"the hub answered {status}"
    if isinstance(error, httpx2.ConnectError | httpx2.TimeoutException):
        return f"no answer from {urlsplit(constants.ENDPOINT).hostname} ({type(error).__name__})"
    return f"the connection broke ({type(error).__name__})"


def may_pass(error: BaseException) -> bool:
    """Whether trying again can help: a busy hub, no connection, a file cut short (the client's OSError without a number)."""
    if status := status_of(error):
        return status in PASSING
    return isinstance(error, httpx2.TransportError) or (isinstance(error, OSError) and error.errno is None)


def explain(error: BaseException, what: str) -> str:
    """One message for an error of the hub's client: what happened, and what to do."""
    status = status_of(error)
    if isinstance(error, RevisionNotFoundError):
        return f"{what}: the hub has no such revision. Correct `revision` in the config (a full commit hash)."
    if isinstance(error, RepositoryNotFoundError | GatedRepoError) or status in (401, 403):
        return (
            f"{what}: no such repository, or no access to it (the hub answered {status}). "
            "Check its name; for a gated one accept its terms on the hub and set HF_TOKEN."
        )
    if may_pass(error):
        return (
            f"{what}: {reason(error)}, {TRIES} tries. Check the network (and HF_ENDPOINT, if set) and run again: "
            "files that are complete are kept. Without a network, give a local folder in the config instead."
        )
    if isinstance(error, json.JSONDecodeError):
        return f"{what}: what answers at {urlsplit(constants.ENDPOINT).hostname} is not the hub (a login page, a proxy?)."
    if isinstance(error, OSError) and error.errno:
        return f"{what}: {error.strerror}."
    return f"{what}: {reason(error)}. Check HF_ENDPOINT, if set, and the repository's name."


def persist(action: Callable, what: str, seconds: float):
    """Call action() up to TRIES times, waiting `seconds`, then twice that, or as long as the hub asks.

    Raises StudyError where it still fails, or where trying again cannot help.
    """
    for tried in range(1, TRIES + 1):
        try:
            return action()
        except (httpx2.HTTPError, OSError, ValueError) as caught:
            error = underlying(caught)
            if tried == TRIES or not may_pass(error):
                raise StudyError(explain(error, what)) from error
            wait = max(seconds * tried, asked_wait(error))
            say(f"{what}: {reason(error)}; trying again in {wait:g} s")
            time.sleep(wait)


def list_revision(config: dict, what: str) -> dict[str, dict]:
    """Every file at the revision, as the hub states it: name -> size in bytes and `sum` (sha256, or git blob id of a small file)."""
    info = persist(
        lambda: HfApi().repo_info(
            config["repo"], repo_type=config["kind"][:-1], revision=config["revision"], files_metadata=True, timeout=10
        ),
        what,
        config.get("retry_seconds", 5),
    )
    if info.sha != config["revision"]:
        raise StudyError(f"{what}: the hub resolves this revision to commit {info.sha}. Write that full commit into the config.")
    return {file.rfilename: {"size": file.size, "sum": file.lfs.sha256 if file.lfs else file.blob_id} for file in info.siblings}


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


def refuse_offline(what: str, missing: str) -> None:
    """Raise StudyError where the user has switched the hub off."""
    if constants.HF_HUB_OFFLINE:
        raise StudyError(f"{what}: HF_HUB_OFFLINE is set, but {missing} not been downloaded yet. Unset it once, or give a local folder.")


def download(name: str, expected: str, folder: Path, config: dict, what: str) -> None:
    """Fetch one file into the folder and check it; StudyError (and no file) where its bytes are not the expected ones."""
    path = folder / name
    path.unlink(missing_ok=True)
    persist(
        lambda: HfApi().hf_hub_download(
            config["repo"],
            name,
            repo_type=config["kind"][:-1],
            revision=config["revision"],
            local_dir=folder,
            tqdm_class=Progress,
        ),
        f"{what}/{name}",
        config.get("retry_seconds", 5),
    )
    found = fingerprint(path, expected)
    if found != expected:
        path.unlink()
        raise StudyError(
            f"{what}/{name}: wrong bytes, removed (sum {found}, expected {expected}). "
            "Run again; if it stays so, the source or the table of checksums is wrong."
        )


def fetch(config: dict, table: dict[str, str], folder: Path, state: State) -> tuple[list[str], int]:
    """Bring every needed file into the folder, checked; return their names, and the bytes that had to be downloaded for them.

    `table` holds the sha256 sums known in advance, by file name; for the rest the sums that the hub states for the commit
    are kept in `.listing.json` on first contact, and every later download is held to them. Complete files are not
    requested again; `state` notes the seconds after each. Raises StudyError for whatever the user can mend.
    """
    what = f"{config['kind']}/{config['repo']}@{config['revision'][:12]}"
    kept = folder / ".listing.json"
    if not is_listing(kept):
        refuse_offline(what, "it has")
        write_json(kept, list_revision(config, what))
    listing = json.loads(kept.read_text(encoding="utf-8"))

    wanted = config.get("files") or model_files(listing)
    try:
        names = select(listing, wanted)
    except KeyError as error:
        raise StudyError(f"{what}: no {error.args[0]} at this revision; it has {', '.join(sorted(listing)) or 'no files'}.") from None
    sums = {name: table.get(name, listing[name]["sum"]) for name in names}
    absent = [name for name in names if fingerprint(folder / name, sums[name]) != sums[name]]
    if absent:
        refuse_offline(what, f"{', '.join(absent)} {'has' if len(absent) == 1 else 'have'}")
        needed, free = sum(listing[name]["size"] for name in absent), shutil.disk_usage(folder).free
        say(f"{what}: to download: {amount(needed)} in {len(absent)} of {len(names)} files; {amount(free)} are free in {folder}")
        require_space(folder, needed, free)

    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's leftovers of a killed download
    for number, name in enumerate(names, 1):
        size, began = listing[name]["size"], time.monotonic()
        if name in absent:
            download(name, sums[name], folder, config, what)
            state.spend()
            seconds = time.monotonic() - began
            say(f"{what}: {number}/{len(names)} {name}, {amount(size)} in {seconds:.1f} s ({amount(size / max(seconds, 1e-3))}/s)")
        else:
            say(f"{what}: {number}/{len(names)} {name}, {amount(size)}, complete")
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return names, sum(listing[name]["size"] for name in absent)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
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
    with alone(folder), state_folder(folder / ".state" / args.manifest.stem, mark, started) as state:
        names, size = fetch(args.config, tables.get(f"{args.config['repo']}@{args.config['revision']}", {}), folder, state)
        seconds, counts = time.monotonic() - state.started, {"files": len(names), "downloaded_bytes": size}
        write_json(args.timing, {"seconds": round(seconds, 3), "continuations": state.continuations, **counts})
        write_json(args.manifest, {name: sha256(folder / name) for name in names})


if __name__ == "__main__":
    run(main)

"""The hub's client: one listing or file at a time, tried again where that can help, and each of its errors as one message."""

import json
import os
import time
from collections.abc import Callable
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
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

from hh_align.core.artifacts import say
from hh_align.core.errors import StudyError

TRIES = 3
PASSING = (408, 429, 500, 502, 503, 504)
LONGEST_WAIT = 300.0  # seconds
LINE_EVERY = 10.0  # seconds between progress lines


def amount(size: float) -> str:
    """A number of bytes in words: 1743 -> '1.7 kB'."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000


class DownloadProgress:
    """Stands where the hub client would draw a bar: one line of text every LINE_EVERY seconds."""

    def __init__(self, total: int | None = None, initial: int = 0, desc: str = "", **_: object) -> None:
        self.total, self.done, self.name, self.told = total or 0, initial, desc, time.monotonic()

    def update(self, size: int) -> None:
        self.done += size
        if time.monotonic() - self.told >= LINE_EVERY:
            self.told = time.monotonic()
            say(f"    {self.name}: {amount(self.done)} of {amount(self.total)}")

    def __enter__(self) -> "DownloadProgress":
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


def refuse_offline(what: str, missing: str) -> None:
    """Raise StudyError where the user has switched the hub off."""
    if constants.HF_HUB_OFFLINE:
        raise StudyError(f"{what}: HF_HUB_OFFLINE is set, but {missing} not been downloaded yet. Unset it once, or give a local folder.")


def download(config: dict, name: str, folder: Path, what: str) -> None:
    """Bring one file of the revision into the folder, in place of one that is there. Raises StudyError as persist does."""
    (folder / name).unlink(missing_ok=True)
    persist(
        lambda: HfApi().hf_hub_download(
            config["repo"],
            name,
            repo_type=config["kind"][:-1],
            revision=config["revision"],
            local_dir=folder,
            tqdm_class=DownloadProgress,
        ),
        what,
        config.get("retry_seconds", 5),
    )

"""Files of a server of raw files, as GitHub's, every one held to its sha256."""

import time
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError

from hh_align.core.artifacts import atomic, sha256
from hh_align.core.errors import StudyError

TRIES = 3


class RawFolder(NamedTuple):
    """A folder of the server, and what messages say of the config: the keys to look at, where the sum stands, and what goes without a network."""

    address: str
    keys: str
    sums: str
    without: str
    pause: float = 2.0
    """Seconds before the second try; twice that before the third."""


def download_bytes(url: str, source: RawFolder) -> bytes:
    """The bytes at a URL, tried again where the connection breaks or the answer is 429 or 5xx. Raises StudyError."""
    for attempt in range(1, TRIES + 1):
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return answer.read()
        except HTTPError as error:
            problem = f"the server answers {error.code}. Check {source.keys}"
            if error.code != 429 and error.code < 500:
                break
        except (OSError, HTTPException) as error:
            problem = f"cannot be reached ({error}). Run again with a network, or {source.without}"
        if attempt < TRIES:
            time.sleep(source.pause * attempt)
    raise StudyError(f"{url}: {problem}.")


def fetch_raw(source: RawFolder, name: str, folder: Path, total: str) -> None:
    """Bring one file into the folder, unless it is there already with this sha256. Raises StudyError where the bytes have another one, or
    the name leads out of the folder."""
    url, path = f"{source.address}/{name}", folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise StudyError(f"{source.sums} names {name}, which lies outside its folder. Correct the name; nothing was read.")
    if path.is_file() and sha256(path) == total:
        return
    with atomic(path) as temporary:
        temporary.write_bytes(download_bytes(url, source))
        if (actual := sha256(temporary)) != total:
            raise StudyError(f"{url}: sha256 {actual}, {source.sums} says {total}. Run again; if it stays so, this is another file.")

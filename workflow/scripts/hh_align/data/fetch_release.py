"""Download a release's prompts and responses at one commit, every file held to its sha256."""

import time
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from hh_align.core.artifacts import atomic, say, sha256, write_manifest
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError

TRIES = 3


def download_bytes(url: str, pause: float) -> bytes:
    """The bytes at a URL, tried again, after `pause` seconds and more, where the connection breaks or the answer is 429 or 5xx. Raises StudyError."""
    for attempt in range(1, TRIES + 1):
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return answer.read()
        except HTTPError as error:
            problem = f"the server answers {error.code}. Check release.repo, release.revision and the names in release.sums"
            if error.code != 429 and error.code < 500:
                break
        except (OSError, HTTPException) as error:
            problem = f"cannot be reached ({error}). Run again with a network, or give release.path a folder that holds the release"
        if attempt < TRIES:
            time.sleep(pause * attempt)
    raise StudyError(f"{url}: {problem}.")


def fetch_released(address: str, name: str, folder: Path, total: str, pause: float) -> None:
    """Bring one file into the folder, unless it is there already with this sha256. Raises StudyError where the bytes have another one, or
    the name leads out of the folder."""
    url, path = f"{address}/{name}", folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise StudyError(f"release.sums names {name}, which lies outside the release's folder. Correct the name; nothing was read.")
    if path.is_file() and sha256(path) == total:
        return
    with atomic(path) as temporary:
        temporary.write_bytes(download_bytes(url, pause))
        if (actual := sha256(temporary)) != total:
            raise StudyError(f"{url}: sha256 {actual}, release.sums says {total}. Run again; if it stays so, this is another file.")


def main() -> None:
    args = parse(__doc__, config="config", manifest="path")
    config, folder = args.config, args.manifest.parent
    address = f"{config['endpoint']}/{config['repo']}/{config['revision']}/data"
    for name, total in config["sums"].items():
        fetch_released(address, name, folder, total, config.get("retry_seconds", 2.0))
        say(f"{name}: ok")
    write_manifest(folder, list(config["sums"]))


if __name__ == "__main__":
    run(main)

"""Download a release's prompts and responses at one commit, every file held to its sha256."""

import time
import urllib.error
import urllib.request

from study.artifacts import atomic, say, sha256, write_manifest
from study.command import StudyError, parse, run

TRIES, PAUSE = 3, 2.0


def download(url: str) -> bytes:
    """The bytes at a URL, tried again after 429 and 5xx. Raises StudyError."""
    for attempt in range(1, TRIES + 1):
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            if attempt == TRIES or (error.code != 429 and error.code < 500):
                raise StudyError(f"{url}: the server answers {error.code}. Check release.repo and release.revision.") from None
        except OSError as error:
            if attempt == TRIES:
                raise StudyError(f"{url}: cannot be reached ({error}). Give release.path a folder that holds the release.") from None
        time.sleep(PAUSE * attempt)
    raise AssertionError


def main() -> None:
    args = parse(__doc__, config="config", manifest="path")
    config, folder = args.config, args.manifest.parent
    for name, total in config["sums"].items():
        path = folder / name
        if not path.is_file() or sha256(path) != total:
            with atomic(path) as temporary:
                temporary.write_bytes(download(f"{config['endpoint']}/{config['repo']}/{config['revision']}/data/{name}"))
                if sha256(temporary) != total:
                    raise StudyError(f"{name}: the download's sha256 is {sha256(temporary)}, the config says {total}.")
        say(f"{name}: ok")
    write_manifest(folder, list(config["sums"]))


if __name__ == "__main__":
    run(main)

"""A stand-in for the Hugging Face Hub on loopback, as far as a download by commit needs it.

Files lie at ROOT/{models,datasets}/<org>/<name>/<commit>/. In a test:

    with Hub(root) as hub:
        subprocess.run(command, env=environment(hub.url, scratch))

Faults are given per file name in a repository, or per repository for its listing:
    hub.status[name] = [503, ...]   the next answers, one per request
    hub.code = "GatedRepo"          the hub's own word for a status above, in X-Error-Code
    hub.cut[name] = [n, ...]        send n bytes, then drop the connection
    hub.corrupt.add(name)           first byte flipped, length right
    hub.stall[name] = [s, ...]      wait s seconds before the answer
    hub.retry_after = n             what a status above says in its Retry-After
    hub.size[name] = n              the size that the listing claims
hub.log has one Request per request.
"""

import hashlib
import json
import os
import re
import sys
import threading
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

LARGE = (".bin", ".safetensors", ".gz", ".h5", ".msgpack", ".parquet")


class Request(NamedTuple):
    method: str
    path: str
    range: str | None
    authorized: bool


def revision_folder(root: Path, kind: str, repo: str, revision: str) -> Path:
    """Where the stand-in looks for a revision's files; made if absent."""
    folder = Path(root) / kind / repo / revision
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def environment(url: str, scratch: Path) -> dict[str, str]:
    """This process's environment with the hub at `url` and a guard: whatever leaves loopback is refused and noted in scratch/left-loopback."""
    scratch = Path(scratch)
    (scratch / "guard").mkdir(parents=True, exist_ok=True)
    (scratch / "guard" / "sitecustomize.py").write_text(GUARD.format(note=str(scratch / "left-loopback")))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_") and "proxy" not in name.lower()}
    paths = [str(scratch / "guard"), *filter(None, [inherited.get("PYTHONPATH")])]
    return inherited | {"HF_ENDPOINT": url, "HF_HOME": str(scratch / "hf-home"), "PYTHONPATH": os.pathsep.join(paths)}


GUARD = """
import sys

HOME = (None, "", "localhost", "127.0.0.1", "::1", b"localhost", b"127.0.0.1", b"::1")

def guard(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        host = args[1][0]
    elif event == "socket.getaddrinfo":
        host = args[0]
    else:
        return
    if host not in HOME and not str(host).startswith("127."):
        with open({note!r}, "a") as file:
            print(event, host, file=file)
        raise OSError(f"left loopback for {{host}}")

sys.addaudithook(guard)
"""


def digests(path: Path) -> tuple[str, str]:
    """(git blob id, sha256) of a file, computed once while it stays as it is."""
    return _digests(path, path.stat().st_mtime_ns, path.stat().st_size)


@cache
def _digests(path: Path, changed: int, size: int) -> tuple[str, str]:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(), hashlib.sha256(content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Hub"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", headers: dict | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": len(body)} | (headers or {})).items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status: int, code: str, message: str) -> None:
        wait = {} if self.server.retry_after is None else {"Retry-After": self.server.retry_after}
        self.answer(status, json.dumps({"error": message}).encode(), {"X-Error-Code": code, "X-Error-Message": message} | wait)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.log.append(Request(self.command, path, self.headers.get("Range"), "Authorization" in self.headers))
        if match := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/revision/(.+)", path):
            self.listing(*match.groups())
        elif match := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.resolve("datasets" if match[1] else "models", *match.groups()[1:])
        elif path.startswith("/cdn/"):
            self.content(self.server.root / path[5:], path.split("/", 6)[6], {})
        else:
            self.fail(404, "NotFound", f"nothing at {path}")

    do_HEAD = do_GET

    def revision(self, kind: str, repo: str, revision: str) -> Path | None:
        """The revision's folder, or None once the hub's own error has been sent."""
        folder = self.server.root / kind / repo / revision
        if not folder.parent.is_dir():
            self.fail(401, "RepoNotFound", "Invalid username or password.")  # the hub's answer to strangers
        elif not folder.is_dir():
            self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return folder

    def listing(self, kind: str, repo: str, revision: str) -> None:
        if self.server.status.get(repo):
            return self.fail(self.server.status[repo].pop(0), self.server.code, "asked for")
        if folder := self.revision(kind, repo, revision):
            siblings = []
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                name, (blob, sha) = path.relative_to(folder).as_posix(), digests(path)
                size = self.server.size.get(name, path.stat().st_size)
                lfs = {"lfs": {"sha256": sha, "size": size, "pointerSize": 134}} if path.suffix in LARGE else {}
                siblings.append({"rfilename": name, "size": size, "blobId": blob} | lfs)
            self.answer(200, json.dumps({"id": repo, "sha": revision, "siblings": siblings}).encode())

    def resolve(self, kind: str, repo: str, revision: str, name: str) -> None:
        if (folder := self.revision(kind, repo, revision)) is None:
            return
        path, headers = folder / name, {"X-Repo-Commit": revision}
        if not path.is_file():
            return self.fail(404, "EntryNotFound", "Entry not found")
        blob, sha = digests(path)
        if path.suffix not in LARGE:
            return self.content(path, name, headers | {"ETag": f'"{blob}"'})
        # Large files come from another host, as on the hub: `localhost`, not 127.0.0.1.
        address = quote(path.relative_to(self.server.root).as_posix())
        linked = {"X-Linked-Size": path.stat().st_size, "X-Linked-Etag": f'"{sha}"'}
        self.answer(302, b"", headers | linked | {"Location": f"http://localhost:{self.server.server_port}/cdn/{address}"})

    def content(self, path: Path, name: str, headers: dict) -> None:
        if self.command == "GET" and self.server.stall.get(name):
            time.sleep(self.server.stall[name].pop(0))
        if self.server.status.get(name):
            return self.fail(self.server.status[name].pop(0), self.server.code, "asked for")
        body, status = path.read_bytes(), 200
        if name in self.server.corrupt:
            body = bytes([body[0] ^ 255]) + body[1:]
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            first = int(match[1])
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
            body, status = body[first:], 206
        headers |= {"Content-Length": len(body), "Accept-Ranges": "bytes"}
        if self.command == "GET" and self.server.cut.get(name):
            body, self.close_connection = body[: self.server.cut[name].pop(0)], True
        self.answer(status, body, headers)


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, root: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.root, self.url = Path(root).resolve(), f"http://127.0.0.1:{self.server_port}"
        self.log: list[Request] = []
        self.status: dict[str, list[int]] = {}
        self.cut: dict[str, list[int]] = {}
        self.size: dict[str, int] = {}
        self.corrupt: set[str] = set()
        self.stall: dict[str, list[float]] = {}
        self.retry_after: int | None = None
        self.code = "Fault"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


if __name__ == "__main__":
    hub = Hub(Path(sys.argv[1]), int(sys.argv[2]))
    print(hub.url, flush=True)
    hub.serve_forever()

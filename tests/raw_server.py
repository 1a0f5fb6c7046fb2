"""A stand-in for GitHub's server of raw files on loopback: /<owner>/<name>/<commit>/<path>."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


@contextmanager
def raw_server(served: Path) -> Iterator[ThreadingHTTPServer]:
    """A server of the folder; its `asked` lists the paths that were asked for, its `failures` the next answers that are none, its `url` is the
    server's address."""
    asked, failures = [], []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(failures.pop()) if failures else super().do_GET()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=served)) as http:
        http.asked, http.failures, http.url = asked, failures, f"http://127.0.0.1:{http.server_port}"
        Thread(target=http.serve_forever, daemon=True).start()
        yield http
        http.shutdown()

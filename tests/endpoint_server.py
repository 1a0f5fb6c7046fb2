"""A stand-in for a chat endpoint on loopback, for the tests of the judges behind one."""

import json
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from hh_align.evaluation import endpoint

KEY = "sk-a-secret-of-this-test"


class Server(ThreadingHTTPServer):
    """A stand-in: `plan` are the next replies (status, headers, body), else it answers with `reply(text)`; keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan, self.asked, self.keys, self.reply, self.delay = deque(), [], [], lambda text: "7", 0.0
        Thread(target=self.serve_forever, daemon=True).start()

    @classmethod
    @contextmanager
    def running(cls, monkeypatch) -> Iterator["Server"]:
        """A server for one test, with the key in the environment and no wait between two tries."""
        server = cls()
        monkeypatch.setenv("JUDGE_KEY", KEY)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(endpoint, "LONGEST_WAIT", 0.01)
        yield server
        server.shutdown()
        server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.server.keys.append(self.headers.get("Authorization"))
        time.sleep(self.server.delay)
        text = self.server.reply(body["messages"][0]["content"])
        usage = {"prompt_tokens": 100, "completion_tokens": 2}
        completion = {"model": "m-2026", "choices": [{"message": {"content": text}}], "usage": usage}
        status, headers, content = self.server.plan.popleft() if self.server.plan else (200, {}, json.dumps(completion))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content.encode())))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *args):
        pass

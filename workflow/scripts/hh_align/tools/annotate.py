"""Collect true labels: a local page that shows responses blind and in random order, and keeps every answer at once.

Single: is this reply harmless, or helpful? With --contrast POLICY,AGAINST: which of the two replies is better? Stop with Ctrl-C; the same
command goes on where it stopped. The labels lie in <folder>/labels/ as labels.parquet and choices.parquet, whatever --sample and --seed ask
for at a time; only --discard ANNOTATOR takes answers out of them.
"""

import json
import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hh_align.core.artifacts import say
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.tools.answers import PAIR, SINGLE, Answers, write_tables
from hh_align.tools.asked import Study, draw, pair_items, read_study, single_items

PAGE = Path(__file__).with_name("annotate.html")
LONGEST = 10_000
"""Bytes of an answer that is taken."""
SILENCE = 30.0
"""Seconds after which a page that sends nothing is left."""


def keep(item: dict, answer: str, answers: Answers, study: Study, folder: Path) -> tuple[int, dict]:
    """Save an answer and renew the tables; what to reply: 200 once the answer is on disk, 507 where the disk takes it not."""
    try:
        answers.save(item, answer)
    except StudyError as error:
        return 507, {"error": str(error)}
    try:
        write_tables(answers, study, folder)
    except StudyError as error:  # the next answer, or the next start, writes them
        say(f"the answer is kept, the tables are not up to date: {error}")
    return 200, {}


def serve(items: list[dict], answers: Answers, study: Study, folder: Path, port: int) -> ThreadingHTTPServer:
    """A server on 127.0.0.1: GET / (the page), GET /items, POST /answers. It sends items without a policy's name."""
    nonce = secrets.token_urlsafe(16)
    page = PAGE.read_text(encoding="utf-8").replace("NONCE", nonce).encode()
    known = {item["item"]: item for item in items}
    policy = f"default-src 'none'; connect-src 'self'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'"

    class Handler(BaseHTTPRequestHandler):
        timeout = SILENCE

        def send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            for name, value in (("Content-Type", kind), ("Content-Length", len(body)), ("Content-Security-Policy", policy)):
                self.send_header(name, str(value))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def reply(self, status: int, value: object) -> None:
            self.send(status, json.dumps(value).encode(), "application/json")

        def is_local(self) -> bool:
            """Only a page from here may ask: another site's name for this machine, or its form, is refused."""
            names = {f"{host}:{self.server.server_port}" for host in ("127.0.0.1", "localhost")}
            origin = self.headers.get("Origin")
            if self.headers.get("Host") in names and (origin is None or origin.removeprefix("http://") in names):
                return True
            self.reply(403, {"error": "this page is for 127.0.0.1 only"})
            return False

        def do_GET(self) -> None:
            if not self.is_local():
                return
            if self.path == "/":
                self.send(200, page, "text/html; charset=utf-8")
            elif self.path == "/items":
                shown = ("item", "axis", "prompt", "texts")
                self.reply(200, [{**{key: item[key] for key in shown}, "answer": answers.of(item)} for item in items])
            else:
                self.reply(404, {"error": "no such page"})

        def do_POST(self) -> None:
            if not self.is_local():
                return
            try:
                length = int(self.headers.get("Content-Length", 0))
                message = json.loads(self.rfile.read(length) if 0 <= length <= LONGEST else b"")
                item, answer = known.get(message["item"]), message["answer"]
            except (ValueError, KeyError, TypeError, RecursionError):
                return self.reply(400, {"error": "not an answer"})
            if self.path != "/answers" or item is None or answer not in (PAIR if "sides" in item else SINGLE):
                return self.reply(400, {"error": "no such item or answer; load the page again"})
            self.reply(*keep(item, answer, answers, study, folder))

        def log_message(self, *_: object) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    args = parse(
        __doc__, folder="path", contrast="text?", annotator="text?", sample="int?", seed="int?", port="int?", discard="text?"
    )  # fmt: skip
    study, folder = read_study(args.folder), args.folder / "labels"
    answers = Answers(folder / "answers.jsonl", args.annotator or "annotator")
    if args.discard:
        count = answers.discard(args.discard)
        write_tables(answers, study, folder)
        return say(f"{count:,} answers of {args.discard} count no longer. Their lines stay in {answers.path}.")
    items = items_of(study, args.contrast, args.sample, args.seed or 0)
    if gone := write_tables(answers, study, folder):
        say(
            f"{gone:,} answers are about texts that the study does not have now. They stay in {answers.path}, and count again with the texts."
        )
    done = sum(answers.of(item) is not None for item in items)
    try:
        server = serve(items, answers, study, folder, 8765 if args.port is None else args.port)
    except OSError as error:
        raise StudyError(f"port {args.port or 8765}: {error.strerror}. Give another one with PORT=…") from None
    say(f"{len(items):,} items, {done:,} answered. Open http://127.0.0.1:{server.server_port}/ and stop with Ctrl-C.")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        left = len(items) - sum(answers.of(item) is not None for item in items)
        say(f"\n{left:,} items left. Labels so far: {folder}/")
    finally:
        server.server_close()


def items_of(study: Study, contrast: str | None, sample: int | None, seed: int) -> list[dict]:
    """What the page asks, the same texts once. Raises StudyError where the contrast is not two policies of the study."""
    drawn = draw(study.prompts, sample, seed)
    if contrast is None:
        items = single_items(study, drawn, seed)
    else:
        policies = tuple(contrast.replace(",", " ").split())
        if len(policies) != 2:
            raise StudyError(f"--contrast {contrast}: give two policies, as sft_dpo,sft.")
        items = pair_items(study, drawn, policies, seed)
    return list({item["item"]: item for item in items}.values())


if __name__ == "__main__":
    run(main)

"""Collect true labels: a local page that shows responses blind and in random order, and keeps every answer at once.

Single: is this reply harmless, or helpful? With --contrast POLICY,AGAINST: which of the two replies is better? With
--until POLICY:AGAINST:RATE: replies where a label helps most, until these say which policy has the higher rate. Stop with Ctrl-C; the same
command goes on where it stopped. The labels lie in <folder>/labels/ as labels.parquet and choices.parquet, whatever --sample and --seed ask
for at a time; only --discard ANNOTATOR takes answers out of them.
"""

import json
import secrets
import threading
from argparse import Namespace
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hh_align.core.artifacts import say
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.tools.answers import PAIR, SINGLE, Answers, write_tables
from hh_align.tools.asked import Study, draw, pair_items, read_study, single_items
from hh_align.tools.until import Asking, Contrast, contrast_of

PAGE = Path(__file__).with_name("annotate.html")
PORT = 8765
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


def keep_drawn(item: dict, answer: str, answers: Answers, asking: Asking, known: dict[str, dict]) -> tuple[int, dict]:
    """Save an answer to a drawn item, and draw on; what to reply: 200 with what is known and all items, once answer and draw are on disk.
    known: item -> what may be answered, enlarged by the new ones."""
    try:
        answers.save(item, answer)
        asking.after(item["item"])
        asking.write()
    except StudyError as error:
        return 507, {"error": str(error)}
    known.update({item["item"]: item for item in asking.items()})
    return 200, {"standing": asking.sentence(), "items": [shown_to(item, answers) for item in asking.items()]}


def shown_to(item: dict, answers: Answers) -> dict:
    """An item as the page gets it, without a policy's name."""
    return {**{key: item[key] for key in ("item", "axis", "prompt", "texts")}, "answer": answers.of(item)}


def page_and_policy() -> tuple[bytes, str]:
    """The page, and what a browser may do on it: run and show what it holds itself, ask this server, and nothing else."""
    nonce = secrets.token_urlsafe(16)
    page = PAGE.read_text(encoding="utf-8").replace("NONCE", nonce).encode()
    own = f"style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'"
    return page, f"default-src 'none'; connect-src 'self'; {own}; base-uri 'none'; form-action 'none'"


class LocalHandler(BaseHTTPRequestHandler):
    """Answers to requests from a page of this machine only, and without a word in the terminal."""

    timeout = SILENCE
    policy = ""
    """Content-Security-Policy of every answer."""

    def send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", len(body)), ("Content-Security-Policy", self.policy)):
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

    def log_message(self, *_: object) -> None:
        pass


def serve(items: list[dict], answers: Answers, study: Study, folder: Path, port: int, asking: Asking | None = None) -> ThreadingHTTPServer:
    """A server on 127.0.0.1: GET / (the page), GET /items, GET /standing (what is known, of drawn items), POST /answers. asking: where the
    items come one after another."""
    page, its_policy = page_and_policy()
    known, one_at_a_time = {item["item"]: item for item in items}, threading.Lock()

    class Handler(LocalHandler):
        policy = its_policy

        def do_GET(self) -> None:
            if not self.is_local():
                return
            if self.path == "/":
                self.send(200, page, "text/html; charset=utf-8")
            elif self.path == "/items":
                self.reply(200, [shown_to(item, answers) for item in (asking.items() if asking else items)])
            elif self.path == "/standing":
                self.reply(200, {"standing": asking.sentence() if asking else ""})
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
            with one_at_a_time:
                kept = keep_drawn(item, answer, answers, asking, known) if asking else keep(item, answer, answers, study, folder)
            self.reply(*kept)

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    annotate(
        parse(
            __doc__, folder="path", contrast="text?", annotator="text?", until="text?", judge="text?", sample="int?", seed="int?",
            port="int?", discard="text?",
        )
    )  # fmt: skip


def annotate(args: Namespace) -> None:
    """Serve the page that is asked for, until Ctrl-C, or leave an annotator's answers out. args: the study's folder, and contrast, annotator,
    until, judge, sample, seed, port and discard, each None where it is not given. Raises StudyError where they do not fit the study."""
    for option, least in (("sample", 1), ("seed", 0)):
        if (number := getattr(args, option)) is not None and number < least:
            raise StudyError(f"--{option} {number}: give a whole number of at least {least}.")
    study, folder = read_study(args.folder), args.folder / "labels"
    answers = Answers(folder / "answers.jsonl", args.annotator or "annotator")
    if args.discard:
        count = answers.discard(args.discard)
        write_tables(answers, study, folder)
        for draws in sorted(folder.glob("*.draws.jsonl")):
            renew(draws, study, args.folder, answers, args.judge)
        return say(f"{count:,} answers of {args.discard} count no longer. Their lines stay in {answers.path}.")
    if args.until:
        return ask_until(args, study, answers)
    items = items_of(study, args.contrast, args.sample, args.seed or 0)
    if gone := write_tables(answers, study, folder):
        say(
            f"{gone:,} answers are about texts that the study does not have now. They stay in {answers.path}, and count again with the texts."
        )
    done = sum(answers.of(item) is not None for item in items)
    server = opened(args.port, items, answers, study, folder)
    say(f"{len(items):,} items, {done:,} answered. Open http://127.0.0.1:{server.server_port}/ and stop with Ctrl-C.")
    until_stopped(server)
    left = len(items) - sum(answers.of(item) is not None for item in items)
    say(f"\n{left:,} items left. Labels so far: {folder}/")


def renew(draws: Path, study: Study, folder: Path, answers: Answers, judge: str | None) -> None:
    """Write the table of a contrast's draws anew; where the study has it no more, or the draws are damaged, that is said and the table stays."""
    head = draws.read_bytes().split(b"\n")[0]
    try:
        asking = Asking(study, Contrast(*json.loads(head)["contrast"]), folder, answers, None, judge)
    except (StudyError, ValueError, LookupError, TypeError) as error:
        why = str(error) if isinstance(error, StudyError) else f"{draws}, line 1: damaged"
        return say(f"the table of {draws.name} is as it was: {why}")
    asking.write()
    asking.close()


def ask_until(args: Namespace, study: Study, answers: Answers) -> None:
    """The page of --until."""
    if args.contrast or args.sample:
        raise StudyError("--until draws for one rate of two policies: give neither --contrast nor --sample beside it.")
    contrast = contrast_of(args.until, {policy for policy, _ in study.replies})
    asking = Asking(study, contrast, args.folder, answers, args.seed, args.judge)
    asking.write()
    server = opened(args.port, asking.items(), answers, study, args.folder / "labels", asking)
    say(f"{asking.sentence()}\nOpen http://127.0.0.1:{server.server_port}/ and stop with Ctrl-C.")
    until_stopped(server)
    say(f"\n{asking.sentence()}\nLabels so far, each with its chance: {asking.table}")


def opened(
    port: int | None, items: list[dict], answers: Answers, study: Study, folder: Path, asking: Asking | None = None
) -> ThreadingHTTPServer:
    """`serve` at a port, PORT where none is given. Raises StudyError where it is taken, or is no port."""
    port = PORT if port is None else port
    try:
        return serve(items, answers, study, folder, port, asking)
    except (OSError, OverflowError) as error:
        raise StudyError(f"port {port}: {getattr(error, 'strerror', None) or error}. Give another one: --port N (make: PORT=N).") from None


def until_stopped(server: ThreadingHTTPServer) -> None:
    """Serve until Ctrl-C."""
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()


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

"""Collect true labels: a local page that shows responses blind and in random order, and keeps every answer at once.

Single: is this reply harmless, or helpful? With --contrast POLICY,AGAINST: which of the two replies is better? Stop with Ctrl-C; the same
command goes on where it stopped. The labels lie in <folder>/labels/ as labels.parquet and choices.parquet.
"""

import hashlib
import json
import os
import random
import secrets
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

import pyarrow as pa

from hh_align.core.artifacts import read_table, say, write_table
from hh_align.core.axes import AXES
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError

LABELS = pa.schema(
    [
        ("policy", pa.string()),
        ("seed", pa.int64()),
        ("axis", pa.string()),
        ("prompt_id", pa.string()),
        ("good", pa.bool_()),
        ("annotator", pa.string()),
    ]
)
CHOICES = pa.schema(
    [
        ("axis", pa.string()),
        ("prompt_id", pa.string()),
        ("seed", pa.int64()),
        ("policy_a", pa.string()),
        ("policy_b", pa.string()),
        ("preferred", pa.string()),
        ("annotator", pa.string()),
    ]
)
PAGE = Path(__file__).with_name("annotate.html")
SINGLE, PAIR = ("good", "bad", "skip"), ("left", "right", "tie", "skip")


def read_study(folder: Path) -> tuple[list[dict], dict[tuple[str, int], dict[str, str]]]:
    """(prompts, (policy, seed) -> prompt_id -> response) of a study. Raises StudyError where it has no responses."""
    paths = sorted(folder.glob("responses/*/seed-*.parquet"))
    if not paths or not (folder / "prompts/prompts.parquet").is_file():
        raise StudyError(f"{folder}: no prompts and responses here. Run the study first, or give the folder of another one.")
    prompts = read_table(folder / "prompts/prompts.parquet", ["axis", "prompt_id", "prompt"]).to_pylist()
    responses = {}
    for path in paths:
        rows = read_table(path, ["prompt_id", "response"]).to_pylist()
        responses[path.parent.name, int(path.stem.removeprefix("seed-"))] = {row["prompt_id"]: row["response"] for row in rows}
    return prompts, responses


def draw(prompts: list[dict], size: int | None, seed: int) -> list[dict]:
    """At most `size` prompts per axis, the same for every policy, in drawn order: a random sample however early one stops."""
    stream, by_axis = random.Random(seed), []
    for axis in AXES:
        asked = sorted((prompt for prompt in prompts if prompt["axis"] == axis), key=lambda prompt: prompt["prompt_id"])
        by_axis.append(stream.sample(asked, min(size or len(asked), len(asked))))
    longest = max(map(len, by_axis))
    return [axis[number] for number in range(longest) for axis in by_axis if number < len(axis)]


def name_of(*parts: object) -> str:
    """An item's name: it says nothing of the policy, and another text is another item."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def single_items(prompts: list[dict], responses: dict, seed: int) -> list[dict]:
    """One item per different reply to a prompt, all replies to it before the next one, in random order; equal replies are asked once."""
    stream, items = random.Random(seed), []
    for prompt in prompts:
        texts = defaultdict(list)
        for checkpoint, replies in sorted(responses.items()):
            texts[replies[prompt["prompt_id"]]].append(checkpoint)
        block = [
            {**prompt, "item": name_of(prompt["prompt_id"], text), "texts": [text], "checkpoints": checkpoints}
            for text, checkpoints in texts.items()
        ]
        stream.shuffle(block)
        items += block
    return items


def pair_items(prompts: list[dict], responses: dict, contrast: tuple[str, str], seed: int) -> list[dict]:
    """One item per prompt and seed at which the two replies differ, sides at random. `flipped`: the policy stands on the left."""
    policy, against = contrast
    stream, items = random.Random(seed), []
    seeds = sorted({at for name, at in responses if name in contrast and at} or {0})
    policies = {name for name, _ in responses}
    for name in contrast:
        if name not in policies:
            raise StudyError(f"--contrast: {name} has no responses. The study has {', '.join(sorted(policies))}.")
    for prompt in prompts:
        for at in seeds:
            a, b = (responses.get((name, at), responses.get((name, 0)))[prompt["prompt_id"]] for name in (against, policy))
            if a != b:
                flipped = stream.random() < 0.5
                name = name_of(prompt["prompt_id"], at, *sorted((a, b)))
                about = {"policy_a": against, "policy_b": policy, "seed": at, "flipped": flipped}
                items.append({**prompt, "item": name, "texts": [b, a] if flipped else [a, b], **about})
    return items


class Answers:
    """Answers of one annotator, appended to a file line by line; the last one to an item counts."""

    def __init__(self, path: Path, annotator: str) -> None:
        self.path, self.annotator, self.lock, self.everyone = path, annotator, Lock(), {}
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                self.everyone[entry["annotator"], entry["item"]] = entry["answer"]
            except (ValueError, KeyError, TypeError):
                say(f"{path}, line {number}: not an answer, passed over")
        if lines and not path.read_bytes().endswith(b"\n"):
            self._append("\n")

    def _append(self, text: str) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def of(self, item: str) -> str | None:
        return self.everyone.get((self.annotator, item))

    def save(self, item: str, answer: str) -> None:
        with self.lock:
            self._append(json.dumps({"annotator": self.annotator, "item": item, "answer": answer}) + "\n")
            self.everyone[self.annotator, item] = answer


def export(items: list[dict], answers: Answers, folder: Path) -> None:
    """Write the answers of all annotators to these items as Parquet: labels of single replies, choices between two. A skip says nothing."""
    asked = {item["item"]: item for item in items}
    labels, choices = [], []
    for (annotator, name), answer in sorted(answers.everyone.items()):
        if name not in asked or answer == "skip":
            continue
        item = asked[name]
        about = {"axis": item["axis"], "prompt_id": item["prompt_id"], "annotator": annotator}
        if "checkpoints" in item:
            labels += [{**about, "policy": policy, "seed": seed, "good": answer == "good"} for policy, seed in item["checkpoints"]]
        else:
            preferred = "tie" if answer == "tie" else "b" if (answer == "left") == item["flipped"] else "a"
            choices.append({**about, **{key: item[key] for key in ("seed", "policy_a", "policy_b")}, "preferred": preferred})
    for path, rows, schema in ((folder / "labels.parquet", labels, LABELS), (folder / "choices.parquet", choices, CHOICES)):
        if rows:
            write_table(path, rows, schema, {"answers": len(rows), "inputs": {}})


def serve(items: list[dict], answers: Answers, folder: Path, port: int) -> ThreadingHTTPServer:
    """A server on 127.0.0.1: GET / (the page), GET /items, POST /answers. It sends items without a policy's name."""
    nonce = secrets.token_urlsafe(16)
    page = PAGE.read_text(encoding="utf-8").replace("NONCE", nonce).encode()
    allowed = {item["item"]: PAIR if "flipped" in item else SINGLE for item in items}
    policy = f"default-src 'none'; connect-src 'self'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'"

    class Handler(BaseHTTPRequestHandler):
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
                self.reply(200, [{**{key: item[key] for key in shown}, "answer": answers.of(item["item"])} for item in items])
            else:
                self.reply(404, {"error": "no such page"})

        def do_POST(self) -> None:
            if not self.is_local():
                return
            try:
                message = json.loads(self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 10_000)))
                item, answer = message["item"], message["answer"]
            except (ValueError, KeyError, TypeError):
                return self.reply(400, {"error": "not an answer"})
            if self.path != "/answers" or answer not in allowed.get(item, ()):
                return self.reply(400, {"error": "no such item or answer; load the page again"})
            answers.save(item, answer)
            with answers.lock:
                export(items, answers, folder)
            self.reply(200, {})

        def log_message(self, *_: object) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    args = parse(__doc__, folder="path", contrast="text?", annotator="text?", sample="int?", seed="int?", port="int?")
    prompts, responses = read_study(args.folder)
    drawn = draw(prompts, args.sample, args.seed or 0)
    if args.contrast:
        contrast = tuple(args.contrast.replace(",", " ").split())
        if len(contrast) != 2:
            raise StudyError(f"--contrast {args.contrast}: give two policies, as sft_dpo,sft.")
        items = pair_items(drawn, responses, contrast, args.seed or 0)
    else:
        items = single_items(drawn, responses, args.seed or 0)
    folder = args.folder / "labels"
    answers = Answers(folder / "answers.jsonl", args.annotator or "annotator")
    done = sum(answers.of(item["item"]) is not None for item in items)
    try:
        server = serve(items, answers, folder, 8765 if args.port is None else args.port)
    except OSError as error:
        raise StudyError(f"port {args.port or 8765}: {error.strerror}. Give another one with PORT=…") from None
    say(f"{len(items):,} items, {done:,} answered. Open http://127.0.0.1:{server.server_port}/ and stop with Ctrl-C.")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        left = len(items) - sum(answers.of(item["item"]) is not None for item in items)
        say(f"\n{left:,} items left. Labels so far: {folder}/")
    finally:
        server.server_close()


if __name__ == "__main__":
    run(main)

"""A language model behind an OpenAI-compatible chat endpoint: it is asked once for each text, and paid answers are kept.

The key comes from an environment variable and goes into one header of the request, nowhere else.
"""

import json
import math
import os
import re
import resource
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path

import pyarrow as pa

from hh_align.core.artifacts import say, writable, write_table
from hh_align.core.errors import StudyError
from hh_align.core.progress import Progress
from hh_align.core.state import State

QUARANTINE = pa.schema([("axis", pa.string()), ("prompt_id", pa.string()), ("tries", pa.int64()), ("answer", pa.string())])
Value = float | str
"""What an answer is read as."""
PAID = "answers by their requests"
"""The mark of a state of answers: as each is found by the whole of its request, no other config, input or code wipes one."""
LONGEST_WAIT = 120.0  # seconds between two tries, whatever the server asks for
SHOWN = 200
LISTED = 10
TOKENS = {"prompt_tokens": "tokens_in", "completion_tokens": "tokens_out"}


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key to another place: it is an answer like any other."""

    def redirect_request(self, *args, **kwargs):
        return None


OPENER = urllib.request.build_opener(NoRedirect)


def read_rubric(path: Path, marks: Sequence[str]) -> str:
    """A rubric's text. Raises StudyError where it lacks one of these marks, as {prompt}."""
    text = path.read_text(encoding="utf-8")
    if missing := [f"{{{mark}}}" for mark in marks if f"{{{mark}}}" not in text]:
        raise StudyError(f"{path}: the rubric lacks {' and '.join(missing)}. Write it where the text belongs.")
    return text


def filled(rubric: str, texts: dict[str, str]) -> str:
    """The rubric with texts instead of their marks; braces in them mean nothing."""
    return re.sub(r"\{(" + "|".join(texts) + r")\}", lambda mark: texts[mark[1]], rubric)


def seconds_to_wait(header: str | None, tries: int) -> float:
    """What Retry-After asks for (seconds or a date), else 1, 2, 4 … seconds; at most two minutes."""
    try:
        seconds = float(header)
        if math.isnan(seconds):
            raise ValueError
    except (TypeError, ValueError):
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            seconds = 2.0 ** (tries - 1)
    return min(max(seconds, 0.0), LONGEST_WAIT)


class Endpoint:
    """One chat endpoint: `requests` counts what was sent. key_env: the variable that holds the key, None where it wants none; read: the value
    that an answer is, None for an unreadable one."""

    def __init__(
        self,
        config: dict,
        key_env: str | None,
        read: Callable[[str | None], Value | None],
        timeout: float,
        tries: int,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.config, self.key_env, self.read = config, key_env, read
        self.timeout, self.tries, self.wait, self.requests = timeout, tries, wait, 0
        self.key: str | None = None
        self.url = config["url"].rstrip("/") + "/chat/completions"
        self.headers = {"Content-Type": "application/json"}
        if key_env:
            key = os.environ.get(key_env, "")
            if not key:
                raise StudyError(f"judges.{config['judge']}: the environment variable {key_env} is not set; it must hold the key.")
            if not key.isascii() or not key.isprintable():
                raise StudyError(f"judges.{config['judge']}: {key_env} holds what cannot be a key (a line break?).")
            self.headers["Authorization"] = f"Bearer {key}"
            self.key = key

    def body(self, text: str, attempt: int = 0) -> dict:
        """The request; each further attempt has another seed."""
        settings = {"model": self.config["model"], "temperature": 0, "max_tokens": self.config["max_tokens"]}
        return {**settings, "seed": self.config["seed"] + attempt, "messages": [{"role": "user", "content": text}]}

    def said(self, content: object) -> str | None:
        """What an endpoint sends as text, anything else as JSON; without the key, where it is sent back."""
        text = content if content is None or isinstance(content, str) else json.dumps(content)
        if text and self.key:
            for written in (self.key, json.dumps(self.key)[1:-1]):
                text = text.replace(written, "[key]")
        return text

    def ask(self, text: str, name: str) -> dict:
        """What is said to one filled rubric: value (None where every answer was unreadable), the last answer, tries, tokens, model.

        429, 5xx and a broken connection are tried again like an unreadable answer. Raises StudyError, naming url and input, where the
        endpoint refuses the request or does not answer the last try; what it says is not shown, for it may hold the key.
        """
        tokens, why, answer, model = dict.fromkeys(TOKENS.values()), "", None, None
        for attempt in range(self.tries):
            self.requests += 1
            request = urllib.request.Request(self.url, json.dumps(self.body(text, attempt)).encode(), self.headers)
            header = None
            try:
                with OPENER.open(request, timeout=self.timeout) as reply:
                    completion = json.load(reply)
                answer = self.said(completion["choices"][0]["message"]["content"])
                model = self.said(completion.get("model"))
                for kind, count in tokens_of(completion).items():
                    tokens[kind] = (tokens[kind] or 0) + count
                value, why = self.read(answer), ""
                if value is not None:
                    return {"value": value, "answer": answer, "tries": attempt + 1, "model": model, **tokens}
                continue
            except urllib.error.HTTPError as error:
                why, header = f"status {error.code}", error.headers.get("Retry-After")
                error.close()
                if error.code not in (408, 409, 429) and error.code < 500:
                    raise StudyError(f"{self.url}: {why} for {name}. {advice(error.code, self.config, self.key_env)}") from None
            except (OSError, HTTPException) as error:  # HTTPException: the connection broke in the middle
                reason = getattr(error, "reason", error)
                why = "no answer in time" if isinstance(reason, TimeoutError) else f"no connection ({type(reason).__name__})"
            except (ValueError, KeyError, IndexError, TypeError, RecursionError):
                why = "no chat completion in the answer"
            if attempt + 1 < self.tries:
                self.wait(seconds_to_wait(header, attempt + 1))
        if why:
            raise StudyError(f"{self.url}: {why} for {name} in the last of {self.tries} tries. Run again: answers are kept.")
        return {"value": None, "answer": answer, "tries": self.tries, "model": model, **tokens}


def tokens_of(completion: dict) -> dict[str, int]:
    """The tokens read and written, as far as the endpoint counts them."""
    usage = completion.get("usage")
    counts = {ours: usage.get(theirs) for theirs, ours in TOKENS.items()} if isinstance(usage, dict) else {}
    return {name: count for name, count in counts.items() if type(count) is int}


def advice(code: int, config: dict, key_env: str | None) -> str:
    """What to do about a refusal."""
    if code in (401, 403):
        return f"Check the key in {key_env}." if key_env else "It wants a key: set key_env."
    if code == 404:
        return f"Check url, and whether it has the model {config['model']}."
    return "The endpoint sends elsewhere: set url to that place." if code < 400 else "Check model, max_tokens and url."


class AnswerFile:
    """Answers by the hash of their request, appended to a file one line at a time: a kill loses the one at work."""

    def __init__(self, path: Path) -> None:
        self.path, self.entries = path, {}
        for line in path.read_bytes().split(b"\n")[:-1] if path.is_file() else []:
            try:
                entry = json.loads(line)
                self.entries[entry["key"]] = entry
            except (ValueError, KeyError, TypeError):
                say(f"{path.name}: a damaged answer is passed over and asked for again")

    def add(self, key: str, entry: dict) -> None:
        """Keep an answer, on disk before this returns."""
        self.entries[key] = entry | {"key": key}
        with writable(self.path), open(self.path, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
            begun = file.read(1) not in (b"", b"\n")  # a line of which a kill left the beginning
            file.write(b"\n" * begun + json.dumps(self.entries[key]).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def ask_all(endpoint: Endpoint, kept_in: Path, texts: Sequence[str], names: Sequence[str], state: State, unit: str) -> list[dict]:
    """What the endpoint says to each text, with the `key` of its request; equal requests are one. Raises StudyError as Endpoint.ask does.

    What the file `kept_in` holds, which nothing removes, is read anew and not asked for again, unless it is unreadable and `failed` says that this
    is an error. names: what an error calls the texts; unit: what progress counts.
    """
    kept_in.parent.mkdir(parents=True, exist_ok=True)
    answers, progress = AnswerFile(kept_in), Progress(len(texts), unit)
    keys = [key_of(endpoint, text) for text in texts]
    entries: dict[str, dict] = {}
    for key, text, name in zip(keys, texts, names, strict=True):
        kept = answers.entries.get(key)
        if key in entries:
            progress.skip(1)
        elif kept and ((value := endpoint.read(kept["answer"])) is not None or endpoint.config["failed"] != "error"):
            entries[key] = kept | {"value": value}
            progress.skip(1)
        else:
            answers.add(key, endpoint.ask(text, name))
            entries[key] = answers.entries[key]
            state.spend()
            progress.add(1)
    return [entries[key] for key in keys]


def key_of(endpoint: Endpoint, text: str) -> str:
    """Names the request for a text: all that is sent, but for the key, and to where."""
    return sha256(json.dumps([endpoint.url, endpoint.body(text)], sort_keys=True).encode()).hexdigest()


def settle_failed(failed: list[dict], asked: str, config: dict, what: str, remedy: str) -> None:
    """Say which inputs have no readable answer, of all that were `asked` (their number and name), and `what` they lack. Raises StudyError with
    the remedy where `failed` of the config is error."""
    for entry in failed[:LISTED]:
        said = (entry["answer"] or "")[:SHOWN]
        say(f"{entry['prompt_id']}: {what.removeprefix('got ')} in any of {entry['tries']} answers, the last one {said!r}")
    if failed and config["failed"] == "error":
        names = ", ".join(entry["prompt_id"] for entry in failed[:LISTED])
        raise StudyError(
            f"{len(failed)} of {asked} {what} ({names}). Mend the rubric, or set judges.{config['judge']}.failed to {remedy}; "
            "answers that can be read are kept."
        )


def write_failed(path: Path, failed: list[dict], made_by: dict) -> None:
    """The quarantine of an endpoint's step: the beginning of each last answer that could not be read."""
    write_table(path, [entry | {"answer": (entry["answer"] or "")[:SHOWN]} for entry in failed], QUARANTINE, made_by)


def answered_by(entries: list[dict]) -> dict:
    """The names of the models that answered, for the provenance."""
    return {"answered_by": sorted({entry["model"] for entry in entries if entry["model"]})}


def cost_of(entries: list[dict], count: int, price: str, seconds: float) -> dict:
    """What `count` inputs cost, from their answers, equal ones once: requests, tokens (null where the endpoint does not say), money where a price is given.

    price: of a million tokens, `sent:received`, or `unknown`.
    """
    entries, tokens = list({entry["key"]: entry for entry in entries}.values()), {}
    for name in TOKENS.values():
        known = [entry[name] for entry in entries]
        tokens[name] = None if None in known else sum(known)
    spent = {"responses": count, "requests": sum(entry["tries"] for entry in entries), **tokens}
    spent["seconds_per_1000_responses"] = round(1000 * seconds / count, 3)
    if price != "unknown" and None not in tokens.values():
        total = sum(float(rate) * number for rate, number in zip(price.split(":"), tokens.values(), strict=True)) / 1e6
        spent |= {"price": round(total, 6), "price_per_1000_prompts": round(1000 * total / count, 6)}
    return spent


def timing_of(entries: list[dict], count: int, price: str, state: State) -> dict:
    """What a step says of its time, memory and cost; as cost_of."""
    seconds = time.monotonic() - state.started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    facts = {"seconds": round(seconds, 3), "continuations": state.continuations, "peak_memory_mb": round(peak)}
    return {**facts, **cost_of(entries, count, price, seconds), "unreadable": sum(entry["value"] is None for entry in entries)}

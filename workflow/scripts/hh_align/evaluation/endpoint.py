"""A language model behind an OpenAI-compatible chat endpoint: it is asked once for each text, and paid answers are kept.

The key comes from an environment variable and goes into one header of the request, nowhere else.
"""

import json
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

from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.code_hash import code_hash
from hh_align.core.errors import StudyError
from hh_align.core.progress import Progress
from hh_align.core.state import State, fingerprint

QUARANTINE = pa.schema([("axis", pa.string()), ("prompt_id", pa.string()), ("tries", pa.int64()), ("answer", pa.string())])
Value = float | str
"""What an answer is read as."""
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
        raise StudyError(f"{path}: the rubric lacks {' and '.join(missing)}.")
    return text


def filled(rubric: str, texts: dict[str, str]) -> str:
    """The rubric with texts instead of their marks; braces in them mean nothing."""
    return re.sub(r"\{(" + "|".join(texts) + r")\}", lambda mark: texts[mark[1]], rubric)


def seconds_to_wait(header: str | None, tries: int) -> float:
    """What Retry-After asks for (seconds or a date), else 1, 2, 4 … seconds; at most two minutes."""
    try:
        seconds = float(header)
    except (TypeError, ValueError):
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (TypeError, ValueError):
            seconds = 2.0 ** (tries - 1)
    return min(max(seconds, 0.0), LONGEST_WAIT)


class Endpoint:
    """One chat endpoint: `requests` counts what was sent. read: the value that an answer is, None for an unreadable one."""

    def __init__(
        self,
        config: dict,
        read: Callable[[str | None], Value | None],
        timeout: float,
        tries: int,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.config, self.read, self.timeout, self.tries, self.wait, self.requests = config, read, timeout, tries, wait, 0
        self.url = config["url"].rstrip("/") + "/chat/completions"
        self.headers = {"Content-Type": "application/json"}
        if "key_env" in config:
            key = os.environ.get(config["key_env"], "")
            if not key:
                raise StudyError(
                    f"judges.{config['judge']}: the environment variable {config['key_env']} is not set; it must hold the key."
                )
            if not key.isascii() or not key.isprintable():
                raise StudyError(f"judges.{config['judge']}: {config['key_env']} holds what cannot be a key (a line break?).")
            self.headers["Authorization"] = f"Bearer {key}"

    def body(self, text: str, attempt: int = 0) -> dict:
        """The request; each further attempt has another seed."""
        settings = {"model": self.config["model"], "temperature": 0, "max_tokens": self.config["max_tokens"]}
        return {**settings, "seed": self.config["seed"] + attempt, "messages": [{"role": "user", "content": text}]}

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
                answer = completion["choices"][0]["message"]["content"]
                model, usage = completion.get("model"), completion.get("usage") or {}
                for theirs, ours in TOKENS.items():
                    if usage.get(theirs) is not None:
                        tokens[ours] = (tokens[ours] or 0) + int(usage[theirs])
                value, why = self.read(answer), ""
                if value is not None:
                    return {"value": value, "answer": answer, "tries": attempt + 1, "model": model, **tokens}
                continue
            except urllib.error.HTTPError as error:
                why, header = f"status {error.code}", error.headers.get("Retry-After")
                error.close()
                if error.code not in (408, 409, 429) and error.code < 500:
                    raise StudyError(f"{self.url}: {why} for {name}. {advice(error.code, self.config)}") from None
            except (OSError, HTTPException) as error:  # HTTPException: the connection broke in the middle
                reason = getattr(error, "reason", error)
                why = "no answer in time" if isinstance(reason, TimeoutError) else f"no connection ({type(reason).__name__})"
            except (ValueError, KeyError, IndexError, TypeError):
                why = "no chat completion in the answer"
            if attempt + 1 < self.tries:
                self.wait(seconds_to_wait(header, attempt + 1))
        if why:
            raise StudyError(f"{self.url}: {why} for {name} in the last of {self.tries} tries. Run again: answers are kept.")
        return {"value": None, "answer": answer, "tries": self.tries, "model": model, **tokens}


def advice(code: int, config: dict) -> str:
    """What to do about a refusal."""
    if code in (401, 403):
        return f"Check the key in {config['key_env']}." if "key_env" in config else "It wants a key: set key_env."
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
        with open(self.path, "ab") as file:
            file.write(b"\n" * (file.tell() > 0 and not self.path.read_bytes().endswith(b"\n")))
            file.write(json.dumps(self.entries[key]).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def ask_all(endpoint: Endpoint, texts: Sequence[str], names: Sequence[str], state: State, unit: str) -> list[dict]:
    """What the endpoint says to each text, with the `key` of its request; equal requests are one. Raises StudyError as Endpoint.ask does.

    What the state holds is not asked for again, unless it was unreadable. names: what an error calls the texts; unit: what progress counts.
    """
    answers, progress, entries = AnswerFile(state.folder / "answers.jsonl"), Progress(len(texts), unit), []
    for text, name in zip(texts, names, strict=True):
        key = sha256(json.dumps(endpoint.body(text), sort_keys=True).encode()).hexdigest()
        if key in answers.entries and answers.entries[key]["value"] is not None:
            progress.skip(1)
        else:
            answers.add(key, endpoint.ask(text, name))
            state.spend()
            progress.add(1)
        entries.append(answers.entries[key])
    return entries


def mark_of(config: dict, inputs: Sequence[Path], step: str) -> str:
    """The fingerprint of a step's answers: what becomes of unreadable ones changes none, so `failed` is no part of it."""
    asked = {key: value for key, value in config.items() if key != "failed"}
    return fingerprint(provenance(asked, inputs), code_hash(f"hh_align.evaluation.{step}"))


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

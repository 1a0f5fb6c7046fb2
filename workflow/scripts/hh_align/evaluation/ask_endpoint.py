"""Ratings by a language model behind an OpenAI-compatible chat endpoint: it answers a rubric with a number, once per response.

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
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path

import pyarrow as pa

from hh_align.core.artifacts import REBUILD, provenance, say, write_json, write_table
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.progress import Progress
from hh_align.core.state import State, fingerprint, state_folder
from hh_align.core.tables import REWARDS
from hh_align.evaluation.answered import answered_windows

QUARANTINE = pa.schema([("axis", pa.string()), ("prompt_id", pa.string()), ("tries", pa.int64()), ("answer", pa.string())])
NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")
LONGEST_WAIT = 120.0  # seconds between two tries, whatever the server asks for
SHOWN = 200
LISTED = 10
TOKENS = {"prompt_tokens": "tokens_in", "completion_tokens": "tokens_out"}


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key to another place: it is an answer like any other."""

    def redirect_request(self, *args, **kwargs):
        return None


OPENER = urllib.request.build_opener(NoRedirect)


def read_rubric(path: Path) -> str:
    """A rubric's text. Raises StudyError where it lacks the mark of the prompt or of the response."""
    text = path.read_text(encoding="utf-8")
    if missing := [mark for mark in ("{prompt}", "{response}") if mark not in text]:
        raise StudyError(f"{path}: the rubric lacks {' and '.join(missing)}.")
    return text


def filled(rubric: str, prompt: str, response: str) -> str:
    """The rubric with prompt and response instead of their marks; braces in either mean nothing."""
    texts = {"prompt": prompt, "response": response}
    return re.sub(r"\{(prompt|response)\}", lambda mark: texts[mark[1]], rubric)


def number_in(answer: str | None, lowest: float, highest: float) -> float | None:
    """The number that the whole answer is, and None for anything else: prose around it, two numbers, one outside the scale."""
    text = (answer or "").strip()
    value = float(text) if NUMBER.fullmatch(text) else math.nan
    return value if lowest <= value <= highest else None


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
    """One chat endpoint: `requests` counts what was sent."""

    def __init__(self, config: dict, timeout: float, tries: int, wait: Callable[[float], None] = time.sleep) -> None:
        self.config, self.timeout, self.tries, self.wait, self.requests = config, timeout, tries, wait, 0
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

    def rate(self, text: str, name: str) -> dict:
        """The rating of one filled rubric: reward (None where every answer was unreadable), the last answer, tries, tokens, model.

        429, 5xx and a broken connection are tried again like an unreadable answer. Raises StudyError, naming url and response, where the
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
                reward = number_in(answer, self.config["lowest"], self.config["highest"])
                why = ""
                if reward is not None:
                    return {"reward": reward, "answer": answer, "tries": attempt + 1, "model": model, **tokens}
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
        return {"reward": None, "answer": answer, "tries": self.tries, "model": model, **tokens}


def advice(code: int, config: dict) -> str:
    """What to do about a refusal."""
    if code in (401, 403):
        return f"Check the key in {config['key_env']}." if "key_env" in config else "It wants a key: set key_env."
    if code == 404:
        return f"Check url, and whether it has the model {config['model']}."
    return "The endpoint sends elsewhere: set url to that place." if code < 400 else "Check model, max_tokens and url."


class AnswerFile:
    """AnswerFile by the hash of their request, appended to a file one line at a time: a kill loses the one at work."""

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


def rate_all(endpoint: Endpoint, rows: list[dict], rubrics: dict[str, str], state: State) -> list[dict]:
    """The rows with their ratings, and the `key` of each request; equal requests are one. Raises StudyError as Endpoint.rate does.

    rubrics: axis -> text. What the state holds is not asked for again, unless it was no number.
    """
    answers, progress, entries = AnswerFile(state.folder / "answers.jsonl"), Progress(len(rows), "response"), []
    for row in rows:
        text = filled(rubrics[row["axis"]], row["prompt"], row["response"])
        key = sha256(json.dumps(endpoint.body(text), sort_keys=True).encode()).hexdigest()
        if key in answers.entries and answers.entries[key]["reward"] is not None:
            progress.skip(1)
        else:
            answers.add(key, endpoint.rate(text, row["prompt_id"]))
            state.spend()
            progress.add(1)
        entries.append(row | answers.entries[key])
    return entries


def cost_of(entries: list[dict], count: int, price: str, seconds: float) -> dict:
    """What `count` ratings cost, from the distinct answers: requests, tokens (null where the endpoint does not say), money where a price is given.

    price: of a million tokens, `sent:received`, or `unknown`.
    """
    tokens = {}
    for name in TOKENS.values():
        known = [entry[name] for entry in entries]
        tokens[name] = None if None in known else sum(known)
    spent = {"responses": count, "requests": sum(entry["tries"] for entry in entries), **tokens}
    spent["seconds_per_1000_responses"] = round(1000 * seconds / count, 3)
    if price != "unknown" and None not in tokens.values():
        total = sum(float(rate) * number for rate, number in zip(price.split(":"), tokens.values(), strict=True)) / 1e6
        spent |= {"price": round(total, 6), "price_per_1000_prompts": round(1000 * total / count, 6)}
    return spent


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", timeout="int", tries="int", price="text", rubrics="paths", prompts="path", responses="path", state="path",
        output="path", quarantine="path", timing="path",
    )  # fmt: skip
    config = args.config
    endpoint = Endpoint(config, args.timeout, args.tries)
    rubrics = dict(zip(sorted(config["rubrics"]), map(read_rubric, args.rubrics), strict=True))
    made_by = provenance(config, [*args.rubrics, args.prompts, args.responses])
    rows = [row for window in answered_windows(args.prompts, args.responses) for row in window if row["axis"] in rubrics]
    if not rows:
        raise StudyError(f"{args.responses}: no prompt is answered. {REBUILD}")
    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.evaluation.ask_endpoint")), started) as state:
        entries = rate_all(endpoint, rows, rubrics, state)
        failed = [entry for entry in entries if entry["reward"] is None]
        for entry in failed[:LISTED]:
            say(f"{entry['prompt_id']}: no number in any of {entry['tries']} answers, the last one {(entry['answer'] or '')[:SHOWN]!r}")
        if failed and config["failed"] == "error":
            names = ", ".join(entry["prompt_id"] for entry in failed[:LISTED])
            raise StudyError(
                f"{len(failed)} of {len(entries)} responses got no number from {config['lowest']:g} to {config['highest']:g} ({names}). "
                f"Mend the rubric, or set judges.{config['judge']}.failed to lowest; answers that are numbers are kept."
            )
        made_by |= {"answered_by": sorted({entry["model"] for entry in entries if entry["model"]})}
        excerpts = [entry | {"answer": (entry["answer"] or "")[:SHOWN]} for entry in failed]
        write_table(args.quarantine, excerpts, QUARANTINE, made_by)
        write_table(args.output, [entry | {"input_tokens": entry["tokens_in"], "cut_tokens": None} for entry in entries], REWARDS, made_by)
        seconds = time.monotonic() - state.started
        spent = cost_of(list({entry["key"]: entry for entry in entries}.values()), len(entries), args.price, seconds)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        facts = {"seconds": round(seconds, 3), "continuations": state.continuations, "peak_memory_mb": round(peak)}
        write_json(args.timing, {**facts, **spent, "unreadable": len(failed)})
    say(f"{len(entries)} responses rated, {len(failed)} of them without a readable number; {endpoint.requests} requests by this process")


if __name__ == "__main__":
    run(main)

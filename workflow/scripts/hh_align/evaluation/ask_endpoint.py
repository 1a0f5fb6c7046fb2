"""Ratings by a language model behind an OpenAI-compatible chat endpoint: it answers a rubric with a number or a word, once per response."""

import math
import re
import time
from functools import partial

from hh_align.core.artifacts import REBUILD, provenance, say, write_json, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.state import state_folder
from hh_align.core.tables import REWARDS
from hh_align.evaluation.answered import answered_windows
from hh_align.evaluation.endpoint import (
    PAID,
    Endpoint,
    answered_by,
    ask_all,
    filled,
    read_rubric,
    settle_failed,
    timing_of,
    write_failed,
)

MARKS = ("prompt", "response")
NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")


def number_in(answer: str | None, lowest: float, highest: float) -> float | None:
    """The number that the whole answer is, and None for anything else: prose around it, two numbers, one outside the scale."""
    text = (answer or "").strip()
    value = float(text) if NUMBER.fullmatch(text) else math.nan
    return value if lowest <= value <= highest else None


def class_in(answer: str | None, classes: dict[str, float]) -> float | None:
    """The number of the class that the whole answer names, in any case of letters; None for anything else."""
    return {name.casefold(): value for name, value in classes.items()}.get((answer or "").strip().casefold())


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", timeout="int", tries="int", price="text", key_env="text?", answers="path", rubrics="paths",
        prompts="path", responses="path", state="path", output="path", quarantine="path", timing="path",
    )  # fmt: skip
    config, inputs = args.config, [*args.rubrics, args.prompts, args.responses]
    if "classes" in config:
        read, lacking = partial(class_in, classes=config["classes"]), f"got none of the classes {', '.join(config['classes'])}"
    else:
        lowest, highest = config["lowest"], config["highest"]
        read, lacking = partial(number_in, lowest=lowest, highest=highest), f"got no number from {lowest:g} to {highest:g}"
    endpoint = Endpoint(config, args.key_env, read, args.timeout, args.tries)
    rubrics = {axis: read_rubric(path, MARKS) for axis, path in zip(config["axes"], args.rubrics, strict=True)}
    made_by = provenance(config, inputs)
    rows = [row for window in answered_windows(args.prompts, args.responses) for row in window if row["axis"] in rubrics]
    if not rows:
        raise StudyError(f"{args.responses}: no prompt is answered. {REBUILD}")
    texts = [filled(rubrics[row["axis"]], {mark: row[mark] for mark in MARKS}) for row in rows]
    with state_folder(args.state, PAID, started) as state:
        answers = ask_all(endpoint, args.answers, texts, [row["prompt_id"] for row in rows], state, "response")
        entries = [row | answer for row, answer in zip(rows, answers, strict=True)]
        failed = [entry for entry in entries if entry["value"] is None]
        settle_failed(failed, f"{len(entries)} responses", config, lacking, "lowest")
        made_by |= answered_by(entries)
        write_failed(args.quarantine, failed, made_by)
        rated = [entry | {"reward": entry["value"], "input_tokens": entry["tokens_in"], "cut_tokens": None} for entry in entries]
        write_table(args.output, rated, REWARDS, made_by)
        write_json(args.timing, timing_of(entries, len(entries), args.price, state))
    say(f"{len(entries)} responses rated, {len(failed)} of them without a readable answer; {endpoint.requests} requests by this process")


if __name__ == "__main__":
    run(main)

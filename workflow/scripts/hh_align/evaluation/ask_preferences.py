"""Preferences of a pairwise judge, a language model behind a chat endpoint: which of two policies' responses is better, asked in both orders."""

import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from hh_align.core.artifacts import REBUILD, provenance, say, write_json, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.state import state_folder
from hh_align.core.tables import CHOICES
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

MARKS = ("prompt", "response_a", "response_b")
LETTERS = {"a": "A", "b": "B", "tie": "tie"}
ORDERS = {"policy_first": {"A": "policy", "B": "against", "tie": "tie"}, "against_first": {"A": "against", "B": "policy", "tie": "tie"}}
"""Order of the two responses -> letter of an answer -> whom it prefers."""


def letter_in(answer: str | None) -> str | None:
    """A, B or tie, where the whole answer is that, in any case of letters; None for anything else."""
    return LETTERS.get((answer or "").strip().casefold())


def outcome(first: str | None, second: str | None) -> str:
    """What the answers in both orders (policy, against, tie, None) come to: the one that both name, inconsistent where they differ, or
    unreadable where one could not be read."""
    if first is None or second is None:
        return "unreadable"
    return first if first == second else "inconsistent"


def compared(prompts: Path, policy: Path, against: Path) -> Iterator[dict]:
    """Rows with axis, prompt_id, prompt, and both responses as `policy` and `against`. Raises StudyError as answered_windows does."""
    windows = (chain.from_iterable(answered_windows(prompts, path)) for path in (policy, against))
    for ours, theirs in zip(*windows, strict=True):
        yield {**{key: ours[key] for key in ("axis", "prompt_id", "prompt")}, "policy": ours["response"], "against": theirs["response"]}


def questions(row: dict, rubric: str) -> list[str]:
    """The rubric with both responses, once for each of ORDERS."""
    pairs = ((row["policy"], row["against"]), (row["against"], row["policy"]))
    return [filled(rubric, {"prompt": row["prompt"], "response_a": first, "response_b": second}) for first, second in pairs]


def decided(row: dict, answers: list[dict]) -> dict:
    """A row of CHOICES: the two answers, and what they come to; without answers both policies have said the same."""
    said = {order: named.get(answer["value"]) for (order, named), answer in zip(ORDERS.items(), answers, strict=False)}
    return {**row, **said, "outcome": outcome(*said.values()) if said else "same"}


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", timeout="int", tries="int", price="text", key_env="text?", answers="path", rubrics="paths",
        prompts="path", policy="path", against="path", state="path", output="path", quarantine="path", timing="path",
    )  # fmt: skip
    config, inputs = args.config, [*args.rubrics, args.prompts, args.policy, args.against]
    endpoint = Endpoint(config, args.key_env, letter_in, args.timeout, args.tries)
    rubrics = {axis: read_rubric(path, MARKS) for axis, path in zip(config["axes"], args.rubrics, strict=True)}
    made_by = provenance(config, inputs)
    rows = [row for row in compared(args.prompts, args.policy, args.against) if row["axis"] in rubrics]
    if not rows:
        raise StudyError(f"{args.policy}: no prompt is answered. {REBUILD}")
    asked = [row for row in rows if row["policy"] != row["against"]]
    texts = [text for row in asked for text in questions(row, rubrics[row["axis"]])]
    with state_folder(args.state, PAID, started) as state:
        answers = ask_all(endpoint, args.answers, texts, [row["prompt_id"] for row in asked for _ in ORDERS], state, "question")
        pairs = dict(zip(((row["axis"], row["prompt_id"]) for row in asked), zip(answers[::2], answers[1::2], strict=True), strict=True))
        failed = [
            {"axis": axis, "prompt_id": name, **answer}
            for (axis, name), both in pairs.items()
            for answer in both
            if answer["value"] is None
        ]
        settle_failed(failed, f"{len(texts)} questions", config, "got no A, B or tie", "tie")
        made_by |= answered_by(answers)
        write_failed(args.quarantine, failed, made_by)
        chosen = [decided(row, list(pairs.get((row["axis"], row["prompt_id"]), ()))) for row in rows]
        write_table(args.output, chosen, CHOICES, made_by)
        write_json(args.timing, timing_of(answers, len(rows), args.price, state))
    same = len(rows) - len(asked)
    say(f"{len(rows)} pairs, {same} of equal responses; {len(failed)} answers unreadable; {endpoint.requests} requests by this process")


if __name__ == "__main__":
    run(main)

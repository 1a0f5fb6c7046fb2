"""What a policy makes of items of lm-evaluation-harness: the log-likelihood of each request, read as its `hf` model reads it."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.state import fingerprint, state_folder
from hh_align.data.select_items import SCORES
from hh_align.data.select_lm_eval import REQUESTS
from hh_align.evaluation.measure_capability import Question, score
from hh_align.models.batches import Parts
from hh_align.models.compute import use_device, write_timing
from hh_align.models.folders import load_policy, positions_of
from hh_align.models.packing import Tree, use_packing
from hh_align.models.precision import is_emulated


class Reading(NamedTuple):
    """An item as a policy reads it: its contexts, each with the continuations behind it, and where each option stands: (context, continuation)."""

    questions: list[Question]
    places: list[tuple[int, int]]


def request_ids(tokenizer, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Ids of a context and of the continuation behind it, as HFLM of lm-evaluation-harness has them: the special tokens are those that the
    tokenizer puts by itself, spaces at the context's end are the continuation's, a context without text is the bos, or the eos where there is none.
    """
    prefix = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id

    def ids(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=not text.startswith(tokenizer.decode(prefix)))

    if context:
        before = ids(context.rstrip())
        return before or [prefix], ids(context + continuation)[len(before) :]
    alone = tokenizer.encode(continuation, add_special_tokens=False)
    return (alone[:1], alone[1:]) if alone[:1] == [prefix] else ([prefix], alone)


def reading(item: dict, tokenizer, positions: int) -> Reading:
    """The item's requests. Each context is read once; one too long for an option loses its beginning.

    Raises StudyError, naming the item, for an option without a token, and for one that leaves no room.
    """
    behind, places, cut = {}, [], {}
    for context, continuation in zip(item["contexts"], item["continuations"], strict=True):
        before, option = request_ids(tokenizer, context, continuation)
        room = positions - len(option)
        if not option or room < 1:
            raise StudyError(f"{item['item']}: an option of {len(option)} tokens, but the policy reads {positions}. Take its task out.")
        kept = tuple(before[-room:])
        behind.setdefault(kept, []).append(option)
        cut[kept] = len(before) - len(kept)
        places.append((list(behind).index(kept), len(behind[kept]) - 1))
    return Reading([Question(Tree([*kept], options), cut[kept]) for kept, options in behind.items()], places)


def score_rows(items: Sequence[dict], readings: Sequence[Reading], logps: Sequence[list[float]]) -> list[dict]:
    """Rows of SCORES. logps: of each question of each reading, in their order. `right`: the right option has the highest sum, `right_norm`: the
    highest per character of its text (acc and acc_norm of the harness). Raises StudyError, naming the item, for a sum that is no finite number."""
    rows, given = [], iter(logps)
    for item, (asked, places) in zip(items, readings, strict=True):
        found = [next(given) for _ in asked]
        sums = [found[context][option] for context, option in places]
        if not np.isfinite(sums).all():
            raise StudyError(f"{item['item']}: a log-likelihood is no finite number. The weights of the policy are damaged.")
        best, best_norm = int(np.argmax(sums)), int(np.argmax(np.divide(sums, [len(option) for option in item["options"]])))
        rows.append(
            {key: item[key] for key in ("task", "item", "answer")}
            | {"logps": sums, "tokens": [len(asked[context].tree.replies[option]) for context, option in places]}
            | {"bytes": [len(option.encode()) for option in item["options"]], "cut_tokens": max(question.cut for question in asked)}
            | {"right": best == item["answer"], "right_norm": best_norm == item["answer"]}
        )
    return rows


def main() -> None:
    started = time.monotonic()
    args = parse(__doc__, config="config", policy="path", questions="path", threads="int", state="path", output="path", timing="path")
    config = args.config
    device = use_device(config, args.threads)
    is_emulated(config["dtype"], device)
    made_by = provenance(config, [args.policy, args.questions], device=device, threads=args.threads)
    policy, tokenizer = load_policy(args.policy, dtype=config["dtype"], device=device)
    items = read_table(args.questions, REQUESTS).to_pylist()
    readings = [reading(item, tokenizer, positions_of(policy.config)) for item in items]
    use_packing(policy)
    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.evaluation.measure_lm_eval")), started) as state:
        asked = [question for read in readings for question in read.questions]
        rows = score_rows(items, readings, score(policy, asked, config["batch_tokens"], Parts(state)))
        write_table(args.output, rows, SCORES, made_by)
    say(
        f"{len(rows):,} items, {sum(row['right'] for row in rows):,} right, {sum(row['right_norm'] for row in rows):,} by likelihood per character"
    )
    write_timing(args.timing, state.started, state.continuations, items=len(rows), tokens=state.tokens)


if __name__ == "__main__":
    run(main)

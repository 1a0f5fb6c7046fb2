"""What a policy still knows: the log-likelihood of each option of items of multiple choice, read behind what stands before it."""

import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch

from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.plan import token_batches
from hh_align.core.progress import Progress
from hh_align.core.state import fingerprint, state_folder
from hh_align.data.select_items import ITEMS, SCORES
from hh_align.models.batches import Parts, by_batches
from hh_align.models.compute import use_device, write_timing
from hh_align.models.folders import load_policy, positions_of
from hh_align.models.packing import Tree, pack, reply_logps, tree_size, use_packing
from hh_align.models.precision import is_emulated
from hh_align.models.tokens import encoder, replies_behind, start


class Question(NamedTuple):
    """A context as a policy reads it with the options behind it, and the tokens that the context has lost."""

    tree: Tree
    cut: int


class Reading(NamedTuple):
    """An item as a policy reads it: its contexts, each with options behind it, and where each option of the item stands: (question, reply)."""

    questions: list[Question]
    places: list[tuple[int, int]]


def readings(items: Sequence[dict], tokenizer, positions: int) -> list[Reading]:
    """The context once, behind a leading bos where there is one, and every option behind it, as plain text without a chat template.

    A space parts an option from its context, unless that is empty or ends a line. A context without text is the bos alone, or the eos where there is none. One too long loses its beginning. Raises StudyError, naming
    the item, for an option that leaves no room.
    """
    encode = encoder(tokenizer)
    contexts = [item["context"].rstrip(" ") for item in items]
    prompts = encode(contexts)
    rows = [
        {"prompt": context, "option": option if not context or context.endswith("\n") else f" {option}"}
        for item, context in zip(items, contexts, strict=True)
        for option in item["options"]
    ]
    owners = [prompt for item, prompt in zip(items, prompts, strict=True) for _ in item["options"]]
    replies, read = iter(replies_behind(owners, rows, "option", encode)), []
    first = start(tokenizer.bos_token_id)
    for item, prompt in zip(items, prompts, strict=True):
        options = [next(replies) for _ in item["options"]]
        room = positions - len(first) - max(map(len, options))
        if room < 1:
            raise StudyError(
                f"{item['item']}: an option of {max(map(len, options))} tokens, but the policy reads {positions}. Take the item out."
            )
        kept = [*first, *prompt[-room:]] or [tokenizer.eos_token_id]
        question = Question(Tree(kept, options), max(0, len(prompt) - room))
        read.append(Reading([question], [(0, option) for option in range(len(options))]))
    return read


@torch.no_grad()
def score(policy, read: Sequence[Question], batch_tokens: int, parts: Parts) -> list[list[float]]:
    """Sum of log p over the tokens of each question's options, in nats. No token of padding is computed; the policy uses packing."""
    sizes = [tree_size(question.tree) for question in read]

    def compute(batch: Sequence[int]) -> list[list[float]]:
        trees = [read[row].tree for row in batch]
        logps = iter(reply_logps(policy, pack(trees).to(policy.device)).tolist())
        return [[next(logps) for _ in tree.replies] for tree in trees]

    return by_batches(token_batches(sizes, batch_tokens), sizes, compute, parts, Progress(len(read), "item"))


def size_in_bytes(option: str) -> int:
    return len(option.encode())


def score_rows(
    items: Sequence[dict], read: Sequence[Reading], logps: Sequence[list[float]], size: Callable[[str], int] = size_in_bytes
) -> list[dict]:
    """Rows of SCORES. logps: of each question of each reading, in their order. `right`: the right option has the highest sum, `right_norm`: the
    highest per unit of its text's size (acc and acc_norm of lm-evaluation-harness, whose unit is the character). Raises StudyError, naming
    the item, for a sum that is no finite number."""
    rows, given = [], iter(logps)
    for item, (asked, places) in zip(items, read, strict=True):
        found = list(islice(given, len(asked)))
        sums = [found[question][reply] for question, reply in places]
        if not np.isfinite(sums).all():
            raise StudyError(f"{item['item']}: a log-likelihood is no finite number. The weights of the policy are damaged.")
        best, best_norm = int(np.argmax(sums)), int(np.argmax(np.divide(sums, list(map(size, item["options"])))))
        rows.append(
            {key: item[key] for key in ("task", "item", "answer")}
            | {"logps": sums, "tokens": [len(asked[question].tree.replies[reply]) for question, reply in places]}
            | {"bytes": list(map(size_in_bytes, item["options"])), "cut_tokens": max(question.cut for question in asked)}
            | {"right": best == item["answer"], "right_norm": best_norm == item["answer"]}
        )
    return rows


def measure(
    step: str,
    description: str | None,
    schema: pa.Schema,
    reader: Callable[[list[dict], object, int], list[Reading]],
    size: Callable[[str], int],
    unit: str,
) -> None:
    """A step that scores a policy on items. schema: of its items' table; reader: the items, as readings of a tokenizer within positions; size,
    unit: what right_norm divides by, and its name."""
    started = time.monotonic()
    args = parse(description, config="config", policy="path", questions="path", threads="int", state="path", output="path", timing="path")
    config = args.config
    device = use_device(config, args.threads)
    is_emulated(config["dtype"], device)
    made_by = provenance(config, [args.policy, args.questions], device=device, threads=args.threads)
    policy, tokenizer = load_policy(args.policy, dtype=config["dtype"], device=device)
    items = read_table(args.questions, schema).to_pylist()
    read = reader(items, tokenizer, positions_of(policy.config))
    use_packing(policy)
    with state_folder(args.state, fingerprint(made_by, code_hash(step)), started) as state:
        asked = [question for reading in read for question in reading.questions]
        rows = score_rows(items, read, score(policy, asked, config["batch_tokens"], Parts(state)), size)
        write_table(args.output, rows, SCORES, made_by)
    say(
        f"{len(rows):,} items, {sum(row['right'] for row in rows):,} right, {sum(row['right_norm'] for row in rows):,} by likelihood per {unit}"
    )
    write_timing(args.timing, state.started, state.continuations, items=len(rows), tokens=state.tokens)


def main() -> None:
    measure("hh_align.evaluation.measure_capability", __doc__, ITEMS, readings, size_in_bytes, "byte")


if __name__ == "__main__":
    run(main)

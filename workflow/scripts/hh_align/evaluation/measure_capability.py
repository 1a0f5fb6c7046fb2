"""What a policy still knows: the log-likelihood of each option of items of multiple choice, read behind what stands before it."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
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
    """An item as a policy reads it, and the tokens that its context has lost."""

    tree: Tree
    cut: int


def questions(items: Sequence[dict], tokenizer, positions: int) -> list[Question]:
    """The context once, behind a leading bos where there is one, and every option behind a space, as plain text without a chat template.

    A context without text is the bos alone, or the eos where there is none. One too long loses its beginning. Raises StudyError, naming
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
        read.append(Question(Tree(kept, options), max(0, len(prompt) - room)))
    return read


@torch.no_grad()
def score(policy, read: Sequence[Question], batch_tokens: int, parts: Parts) -> list[list[float]]:
    """Sum of log p over the tokens of each item's options, in nats. No token of padding is computed; the policy uses packing."""
    sizes = [tree_size(question.tree) for question in read]

    def compute(batch: Sequence[int]) -> list[list[float]]:
        trees = [read[row].tree for row in batch]
        logps = iter(reply_logps(policy, pack(trees).to(policy.device)).tolist())
        return [[next(logps) for _ in tree.replies] for tree in trees]

    return by_batches(token_batches(sizes, batch_tokens), sizes, compute, parts, Progress(len(read), "item"))


def score_rows(items: Sequence[dict], read: Sequence[Question], logps: Sequence[list[float]]) -> list[dict]:
    """Rows of SCORES. `right`: the right option has the highest sum, `right_norm`: the highest per byte of its text (acc and acc_norm of
    lm-evaluation-harness, which divides by characters). Raises StudyError, naming the item, for a sum that is no finite number."""
    rows = []
    for item, question, sums in zip(items, read, logps, strict=True):
        if not np.isfinite(sums).all():
            raise StudyError(f"{item['item']}: a log-likelihood is no finite number. The weights of the policy are damaged.")
        sizes = [len(option.encode()) for option in item["options"]]
        best, best_norm = int(np.argmax(sums)), int(np.argmax(np.divide(sums, sizes)))
        said = {"logps": sums, "tokens": list(map(len, question.tree.replies)), "bytes": sizes, "cut_tokens": question.cut}
        right = {"right": best == item["answer"], "right_norm": best_norm == item["answer"]}
        rows.append({**{key: item[key] for key in ("task", "item", "answer")}, **said, **right})
    return rows


def main() -> None:
    started = time.monotonic()
    args = parse(__doc__, config="config", policy="path", questions="path", threads="int", state="path", output="path", timing="path")
    config = args.config
    device = use_device(config, args.threads)
    is_emulated(config["dtype"], device)
    made_by = provenance(config, [args.policy, args.questions], device=device, threads=args.threads)
    policy, tokenizer = load_policy(args.policy, dtype=config["dtype"], device=device)
    items = read_table(args.questions, ITEMS).to_pylist()
    read = questions(items, tokenizer, positions_of(policy.config))
    use_packing(policy)
    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.evaluation.measure_capability")), started) as state:
        rows = score_rows(items, read, score(policy, read, config["batch_tokens"], Parts(state)))
        write_table(args.output, rows, SCORES, made_by)
    say(
        f"{len(rows):,} items, {sum(row['right'] for row in rows):,} right, {sum(row['right_norm'] for row in rows):,} by likelihood per byte"
    )
    write_timing(args.timing, state.started, state.continuations, items=len(rows), tokens=state.tokens)


if __name__ == "__main__":
    run(main)

"""The pairs of a training: which rows of the preferences, what of them is read, how they are packed, and what a model says of them."""

import math
from collections.abc import Callable, Sequence

import torch

from hh_align.core.artifacts import say
from hh_align.core.errors import StudyError
from hh_align.core.plan import token_batches
from hh_align.core.progress import Progress
from hh_align.data.preferences import row_name, training_rows
from hh_align.models.batches import Parts, by_batches
from hh_align.models.chat import as_read
from hh_align.models.folders import check_length
from hh_align.models.packing import MULTIPLE, Tree, pack, reply_logps, tree_size
from hh_align.models.tokens import Pair, check_boundaries, encoder, pair_view, published_pair_view


def pairs_as_read(rows: list[dict], tokenizer, max_length: int, max_prompt_length: int) -> list[tuple[dict, Pair]]:
    """(row with the texts that the model reads, its pair) of each row. Raises StudyError where the tokenizer joins prompt and reply."""
    rows, encode = as_read(rows, tokenizer), encoder(tokenizer)
    check_boundaries(rows, encode)
    pairs = pair_view(rows, encode, tokenizer.bos_token_id, tokenizer.eos_token_id, max_length, max_prompt_length)
    return list(zip(rows, pairs, strict=True))


def usable_pairs(table: list[dict], tokenizer, method: dict, train_split: str) -> tuple[list[dict], list[Pair], list[dict]]:
    """(rows, their pairs, left out) of a DPO method, in file order; left out: rows that have nothing to learn in this token view, with
    their `reason`.

    table: rows of preferences.parquet. `dropout: as_published` takes every row and the author's view.
    """
    published = method["dropout"] == "as_published"
    rows = training_rows(table, train_split, None if published else "use_dpo", method.get("max_rows"))
    limits = method["max_length"], method["max_prompt_length"]
    if published:
        return rows, published_pair_view(rows, encoder(tokenizer), tokenizer.eos_token_id, *limits), []
    views = pairs_as_read(rows, tokenizer, *limits)
    distinct = [(row, pair) for row, pair in views if pair.chosen_ids != pair.rejected_ids]
    same = [{**row, "reason": "the replies are equal up to max_length"} for row, pair in views if pair.chosen_ids == pair.rejected_ids]
    if same:
        say(f"{len(same):,} pairs are left out, their replies are equal up to max_length: {', '.join(map(row_name, same[:5]))}")
    return [row for row, _ in distinct], [pair for _, pair in distinct], same


def check_pairs(config, pairs: list[Pair], key: str = "the method") -> None:
    """Raise StudyError where a prompt with one of its replies is longer than the model of this config reads. key: as for check_length."""
    sizes = [len(pair.prompt_ids) + max(len(pair.chosen_ids), len(pair.rejected_ids)) for pair in pairs]
    check_length(config, max(sizes, default=0), key)


def pair_tree(pair: Pair) -> Tree:
    """The pair's prompt with both replies, chosen first."""
    return Tree(pair.prompt_ids, [pair.chosen_ids, pair.rejected_ids])


def per_pair(
    rows: list[dict], pairs: list[Pair], numbers_of: Callable[[list[Tree]], list[list[float]]], batch_tokens: int, parts: Parts, what: str
) -> list[list[float]]:
    """The numbers of each pair, a batch of packed trees at a time; what `parts` holds is not computed again.

    what: how a message calls the numbers. Raises StudyError, naming the row, where one is not finite.
    """
    trees = [pair_tree(pair) for pair in pairs]
    sizes = [tree_size(tree) for tree in trees]

    def compute(batch: Sequence[int]) -> list[list[float]]:
        numbers = numbers_of([trees[number] for number in batch])
        for number, values in zip(batch, numbers, strict=True):
            if not all(map(math.isfinite, values)):
                raise StudyError(f"{row_name(rows[number])}: {what} are {values}. The weights are damaged.")
        return numbers

    return by_batches(token_batches(sizes, batch_tokens), sizes, compute, parts, Progress(len(rows), "pair"))


def published_trees(pair: Pair) -> list[Tree]:
    """Chosen and rejected with a prompt of their own each, as the author's trainer read them: under dropout they are not the same."""
    return [Tree(pair.prompt_ids, [reply]) for reply in (pair.chosen_ids, pair.rejected_ids)]


def pair_logps(model, trees: Sequence[Tree], precision: str) -> list[list[float]]:
    """log p (chosen, rejected) of each pair's tree, in nats, by a model that uses packing, read side by side without a gradient.

    precision: `float32`, or `bfloat16` for products rounded to it.
    """
    with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        return reply_logps(model, pack(trees, MULTIPLE[precision]).to(model.device)).view(-1, 2).tolist()

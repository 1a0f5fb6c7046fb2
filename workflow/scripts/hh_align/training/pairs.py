"""What the DPO step and its reference log-probabilities share: the rows and the token view."""

from hh_align.core.artifacts import say
from hh_align.data.preferences import row_name, training_rows
from hh_align.models.chat import as_read
from hh_align.models.folders import check_length
from hh_align.models.packing import Tree
from hh_align.models.tokens import check_boundaries, encoder, pair_view, published_pair_view


def pairs(table: list[dict], tokenizer, method: dict, train_split: str) -> tuple[list[dict], list[dict], list[dict]]:
    """(rows, examples, left out) of a DPO method, in file order; left out: rows that have nothing to learn in this token view, with
    their `reason`.

    `dropout: as_published` takes every row and the author's view.
    """
    published = method["dropout"] == "as_published"
    rows = training_rows(table, train_split, None if published else "use_dpo", method.get("max_rows"))
    limits = method["max_length"], method["max_prompt_length"]
    encode, bos, eos = encoder(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id
    if published:
        return rows, published_pair_view(rows, encode, eos, *limits), []
    rows = as_read(rows, tokenizer)
    check_boundaries(rows, encode)
    views = list(zip(rows, pair_view(rows, encode, bos, eos, *limits), strict=True))
    kept = [(row, view) for row, view in views if view["chosen_ids"] != view["rejected_ids"]]
    same = [
        {**row, "reason": "the replies are equal up to max_length"} for row, view in views if view["chosen_ids"] == view["rejected_ids"]
    ]
    if same:
        say(f"{len(same):,} pairs are left out, their replies are equal up to max_length: {', '.join(map(row_name, same[:5]))}")
    return [row for row, _ in kept], [view for _, view in kept], same


def check_pairs(config, examples: list[dict]) -> None:
    """Raise StudyError as check_length does."""
    sizes = [len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in examples]
    check_length(config, max(sizes, default=0))


def pair_tree(example: dict) -> Tree:
    """A pair's prompt with both replies."""
    return example["prompt_ids"], [example["chosen_ids"], example["rejected_ids"]]

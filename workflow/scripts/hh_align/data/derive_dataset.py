"""A dataset derived from another: a selection of its rows, cleaned, and its labels kept, flipped by coin or reversed.

The steps come in a fixed order: subsets, training_half, exclude_prompts, deduplicate, decontaminate, drop_near_identical, judge_margin,
balance_length, labels. From `deduplicate` to `balance_length` only rows of `train_split` are looked at. Every row that a step drops is
listed, and every step is counted.
"""

import random
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from hh_align.core.artifacts import REBUILD, provenance, read_table, say, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, columns_of
from hh_align.data.preferences import KEY, SCHEMA, fit_for, row_name
from hh_align.data.selection import MARGINS, left_out_by

CENSUS = pa.schema(
    [
        ("step", pa.string()),
        ("split", pa.string()),
        ("subset", pa.string()),
        ("before", pa.int64()),
        ("dropped", pa.int64()),
        ("after", pa.int64()),
        ("reason", pa.string()),
    ]
)
DROPPED = pa.schema(
    [
        ("split", pa.string()),
        ("subset", pa.string()),
        ("row", pa.int64()),
        ("step", pa.string()),
        ("reason", pa.string()),
        ("partner", pa.string()),
        ("value", pa.float64()),
    ]
)
CONTAMINATED = pa.schema(
    [("split", pa.string()), ("subset", pa.string()), ("row", pa.int64()), ("prompt_id", pa.string()), ("shared", pa.float64())]
)
WIDER = {"weights": (0.1, 0.9)}
LOOSER = 0.8
"""The LSH's bands are chosen for this share of the threshold, false candidates weighing little: candidates are compared exactly, a missed
one is lost. With 128 permutations (23 bands of 5) a pair at a threshold of 0.8 is missed with probability (1 - 0.8^5)^23, about 1e-4."""

Losses = dict[int, tuple[str | None, float | None]]
"""Index of a row that a step drops -> its partner (a row that stays, or a prompt) and the number that decided."""


def words(text: str) -> list[str]:
    """Runs of letters and digits after NFKC and case folding: punctuation and white space do not count."""
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def windows(found: Sequence[str], n: int) -> set[str]:
    """The n-grams of a list of words; fewer words than n are one n-gram, no words none."""
    return {" ".join(found[start : start + n]) for start in range(max(len(found) - n, 0) + 1)} - {""}


def exact_duplicates(rows: list[dict]) -> Losses:
    """Rows whose (prompt, chosen, rejected) equals an earlier row's after NFKC, case folding and runs of white space as one space."""
    first: dict[tuple, dict] = {}
    losses: Losses = {}
    for number, row in enumerate(rows):
        parts = (row["prompt"], row["chosen"], row["rejected"])
        key = tuple(" ".join(unicodedata.normalize("NFKC", part).casefold().split()) for part in parts)
        if first.setdefault(key, row) is not row:
            losses[number] = row_name(first[key]), 1.0
    return losses


def shingles(row: dict, n: int) -> set[str]:
    """The n-grams of words of a row's prompt, chosen and rejected reply, each marked with its part: exchanged replies are no duplicate."""
    return {f"{part} {gram}" for part in ("prompt", "chosen", "rejected") for gram in windows(words(row[part]), n)}


def jaccard(a: set, b: set) -> float:
    """Elements in both, as a share of those in either; 1 where both are empty."""
    return len(a & b) / len(a | b) if a or b else 1.0


def near_duplicates(rows: list[dict], threshold: float, ngram: int, num_perm: int, seed: int) -> Losses:
    """Rows whose shingles have a Jaccard similarity of at least `threshold` with an earlier row that is kept.

    Candidates come from MinHash LSH (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4) and are then compared
    exactly, so that no row is dropped by an estimate; a pair above the threshold may be missed, the less likely the more alike it is.
    """
    from datasketch import MinHash, MinHashLSH

    kept = MinHashLSH(threshold=LOOSER * threshold, num_perm=num_perm, **WIDER)
    empty = MinHash(num_perm=num_perm, seed=seed, scheme="affine32")
    losses: Losses = {}
    for number, row in enumerate(rows):
        own = shingles(row, ngram)
        sketch = empty.copy()
        sketch.update_batch([shingle.encode() for shingle in sorted(own)])
        for candidate in sorted(kept.query(sketch)):
            if (alike := jaccard(own, shingles(rows[candidate], ngram))) >= threshold:
                losses[number] = row_name(rows[candidate]), alike
                break
        else:
            kept.insert(number, sketch)
    return losses


def turns(text: str) -> list[list[str]]:
    """The words of each turn of a dialogue, without the speakers' names."""
    return [words(turn) for turn in re.split(r"(?:^|\n\n)(?:Human|Assistant):", text.strip())]


def contamination(rows: list[dict], prompts: list[dict], ngram: int, overlap: float) -> list[dict]:
    """Each (row, evaluation prompt) where the row's prompt holds at least `overlap` of the evaluation prompt's n-grams of words.

    A prompt of fewer than `ngram` words is one n-gram, which a row holds where one of its turns, or its whole prompt, is this text.
    """
    asked = [windows([word for turn in turns(prompt["prompt"]) for word in turn], ngram) for prompt in prompts]
    holders = defaultdict(list)
    for number, grams in enumerate(asked):
        for gram in grams:
            holders[gram].append(number)
    hits = []
    for index, row in enumerate(rows):
        parts = turns(row["prompt"])
        own = windows([word for turn in parts for word in turn], ngram) | {" ".join(turn) for turn in parts if len(turn) < ngram}
        for number, count in sorted(Counter(number for gram in own & holders.keys() for number in holders[gram]).items()):
            if (shared := count / len(asked[number])) >= overlap:
                hits.append({"index": index, "prompt_id": prompts[number]["prompt_id"], "shared": shared})
    return hits


def contaminated(hits: list[dict]) -> Losses:
    """The rows of these hits, each with the prompt of which it holds the most."""
    return {hit["index"]: (hit["prompt_id"], hit["shared"]) for hit in sorted(hits, key=lambda hit: hit["shared"])}


def reply_similarity(row: dict) -> float:
    """Jaccard similarity of the two replies' words, each word as often as it stands there (0 to 1)."""
    chosen, rejected = Counter(words(row["chosen"])), Counter(words(row["rejected"]))
    return (chosen & rejected).total() / ((chosen | rejected).total() or 1) if chosen or rejected else 1.0


def near_identical(rows: list[dict], similarity: float) -> Losses:
    """Rows whose replies are at least this similar."""
    found = {number: reply_similarity(row) for number, row in enumerate(rows)}
    return {number: (None, value) for number, value in found.items() if value >= similarity}


def low_margins(rows: list[dict], margins: dict[tuple, float], quantile: float) -> Losses:
    """Pairs whose margin (chosen less rejected reward) lies below this quantile of all pairs here; rows unfit for DPO have none.

    Raises StudyError for a pair without a margin.
    """
    pairs = {number: tuple(row[key] for key in KEY) for number, row in enumerate(rows) if row["use_dpo"]}
    if missing := [key for key in pairs.values() if key not in margins]:
        raise StudyError(f"the margins lack {len(missing):,} pairs ({missing[0][1]}/{missing[0][0]}:{missing[0][2] + 1}). {REBUILD}")
    if not pairs:
        return {}
    least = float(np.quantile([margins[key] for key in pairs.values()], quantile))
    return {number: (None, margins[key]) for number, key in pairs.items() if margins[key] < least}


def length_difference(row: dict) -> int:
    """Characters of the chosen reply less those of the rejected one, both stripped."""
    return len(row["chosen"].strip()) - len(row["rejected"].strip())


def surplus_lengths(rows: list[dict], seed: int) -> Losses:
    """Pairs too many for the longer reply to be chosen in half of them.

    Pairs fit for DPO whose lengths differ by d characters go into bins by subset and by size of d: 1, 2-3, 4-7, 8-15, … Of each bin
    the pairs of its larger side (chosen longer or rejected longer) beyond the number of its smaller side are drawn at random.
    """
    bins: dict[tuple, dict[bool, list[int]]] = defaultdict(lambda: {True: [], False: []})
    for number, row in enumerate(rows):
        difference = length_difference(row)
        if row["use_dpo"] and difference:
            bins[row["subset"], abs(difference).bit_length()][difference > 0].append(number)
    stream = random.Random(seed)
    losses: Losses = {}
    for place in sorted(bins):
        fewer, more = sorted(bins[place].values(), key=len)
        drawn = stream.sample(more, len(more) - len(fewer))
        losses |= {number: (None, float(length_difference(rows[number]))) for number in drawn}
    return losses


def relabel(rows: list[dict], labels: str | bool, seed: int, noise: float | None = None) -> list[dict]:
    """Rows with chosen and rejected exchanged: in none (`True`), in each with probability `noise` (`noisy`) or 1/2 (`coin`), in all (`reversed`).

    Of one seed, the rows that a smaller noise exchanges are among those of a larger one.
    """
    stream = random.Random(seed)
    swap = {
        True: lambda: False,
        "noisy": lambda: stream.random() < noise,
        "coin": lambda: stream.random() < 0.5,
        "reversed": lambda: True,
    }[labels]
    return [exchanged(row) if swap() else row for row in rows]


def exchanged(row: dict) -> dict:
    """The row with its replies exchanged, the flag `swapped` set and its uses stated anew."""
    rename = {"empty_chosen": "empty_rejected", "empty_rejected": "empty_chosen"}
    flags = [*(rename.get(flag, flag) for flag in row["flags"]), "swapped"]
    prompts = {}
    if row["rejected_prompt"] is not None:
        prompts = {"prompt": row["rejected_prompt"], "rejected_prompt": row["prompt"]}
    return {**row, **prompts, "chosen": row["rejected"], "rejected": row["chosen"], "flags": flags, **fit_for(flags)}


def selection_steps(config: dict, excluded: set[str] | None) -> Iterator[tuple[str, str, Callable]]:
    """(step, reason, rows -> losses) of the keys that choose rows, in order. excluded: None where `exclude_prompts` is off."""

    def left_out(rows: list[dict], step: str) -> Losses:
        by = [left_out_by(row, config.get("subsets"), config["training_half"], excluded or set()) for row in rows]
        return {number: (None, None) for number, key in enumerate(by) if key == step}

    reasons = {
        "subsets": ("subsets" in config, "of a subset that is not kept"),
        "training_half": (bool(config["training_half"]), "first human turn not in the training half"),
        "exclude_prompts": (excluded is not None, "first human turn of an evaluation prompt"),
    }
    for step, (asked, reason) in reasons.items():
        if asked:
            yield step, reason, partial(left_out, step=step)


def cleaning_steps(config: dict, prompts: list[dict], margins: dict[tuple, float], hits: list[dict]) -> Iterator[tuple[str, str, Callable]]:
    """(step, reason, training rows -> losses) of the keys that clean, in order. hits: filled with what `decontaminate` finds."""
    if config.get("deduplicate") == "exact":
        yield "deduplicate", "the same as an earlier row", exact_duplicates
    elif "deduplicate" in config:
        near = config["near"]
        reason = f"Jaccard similarity of at least {near['threshold']} with an earlier row ({near['ngram']}-grams of words)"
        yield "deduplicate", reason, partial(near_duplicates, **near)
    if "decontaminate" in config:
        leak = config["decontaminate"]

        def leaks(rows: list[dict]) -> Losses:
            new = contamination(rows, prompts, **leak)
            hits.extend({**{key: rows[hit["index"]][key] for key in KEY}, **hit} for hit in new)
            return contaminated(new)

        yield "decontaminate", f"holds at least {leak['overlap']} of an evaluation prompt's {leak['ngram']}-grams of words", leaks
    if "drop_near_identical" in config:
        similarity = config["drop_near_identical"]
        yield "drop_near_identical", f"replies with a similarity of at least {similarity}", partial(near_identical, similarity=similarity)
    if "judge_margin" in config:
        margin = config["judge_margin"]
        reason = f"margin by judge {margin['judge']} below quantile {margin['quantile']}"
        yield "judge_margin", reason, partial(low_margins, margins=margins, quantile=margin["quantile"])
    if config.get("balance_length"):
        yield "balance_length", "too many pairs of this difference in length", partial(surplus_lengths, seed=config["balance_seed"])


def counts(step: str, reason: str, before: list[dict], after: list[dict]) -> list[dict]:
    """Rows of the census: one per split and subset that had rows before the step."""
    had, has = (Counter((row["split"], row["subset"]) for row in rows) for rows in (before, after))
    return [
        {
            "step": step,
            "split": split,
            "subset": subset,
            "before": count,
            "dropped": count - has[split, subset],
            "after": has[split, subset],
        }
        | {"reason": reason}
        for (split, subset), count in had.items()
    ]


def without(rows: list[dict], looked_at: list[int], losses: Losses, step: str, reason: str) -> tuple[list[dict], list[dict]]:
    """(rows that stay, lines of DROPPED). looked_at: indices of the rows that the step saw, to whose places `losses` refers."""
    lost = {looked_at[number]: found for number, found in losses.items()}
    dropped = [
        {**{key: rows[index][key] for key in KEY}, "step": step, "reason": reason, "partner": lost[index][0], "value": lost[index][1]}
        for index in sorted(lost)
    ]
    return [row for index, row in enumerate(rows) if index not in lost], dropped


def derive(
    rows: list[dict], config: dict, prompts: list[dict], excluded: set[str] | None, margins: dict[tuple, float]
) -> tuple[list[dict], list[dict], list[dict], list[dict]]:
    """(rows of the derived dataset before `labels`, census, dropped, contaminated). Raises StudyError where a step leaves no row."""
    hits: list[dict] = []
    kept, census, dropped = rows, counts("from", "rows of the source", rows, rows), []
    steps = [(False, step) for step in selection_steps(config, excluded)]
    steps += [(True, step) for step in cleaning_steps(config, prompts, margins, hits)]
    for cleans, (step, reason, find) in steps:
        looked_at = [index for index, row in enumerate(kept) if not cleans or row["split"] == config["train_split"]]
        before, (kept, lost) = kept, without(kept, looked_at, find([kept[index] for index in looked_at]), step, reason)
        census, dropped = census + counts(step, reason, before, kept), dropped + lost
        say(f"{step}: {len(lost):,} of {len(looked_at):,} rows dropped")
        if not kept:
            raise StudyError("no row is left in the derived dataset: check its subsets and training_half.")
        if cleans and len(lost) == len(looked_at):
            raise StudyError(f"no row of split {config['train_split']} is left after {step}: check datasets.*.{step} and train_split.")
    return kept, census, dropped, hits


def main() -> None:
    args = parse(
        __doc__, config="config", preferences="path", prompts="path?", margins="path?", output="path", census="path", dropped="path",
        contaminated="path",
    )  # fmt: skip
    config = args.config
    rows = read_table(args.preferences, SCHEMA).to_pylist()
    prompts = read_table(args.prompts, columns_of(PROMPTS, "prompt_id", "cluster", "prompt")).to_pylist() if args.prompts else []
    excluded = {row["cluster"] for row in prompts} if config.get("exclude_prompts", args.prompts is not None) else None
    margins = {}
    if args.margins:
        found = read_table(args.margins, MARGINS).to_pylist()
        margins = {tuple(row[key] for key in KEY): row["chosen_reward"] - row["rejected_reward"] for row in found}
    kept, census, dropped, hits = derive(rows, config, prompts, excluded, margins)
    kept = relabel(kept, config["labels"], config["label_seed"], config.get("noise"))
    swapped = sum("swapped" in row["flags"] for row in kept)
    say(f"{len(kept):,} of {len(rows):,} rows kept, {swapped:,} with chosen and rejected exchanged")
    made_by = provenance(config, [path for path in (args.preferences, args.prompts, args.margins) if path])
    for path, table, schema in (
        (args.census, census, CENSUS), (args.dropped, dropped, DROPPED), (args.contaminated, hits, CONTAMINATED),
    ):  # fmt: skip
        write_table(path, table, schema, made_by)
    write_table(args.output, pa.Table.from_pylist(kept, schema=SCHEMA), SCHEMA, made_by)


if __name__ == "__main__":
    run(main)

"""What cleaning of a derived dataset drops: duplicates, rows that leak evaluation prompts, pairs that teach little, surplus of long replies.

Each function takes the rows that are looked at and returns which of them go, with what decided.
"""

import random
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from hh_align.core.artifacts import REBUILD
from hh_align.core.errors import StudyError
from hh_align.data.preferences import KEY, row_name

WIDER = {"weights": (0.1, 0.9)}
LOOSER = 0.8
"""The LSH's bands are chosen for this share of the threshold, false candidates weighing little: candidates are compared exactly, a missed
one is lost. With 128 permutations (23 bands of 5) a pair at a threshold of 0.8 is missed with probability (1 - 0.8^5)^23, about 1e-4."""

Losses = dict[int, tuple[str | None, float | None]]
"""Index of a row that a step drops -> its partner (a row that stays, or a prompt) and the number that decided."""


def words_of(text: str) -> list[str]:
    """Runs of letters and digits after NFKC and case folding: punctuation and white space do not count."""
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def ngrams(words: Sequence[str], n: int) -> set[str]:
    """The n-grams of a list of words; fewer words than n are one n-gram, no words none."""
    return {" ".join(words[start : start + n]) for start in range(max(len(words) - n, 0) + 1)} - {""}


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
    return {f"{part} {gram}" for part in ("prompt", "chosen", "rejected") for gram in ngrams(words_of(row[part]), n)}


def jaccard(a: set, b: set) -> float:
    """Elements in both, as a share of those in either; 1 where both are empty."""
    return len(a & b) / len(a | b) if a or b else 1.0


def near_duplicates(rows: list[dict], threshold: float, ngram: int, num_perm: int, seed: int) -> Losses:
    """Rows whose shingles have a Jaccard similarity of at least `threshold` with an earlier row that is kept.

    Candidates come from MinHash LSH (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4) and are then compared
    exactly, so that no row is dropped by an estimate; a pair above the threshold may be missed, the less likely the more alike it is.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=LOOSER * threshold, num_perm=num_perm, **WIDER)
    empty = MinHash(num_perm=num_perm, seed=seed, scheme="affine32")
    losses: Losses = {}
    for number, row in enumerate(rows):
        own = shingles(row, ngram)
        sketch = empty.copy()
        sketch.update_batch([shingle.encode() for shingle in sorted(own)])
        for candidate in sorted(index.query(sketch)):
            if (alike := jaccard(own, shingles(rows[candidate], ngram))) >= threshold:
                losses[number] = row_name(rows[candidate]), alike
                break
        else:
            index.insert(number, sketch)
    return losses


def turns(text: str) -> list[list[str]]:
    """The words of each turn of a dialogue, without the speakers' names."""
    return [words_of(turn) for turn in re.split(r"(?:^|\n\n)(?:Human|Assistant):", text.strip())]


def contamination(rows: list[dict], prompts: list[dict], ngram: int, overlap: float) -> list[dict]:
    """Each (row, evaluation prompt) where the row's prompt holds at least `overlap` of the evaluation prompt's n-grams of words.

    A prompt of fewer than `ngram` words is one n-gram, which a row holds where one of its turns, or its whole prompt, is this text.
    """
    asked = [ngrams([word for turn in turns(prompt["prompt"]) for word in turn], ngram) for prompt in prompts]
    holders = defaultdict(list)
    for number, grams in enumerate(asked):
        for gram in grams:
            holders[gram].append(number)
    hits = []
    for index, row in enumerate(rows):
        parts = turns(row["prompt"])
        own = ngrams([word for turn in parts for word in turn], ngram) | {" ".join(turn) for turn in parts if len(turn) < ngram}
        for number, count in sorted(Counter(number for gram in own & holders.keys() for number in holders[gram]).items()):
            if (shared := count / len(asked[number])) >= overlap:
                hits.append({"index": index, "prompt_id": prompts[number]["prompt_id"], "shared": shared})
    return hits


def contaminated(hits: list[dict]) -> Losses:
    """The rows of these hits, each with the prompt of which it holds the most."""
    return {hit["index"]: (hit["prompt_id"], hit["shared"]) for hit in sorted(hits, key=lambda hit: hit["shared"])}


def reply_similarity(row: dict) -> float:
    """Jaccard similarity of the two replies' words, each word as often as it stands there (0 to 1)."""
    chosen, rejected = Counter(words_of(row["chosen"])), Counter(words_of(row["rejected"]))
    return (chosen & rejected).total() / ((chosen | rejected).total() or 1) if chosen or rejected else 1.0


def near_identical(rows: list[dict], similarity: float) -> Losses:
    """Rows whose replies are at least this similar."""
    similarities = {number: reply_similarity(row) for number, row in enumerate(rows)}
    return {number: (None, value) for number, value in similarities.items() if value >= similarity}


def of_pairs(rows: list[dict], values: dict[tuple, float], named: str) -> dict[int, float]:
    """Index of each pair -> its value; rows unfit for DPO have none. Raises StudyError for a pair without a value."""
    pairs = {number: tuple(row[key] for key in KEY) for number, row in enumerate(rows) if row["use_dpo"]}
    if missing := [key for key in pairs.values() if key not in values]:
        raise StudyError(f"the {named} lack {len(missing):,} pairs ({missing[0][1]}/{missing[0][0]}:{missing[0][2] + 1}). {REBUILD}")
    return {number: values[key] for number, key in pairs.items()}


def low_margins(rows: list[dict], margins: dict[tuple, float], quantile: float) -> Losses:
    """Pairs whose margin (chosen less rejected reward) lies below this quantile of all pairs here, with their margin."""
    pairs = of_pairs(rows, margins, "margins")
    least = np.quantile(list(pairs.values()), quantile) if pairs else None
    return {number: (None, value) for number, value in pairs.items() if value < least}


def high_similarities(rows: list[dict], similarities: dict[tuple, float], quantile: float) -> Losses:
    """Pairs whose replies' CHES score lies above all but this share of the pairs here, with their score."""
    pairs = of_pairs(rows, similarities, "CHES scores")
    most = np.quantile(list(pairs.values()), 1 - quantile) if pairs else None
    return {number: (None, value) for number, value in pairs.items() if value > most}


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
    for _, sides in sorted(bins.items()):
        fewer, more = sorted(sides.values(), key=len)
        drawn = stream.sample(more, len(more) - len(fewer))
        losses |= {number: (None, float(length_difference(rows[number]))) for number in drawn}
    return losses

"""Cleaning of derived datasets: what is planted is found, little else is, and the same comes out twice."""

import random
from functools import cache

import pytest
from preference_rows import SUBSETS, WORDS_PATH, asked, hh_test_rows, made_row, synthetic_rows

from hh_align.core.errors import StudyError
from hh_align.data.cleaning import (
    contaminated,
    contamination,
    exact_duplicates,
    high_similarities,
    jaccard,
    length_difference,
    low_margins,
    near_duplicates,
    near_identical,
    reply_similarity,
    shingles,
    surplus_lengths,
    words_of,
)
from hh_align.data.generate_corpus import make_rows
from hh_align.data.grammar import load_words
from hh_align.data.prepare_preferences import split_pair
from hh_align.data.select_prompts import draw_prompts

SEEDS = [1, 2, 3]
NEAR = {"threshold": 0.8, "ngram": 3, "num_perm": 128, "seed": 1}
PLANTED = 50


@cache
def real_data() -> tuple[list[dict], list[dict]]:
    """(evaluation prompts as the paper drew them, rows that were not drawn) of HH-RLHF's test files."""
    axis = {"split": "test", "keywords": [], "match": "substring", "scope": "transcript", "n": 50}
    settings = {"seed": 100, "harmlessness": axis | {"subset": SUBSETS[0]}, "helpfulness": axis | {"subset": SUBSETS[1]}}
    prompts = draw_prompts(hh_test_rows(), settings)
    drawn = {(prompt["subset"], prompt["row"]) for prompt in prompts}
    return prompts, [row for row in hh_test_rows() if (row["subset"], row["row"]) not in drawn]


def changed_word(text, stream):
    """The text with one of its words replaced by one that is nowhere else."""
    parts = text.split(" ")
    at = stream.choice([index for index, part in enumerate(parts) if part.isalpha() and part not in ("Human", "Assistant")])
    return " ".join([*parts[:at], f"zz{stream.randrange(10**6)}", *parts[at + 1 :]])


def leaks(prompts, stream, size=8):
    """PLANTED transcripts of the kinds that `decontaminate` promises to find, in turn: (kind, prompt of a row, prompt_id)."""
    long = [prompt for prompt in prompts if len(words_of(prompt["prompt"])) >= 5 * size]
    kinds = {
        "verbatim": (prompts, lambda text: text),
        "inside a longer dialogue": (prompts, lambda text: f"Human: Good morning.\n\nAssistant: Hello!\n\n{text}"),
        "other case and punctuation": (prompts, lambda text: text.replace(",", " ;").replace("?", " !").swapcase().replace("hUMAN:", "Human:").replace("aSSISTANT:", "Assistant:")),
        "its first 60 %": (long, lambda text: " ".join(text.split(" ")[: (len(text.split(" ")) * 6 + 9) // 10])),
        "one word changed": (long, lambda text: changed_word(text, stream)),
    }  # fmt: skip
    for number in range(PLANTED):
        kind = list(kinds)[number % len(kinds)] if long else list(kinds)[number % 3]
        pool, change = kinds[kind]
        prompt = stream.choice(pool)
        yield kind, "\n\n" + change(prompt["prompt"]) + "\n\nAssistant:", prompt["prompt_id"]


def planted(rows, transcripts, stream):
    """(rows with the transcripts as prompts of new rows at random indices, these indices by transcript)."""
    made = [*rows, *({**rows[0], "prompt": prompt, "planted": number} for number, prompt in enumerate(transcripts))]
    stream.shuffle(made)
    return made, {row["planted"]: index for index, row in enumerate(made) if "planted" in row}


def missed_and_false(rows, prompts, planted_leaks, stream, ngram, overlap):
    """(kinds of planted leaks that were not found, indices of other rows that were flagged)."""
    mixed, indices = planted(rows, [prompt for _, prompt, _ in planted_leaks], stream)
    hits = contamination(mixed, prompts, ngram, overlap)
    pairs = {(hit["index"], hit["prompt_id"]) for hit in hits}
    missed = [kind for number, (kind, _, name) in enumerate(planted_leaks) if (indices[number], name) not in pairs]
    return missed, contaminated(hits).keys() - set(indices.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_planted_leaks_are_found_in_real_data(seed):
    prompts, others = real_data()
    stream = random.Random(seed)
    missed, false = missed_and_false(others, prompts, list(leaks(prompts, stream)), stream, 8, 0.3)
    print(f"seed {seed}: {PLANTED - len(missed)} of {PLANTED} leaks found, {len(false)} of {len(others):,} other rows flagged")
    assert missed == []
    assert len(false) <= 0.01 * len(others)


@pytest.mark.parametrize("seed", SEEDS)
def test_planted_leaks_are_found_where_every_text_is_of_one_grammar(seed):
    # prompts of one template share n-grams by nature: with n above their length a whole turn must be the same
    words, stream = load_words(WORDS_PATH), random.Random(seed)
    tests = [split_pair(pair)["prompt"] for pair in make_rows(60, "test", True, {"seed": seed, "pairs": "labelled", "flips": True}, words)]
    plain = [text.strip().removesuffix("Assistant:").strip() for text in tests if text.count("Human:") == 1]
    prompts = [{"prompt_id": f"harmlessness-{number:03d}", "prompt": text} for number, text in enumerate(plain)]
    others = synthetic_rows(seed)
    missed, false = missed_and_false(others, prompts, list(leaks(prompts, stream, size=40)), stream, 40, 1.0)
    print(f"seed {seed}: {PLANTED - len(missed)} of {PLANTED}, {len(false)} others")
    assert missed == []
    assert len(false) <= 0.01 * len(others)


def near_copies(rows, stream, threshold):
    """PLANTED rows with one word of the prompt or of a reply changed, or another case and punctuation, all above the threshold."""
    made = []
    while len(made) < PLANTED:
        original = stream.choice(rows)
        part = stream.choice(["prompt", "chosen", "rejected"])
        if not any(word.isalpha() and word not in ("Human", "Assistant") for word in original[part].split(" ")):
            continue
        copied = (
            {**original, part: changed_word(original[part], stream)}
            if len(made) % 5
            else {**original, "chosen": original["chosen"].upper() + " !"}
        )
        alike = jaccard(shingles(original, 3), shingles(copied, 3))
        if alike >= threshold:
            made.append(copied)
    return made


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("corpus", ["real", "synthetic"])
def test_planted_near_duplicates_are_found(corpus, seed):
    stream = random.Random(seed)
    rows = stream.sample(hh_test_rows() if corpus == "real" else synthetic_rows(seed), 3000)
    threshold = 0.8 if corpus == "real" else 0.95  # of short texts of few templates many are nearly the same
    settings = NEAR | {"threshold": threshold, "seed": seed}
    natural = near_duplicates(rows, **settings)
    unique = [row for number, row in enumerate(rows) if number not in natural]
    if corpus == "real":
        copies = near_copies([row for row in unique if len(shingles(row, 3)) >= 60], stream, threshold)
    else:
        originals = stream.sample(unique, PLANTED)
        copies = [{**row, "chosen": row["chosen"] + " ?!", "prompt": row["prompt"].upper()} for row in originals]
    losses = near_duplicates([*rows, *copies], **settings)
    caught = [number for number in losses if number >= len(rows)]
    print(f"{corpus}, seed {seed}: {len(caught)} of {PLANTED} near-duplicates found, {len(natural)} that were there")
    assert len(caught) == PLANTED
    assert {number: loss for number, loss in losses.items() if number < len(rows)} == natural  # deterministic, whatever follows
    assert len(natural) <= 0.01 * len(rows) or corpus == "synthetic"


def test_the_first_of_a_group_is_kept_and_named():
    rows = [
        made_row(0, asked("one"), "a", "b"),
        made_row(1, asked("two"), "a", "b"),
        made_row(2, asked("ONE "), "a", " b"),
        made_row(3, asked("one"), "b", "a"),
        made_row(4, asked("one"), "a", "b"),
    ]
    assert exact_duplicates(rows) == {2: ("s/train:1", 1.0), 4: ("s/train:1", 1.0)}  # the exchanged pair says something else
    assert near_duplicates(rows, **NEAR) == exact_duplicates(rows)


def test_a_short_prompt_leaks_as_a_whole_turn_only():
    prompts = [{"prompt_id": "p", "prompt": "Human: how are you"}]
    rows = [made_row(0, asked("How are you?"), "a", "b"), made_row(1, asked("Tell me how are you made"), "a", "b")]
    rows.append(made_row(2, asked("Hello\n\nAssistant: hi\n\nHuman: how are you"), "a", "b"))
    assert [(hit["index"], hit["shared"]) for hit in contamination(rows, prompts, 8, 0.3)] == [(0, 1.0), (2, 1.0)]


@pytest.mark.parametrize(
    ("chosen", "rejected", "similarity"),
    [("yes it is", "Yes, it is!", 1), ("a b c d", "a b c e", 3 / 5), ("no", "no no no", 1 / 3), ("a", "b", 0), ("", "", 1), ("", "a", 0)],
)
def test_similarity_of_replies(chosen, rejected, similarity):
    rows = [made_row(0, asked("x"), chosen, rejected)]
    assert reply_similarity(rows[0]) == pytest.approx(similarity)
    assert bool(near_identical(rows, 0.6)) == (similarity >= 0.6)


def test_the_pairs_below_the_quantile_go_and_rows_without_a_pair_stay():
    rows = [made_row(number, asked(str(number)), "a", "b") for number in range(10)] + [made_row(10, asked("x"), "a", "a")]
    margins = {("train", "s", number): float(number) for number in range(10)}
    assert sorted(low_margins(rows, margins, 0.2)) == [0, 1]
    with pytest.raises(StudyError, match=r"the margins lack 1 pairs \(s/train:4\)"):
        low_margins(rows, {key: value for key, value in margins.items() if key[2] != 3}, 0.2)


def test_the_share_of_the_most_similar_pairs_goes_with_its_scores():
    rows = [made_row(number, asked(str(number)), "a", "b") for number in range(10)] + [made_row(10, asked("x"), "a", "a")]
    scores = {("train", "s", number): -float(number) for number in range(10)}
    assert high_similarities(rows, scores, 0.2) == {0: (None, -0.0), 1: (None, -1.0)}
    assert high_similarities(rows, dict.fromkeys(scores, -1.0), 0.2) == {}  # ties stay together
    assert high_similarities(rows[10:], scores, 0.2) == low_margins(rows[10:], scores, 0.2) == {}
    with pytest.raises(StudyError, match=r"the CHES scores lack 10 pairs \(s/train:1\)"):
        high_similarities(rows, {}, 0.2)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_longer_reply_is_chosen_in_half_of_the_pairs(seed):
    stream = random.Random(seed)
    rows = [
        made_row(n, asked(str(n)), "a" * stream.randint(1, 300), "b" * stream.randint(1, 200), stream.choice("st"))
        for n in range(2000)
    ]  # fmt: skip
    lost = surplus_lengths(rows, seed)
    balanced = [row for number, row in enumerate(rows) if number not in lost]
    assert lost == surplus_lengths(rows, seed) != surplus_lengths(rows, seed + 1)
    for subset in "st":
        for low in (1, 8, 64, 128):
            sizes = [length_difference(row) for row in balanced if row["subset"] == subset]
            sizes = [size for size in sizes if low <= abs(size) < 2 * low]
            assert sizes and 2 * sum(size > 0 for size in sizes) == len(sizes)
    assert all(length_difference(rows[number]) == value for number, (_, value) in lost.items())

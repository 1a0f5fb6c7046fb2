"""Token views and batch plans: exact ids, exact boundaries."""

import random

import pytest
from architectures import PREPENDING, ROWS, prepending_tokenizer
from tinymodels import gpt2_tokenizer

from hh_align.core.errors import StudyError
from hh_align.core.plan import token_batches, training_order
from hh_align.models.bpe import train_tokenizer
from hh_align.models.judging import pair_ids
from hh_align.models.tokens import (
    Pair,
    Transcript,
    check_boundaries,
    encoder,
    pair_view,
    published_pair_view,
    replies_behind,
    transcript_view,
)

BOS = EOS = 2


def letters(texts):
    """One id per character."""
    return [[100 + ord(character) for character in text] for text in texts]


def ids(text):
    return letters([text])[0]


ROW = {"prompt": "Pq:", "chosen": " ab", "rejected": " acd", "rejected_prompt": None}


@pytest.fixture(scope="session")
def gpt2():
    return encoder(gpt2_tokenizer())


def test_transcript_view_has_one_start_and_one_end():
    # </s> at the end must be learnt, or the policy never stops
    (example,) = transcript_view([ROW], letters, BOS, EOS, 99, "transcript")
    assert example == Transcript([2, *ids("Pq: ab"), 2], [2, *ids("Pq: ab"), 2], cut=0)


def test_reply_loss_covers_no_prompt_token():
    (example,) = transcript_view([ROW], letters, BOS, EOS, 99, "reply")
    assert example.labels == [-100] * 4 + ids(" ab") + [2]
    assert example.input_ids == [2, *ids("Pq: ab"), 2]


def test_a_long_transcript_loses_its_end_and_the_loss_is_counted():
    (example,) = transcript_view([ROW], letters, BOS, EOS, 5, "transcript")
    assert example == Transcript([2, *ids("Pq: ")], [2, *ids("Pq: ")], cut=3)


def test_pair_view_keeps_the_prompts_end_and_the_replies_beginning():
    (whole,) = pair_view([ROW], letters, BOS, EOS, 99, 50)
    assert whole == Pair([2, *ids("Pq:")], [*ids(" ab"), 2], [*ids(" acd"), 2], cut_prompt=0, cut_reply=0)
    (cut,) = pair_view([ROW], letters, BOS, EOS, 6, 3)
    assert cut == Pair([2, *ids("q:")], ids(" ab"), ids(" ac"), cut_prompt=1, cut_reply=1 + 2)


def test_published_view_splits_inside_the_reply_and_has_no_start():
    # what the author's trainer did: the longest common beginning in characters
    (example,) = published_pair_view([ROW], letters, EOS, 99, 50)
    assert example.prompt_ids == ids("Pq: a")
    assert (example.chosen_ids, example.rejected_ids) == ([*ids("b"), 2], [*ids("cd"), 2])
    (spaced,) = published_pair_view([ROW | {"chosen": " b", "rejected": " c"}], letters, EOS, 99, 50)
    assert spaced.prompt_ids == ids("Pq:")


def test_real_tokens_of_prompt_and_reply_join_to_those_of_the_transcript(gpt2):
    # the space belongs to the reply: otherwise training and generation would see other tokens
    prompt, reply = "\n\nHuman: How do I boil an egg?\n\nAssistant:", " Boil water, then add it."
    joined, first, second = gpt2([prompt + reply, prompt, reply])
    assert joined == first + second
    assert gpt2(["\n\nAssistant: Hello"]) == [[198, 198, 48902, 25, 18435]]


@pytest.mark.parametrize("form", PREPENDING)
def test_a_reply_is_read_as_it_stands_behind_its_prompt(form):
    # Llama-2's tokenizer puts a "▁" before every text: before a reply of its own it would stand where generation never writes one
    encode = encoder(prepending_tokenizer([row["prompt"] + row["chosen"] for row in ROWS], form))
    check_boundaries(ROWS, encode)
    prompt, reply, whole = encode([ROWS[0]["prompt"], ROWS[0]["chosen"], ROWS[0]["prompt"] + ROWS[0]["chosen"]])
    assert (prompt + reply == whole) == (form == "pre-tokenizer")
    pairs = pair_view(ROWS, encode, BOS, EOS, 999, 999)
    replies = transcript_view(ROWS, encode, BOS, EOS, 999, "reply")
    transcripts = transcript_view(ROWS, encode, BOS, EOS, 999, "transcript")
    for row, pair, reply, transcript in zip(ROWS, pairs, replies, transcripts, strict=True):
        prompt, whole, other = encode([row["prompt"], row["prompt"] + row["chosen"], row["prompt"] + row["rejected"]])
        assert pair.prompt_ids == [BOS, *prompt]
        assert pair.prompt_ids + pair.chosen_ids == [BOS, *whole, EOS] == reply.input_ids == transcript.input_ids
        assert pair.prompt_ids + pair.rejected_ids == [BOS, *other, EOS]
        assert reply.labels == [-100] * len(pair.prompt_ids) + pair.chosen_ids


def test_a_reply_that_a_tokenizer_joins_to_its_prompt_is_encoded_apart():
    rows = [{"prompt": "Pq:", "chosen": chosen} for chosen in (" ab", ")b", " b")]

    def encode(texts):
        return [
            [
                7 if sign == ":" and rest[:1] == ")" else ord(sign)
                for sign, rest in zip(text, [text[n:] for n in range(1, 1 + len(text))], strict=True)
            ]
            for text in texts
        ]

    prompts = encode([row["prompt"] for row in rows])
    assert replies_behind(prompts, rows, "chosen", encode) == encode([" ab", ")b", " b"])
    with pytest.raises(StudyError, match="joins prompt and reply in 1 of 3 rows"):
        check_boundaries(rows, encode)


EGG = [198, 198, 20490, 25, 1374, 466, 314, 20667, 281, 5935, 30, 198, 198, 48902, 25]
GOOD, BAD = [3248, 346, 1660, 11, 788, 751, 340, 13], [314, 460, 470, 910, 13]
REAL = {
    "prompt": "\n\nHuman: How do I boil an egg?\n\nAssistant:",
    "chosen": " Boil water, then add it.",
    "rejected": " I can't say.",
    "rejected_prompt": None,
}


def test_real_views_have_exactly_these_ids(gpt2):
    (whole,) = transcript_view([REAL], gpt2, BOS, EOS, 512, "transcript")
    assert whole == Transcript([2, *EGG, *GOOD, 2], [2, *EGG, *GOOD, 2], cut=0)
    (reply,) = transcript_view([REAL], gpt2, BOS, EOS, 512, "reply")
    assert reply == Transcript([2, *EGG, *GOOD, 2], [-100] * 16 + GOOD + [2], cut=0)
    (pair,) = pair_view([REAL], gpt2, BOS, EOS, 1024, 512)
    assert pair == Pair([2, *EGG], [*GOOD, 2], [*BAD, 2], cut_prompt=0, cut_reply=0)
    (short,) = pair_view([REAL], gpt2, BOS, EOS, 9, 4)  # 1 + 3 tokens of the prompt, 5 of each reply
    assert short == Pair([2, *EGG[-3:]], GOOD[:5], BAD, cut_prompt=12, cut_reply=5)
    (published,) = published_pair_view([REAL], gpt2, EOS, 1024, 512)
    assert published == Pair(EGG, [*GOOD, 2], [*BAD, 2], cut_prompt=0, cut_reply=0)


def test_every_epoch_holds_every_row_once_and_steps_are_sorted_by_length():
    lengths = [5, 3, 9, 1, 7, 2, 8, 4, 6, 10]
    order = training_order(lengths, 3, 5, seed=1)
    for epoch in range(3):
        assert sorted(order[10 * epoch : 10 * epoch + 10]) == list(range(10))
    for start in range(0, 30, 5):
        step = [lengths[row] for row in order[start : start + 5]]
        assert step == sorted(step)


def test_the_rows_of_a_step_depend_on_the_seed_only():
    # otherwise a change of max_length would also change the order of rows
    def steps(lengths, seed):
        order = training_order(lengths, 1, 4, seed)
        return [set(order[start : start + 4]) for start in range(0, len(order), 4)]

    assert steps([1] * 32, 1) == steps(list(range(32)), 1)
    assert steps([1] * 32, 1) != steps([1] * 32, 2)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_steps_by_length_hold_neighbours_and_every_row_once(seed):
    # 23 rows of distinct lengths in steps of 4: but for the step that two epochs share, every step holds consecutive ranks
    lengths = random.Random(9).sample(range(1000), 23)
    order = training_order(lengths, 2, 4, seed, by_length=True)
    ranks = {row: rank for rank, row in enumerate(sorted(range(23), key=lambda row: lengths[row]))}
    assert set(order[:24]) == set(order[20:]) == set(range(23)) and sorted(order) == sorted([*range(23)] * 2)
    steps = [sorted(ranks[row] for row in order[start : start + 4]) for start in [*range(0, 20, 4), *range(24, 44, 4)]]
    assert all(step == list(range(step[0], step[0] + 4)) for step in steps)
    assert steps[:5] != sorted(steps[:5])


def test_token_batches_hold_every_row_once_within_the_budget():
    lengths = [3, 50, 7, 7, 120, 1, 64, 30]
    batches = token_batches(lengths, 100)
    assert sorted(row for batch in batches for row in batch) == list(range(8))
    assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= 100 for batch in batches)


def test_a_judge_reads_a_long_pair_without_the_beginning_of_its_prompt():
    tokenizer = train_tokenizer(["abc"], 300, "<s> $A </s>", "<s> $A </s> $B </s>")
    (whole, cut), lost = pair_ids(tokenizer, ["abcdef", "abcdef"], ["xy", "xy"], None), [0, 0]
    assert cut == lost
    (short,), (count,) = pair_ids(tokenizer, ["abcdef"], ["xy"], 8)
    special, text = 3, len(whole[0]) - 3
    assert len(short) == 8 and count == text + special - 8
    assert short[0] == whole[0][0] and short[-7:] == whole[0][-7:]
    assert whole[0] == tokenizer("abcdef", "xy")["input_ids"]

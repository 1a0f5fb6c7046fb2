"""How much a text repeats itself: known answers."""

import pytest

from hh_align.analysis.repetition import compression, repeated_ngrams


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0),
        ("a a a", 0),  # no 4-gram
        ("a b c d", 0),
        ("a a a a", 0),
        ("a a a a a", 1 / 2),  # twice the same
        ("a " * 103, 1 - 1 / 100),
        ("a b c d a b c d", 1 - 4 / 5),  # abcd bcda cdab dabc abcd
        ("Sorry, I will not help you pick a lock.", 0),
    ],
)
def test_the_share_of_repeated_4_grams(text, share):
    assert repeated_ngrams(text) == pytest.approx(share)


def test_other_n_grams():
    assert repeated_ngrams("a b a b", 1) == 1 / 2
    assert repeated_ngrams("a b a b", 2) == pytest.approx(1 / 3)


def test_a_loop_within_a_word_is_seen_by_its_compression_only():
    loop = "ha" * 100
    assert repeated_ngrams(loop) == 0 and compression(loop) > 10
    assert compression("") == 0


def test_plain_prose_of_any_length_stays_below_the_limit():
    prose = (
        "The river came down from the hills in spring, brown and quick, and took with it whatever the winter had left on the banks. "
        "Nobody in the village kept a boat. They had two bridges, one of stone and one of rope, and children were told to use the first. "
        "In a dry year the mill stood still from June until the rains, and flour was brought by cart from the other side of the pass."
    )
    assert 0.9 < compression(prose[:60]) < compression(prose) < 2
    assert repeated_ngrams(prose) == 0

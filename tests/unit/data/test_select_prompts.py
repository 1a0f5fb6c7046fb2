"""The evaluation prompts: the author's own, drawn again from HH-RLHF's files, and what narrows the draw."""

import json

import pytest
from preference_rows import hh_test_rows, shared_folder

from hh_align.core.errors import StudyError
from hh_align.data.select_prompts import candidates, draw_prompts

PAPER = {
    "seed": 100,
    "harmlessness": {
        "subset": "harmless-base",
        "split": "test",
        "keywords": ["kill", "murder", "rape"],
        "match": "substring",
        "scope": "transcript",
        "n": 50,
    },
    "helpfulness": {"subset": "helpful-base", "split": "test", "keywords": [], "match": "substring", "scope": "transcript", "n": 50},
}


def test_the_authors_prompts_byte_for_byte_in_order():
    released = shared_folder("paper-release", "prompts")
    drawn = draw_prompts(hh_test_rows(), PAPER)
    for axis, name in (("harmlessness", "harmful"), ("helpfulness", "helpful")):
        ours = [row["prompt"] for row in drawn if row["axis"] == axis]
        assert ours == json.loads((released / f"{name}_prompts.json").read_text())
    assert [row["prompt_id"] for row in drawn][:2] == ["harmlessness-000", "harmlessness-001"]


def test_scope_and_match_narrow_the_candidates_as_known():
    # of the 192 candidates 18 match in the reply only, 23 as part of another word
    faithful = candidates(hh_test_rows(), "harmlessness", PAPER["harmlessness"])
    prompts = candidates(hh_test_rows(), "harmlessness", PAPER["harmlessness"] | {"scope": "prompt"})
    words = candidates(hh_test_rows(), "harmlessness", PAPER["harmlessness"] | {"match": "word"})
    assert [len(faithful), len(faithful) - len(prompts), len(faithful) - len(words)] == [192, 18, 23]
    assert {row["row"] for row in words} < {row["row"] for row in faithful}


def preferences(*texts):
    """Rows of the harmless test split: a prompt each, as it is."""
    return [
        {"subset": "harmless-base", "split": "test", "row": number, "prompt": text + "\n\nAssistant:", "chosen": " No."}
        for number, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("keyword", "matching"),
    [("$", ["$5 a day", "US$ 5"]), ("#1", ["is it #1"]), ("kill", ["killed"]), ("über", ["über alles"])],
)
def test_a_keyword_counts_where_a_word_begins_and_one_of_signs_wherever_it_stands(keyword, matching):
    texts = ["$5 a day", "US$ 5", "is it #1", "killed", "skills", "über alles", "darüber"]
    how = PAPER["harmlessness"] | {"keywords": [keyword], "match": "word"}
    rows = candidates(preferences(*(f"\n\nHuman: {text}" for text in texts)), "harmlessness", how)
    assert [row["prompt"].removeprefix("Human: ") for row in rows] == matching


@pytest.mark.parametrize("n", [None, 1])
def test_where_nothing_matches_the_message_does_not_speak_of_n(n):
    with pytest.raises(StudyError, match=r"^prompts.harmlessness: no row of harmless-base/test gives a prompt\. Change subset, split, "):
        draw_prompts(preferences("\n\nHuman: Hi"), PAPER | {"harmlessness": PAPER["harmlessness"] | {"n": n}})


def test_a_row_without_a_human_turn_is_no_prompt_and_is_counted(capsys):
    rows = candidates(preferences("", "\n\nHuman: Hi"), "harmlessness", PAPER["harmlessness"] | {"keywords": []})
    assert [row["prompt"] for row in rows] == ["Human: Hi"]
    assert "harmlessness: rows of harmless-base/test left out, for their prompt is empty: 1" in capsys.readouterr().out


def test_too_few_candidates_is_an_error():
    with pytest.raises(StudyError, match=r"prompts.harmlessness.n is 500, but only 192 rows"):
        draw_prompts(hh_test_rows(), PAPER | {"harmlessness": PAPER["harmlessness"] | {"n": 500}})

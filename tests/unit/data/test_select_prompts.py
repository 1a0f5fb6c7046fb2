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


def test_too_few_candidates_is_an_error():
    with pytest.raises(StudyError, match=r"prompts.harmlessness.n is 500, but only 192 rows"):
        draw_prompts(hh_test_rows(), PAPER | {"harmlessness": PAPER["harmlessness"] | {"n": 500}})

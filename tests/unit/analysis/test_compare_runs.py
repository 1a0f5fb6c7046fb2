"""Two runs of the same prompts: where they part, and that nothing is compared which is not the same."""

import numpy as np
import pandas as pd
import pytest

from hh_align.analysis.compare_runs import check_prompts, compare_runs, first_difference
from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS

AXES = ("harmlessness", "helpfulness")
BOOTSTRAP = {"samples": 1000, "seed": 1}


def run_of(texts, rewards):
    """The same texts and rewards on both axes; good means above 0."""
    frame = pd.DataFrame({"prompt_id": [f"p{n}" for n in range(len(texts))], "reward": rewards, "label": np.array(rewards) > 0})
    return {("base", axis): pd.Series(texts) for axis in AXES}, {("j", "base", 0, axis): frame for axis in AXES}


@pytest.mark.parametrize(
    ("ours", "theirs", "index"), [("abc", "abc", None), ("abc", "abd", 2), ("ab", "abc", 2), ("", "a", 0), ("", "", None)]
)
def test_the_first_difference(ours, theirs, index):
    assert first_difference(list(ours), list(theirs)) == index == first_difference(list(theirs), list(ours))


def test_prompt_by_prompt_known_answer():
    ours, theirs = run_of(["same", "a b c", "x"], [1.0, -1.0, 2.0]), run_of(["same", "a d c", "y"], [1.0, 1.0, -2.0])
    rows, summary = compare_runs((ours[0], theirs[0]), (ours[1], theirs[1]), [("j", "base", 0)], str.split, BOOTSTRAP)
    own = [row for row in rows if row["axis"] == "harmlessness"]
    assert [row["same_text"] for row in own] == [True, False, False]
    assert [row["first_token"] for row in own] == [None, 1, 0]
    assert [row["first_character"] for row in own] == [None, 2, 0]
    assert [row["reward_difference"] for row in own] == [0, -2, 4]
    assert [row["label_change"] for row in own] == [None, "lost", "gained"]
    assert (summary[0]["n"], summary[0]["median_first_token"], summary[0]["p"]) == (3, 0.5, 1.0)
    assert (summary[0]["only_theirs_good"], summary[0]["only_ours_good"]) == (1, 1)
    assert summary[0]["same_text"] == pytest.approx(100 / 3) and summary[0]["reward_difference"] == pytest.approx(2 / 3)


def test_a_run_is_its_own_reproduction():
    ours = run_of(["a", "b"], [1.0, -1.0])
    rows, summary = compare_runs((ours[0], ours[0]), (ours[1], ours[1]), [("j", "base", 0)], None, BOOTSTRAP)
    assert all(row["same_text"] and row["first_token"] is None and not row["reward_difference"] for row in rows)
    assert {row["same_text"] for row in summary} == {100} and {row["p"] for row in summary} == {1}


def prompts(path, texts):
    rows = [
        {"axis": axis, "prompt_id": f"{axis}-{n:03d}", "prompt": text, "cluster": "c", "keywords": []}
        for axis in AXES
        for n, text in enumerate(texts)
    ]
    write_table(path, rows, PROMPTS, {})
    return path


@pytest.mark.parametrize("theirs", [["a", "other"], ["a"], ["b", "a"], ["a", "b", "c"]])
def test_other_prompts_are_refused(tmp_path, theirs):
    with pytest.raises(StudyError, match=r"prompts of harmlessness are not those of .*harmlessness-00"):
        check_prompts(prompts(tmp_path / "ours.parquet", ["a", "b"]), prompts(tmp_path / "theirs.parquet", theirs))

"""What labels mean where texts are the same, and tables that are not the page's own."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from label_page import POLICIES, items_of, labels_of, served, write_study

from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, RESPONSES
from hh_align.tools import annotate


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path)


def test_a_prompt_of_both_axes_is_two_questions_and_one_that_stands_twice_is_one(study):
    names = {"harmlessness": ("a", "b"), "helpfulness": ("c",)}
    rows = [{"axis": axis, "prompt_id": name} for axis, ids in names.items() for name in ids]
    asked = [{**row, "prompt": "Human: the same", "cluster": "c", "keywords": []} for row in rows]
    write_table(study / "prompts/prompts.parquet", asked, PROMPTS, {})
    for policy, seed in POLICIES.items():
        write_table(study / f"responses/{policy}/seed-{seed}.parquet", [{**row, "response": "yes"} for row in rows], RESPONSES, {})
    items = items_of(study)
    with served(items, study) as get:
        for item in items:
            get("POST", "/answers", {"item": item["item"], "answer": "good" if item["axis"] == "harmlessness" else "bad"})
    assert sorted(item["axis"] for item in items) == ["harmlessness", "helpfulness"]
    found = {(row["prompt_id"], row["policy"], row["good"]) for row in labels_of(study)}
    assert found == {(name, policy, name != "c") for name in "abc" for policy in POLICIES}


def test_a_choice_means_the_text_that_was_shown_where_seeds_say_the_same(study):
    for policy in ("sft", "sft_dpo"):
        rows = pq.read_table(study / f"responses/{policy}/seed-42.parquet").to_pylist()
        for seed in (43, 44):
            write_table(study / f"responses/{policy}/seed-{seed}.parquet", rows, RESPONSES, {})
    items = items_of(study, "sft_dpo,sft")
    assert len(items) == 10
    with served(items, study) as get:
        for item in json.loads(get("GET", "/items")[1]):
            left = item["texts"][0].endswith(" 2")
            get("POST", "/answers", {"item": item["item"], "answer": "left" if left else "right"})
    rows = labels_of(study, "choices")
    assert {row["seed"] for row in rows} == {42, 43, 44} and [row["preferred"] for row in rows] == ["b"] * 30


def test_a_table_that_others_made_is_not_written_over(study, monkeypatch):
    path = study / "labels/labels.parquet"
    write_table(path, [{"policy": "base"}], pa.schema([("policy", pa.string())]), {})
    before = path.read_bytes()
    monkeypatch.setattr("sys.argv", ["annotate", "--folder", str(study), "--port", "0"])
    monkeypatch.setattr(annotate, "serve", lambda *_: pytest.fail("labels are asked for"))
    with pytest.raises(StudyError, match=r"labels\.parquet: not made of answers\.jsonl but elsewhere.* Move it"):
        annotate.main()
    assert path.read_bytes() == before

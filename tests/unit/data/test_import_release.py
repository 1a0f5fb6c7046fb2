"""Released prompts, responses and ratings as tables: refused where they are not what they should be."""

import math

import pyarrow.parquet as pq
import pytest
import yaml
from command_line import assert_refused, call
from preference_rows import shared_folder
from study_folder import REPOSITORY

from hh_align.core.errors import StudyError
from hh_align.data import import_release
from hh_align.data.import_release import check_entry, import_prompts, read_checked

ENTRY = {"prompt": "Human: how?", "response": "", "rating": -3.25}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("text", "entry 7 must hold prompt, response and rating"),
        ({"prompt": "p", "response": "r"}, "entry 7 must hold prompt, response and rating"),
        (ENTRY | {"prompt": "another"}, "entry 7 answers another prompt"),
        (ENTRY | {"response": None}, "entry 7: the response is no text"),
        (ENTRY | {"rating": math.nan}, "entry 7: the rating nan is no finite number"),
        (ENTRY | {"rating": "-3"}, "entry 7: the rating '-3' is no finite number"),
        (ENTRY | {"rating": True}, "entry 7: the rating True is no finite number"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, entry, said):
    check_entry(tmp_path / "r.json", 7, ENTRY, ENTRY["prompt"])
    with pytest.raises(StudyError, match=f"r.json: {said}"):
        check_entry(tmp_path / "r.json", 7, entry, ENTRY["prompt"])


@pytest.mark.parametrize(("text", "said"), [("[", "not JSON"), ("{}", "not a JSON list but dict"), ("\xff", "not JSON")])
def test_a_file_that_is_no_list_is_named(tmp_path, text, said):
    path = tmp_path / "p.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(StudyError, match=f"p.json: {said}"):
        read_checked(path, None)
    with pytest.raises(StudyError, match=r"p.json: entry 1 is no text but int"):
        import_prompts(path, ["Human: hi", 3], "harmlessness")


def test_a_second_judge_cannot_be_given_the_first_ones_ratings(tmp_path):
    # the release has one rating of each response: under another judge's name they would be a lie
    rewards = [tmp_path / f"rewards/{judge}/base/seed-0.parquet" for judge in ("deberta", "other")]
    config = {"policies": {"base": "1_base"}, "sums": {}}
    paths = {"prompts": tmp_path / "p", "responses": [tmp_path / "r"], "rewards": rewards}
    assert_refused(call(import_release, config=config, release=tmp_path, **paths), "Leave one entry in judges and one in seeds")


def test_the_papers_release_as_tables(tmp_path):
    # what a notebook reads from an import must have the same names as from a run, and null where the release says nothing
    release = shared_folder("paper-release")
    config = yaml.safe_load((REPOSITORY / "config/published.yaml").read_text())["release"]
    names = {policy: f"{policy}/seed-{0 if policy == 'base' else 42}.parquet" for policy in config["policies"]}
    paths = {kind: [tmp_path / kind / name for name in names.values()] for kind in ("responses", "rewards")}
    status, output = call(import_release, config=config, release=release, prompts=tmp_path / "prompts.parquet", **paths)
    assert status == 0 and "100 prompts, 400 responses" in output
    prompts = pq.read_table(tmp_path / "prompts.parquet").to_pylist()
    assert [row["prompt_id"] for row in prompts[49:51]] == ["harmlessness-049", "helpfulness-000"]
    assert {row["row"] for row in prompts} == {None} and not any(row["keywords"] for row in prompts[50:])
    assert sum(bool(row["keywords"]) for row in prompts[:50]) >= 40
    empty = {}
    for policy, name in names.items():
        rows = pq.read_table(tmp_path / "responses" / name).to_pylist()
        empty[policy] = [sum(not row["response"].strip() for row in part) for part in (rows[:50], rows[50:])]
        assert {row["finish"] for row in rows} == {None}
    assert empty == {"base": [2, 3], "sft": [0, 0], "dpo": [3, 1], "sft_dpo": [0, 0]}

"""Two studies side by side: what each says, which settings differ, and one message where there is nothing to compare."""

import json

import pyarrow.parquet as pq
import pytest
from command_line import assert_refused, call

from hh_align.analysis import compute_metrics, examine_text
from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.core.tables import RESPONSES
from hh_align.tools import compare_studies


def study(folder, values, **generation):
    rows = [
        {"judge": "j", "policy": policy, "seed": 42, "metric": metric, "value": value, "n": 50, "ci_low": value - 9, "ci_high": value + 9}
        for (policy, metric), value in values.items()
    ]
    write_table(folder / "analysis/metrics.parquet", rows, compute_metrics.METRICS, {"config": {"order": ["base", "sft"]}})
    write_table(folder / "responses/base/seed-0.parquet", [], RESPONSES, {"config": {"dtype": "float32", **generation}})
    return folder


@pytest.fixture
def studies(tmp_path):
    one = study(tmp_path / "faithful", {("base", "HmR"): 40.0, ("sft", "HmR"): 50.0, ("extra", "HmR"): 1.0}, cue=False)
    return [one, study(tmp_path / "fixed", {("base", "HmR"): 60.0, ("sft", "HmR"): 55.5}, cue=True)]


def test_shared_policies_stand_side_by_side_and_the_protocol_is_told(studies, tmp_path):
    status, output = call(compare_studies, folders=studies, output=tmp_path / "out")
    assert status == 0
    rows = pq.read_table(tmp_path / "out/metrics.parquet").to_pylist()
    assert [(row["study"], row["policy"], row["value"]) for row in rows] == [
        ("faithful", "base", 40.0), ("fixed", "base", 60.0), ("faithful", "sft", 50.0), ("fixed", "sft", 55.5),
    ]  # fmt: skip
    assert "55.5 [46.5, 64.5]" in output and "generation.cue: false | true" in output and "dtype" not in output
    made = json.loads(pq.read_schema(tmp_path / "out/metrics.parquet").metadata[b"provenance"])
    assert made["config"] == {"differs": {"generation.cue": [False, True]}}
    assert (tmp_path / "out/metrics.csv").read_text().splitlines()[1].startswith("faithful,j,base,HmR,40.0,31.0,49.0,50")


def test_nothing_to_compare_is_one_message(studies, tmp_path):
    status_output = call(compare_studies, folders=[studies[0], tmp_path / "none"], output=tmp_path / "out")
    assert_refused(status_output, "no analysed study", where=tmp_path / "none")
    assert_refused(call(compare_studies, folders=[studies[0], studies[0]], output=tmp_path / "out"), "two or more studies")
    with pytest.raises(StudyError, match="share no policy"):
        compare_studies.side_by_side(compare_studies.read_metrics([studies[0], study(tmp_path / "other", {("x", "HmR"): 1.0})]))


def test_the_protocol_is_the_roots_not_that_of_a_policy_asked_otherwise(studies):
    for folder, cue in zip(studies, (True, False), strict=True):
        write_table(folder / "responses/asked/seed-0.parquet", [], RESPONSES, {"config": {"dtype": "float32", "cue": cue}})
    assert compare_studies.differing(studies) == {"generation.cue": [False, True]}


def test_a_policy_whose_text_is_broken_is_marked_in_its_own_study_only(studies, tmp_path):
    row = {"policy": "sft", "seed": 42, "broken": True, "broken_why": "all of it is cut", "unmoved": False}
    write_table(studies[1] / "analysis/text.parquet", [row], examine_text.TEXT, {})
    _, output = call(compare_studies, folders=studies, output=tmp_path / "out")
    assert "50.0 [41.0, 59.0] " in output and "55.5 [46.5, 64.5] !" in output and output.count("]  !") + output.count("] !") == 1
    assert "! fixed, sft: its text is broken: all of it is cut." in output

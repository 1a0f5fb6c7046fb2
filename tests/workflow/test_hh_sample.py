"""hh_sample, small, on the true files of HH-RLHF."""

import json

import pyarrow.parquet as pq
import pytest
from small_studies import SHORT, small_study
from study_folder import SHARED

from hh_align.data.transcripts import cluster_of

SMALL_HH = {
    "models": {"base": {"pretraining": SHORT | {"max_rows": 200}}},
    "methods": {"sft": SHORT, "dpo": SHORT},
    "judges": {"small": {"training": SHORT, "max_length": 128}},
    "scoring": {"batch_tokens": 16384},
    "examination": {"max_pairs": 40, "format_pairs": 20},
    "drift": {"samples": 1, "rows": 20},
}
POLICIES = ["base/seed-0", "dpo/seed-42", "sft/seed-42", "sft_dpo/seed-42"]


def names(path):
    return pq.read_schema(path).names


@pytest.mark.long
def test_hh_sample_runs_on_the_real_files(tmp_path):
    if not (SHARED / "hh-rlhf").is_dir():
        pytest.skip("needs HH-RLHF's test files in ../shared/hh-rlhf")
    folder = small_study(tmp_path, "hh_sample", SMALL_HH, "--config", f"datasets={{hh: {{path: {SHARED / 'hh-rlhf'}}}}}")
    folder.succeed()
    results = tmp_path / "results/hh_sample"
    prompts = pq.read_table(results / "prompts/prompts.parquet").to_pylist()
    if (SHARED / "paper-release").is_dir():
        for axis, name in (("harmlessness", "harmful"), ("helpfulness", "helpful")):
            released = json.loads((SHARED / f"paper-release/prompts/{name}_prompts.json").read_text())
            assert [row["prompt"] for row in prompts if row["axis"] == axis] == released
    evaluated = {row["cluster"] for row in prompts}
    trained = pq.read_table(results / "data/training/preferences.parquet", columns=["prompt"])["prompt"].to_pylist()
    assert trained and not evaluated & {cluster_of(prompt) for prompt in trained}
    for policy in POLICIES:
        assert names(results / f"responses/{policy}.parquet") == [
            "axis",
            "prompt_id",
            "response",
            "response_tokens",
            "finish",
            "top2_gap_min",
            "cut_tokens",
        ]
        assert names(results / f"rewards/small/{policy}.parquet") == ["axis", "prompt_id", "reward", "input_tokens", "cut_tokens"]
        assert pq.read_metadata(results / f"rewards/small/{policy}.parquet").num_rows == 100
    assert names(results / "analysis/metrics.parquet")[:5] == ["judge", "policy", "seed", "metric", "value"]
    assert names(results / "analysis/retention.parquet")[5:8] == ["retained", "denominator", "rate"]

"""The whole demo against its planted truth, for three seeds."""

import os

import pyarrow.parquet as pq
import pytest
from study_folder import StudyFolder


@pytest.mark.long
def test_the_planted_truth_comes_out_for_three_seeds(tmp_path):
    folder = StudyFolder(tmp_path, "--configfile", "config/demo.yaml", "config/broken_demo.yaml")
    folder.succeed("all", "check")
    checks = pq.read_table(tmp_path / "results/broken_demo/analysis/checks.parquet").to_pylist()
    assert {row["seed"] for row in checks} == {0, 42, 43, 44} and all(row["holds"] for row in checks)
    flagged = {(row["policy"], row["seed"]) for row in checks if row["check"].startswith("the text gate") and row["value"]}
    assert flagged == {("dpo_hot", seed) for seed in (42, 43, 44)}


@pytest.mark.long
def test_the_demo_twice_from_scratch_is_the_same_bytes(tmp_path):
    # the second time in processes as a user has them, no forks
    sums = []
    for name, environment in (("one", {}), ("two", os.environ)):
        (tmp_path / name).mkdir()
        StudyFolder(tmp_path / name, "--configfile", "config/demo.yaml").succeed(**environment)
        results = tmp_path / name / "results/demo"
        artifacts = [path for pattern in ("*.parquet", "manifest.json", "*.svg", "*.csv") for path in results.rglob(pattern)]
        sums.append({path.relative_to(results): path.read_bytes() for path in artifacts})
    assert sums[0] == sums[1]

"""What noisy labels cost: known rates give known losses, and intervals only where several seeds say something of them."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from command_line import call
from rated import write_ratings
from study_folder import StudyFolder

from hh_align.analysis import summarize_noise
from hh_align.analysis.score_oracle import LABELS
from hh_align.analysis.summarize_noise import NOISE, summarize
from hh_align.core.artifacts import write_table
from hh_align.report import plot_noise

AXES = ("harmlessness", "helpfulness")
RATES = {"plain": 0.9, "plain_40": 0.5, "robust": 0.8, "robust_40": 0.7}
ARMS = [
    {"policy": name, "method": name[:6].rstrip("_"), "noise": 40.0 if "_40" in name else 0.0, "series": name.removesuffix("_40"), "plain": "plain"}
    for name in RATES
]  # fmt: skip
CLUSTERS = dict.fromkeys(AXES, np.arange(200))


def labels(seeds=3, prompts=200):
    stream = np.random.default_rng(1)
    return pd.DataFrame(
        {"policy": policy, "seed": seed, "axis": axis, "prompt_id": f"{axis}-{number:03d}", "good": bool(stream.random() < rate)}
        for policy, rate in RATES.items()
        for seed in range(1, seeds + 1)
        for axis in AXES
        for number in range(prompts)
    )


def test_what_is_lost_and_spared():
    rows = {(row["policy"], row["axis"]): row for row in summarize(labels(), CLUSTERS, ARMS)}
    assert len(rows) == 4 * 3 and {row["n"] for row in rows.values()} == {200, 400}
    plain, robust = rows["plain_40", "both"], rows["robust_40", "both"]
    assert plain["lost"] == pytest.approx(rows["plain", "both"]["rate"] - plain["rate"]) == pytest.approx(40, abs=3)
    assert robust["spared"] == pytest.approx(plain["lost"] - robust["lost"]) == pytest.approx(30, abs=5)
    assert robust["spared_low"] < robust["spared"] < robust["spared_high"] and robust["lost_low"] < 10 < robust["lost_high"]
    assert "spared" not in plain and "lost" not in rows["plain", "both"]
    assert plain["rate"] == pytest.approx(np.mean([rows["plain_40", axis]["rate"] for axis in AXES]))


def test_one_seed_has_no_interval():
    rows = summarize(labels(seeds=1), CLUSTERS, ARMS)
    assert {row["n_seeds"] for row in rows} == {1} and {
        row.get(name) for row in rows for name in ("ci_low", "lost_low", "spared_high")
    } == {None}


def test_from_table_to_figure(tmp_path):
    truth = labels(prompts=20)
    write_table(tmp_path / "labels.parquet", truth.assign(accepted=True, kind="x").to_dict("records"), LABELS, {})
    rewards = {("j", "plain", 0): {(axis, f"{axis}-{number:03d}"): 0.0 for axis in AXES for number in range(20)}}
    write_ratings(tmp_path / "ratings.parquet", rewards, {"j": {"harmless_min": 0.0, "helpful_above": 0.0}})
    paths = {name: tmp_path / f"{name}.parquet" for name in ("ratings", "labels")}
    status, printed = call(summarize_noise, config={"arms": ARMS}, **paths, output=tmp_path / "noise.parquet")
    assert status == 0 and "robust_40, 40 % of the labels exchanged" in printed
    assert pq.read_schema(tmp_path / "noise.parquet").names == NOISE.names
    figure = plot_noise.plot(pq.read_table(tmp_path / "noise.parquet").to_pandas())
    assert [len(panel.containers) for panel in figure.axes] == [2] * 6


def test_the_demo_of_noise_is_planned_with_its_series(tmp_path):
    folder = StudyFolder(tmp_path, "--configfile", "config/demo.yaml", "config/noise_demo.yaml")
    jobs = folder.planned()
    assert {"summarize_noise", "plot_noise", "export_csv noise", "generate_corpus noise_0", "derive_dataset noise_20"} <= jobs
    assert {job.split()[1] for job in jobs if job.startswith("train_dpo")} == {
        f"sft_{name}{noise}" for name in ("dpo", "robust", "smoothed") for noise in ("", "_20", "_40")
    }
    shown = folder.run("--dry-run", "--printshellcmds", "results/noise_demo/analysis/noise.parquet").stdout
    assert shown.count("In no entry of analysis.contrasts, so that no verdict is given: base, sft.\n") == 1
    assert '"noise": 40.0, "plain": "sft_dpo", "policy": "sft_robust_40", "series": "sft_robust"' in shown

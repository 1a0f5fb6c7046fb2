"""The summary of displacement: known means and shares, clusters, seeds, and the sentence that follows."""

import numpy as np
import pandas as pd
import pytest
from command_line import call

from hh_align.analysis import summarize_displacement
from hh_align.analysis.statistics import wilson
from hh_align.analysis.summarize_displacement import TABLE, displacement
from hh_align.core.artifacts import read_table, write_table
from hh_align.report.displaced import displacement_sentence
from hh_align.training.measure_displacement import DISPLACEMENT


def frame_of(chosen, rejected=-1.0, trained=True, per_cluster=1, tokens=10):
    """Pairs whose replies' log-probabilities change by this much from -50."""
    n = len(chosen)
    columns = {"split": "train" if trained else "test", "subset": "s", "row": np.arange(n), "trained": trained, "chosen_tokens": tokens}
    logps = {"chosen_before": -50.0, "rejected_before": -50.0, "chosen_after": -50 + np.asarray(chosen), "rejected_after": -50.0 + rejected}
    return pd.DataFrame(
        {**columns, "cluster": [f"c{number // per_cluster:03d}" for number in range(n)], **logps, "rejected_tokens": tokens}
    )


def test_means_shares_and_intervals_are_those_of_the_pairs():
    change = np.array([-4.0, -2.0, 1.0, -3.0, 2.0] * 8)
    (row,) = displacement({("dpo", 1): frame_of(change)}, {"dpo": "sft"})
    assert [row[name] for name in ("policy", "parent", "seed", "pairs", "n", "n_seeds")] == ["dpo", "sft", 1, "training", 40, 1]
    assert (row["chosen"], row["rejected"], row["fell"], row["per_token"]) == pytest.approx((-1.2, -1.0, 60, -0.12))
    assert (row["chosen_before"], row["chosen_after"]) == pytest.approx((-50, -51.2))
    reach = 2.0227 * change.std(ddof=1) / 40**0.5
    assert (row["chosen_low"], row["chosen_high"]) == pytest.approx((-1.2 - reach, -1.2 + reach), abs=1e-3)
    low, high = wilson(24, 40)
    assert (row["fell_low"], row["fell_high"]) == pytest.approx((100 * low, 100 * high), abs=1.5)
    assert row["displaced"] and row["rejected_low"] is None  # every rejected reply fell by the same


def test_pairs_of_one_cluster_count_as_fewer_and_few_clusters_give_no_interval():
    change = np.repeat(np.random.default_rng(1).normal(-0.5, 2, 20), 4)
    alone, together, few = (displacement({("dpo", 1): frame_of(change, per_cluster=size)}, {"dpo": "sft"})[0] for size in (1, 4, 20))
    assert (
        together["chosen"] == alone["chosen"] and together["chosen_low"] < alone["chosen_low"] and together["fell_low"] < alone["fell_low"]
    )
    assert few["chosen"] == alone["chosen"] and few["chosen_low"] is few["fell_high"] is None and not few["displaced"]


def test_seeds_are_crossed_with_pairs():
    base = np.random.default_rng(2).normal(0, 1, 60)
    tables = {("dpo", seed): frame_of(base + shift).sample(frac=1, random_state=seed) for seed, shift in ((1, -1.0), (2, -3.0), (3, -2.0))}
    *single, over = displacement(tables, {"dpo": "sft"})
    assert [row["seed"] for row in (*single, over)] == [1, 2, 3, None] and over["n_seeds"] == 3
    assert over["chosen"] == pytest.approx(np.mean([row["chosen"] for row in single]))
    widths = [row["chosen_high"] - row["chosen_low"] for row in (over, single[0])]
    assert widths[0] > 4 and widths[1] < 1  # three trainings 1 nat apart from each other say little of the next one


def test_the_step_and_its_sentence(tmp_path):
    falls, rises = np.full(30, -2.0) + np.arange(30) / 30, np.arange(30) / 30
    parts = {"dpo": (falls, rises), "kto": (rises, rises)}
    paths = [tmp_path / f"{name}.parquet" for name in parts]
    for path, (seen, unseen) in zip(paths, parts.values(), strict=True):
        write_table(path, pd.concat([frame_of(seen), frame_of(unseen, trained=False)]).to_dict("records"), DISPLACEMENT, {})
    config = {"measured": [["dpo", 1], ["kto", 1]], "parents": {"dpo": "sft", "kto": "sft"}}
    status, printed = call(summarize_displacement, config=config, displacement=paths, output=tmp_path / "table.parquet")
    assert status == 0 and "dpo, training pairs: chosen -1.52 nats" in printed
    table = read_table(tmp_path / "table.parquet", TABLE).to_pandas()
    assert displacement_sentence(table) == (
        "The chosen replies themselves lose probability in training (likelihood displacement): on training pairs under dpo."
    )
    assert (
        displacement_sentence(table[table["policy"] == "kto"])
        == "No training on pairs surely lowers the probability of the chosen replies."
    )
    assert displacement_sentence(table.iloc[:0]) is None

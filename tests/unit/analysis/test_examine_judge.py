"""The judge's examination: known answers, and a judge that knows nothing is not believed."""

import numpy as np
import pandas as pd
import pytest

from hh_align.analysis.examine_judge import JUDGE, accuracy, calibration, examine, length, roc, slope
from hh_align.analysis.reliability import read_reliability
from hh_align.core.artifacts import write_table
from hh_align.evaluation.held_out import evenly
from hh_align.evaluation.score_pairs import AS_EVALUATED, formats

SEEDS = [1, 2, 3]


def pairs(seed, n=600, sharpness=1.0, flip=1.0):
    """Made-up rewards of a Bradley-Terry judge: the reply with the higher true reward is chosen with probability sigmoid(margin)."""
    stream = np.random.default_rng(seed)
    a, b = stream.normal(size=(2, n)) * 1.5
    first = stream.random(n) < 1 / (1 + np.exp(b - a))
    chosen, rejected = np.where(first, a, b), np.where(first, b, a)
    tokens = stream.integers(1, 60, (2, n))
    return pd.DataFrame(
        {
            "split": "test", "row": np.arange(n), "cluster": [f"c{number}" for number in range(n)], "format": AS_EVALUATED,
            "chosen_reward": flip * chosen / sharpness, "rejected_reward": flip * rejected / sharpness,
            "chosen_tokens": tokens[0], "rejected_tokens": tokens[1],
        }
    )  # fmt: skip


def headline(frame):
    return examine(frame)[0]


def reliability_of(frame, tmp_path):
    about = {"judge": "j", "axis": "harmlessness", "subset": "s", "own_subset": True}
    write_table(tmp_path / "judge.parquet", [{**about, **row} for row in examine(frame)], JUDGE, {})
    return read_reliability(tmp_path / "judge.parquet")["j", "harmlessness"]


@pytest.mark.parametrize("seed", SEEDS)
def test_negated_rewards_turn_the_judge_round_and_end_its_ranking(seed, tmp_path):
    right, wrong = headline(pairs(seed)), headline(pairs(seed, flip=-1.0))
    assert wrong["accuracy"] == pytest.approx(100 - right["accuracy"]) and wrong["accuracy"] < 50
    assert wrong["auc"] == pytest.approx(1 - right["auc"]) and wrong["slope"] == pytest.approx(-right["slope"])
    assert reliability_of(pairs(seed), tmp_path) is True
    assert reliability_of(pairs(seed, flip=-1.0), tmp_path) is False


def test_a_coin_is_not_above_chance(tmp_path):
    stream, frame = np.random.default_rng(0), pairs(0)
    frame[["chosen_reward", "rejected_reward"]] = stream.normal(size=(len(frame), 2))
    assert reliability_of(frame, tmp_path) is False


def test_a_perfect_judge():
    frame = pairs(1).assign(chosen_reward=1.0, rejected_reward=0.0)
    row = headline(frame)
    assert (row["accuracy"], row["auc"], row["slope"]) == (100, 1, None)


def test_ties_are_errors():
    row = headline(pairs(1).assign(chosen_reward=0.0, rejected_reward=0.0))
    assert (row["accuracy"], row["auc"]) == (0, 0.5)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sharpness", [1.0, 2.0])
def test_the_slope_of_a_bradley_terry_judge(seed, sharpness):
    # margins half as large as they should be: the slope says twice
    row = slope((pairs(seed, 4000, sharpness)["chosen_reward"] - pairs(seed, 4000, sharpness)["rejected_reward"]).to_numpy())
    assert row["slope_low"] < row["slope"] < row["slope_high"]
    assert row["slope"] == pytest.approx(sharpness, rel=0.1)


@pytest.mark.parametrize("seed", SEEDS)
def test_calibration_keeps_what_the_margin_promises(seed):
    frame = pairs(seed, 4000)
    rows = calibration((frame["chosen_reward"] - frame["rejected_reward"]).to_numpy())
    assert [row["n"] for row in rows] == [400] * 10
    assert sum(row["ci_low"] <= row["predicted"] <= row["ci_high"] for row in rows) >= 8
    assert headline(frame)["calibration_error"] < 4 < headline(pairs(seed, 4000, sharpness=0.3))["calibration_error"]


@pytest.mark.parametrize("n", [50, 3000])
def test_the_area_under_the_roc_is_the_auc(n):
    frame = pairs(3, n)
    points = roc(frame["chosen_reward"].to_numpy(), frame["rejected_reward"].to_numpy())
    x, y = ([point[f"{side}_positive_rate"] for point in points] for side in ("false", "true"))
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1) and len(points) <= 401
    assert np.trapezoid(y, x) == pytest.approx(headline(frame)["auc"], abs=1e-3)


def test_pairs_of_one_dialogue_count_once():
    frame = pairs(2)
    columns = [frame[name].to_numpy() for name in ("chosen_reward", "rejected_reward", "cluster")]
    once, twice = accuracy(*columns), accuracy(*(np.repeat(column, 2) for column in columns))
    assert twice["ci_high"] - twice["ci_low"] == pytest.approx(once["ci_high"] - once["ci_low"], rel=0.02)


def test_length_and_the_parts_by_length():
    frame = pairs(1).assign(chosen_tokens=lambda f: 10 + (f["chosen_reward"] > f["rejected_reward"]) * 2, rejected_tokens=11)
    margins = (frame["chosen_reward"] - frame["rejected_reward"]).to_numpy()
    row, (whole, longer, shorter) = length(frame, margins), examine(frame)
    assert row["length_only"] == pytest.approx(whole["accuracy"]) and row["length_correlation"] > 0.5
    assert (longer["part"], longer["accuracy"], shorter["part"], shorter["accuracy"]) == ("chosen longer", 100, "chosen shorter", 0)
    assert longer["n"] + shorter["n"] == whole["n"]


def test_another_format_is_compared_on_the_same_pairs():
    frame = pairs(1)
    other = frame.iloc[::3].assign(format="with cue")
    turned = other.assign(chosen_reward=other["rejected_reward"], rejected_reward=other["chosen_reward"])
    for cue, same in ((other, 100), (turned, 0)):
        rows = examine(pd.concat([frame, cue]))
        assert (rows[-1]["format"], rows[-1]["n"], rows[-1]["same_order"]) == ("with cue", len(other), same)


def test_formats_and_even_sampling():
    assert list(formats(None, 50)) == [AS_EVALUATED, "with cue", "cut reply", "cut input"]
    assert list(formats(512, 50)) == [AS_EVALUATED, "with cue", "cut reply"]
    assert list(formats(512, 50, cue=False)) == [AS_EVALUATED, "cut reply"]
    assert evenly(list(range(10)), 5) == [0, 2, 4, 6, 8] and evenly([1, 2], 5) == [1, 2] == evenly([1, 2], None)

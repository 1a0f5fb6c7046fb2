"""Differences at equal length: known answers of the regression, and what a change of lengths does and does not change."""

import math

import numpy as np
import pyarrow as pa
import pytest
from command_line import call
from rated import table_of
from small_analysis import ONE_JUDGE, three_policies

from hh_align.analysis import control_length
from hh_align.analysis.compare_policies import COMPARISONS, compare_policies
from hh_align.analysis.control_length import LENGTH, Answers, at_equal_length, controlled
from hh_align.analysis.ratings import split
from hh_align.core.artifacts import read_table, write_table
from hh_align.core.axes import AXES
from hh_align.core.tables import RATINGS

PLAIN = {"estimand": "these checkpoints", "ci_low": -1.0, "ci_high": 2.0, "p": 0.4}


def answers_of(signs, gaps, clusters=None):
    signs, gaps = (np.asarray(values, float).reshape(len(values), -1) for values in (signs, gaps))
    return Answers(signs, np.zeros_like(gaps), gaps, np.arange(len(signs)) if clusters is None else clusters)


def drawn(draw, n, theta, phi, longer=0.0):
    """Answers of the model itself."""
    stream = np.random.default_rng(draw)
    gaps = np.round(stream.normal(longer, 10, n))
    chance = 1 / (1 + np.exp(-(theta + phi * np.tanh(gaps / gaps.std()))))
    return answers_of(np.where(stream.random(n) < chance, 1, -1), gaps)


@pytest.mark.parametrize("draw", [1, 2, 3])
def test_what_only_length_wins_is_nothing_at_equal_length_and_what_it_hides_is_found(draw):
    # b writes one standard deviation more and is preferred for it alone; then it is better, and short
    only_length, hidden = drawn(draw, 4000, 0.0, 1.5, longer=10), drawn(draw, 4000, 1.0, 1.5, longer=-10)
    assert only_length.signs.mean() > 0.2 and abs(hidden.signs.mean()) < 0.15
    row = controlled([only_length], PLAIN)
    assert (
        row["controlled_low"] < 0 < row["controlled_high"] and abs(row["controlled"]) < 10 and row["slope"] == pytest.approx(1.5, abs=0.3)
    )
    row = controlled([hidden], PLAIN)
    assert row["controlled"] == pytest.approx(100 * math.tanh(0.5), abs=10) and row["p"] < 1e-6


def test_the_estimate_is_that_of_a_plain_fit_and_its_pseudo_values_those_of_the_jackknife():
    from scipy.optimize import minimize

    answers = drawn(5, 60, 0.4, 0.8)

    def theta_of(keep):
        gaps, signs = answers.gaps.ravel(), answers.signs.ravel()[keep]
        x, y = np.tanh(gaps / gaps.std())[keep], (1 + signs) / 2

        def loss(beta):
            eta = beta[0] + beta[1] * x
            prior = np.logaddexp(0, beta[1]) - beta[1] / 2
            return (np.logaddexp(0, eta) - y * eta).sum() + prior

        return minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-9}).x

    whole = theta_of(np.ones(60, bool))
    values, slope = at_equal_length(answers)
    assert values.mean() == pytest.approx(100 * math.tanh(whole[0] / 2), abs=1e-4) and slope == pytest.approx(whole[1], abs=1e-4)
    without = np.array([theta_of(np.arange(60) != left)[0] for left in range(60)])
    by_hand = 59 / 60 * ((without - without.mean()) ** 2).sum()  # the jackknife's variance of theta
    here = values.var(ddof=1) / 60 / (50 * (1 - math.tanh(whole[0] / 2) ** 2)) ** 2
    assert here == pytest.approx(by_hand, rel=0.03)


def test_where_length_can_explain_nothing_the_plain_numbers_stand():
    signs = np.array([1, 1, 0, -1, 1] * 4)
    for answers in (answers_of(signs, np.full(20, 7.0)), answers_of(np.ones(20), np.arange(20.0) - 9)):
        row = controlled([answers], PLAIN)
        assert row["controlled"] == 100 * answers.signs.mean()
        assert [row[name] for name in ("controlled_low", "controlled_high", "p", "slope")] == [-1.0, 2.0, 0.4, None]


@pytest.mark.parametrize("draw", [1, 2, 3])
def test_exchanged_policies_have_the_opposite_difference_and_other_units_the_same(draw):
    answers = drawn(draw, 80, 0.5, 1.0, longer=4)
    row, turned, longer = (
        controlled([each], PLAIN)
        for each in (answers, answers_of(-answers.signs, -answers.gaps), answers_of(answers.signs, 6 * answers.gaps))
    )
    assert [turned[name] for name in ("controlled", "controlled_low", "controlled_high", "p", "slope")] == pytest.approx(
        [-row["controlled"], -row["controlled_high"], -row["controlled_low"], row["p"], row["slope"]], abs=1e-6
    )
    assert {name: longer[name] for name in longer} == pytest.approx(row)
    assert -100 <= row["controlled_low"] < row["controlled"] < row["controlled_high"] <= 100


def test_separated_answers_have_finite_numbers_and_equal_length_outside_is_said():
    gaps = np.arange(1.0, 41) - 20.5
    row = controlled([answers_of(np.sign(gaps), gaps)], PLAIN)  # the longer reply always wins
    assert abs(row["controlled"]) < 1e-6 and 2 < row["slope"] < 20 and not row["outside"] and row["p"] > 0.5
    assert controlled([answers_of(np.sign(gaps), gaps + 30)], PLAIN)["outside"]


def test_clusters_widen_the_interval_and_of_fewer_than_five_there_is_none():
    answers = drawn(1, 40, 0.5, 1.0)
    twice = Answers(*(np.repeat(part, 2, axis=0) for part in answers[:3]), np.repeat(np.arange(40), 2))
    alone, together = controlled([answers], PLAIN), controlled([twice], PLAIN)
    assert together["controlled"] == pytest.approx(alone["controlled"], abs=1)
    assert together["controlled_high"] == pytest.approx(alone["controlled_high"], abs=2)  # a copy says nothing more
    few = controlled([answers._replace(clusters=np.arange(40) % 4)], PLAIN)
    assert few["p"] == 1 and "controlled_low" not in few


# --- the table


def rated_by_length(config, known=True):
    """Ratings of a judge that likes long replies: dpo writes more than sft, which is no worse."""
    stream, n = np.random.default_rng(4), 200
    keys = [(axis, f"{axis}-{number:03d}") for axis in AXES for number in range(n)]
    extra = {"base": 0, "sft": 0, "dpo": 12}
    words = {
        (policy, seed): np.maximum(1, np.round(stream.normal(30 + extra[policy], 10, len(keys))))
        for policy in config["order"]
        for seed in ([0] if policy == "base" else config["seeds"])
    }
    rewards = {
        ("one", *who): dict(zip(keys, (values - 36) / 10 + stream.normal(0, 1, len(keys)), strict=True)) for who, values in words.items()
    }
    frame = table_of(rewards, ONE_JUDGE).to_pandas()
    if known:
        counts = {(*who, name): int(value) for who, values in words.items() for (_, name), value in zip(keys, values, strict=True)}
        frame["words"] = [counts[key] for key in zip(frame["policy"], frame["seed"], frame["prompt_id"], strict=True)]
        frame["empty"] = frame["run_on"] = False
    return pa.Table.from_pandas(frame, schema=RATINGS, preserve_index=False)


@pytest.mark.parametrize("seeds", [[7], [7, 8, 9]])
def test_the_step_takes_a_win_by_length_away(tmp_path, seeds):
    config = three_policies(seeds)
    write_table(tmp_path / "ratings.parquet", rated_by_length(config), RATINGS, {})
    rated = control_length.read_ratings(tmp_path / "ratings.parquet")
    compared = compare_policies(rated.ratings, rated.clusters, config)
    write_table(tmp_path / "comparisons.parquet", compared, COMPARISONS, {})
    files = {name: tmp_path / f"{name}.parquet" for name in ("ratings", "comparisons")}
    status, printed = call(control_length, config=config, **files, output=tmp_path / "length.parquet")
    assert status == 0 and "lost" in printed, printed
    table = read_table(tmp_path / "length.parquet", LENGTH).to_pandas()
    assert len(table) == sum("reward" not in row["metric"] for row in compared) and set(table["unit"]) == {"words"}
    over = table[(table["family"] == "primary") & table["seed"].isna() if len(seeds) > 1 else table["family"] == "primary"]
    assert set(over["verdict"]) == {"better"} and set(over["change"]) == {"lost"} and set(over["controlled_verdict"]) == {"undecided"}
    assert (over["controlled"].abs() < over["difference"] / 2).all() and (over["length_b"] > over["length_a"] + 8).all()
    assert over["metric"].tolist().count("CAS") == (2 if len(seeds) > 1 else 1)
    declared = table[table["family"] == "declared"]
    assert (declared["p_holm"] >= declared["p"]).all()


def test_without_lengths_nothing_is_controlled_and_a_judge_below_chance_decides_nothing():
    config = three_policies([7])
    unknown, known = (split(rated_by_length(config, told)) for told in (False, True))
    rows = compare_policies(known.ratings, known.clusters, config)
    for row in control_length.control_length(unknown, config, rows):
        assert (row["controlled"], row["controlled_verdict"], row["change"]) == (None, None, None)
    gated = [row | {"judge_above_chance": False, "verdict": "undecided"} for row in rows]
    decided = control_length.control_length(known, config, gated)
    assert {(row["controlled_verdict"], row["change"]) for row in decided} == {("undecided", None)}

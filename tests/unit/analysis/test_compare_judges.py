"""Agreement of two judges: what the libraries say, and what equal, opposite and unrelated judges must give."""

import numpy as np
import pytest
from scipy.stats import kendalltau
from statsmodels.stats.inter_rater import cohens_kappa, to_table

from hh_align.analysis import compare_judges

SEEDS = [1, 2, 3]


def answers(seed, noise=1.0, prompts=60):
    """Rewards of two judges, shape (2, 4 policies, prompts, 1): one truth, two readings of it."""
    stream = np.random.default_rng(seed)
    truth = stream.normal(size=(1, 4, prompts, 1)) + np.arange(4)[None, :, None, None] * 0.5
    return truth + noise * stream.normal(size=(2, 4, prompts, 1))


def agreed(rewards, clusters=None, labels=None):
    clusters = np.arange(rewards.shape[2]) if clusters is None else clusters
    rows = compare_judges.agreement(rewards > 0 if labels is None else labels, rewards, clusters, 1)
    return {row["statistic"]: row for row in rows}


@pytest.mark.parametrize("seed", SEEDS)
def test_agreement_is_what_the_libraries_say(seed):
    rewards = answers(seed)
    rows, flat = agreed(rewards), (rewards > 0).reshape(2, -1)
    assert rows["kappa of labels"]["value"] == pytest.approx(cohens_kappa(to_table(flat.T)[0]).kappa)
    assert rows["same labels, %"]["value"] == pytest.approx(100 * (flat[0] == flat[1]).mean())
    assert rows["Kendall of policies by rate"]["value"] == pytest.approx(kendalltau(*(rewards > 0).mean((2, 3))).statistic)
    assert all(row["ci_low"] <= row["value"] <= row["ci_high"] for row in rows.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_equal_opposite_and_unrelated_judges(seed, monkeypatch):
    monkeypatch.setattr(compare_judges, "SAMPLES", 20)  # no interval is read here
    one = answers(seed)[:1]
    same, opposite, unrelated = agreed(np.concatenate([one, one])), agreed(np.concatenate([one, -one])), agreed(answers(seed, 100.0, 200))
    assert {name: round(row["value"], 9) for name, row in same.items()} == {name: 100 if "%" in name else 1 for name in same}
    assert opposite["Spearman of rewards"]["value"] == pytest.approx(-1) == opposite["Kendall of policies by mean reward"]["value"]
    assert abs(unrelated["kappa of labels"]["value"]) < 0.1 and abs(unrelated["Spearman of rewards"]["value"]) < 0.1


def test_prompts_of_one_cluster_say_as_much_as_one():
    rewards = answers(1, prompts=40)
    once, twice = agreed(rewards), agreed(np.repeat(rewards, 2, axis=2), np.repeat(np.arange(40), 2))
    for name in ("same labels, %", "kappa of labels", "Spearman of rewards"):
        assert twice[name]["ci_high"] - twice[name]["ci_low"] == pytest.approx(once[name]["ci_high"] - once[name]["ci_low"], rel=0.02)


def test_what_is_undefined_is_null():
    rewards = answers(1)
    rows = agreed(rewards, labels=np.ones_like(rewards, bool))
    assert rows["same labels, %"]["value"] == 100
    for name in ("kappa of labels", "Kendall of policies by rate"):
        assert (rows[name]["value"], rows[name]["ci_low"], rows[name]["ci_high"]) == (None, None, None)

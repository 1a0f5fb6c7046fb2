"""What the verdict's inference promises, by simulation of whole studies: power with and without Holm, coverage over seeds."""

import numpy as np
import pytest
from scipy.stats import norm

from hh_align.analysis.compare_policies import adjust
from hh_align.analysis.contrasts import compare_labels, over_seeds
from hh_align.analysis.statistics import THESE_CHECKPOINTS

CONTRASTS = [("dpo", "base"), ("dpo", "sft"), ("sft_dpo", "sft"), ("sft_dpo", "dpo")]
RATES = {"base": 0.4, "sft": 0.4, "dpo": 0.4, "sft_dpo": 0.6}


def labels(stream, n=50, correlation=0.6):
    """Labels of four policies on the same n prompts: latent normal scores that share a part, cut at each policy's rate."""
    shared, own = stream.normal(size=(n, 1)), stream.normal(size=(n, len(RATES)))
    latent = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    return dict(zip(RATES, (latent < norm.ppf(list(RATES.values()))).T, strict=True))


def test_power_of_one_arm_twenty_points_better():
    """With 50 prompts a difference of 20 points is found in two of three studies, and in fewer once Holm pays for four contrasts."""
    about = {"judge": "j", "seed": 1, "metric": "HpR", "estimand": THESE_CHECKPOINTS, "judge_above_chance": None}
    stream, single = np.random.default_rng(0), np.arange(50)
    raw = holm = false = 0
    for _ in range(1000):
        drawn = labels(stream)
        rows = [
            {**about, "family": "declared", "policy_b": b, "policy_a": a, **compare_labels([(drawn[a], drawn[b])], [single], 5.0)}
            for b, a in CONTRASTS
        ]
        by_pair = {(row["policy_b"], row["policy_a"]): row for row in adjust(rows, [])}
        raw += by_pair["sft_dpo", "sft"]["p"] < 0.05
        holm += by_pair["sft_dpo", "sft"]["verdict"] == "better"
        false += any(by_pair[pair]["verdict"] in ("better", "worse") for pair in CONTRASTS[:2])
    assert raw / 1000 == pytest.approx(0.65, abs=0.03)
    assert holm / 1000 == pytest.approx(0.43, abs=0.04)
    assert false / 1000 <= 0.05


@pytest.mark.parametrize("seeds", [3, 10])
@pytest.mark.parametrize(("spread", "least"), [(0.0, 0.93), (0.1, 0.93), (0.25, 0.89)])
def test_intervals_over_seeds_cover_new_seeds(spread, least, seeds):
    """50 prompts, training seeds that shift the latent score by N(0, spread^2): the interval is about the rate of the next seed."""
    stream, hits = np.random.default_rng(int(100 * spread) + seeds), 0
    truth = 100 * (norm.cdf(0.4 / np.hypot(1, spread)) - norm.cdf(0))
    for _ in range(1000):
        prompts = np.sqrt(0.6) * stream.normal(size=(50, 1, 1))
        latent = prompts + spread * stream.normal(size=(1, seeds, 2)) + np.sqrt(0.4) * stream.normal(size=(50, seeds, 2))
        good = latent > [0.0, -0.4]
        change = 100.0 * (good[..., 1].astype(float) - good[..., 0])
        new = over_seeds([change], [np.arange(50)], None, 0.95)[0]
        hits += new["ci_low"] <= truth <= new["ci_high"]
    assert hits / 1000 >= least

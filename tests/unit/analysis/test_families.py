"""Families: what is corrected together, intervals that never contradict the verdict beside them, and the error rates in words."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paper_release import CONFIG
from rated import rated_of

from hh_align.analysis.compare_policies import compare_policies
from hh_align.analysis.families import ALPHA, agreeing, is_primary
from hh_align.analysis.verdict import LEVEL, declared, error_rates
from hh_align.core.axes import AXES

MARGIN = 5.0
POINTS = st.floats(-40, 40).map(lambda value: round(value, 3))


def agrees(row, margin=MARGIN):
    """Whether 0 is outside exactly where a difference is found, and all inside the margin exactly where equivalence is."""
    found, same = row["p_holm"] < 0.05, row["p_equivalence_holm"] < 0.05
    outside = row["sim_low"] > 0 or row["sim_high"] < 0
    return outside == found and (-margin < row["sim_low"] and row["sim_high"] < margin) == same


@settings(deadline=None)
@given(POINTS, POINTS, POINTS, st.booleans(), st.booleans())
def test_an_interval_agrees_with_both_tests_whatever_it_was(low, difference, high, found, same):
    low, difference, high = sorted((low, difference, high))
    if (found and abs(difference) < 0.01) or (same and abs(difference) > MARGIN - 0.01):
        return
    row = {
        "sim_low": low,
        "sim_high": high,
        "difference": difference,
        "p_holm": 0.04 if found else 0.06,
        "p_equivalence_holm": 0.04 if same else 0.06,
    }
    after = agreeing(row, MARGIN)
    assert agrees(after) and after["sim_low"] <= difference <= after["sim_high"]
    assert agreeing(after, MARGIN) == after
    if agrees(row):
        assert after == row


def test_where_there_is_no_interval_none_is_made():
    row = {"sim_low": None, "sim_high": None, "difference": 3.0, "p_holm": 1.0, "p_equivalence_holm": 1.0}
    assert agreeing(row, MARGIN) == row


def compared(rates, n, primary, seed=0):
    """Comparisons of four policies with these rates of good replies, on n prompts per axis."""
    stream = np.random.default_rng(seed)
    rewards = {}
    for policy, rate in zip(CONFIG["order"], rates, strict=True):
        good = stream.random((2, n)) < rate
        own = {(axis, f"{axis}-{number:04d}"): 1.0 if good[side, number] else -9.0 for side, axis in enumerate(AXES) for number in range(n)}
        rewards["deberta", policy, 0 if policy == "base" else 42] = own
    clusters = dict.fromkeys(AXES, np.arange(n))
    return compare_policies(rated_of(rewards, CONFIG["judges"]).ratings, clusters, CONFIG | {"primary": primary})


@pytest.mark.parametrize("rates", [(0.2, 0.5, 0.55, 0.9), (0.5, 0.5, 0.5, 0.62), (0.99, 0.99, 0.98, 0.99)])
@pytest.mark.parametrize("n", [40, 250])
def test_no_verdict_and_interval_contradict_each_other(rates, n):
    rows = [row for row in compared(rates, n, ["sft_dpo", "sft", "HmR"]) if row["family"] in ("declared", "primary")]
    of_rates = [row for row in rows if row["metric"] in ("HmR", "HpR", "CAS")]
    assert len(of_rates) == 12 and all(map(agrees, of_rates))
    for row in rows:
        assert (row["verdict"] in ("better", "worse")) == (row["sim_low"] > 0 or row["sim_high"] < 0)


def test_the_primary_stands_alone_on_its_metric_and_in_the_family_on_the_others():
    rows = {(row["policy_b"], row["policy_a"], row["metric"]): row for row in compared((0.4, 0.5, 0.5, 0.6), 60, ["sft_dpo", "sft", "HpR"])}
    alone = [key for key, row in rows.items() if row["family"] == "primary"]
    assert alone == [("sft_dpo", "sft", "HpR")] and rows[alone[0]]["p_holm"] == rows[alone[0]]["p"]
    sizes = {
        metric: {row["family_size"] for (_, _, of), row in rows.items() if of == metric and row["family"] == "declared"}
        for metric in ("HmR", "HpR", "CAS")
    }
    assert sizes == {"HmR": {4}, "HpR": {3}, "CAS": {4}}


def test_a_primary_without_a_metric_is_meant_on_cas():
    assert [is_primary(("b", "a"), metric, ["b", "a"]) for metric in ("HmR", "HpR", "CAS")] == [False, False, True]
    assert [is_primary(("b", "a"), metric, ["b", "a", "HmR"]) for metric in ("HmR", "CAS")] == [True, False]
    assert not is_primary(("a", "b"), "CAS", ["b", "a"]) and not is_primary(("b", "a"), "CAS", [])


def test_error_rates_are_said_with_and_without_a_primary():
    assert pytest.approx(ALPHA * 100) == LEVEL

    def said(primary):
        return error_rates(declared(pd.DataFrame(compared((0.5, 0.5, 0.5, 0.5), 30, primary)), "deberta"))

    assert said([]) == [
        "Error rates: a difference that is not there is found in at most 5 % of studies per metric (Holm over its 4 contrasts), over 3 metrics "
        "together in at most 15 %. Equivalence likewise."
    ]
    assert said(["sft_dpo", "sft"]) == [
        "Error rates: a difference that is not there is found in at most 5 % of studies per metric (Holm over its 3 or 4 contrasts), over 3 "
        "metrics together in at most 15 %; the primary contrast, sft_dpo - sft on CAS, is tested by itself at 5 %: with it at most 20 % "
        "together. Equivalence likewise."
    ]
    assert error_rates(pd.DataFrame(columns=["metric", "family", "policy_a", "policy_b"])) == []

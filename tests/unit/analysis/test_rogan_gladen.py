"""A rate corrected by sensitivity and specificity: known answers, what it assumes, and where there is none."""

import numpy as np
import pytest

from hh_align.analysis.rogan_gladen import Errors, errors_of, plug_in, plugged


def test_the_rate_is_the_formulas():
    # 30 % called good, sensitivity 90 %, specificity 80 %: (0.3 + 0.8 - 1) / 0.7
    assert plug_in(300, 1000, Errors(90, 100, 80, 100))[0] == pytest.approx(100 / 7)


def test_a_judge_without_errors_leaves_the_rate_and_nearly_the_interval_of_wilson():
    rate, low, high = plug_in(60, 200, Errors(10**9, 10**9, 10**9, 10**9))
    assert rate == pytest.approx(30)
    # Agresti and Coull's interval of 60 of 200: centre (60 + 1.92) / 203.84, half width 1.96 sqrt(p (1 - p) / 203.84)
    centre = 61.9207 / 203.8415
    half = 1.959964 * np.sqrt(centre * (1 - centre) / 203.8415)
    assert (low, high) == pytest.approx((100 * (centre - half), 100 * (centre + half)), abs=1e-3)


def test_the_interval_is_lang_and_reiczigels_by_hand():
    # 23 of 150, sensitivity 24 of 25, specificity 89 of 100; each step by the paper's equations, in decimals
    rate, low, high = plug_in(23, 150, Errors(24, 25, 89, 100))
    p, se, sp = (23 + 1.920729) / 153.841459, 25 / 27, 90 / 102
    centre = (p + sp - 1) / (se + sp - 1)
    a, b = se * (1 - se) / 27, sp * (1 - sp) / 102
    moved = centre + 2 * 3.841459 * (centre * a - (1 - centre) * b)
    half = 1.959964 * np.sqrt((p * (1 - p) / 153.841459 + centre**2 * a + (1 - centre) ** 2 * b) / (se + sp - 1) ** 2)
    assert rate == pytest.approx(100 * (23 / 150 - 0.11) / 0.85)
    assert (low, high) == pytest.approx((max(0, 100 * (moved - half)), 100 * (moved + half)), abs=1e-4)


@pytest.mark.parametrize("errors", [Errors(0, 0, 5, 5), Errors(5, 5, 0, 0), Errors(5, 10, 5, 10), Errors(2, 10, 3, 10)])
def test_unknown_errors_and_a_judge_no_better_than_chance_give_none(errors):
    assert plug_in(10, 20, errors) is None


def test_it_stays_between_0_and_100_and_fewer_labels_widen_it():
    assert plug_in(0, 50, Errors(45, 50, 40, 50))[:2] == (0, 0) and plug_in(50, 50, Errors(45, 50, 40, 50))[2] == 100
    few, many = (plug_in(90, 200, Errors(9 * k, 10 * k, 8 * k, 10 * k)) for k in (1, 20))
    assert few[0] == pytest.approx(many[0]) and few[1] < many[1] and few[2] > many[2]


def test_errors_are_counted_over_all_policies_where_there_is_a_label():
    opinions = [np.array([1, 1, 0, 0]), np.array([1, 0, 0, 1])]
    truth = [np.array([1, 0, np.nan, 0]), np.array([1, 1, 0, np.nan])]
    assert errors_of(opinions, truth) == Errors(2, 3, 2, 3)


def test_columns_of_a_policy_one_axis_and_both():
    stream = np.random.default_rng(0)
    truth = {(name, axis): (stream.random(100) < 0.6).astype(float) for name in ("a", "b") for axis in ("x", "y")}
    judged = {key: np.where(stream.random(100) < 0.9, value, 1 - value) for key, value in truth.items()}
    one, other, both = (plugged("a", axes, judged, truth) for axes in (("x",), ("y",), ("x", "y")))
    assert one["plug_low"] < one["plug_in"] < one["plug_high"]
    assert both["plug_in"] == pytest.approx((one["plug_in"] + other["plug_in"]) / 2)
    assert both["plug_high"] - both["plug_low"] < one["plug_high"] - one["plug_low"]
    unknown = {key: np.full(100, np.nan) for key in truth}
    assert plugged("a", ("x",), judged, unknown) == {"plug_in": None, "plug_low": None, "plug_high": None}

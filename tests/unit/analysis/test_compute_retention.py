"""Retention on labels of known counts."""

import numpy as np
import pytest

from hh_align.analysis.compute_retention import references_of, retention


def test_retention_known_answer():
    # 4 good prompts, 3 kept, 1 of 2 others gained; chance is the policy's own rate 4/6
    before, after = np.array([1, 1, 1, 1, 0, 0], bool), np.array([1, 1, 1, 0, 1, 0], bool)
    row = retention(before, after)
    assert (row["retained"], row["denominator"], row["gained"], row["gain_denominator"]) == (3, 4, 1, 2)
    assert (row["rate"], row["chance"], row["ratio"]) == (75.0, pytest.approx(200 / 3), 1.0)
    assert row["ci_low"] < 75 < row["ci_high"] and row["phi"] == pytest.approx(0.25)


def test_retention_of_nothing_is_unknown_not_zero():
    row = retention(np.zeros(4, bool), np.array([1, 0, 0, 0], bool))
    assert row["denominator"] == 0
    assert {key for key, value in row.items() if value is None} >= {"rate", "ci_low", "ci_high", "lift_p", "phi", "ratio", "ratio_ci_low"}


def test_a_policy_is_held_against_root_parent_and_the_less_trained_of_its_contrasts():
    # both sides of a contrast count, whichever is named first; two policies of as many trainings keep nothing of each other
    parents = {"base": None, "sft": "base", "dpo": "base", "sft_dpo": "sft"}
    graph = {"policies": {name: {"parent": parent} for name, parent in parents.items()}, "order": list(parents)}
    for contrasts in ([["sft_dpo", "dpo"], ["dpo", "sft"]], [["dpo", "sft_dpo"], ["sft", "dpo"]]):
        config = graph | {"contrasts": contrasts}
        assert {name: references_of(config, name) for name in config["order"][1:]} == {
            "sft": ["base"], "dpo": ["base"], "sft_dpo": ["base", "sft", "dpo"],
        }  # fmt: skip

"""Rank sets: what is surely first, what noise leaves open, and what gates them."""

import numpy as np
import pandas as pd
import pytest
from paper_release import CONFIG

from hh_align.analysis.rank_sets import rank_sets
from hh_align.analysis.sweep_thresholds import sweep
from hh_align.core.axes import AXES


def labels_of(stream, rates, prompts=100, seeds=1):
    """Of each policy, under one rule: shape (1, prompts, seeds)."""
    return [(stream.random((1, prompts, seeds)) < rate).astype(float) for rate in rates]


def test_a_policy_that_is_surely_best_is_first_alone():
    (sets,) = rank_sets(labels_of(np.random.default_rng(0), [0.1, 0.9, 0.15]), np.arange(100), 1)
    assert [tuple(each) for each in sets] == [(2, 3), (1, 1), (2, 3)]


def test_equal_policies_all_could_be_first():
    same = np.random.default_rng(0).random((2, 60, 1)) < 0.5
    assert {tuple(each) for sets in rank_sets([same.astype(float)] * 4, np.arange(60), 1) for each in sets} == {(1, 4)}


@pytest.mark.parametrize("case", ["one policy", "one prompt", "three prompts", "four clusters", "all good"])
def test_where_nothing_can_be_said_every_rank_is_possible(case):
    stream = np.random.default_rng(0)
    rates = [0.5] if case == "one policy" else [1.0, 1.0, 1.0] if case == "all good" else [0.0, 1.0, 1.0]
    labels = labels_of(stream, rates, prompts={"one prompt": 1, "three prompts": 3}.get(case, 20))
    clusters = np.arange(20) // 5 if case == "four clusters" else np.arange(labels[0].shape[1])
    assert {tuple(each) for each in rank_sets(labels, clusters, 1)[0]} == {(1, len(rates))}


@pytest.mark.parametrize("seeds", [1, 2])
def test_noise_leads_nowhere_in_19_of_20_studies(seeds):
    """Four equal policies at five thresholds: in at most 5 % of the studies one could not be first somewhere."""
    stream, led = np.random.default_rng(seeds), 0
    cuts = np.linspace(-1, 1, 5)[:, None, None]
    for _ in range(150):
        shared = stream.normal(size=(50, 1))
        rewards = [shared + stream.normal(size=(50, seeds)) for _ in range(4)]
        sets = rank_sets([(each > cuts).astype(float) for each in rewards], np.arange(50), 1)
        led += any(each.low > 1 for rule in sets for each in rule)
    assert led / 150 <= 0.08


def test_policies_that_differ_on_every_prompt_are_ranked_from_some_prompts_on():
    # 20 prompts that all differ have p = 2^-19
    (sets,) = rank_sets(labels_of(np.random.default_rng(0), [0.0, 1.0], prompts=20), np.arange(20))
    assert [tuple(each) for each in sets] == [(2, 2), (1, 1)]


def ratings_of(means, n=60):
    stream, ids = np.random.default_rng(0), {axis: [f"{axis}-{number:03d}" for number in range(n)] for axis in AXES}
    return {
        ("deberta", policy, 0 if policy == "base" else 42, axis): pd.DataFrame(
            {"prompt_id": ids[axis], "reward": stream.normal(mean, 1, n)}
        )
        for policy, mean in zip(CONFIG["order"], means, strict=True)
        for axis in AXES
    }


def test_a_judge_below_chance_ranks_nothing_and_broken_text_is_marked():
    config, clusters = CONFIG | {"judges": {"deberta": {"harmless_min": 0.0, "helpful_above": 0.0}}}, dict.fromkeys(AXES, np.arange(60))
    text = {"broken": True, "broken_why": "it is cut", "unmoved": False, "unmoved_why": None}
    examined = {("sft_dpo", 42): {"policy": "sft_dpo", "seed": 42, **text}}
    reliable = {("deberta", "harmlessness"): False, ("deberta", "helpfulness"): True}
    _, leads, _ = sweep(ratings_of([-2, 0, -2, 0.1]), clusters, config, reliable, examined)
    assert {row["policy"] for row in leads if row["axis"] == "helpfulness" and row["could_be_first"]} == {"sft", "sft_dpo"}
    assert [bool(row["caveat"]) for row in leads if row["axis"] == "helpfulness"] == [row["policy"] == "sft_dpo" for row in leads[:4]]
    lost = [row for row in leads if row["axis"] == "harmlessness"]
    assert len(lost) == 4 and all(row["could_be_first"] is row["rank_low"] is row["first_share"] is None for row in lost)

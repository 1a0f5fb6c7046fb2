"""Over seeds: prompts and seeds are crossed, and the axes of a checkpoint share its seed; what is shown of several seeds."""

import numpy as np
import pandas as pd
import pytest

from compute_metrics import of_one_seed, over_seeds
from compute_retention import ceiling, changes
from study.ratings import headline
from study.statistics import crossed_mean
from summarize_study import rate_cell

CONFIG = {"policies": {"base": {"parent": None}, "sft": {"parent": "base"}}, "seeds": [1, 2]}


def ratings_of(*seeds):
    """Ratings of `sft`, one list of harmlessness and one of helpfulness labels per seed; a good reply has reward 1, a bad one -1."""
    rows = [
        {
            "judge": "j",
            "policy": "sft",
            "seed": seed,
            "axis": axis,
            "prompt_id": f"{axis}-{number:03d}",
            "reward": 2.0 * good - 1,
            "good": good,
        }
        for seed, labels in enumerate(seeds, 1)
        for axis, found in zip(("harmlessness", "helpfulness"), labels, strict=True)
        for number, good in enumerate(map(bool, found))
    ]
    return pd.DataFrame(rows)


def by_metric(rows):
    return {row["metric"]: row for row in rows}


def test_metrics_of_one_seed_known_answer():
    rows = by_metric(of_one_seed(ratings_of(([1, 1, 0, 0], [1, 1, 1, 0])), "j", "sft", 1, {"samples": 1000, "seed": 1}))
    assert {metric: row["value"] for metric, row in rows.items()} == {
        "HmR": 50, "HpR": 75, "CAS": 62.5, "mean_reward_harmful": 0, "mean_reward_helpful": 0.5,
    }  # fmt: skip
    assert (rows["HmR"]["n"], rows["CAS"]["n"]) == (4, 8)
    assert all(row["ci_low"] < row["value"] < row["ci_high"] for row in rows.values())


def test_an_over_seeds_row_counts_prompts_not_answers():
    # 3 seeds x 50 prompts are no 150 prompts
    stream = np.random.default_rng(0)
    rows = over_seeds(ratings_of(*(stream.integers(0, 2, (2, 50)) for _ in range(3))), "j", "sft", [1, 2, 3])
    assert {row["metric"]: row["n"] for row in rows} == {
        "HmR": 50, "HpR": 50, "CAS": 100, "mean_reward_harmful": 50, "mean_reward_helpful": 50,
    }  # fmt: skip
    assert {row["seed"] for row in rows} == {None}


def test_equal_labels_give_no_interval_instead_of_certainty():
    rows = by_metric(over_seeds(ratings_of(([1] * 9, [1, 0, 1] * 3), ([1] * 9, [1, 0, 1] * 3)), "j", "sft", [1, 2]))
    assert (rows["HmR"]["value"], rows["HmR"]["ci_low"], rows["HmR"]["ci_high"]) == (100, None, None)
    assert rows["HpR"]["ci_low"] < rows["HpR"]["value"] < rows["HpR"]["ci_high"] <= 100
    assert rate_cell(pd.Series(rows["HmR"])) == "100.0 [-]"


def test_seed_effects_that_cancel_between_axes_do_not_widen_cas():
    # a seed that trades harmlessness for helpfulness moves both rates but not their mean
    stream, effect = np.random.default_rng(0), np.array([-3.0, 0.0, 3.0])
    first, second = stream.normal(size=(2, 50, 3))
    same = crossed_mean(first + effect, second + effect)[1]
    opposite = crossed_mean(first + effect, second - effect)[1]
    assert opposite < same / 20


def test_crossed_mean_of_one_block_is_the_textbook_variance():
    # (mean square of prompts + mean square of seeds - mean square of the rest) / (prompts x seeds)
    values = np.random.default_rng(0).normal(size=(20, 1)) + np.random.default_rng(1).normal(size=(20, 4)) + np.arange(4)
    by_prompt, by_seed, mean = values.mean(1), values.mean(0), values.mean()
    rest = values - by_prompt[:, None] - by_seed + mean
    squares = [4 * ((by_prompt - mean) ** 2).sum() / 19, 20 * ((by_seed - mean) ** 2).sum() / 3, (rest**2).sum() / 57]
    found = crossed_mean(values)
    assert found[:2] == pytest.approx((mean, (squares[0] + squares[1] - squares[2]) / 80))
    freedom = (squares[0] + squares[1] - squares[2]) ** 2 / (squares[0] ** 2 / 19 + squares[1] ** 2 / 3 + squares[2] ** 2 / 57)
    assert found[2] == pytest.approx(freedom)


def test_what_is_shown_is_over_seeds_where_there_are_several():
    rows = [("sft", 1, 10.0), ("sft", 2, 20.0), ("sft", None, 15.0), ("base", 0, 5.0)]
    metrics = pd.DataFrame(
        [{"judge": "j", "policy": policy, "seed": seed, "metric": "HmR", "value": value} for policy, seed, value in rows]
    )
    assert headline(metrics, "j")["value"].to_dict() == {("sft", "HmR"): 15.0, ("base", "HmR"): 5.0}


def test_the_ceiling_is_the_retention_between_two_seeds_of_one_arm():
    # 2 of 3 good prompts stay good from seed 1 to 2, and 2 of 2 from 2 to 1
    ratings = ratings_of(([1, 1, 1, 0], [0] * 4), ([1, 1, 0, 0], [0] * 4))
    assert ceiling(ratings, CONFIG, "j", "sft", "harmlessness") == pytest.approx((200 / 3 + 100) / 2)
    assert ceiling(ratings, CONFIG, "j", "sft", "helpfulness") is None


def test_changed_prompts_say_what_was_lost_and_gained():
    before, after = (ratings_of((labels, [0])).query("axis == 'harmlessness'") for labels in ([1, 1, 0, 0], [1, 0, 1, 0]))
    assert changes(before, after) == [
        {"prompt_id": "harmlessness-001", "from": 1.0, "to": -1.0, "change": "lost"},
        {"prompt_id": "harmlessness-002", "from": -1.0, "to": 1.0, "change": "gained"},
    ]

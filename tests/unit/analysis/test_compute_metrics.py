"""Metrics of one checkpoint and over seeds: prompts and seeds are crossed, the axes of a checkpoint share its seed, replies can be empty."""

import numpy as np
import pandas as pd
import pytest

from hh_align.analysis.compute_metrics import measure
from hh_align.analysis.compute_retention import ceiling, changes
from hh_align.analysis.effective import crossed_mean
from hh_align.analysis.ratings import headline
from hh_align.analysis.statistics import NEW_SEEDS, THESE_CHECKPOINTS, wilson
from hh_align.report.terminal import rate_cell

CONFIG = {
    "judges": {"j": {"harmless_min": 0.0, "helpful_above": 0.0}},
    "policies": {"base": {"parent": None}, "sft": {"parent": "base"}},
    "order": ["base", "sft"],
    "seeds": [1, 2],
    "bootstrap": {"samples": 1000, "seed": 1},
}
AXES = ("harmlessness", "helpfulness")


def frame_of(axis, labels):
    """A good reply has reward 1, a bad one -1."""
    names = [f"{axis}-{number:03d}" for number in range(len(labels))]
    good = np.array(labels, bool)
    return pd.DataFrame({"prompt_id": names, "reward": 2.0 * good - 1, "label": good})


def ratings_of(*seeds):
    """Ratings of `sft`, per seed a list of harmlessness and one of helpfulness labels; base is as sft's first seed."""
    ratings = {
        ("j", "sft", seed, axis): frame_of(axis, part)
        for seed, labels in enumerate(seeds, 1)
        for axis, part in zip(AXES, labels, strict=True)
    }
    return ratings | {("j", "base", 0, axis): frame_of(axis, part) for axis, part in zip(AXES, seeds[0], strict=True)}


def metrics_of(ratings, policy="sft", seed=1, estimand=THESE_CHECKPOINTS):
    """metric -> row of one policy at one seed (None: over the seeds)."""
    seeds = sorted({key[2] for key in ratings} - {0})
    clusters = {axis: np.arange(len(ratings["j", "base", 0, axis])) for axis in AXES}
    rows = measure(ratings, clusters, CONFIG | {"seeds": seeds})
    return {row["metric"]: row for row in rows if (row["policy"], row["seed"], row["estimand"]) == (policy, seed, estimand)}


def values(rows, *metrics):
    return {metric: rows[metric]["value"] for metric in metrics}


MAIN = ("HmR", "HpR", "CAS", "mean_reward_harmful", "mean_reward_helpful")


def test_metrics_of_one_seed_known_answer():
    rows = metrics_of(ratings_of(([1, 1, 0, 0], [1, 1, 1, 0])))
    assert values(rows, *MAIN) == {"HmR": 50, "HpR": 75, "CAS": 62.5, "mean_reward_harmful": 0, "mean_reward_helpful": 0.5}
    assert (rows["HmR"]["n"], rows["CAS"]["n"]) == (4, 8)
    assert all(row["ci_low"] < row["value"] < row["ci_high"] for row in rows.values())


def test_with_unequal_n_cas_is_still_the_mean_of_the_rates():
    rows = metrics_of(ratings_of(([1, 0], [1, 1, 1, 1, 1, 1, 1, 0])))
    assert values(rows, "HmR", "HpR", "CAS") == {"HmR": 50, "HpR": 87.5, "CAS": 68.75}


def test_empty_replies_are_left_out_or_scored_worst():
    # harmlessness: 3 of 4 good, two of the good ones empty; helpfulness: none empty
    ratings = ratings_of(([1, 1, 1, 0], [1, 0, 0, 0]))
    for key in ratings:
        empty = np.array([True, True, False, False]) & (key[3] == "harmlessness") & (key[1] == "sft")
        ratings[key] = ratings[key].assign(
            empty=empty, run_on=[False, False, True, False], cut=pd.array([None] * 4, "boolean"), words=[0, 0, 7, 5]
        )
    rows = metrics_of(ratings)
    assert values(rows, "HmR", "HmR_without_empty", "HmR_empty_worst") == {"HmR": 75, "HmR_without_empty": 50, "HmR_empty_worst": 25}
    assert (rows["HmR_without_empty"]["n"], rows["HmR_empty_worst"]["n"]) == (2, 4)
    assert values(rows, "CAS_without_empty", "CAS_empty_worst") == {"CAS_without_empty": 37.5, "CAS_empty_worst": 25}
    assert values(rows, "mean_reward_harmful_empty_worst") == {"mean_reward_harmful_empty_worst": -0.5}
    assert values(rows, "empty_harmful", "run_on_harmful", "words_harmful") == {"empty_harmful": 2, "run_on_harmful": 1, "words_harmful": 3}
    assert rows["cut_harmful"]["value"] is None  # unknown is not zero


def test_an_over_seeds_row_counts_prompts_not_answers():
    # 3 seeds x 50 prompts are no 150 prompts
    stream = np.random.default_rng(0)
    rows = metrics_of(ratings_of(*(stream.integers(0, 2, (2, 50)) for _ in range(3))), seed=None, estimand=NEW_SEEDS)
    assert {metric: rows[metric]["n"] for metric in MAIN} == {
        "HmR": 50, "HpR": 50, "CAS": 100, "mean_reward_harmful": 50, "mean_reward_helpful": 50,
    }  # fmt: skip


def test_new_seeds_are_less_certain_than_these_checkpoints():
    # seeds that differ: what holds for these three checkpoints holds less surely for a fourth
    stream = np.random.default_rng(0)
    ratings = ratings_of(*((stream.random((2, 100)) < share) for share in (0.3, 0.5, 0.7)))
    new, these = (metrics_of(ratings, seed=None, estimand=estimand)["HmR"] for estimand in (NEW_SEEDS, THESE_CHECKPOINTS))
    assert new["value"] == pytest.approx(these["value"])
    assert new["ci_high"] - new["ci_low"] > 1.5 * (these["ci_high"] - these["ci_low"])


def test_equal_labels_over_seeds_are_worth_their_prompts():
    # three seeds that are all good on 9 prompts are no 27 prompts, and no certainty: Wilson's interval of 9 of 9
    rows = metrics_of(ratings_of(([1] * 9, [1, 0, 1] * 3), ([1] * 9, [1, 0, 1] * 3)), seed=None, estimand=NEW_SEEDS)
    low, high = wilson(9, 9)
    assert [rows["HmR"][key] for key in ("value", "ci_low", "ci_high")] == pytest.approx([100, 100 * low, 100 * high])
    assert rows["HpR"]["ci_low"] < rows["HpR"]["value"] < rows["HpR"]["ci_high"] <= 100
    assert rate_cell(pd.Series(rows["HmR"])) == "100.0 [70.1, 100.0]"
    assert (rows["mean_reward_harmful"]["ci_low"], rows["mean_reward_harmful"]["method"]) == (
        None, "prompts x seeds, all values equal, no interval",
    )  # fmt: skip


@pytest.mark.parametrize("groups", [np.zeros(12, int), np.arange(12) // 3])
def test_fewer_than_five_clusters_give_no_interval(groups):
    # one, or four: how unlike their means are cannot be told; a cluster of its own each is another matter
    labels = np.array([1, 0, 1] * 4)
    for seed, seeds in ((1, [1]), (None, [1, 2])):
        rows = measure(ratings_of(*[(labels, labels)] * 2), dict.fromkeys(AXES, groups), CONFIG | {"seeds": seeds})
        shown = {row["metric"]: row for row in rows if (row["policy"], row["seed"]) == ("sft", seed)}
        assert all((shown[metric]["ci_low"], shown[metric]["ci_high"]) == (None, None) for metric in MAIN)
        assert shown["HmR"]["value"] == pytest.approx(200 / 3)


def test_prompts_that_share_a_first_turn_widen_the_interval():
    # every prompt twice with the same label: 100 rows say as much as 50
    labels = np.random.default_rng(0).integers(0, 2, 50)
    single, double = ratings_of((labels, labels)), ratings_of((np.repeat(labels, 2), np.repeat(labels, 2)))
    once = metrics_of(single)["HmR"]
    rows = measure(double, dict.fromkeys(AXES, np.repeat(np.arange(50), 2)), CONFIG | {"seeds": [1]})
    twice = next(row for row in rows if row["metric"] == "HmR")
    assert twice["ci_high"] - twice["ci_low"] == pytest.approx(once["ci_high"] - once["ci_low"], rel=0.04)


def test_seed_effects_that_cancel_between_axes_do_not_widen_cas():
    # a seed that trades harmlessness for helpfulness moves both rates but not their mean
    stream, effect = np.random.default_rng(0), np.array([-3.0, 0.0, 3.0])
    first, second = stream.normal(size=(2, 50, 3))
    same = crossed_mean(first + effect, second + effect).variance
    opposite = crossed_mean(first + effect, second - effect).variance
    assert opposite < same / 10


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
    before, after = (frame_of("harmlessness", labels) for labels in ([1, 1, 0, 0], [1, 0, 1, 0]))
    assert changes(before, after) == [
        {"prompt_id": "harmlessness-001", "from": 1.0, "to": -1.0, "change": "lost"},
        {"prompt_id": "harmlessness-002", "from": -1.0, "to": 1.0, "change": "gained"},
    ]

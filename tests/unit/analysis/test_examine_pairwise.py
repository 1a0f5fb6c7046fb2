"""A pairwise judge in the analysis: its wins are counted as those of rewards are, its contradictions and its bias as they were put in."""

import numpy as np
import pandas as pd
import pytest
from command_line import assert_refused, call
from rated import write_ratings

from hh_align.analysis import compare_policies, examine_pairwise
from hh_align.analysis.choices import pairs_asked
from hh_align.analysis.examine_pairwise import examined
from hh_align.analysis.statistics import paired_difference, wilson
from hh_align.core.artifacts import read_table, write_table
from hh_align.core.axes import AXES
from hh_align.core.tables import CHOICES

LIMITS = {"one": {"harmless_min": 0.0, "helpful_above": 0.0}}
N = 40


def config_of(seeds, contrasts=(("sft", "base"), ("dpo", "sft"))):
    parents = {"base": None, "sft": "base", "dpo": "base"}
    return {
        "judges": LIMITS, "pairwise": {"referee": list(AXES)}, "policies": {name: {"parent": parent} for name, parent in parents.items()},
        "order": list(parents), "seeds": seeds, "contrasts": [list(pair) for pair in contrasts], "all_pairs": False, "primary": [],
        "equivalence_margin": 5.0, "bootstrap": {"samples": 100, "seed": 1}, "examined": [],
    }  # fmt: skip


def rewards_of(config, draw):
    stream = np.random.default_rng(draw)
    keys = [(axis, f"{axis}-{number:03d}") for axis in AXES for number in range(N)]
    return {
        ("one", policy, seed): dict(zip(keys, stream.integers(-2, 3, len(keys)).astype(float), strict=True))
        for policy in config["order"]
        for seed in ([0] if policy == "base" else config["seeds"])
    }


def choices_of(rewards, policy, against, seed):
    """Rows of CHOICES of a judge that prefers the higher reward."""
    ours, theirs = (rewards["one", name, 0 if name == "base" else seed] for name in (policy, against))
    said = {key: ["tie", "policy", "against"][int(np.sign(value - theirs[key]))] for key, value in ours.items()}
    rows = [
        {"axis": axis, "prompt_id": name, "policy_first": answer, "against_first": answer, "outcome": answer}
        for (axis, name), answer in said.items()
    ]
    return rows[::-1]  # the order of a file is of no account


def write_choices(folder, config, rewards):
    paths = [folder / f"{number}.parquet" for number in range(len(pairs_asked(config)))]
    for pair, path in zip(pairs_asked(config), paths, strict=True):
        write_table(path, choices_of(rewards, *pair[1:]), CHOICES, {})
    return paths


@pytest.mark.parametrize("seeds", [[7], [7, 8]])
@pytest.mark.parametrize("draw", [1, 2, 3])
def test_a_pairwise_judge_that_prefers_the_higher_reward_has_the_win_rates_of_the_rewards(tmp_path, seeds, draw):
    config = config_of(seeds)
    rewards = rewards_of(config, draw)
    ratings = write_ratings(tmp_path / "ratings.parquet", rewards, LIMITS)
    output = {"ratings": ratings, "choices": write_choices(tmp_path, config, rewards), "output": tmp_path / "comparisons.parquet"}
    status, printed = call(compare_policies, config=config, **output)
    assert status == 0, printed
    table = read_table(tmp_path / "comparisons.parquet").to_pandas()
    wins = table[table["metric"].str.startswith("win_rate") & (table["family"] == "declared")].drop(columns="judge")
    theirs, ours = (wins[table["judge"][wins.index] == judge].reset_index(drop=True) for judge in ("referee", "one"))
    pd.testing.assert_frame_equal(theirs, ours)
    assert len(theirs) >= 4 and set(table[table["judge"] == "referee"]["metric"]) == {"win_rate_harmful", "win_rate_helpful"}


def test_a_policy_without_seeds_is_asked_about_once():
    assert pairs_asked(config_of([7, 8])) == [("referee", *pair, seed) for pair in (("sft", "base"), ("dpo", "sft")) for seed in (7, 8)]
    fixed = config_of([7, 8], [("api", "base")])
    fixed["policies"]["api"] = {"parent": "base", "fixed": True}
    assert pairs_asked(fixed) == [("referee", "api", "base", 0)]


def frame_of(**counts):
    """Pairs by their two answers, as policy_against=3 for three pairs with policy and against in the two orders."""
    rows = []
    for answers, count in counts.items():
        first, second = answers.split("_")
        outcome = first if first == second else "inconsistent"
        rows += [{"policy_first": first, "against_first": second, "outcome": outcome}] * count
    return pd.DataFrame(rows)


def test_bias_and_contradictions_are_those_that_were_put_in():
    frame = frame_of(policy_policy=20, against_against=10, policy_against=12, against_policy=4, tie_tie=3, tie_policy=1)
    row = examined(frame, np.arange(len(frame)))
    assert [row[name] for name in ("n", "wins", "losses", "ties", "inconsistent", "decided")] == [50, 20, 10, 3, 17, 46]
    assert row["inconsistency"] == pytest.approx(100 * 17 / 50)
    assert (row["inconsistency_low"], row["inconsistency_high"]) == pytest.approx(tuple(100 * bound for bound in wilson(17, 50)))
    assert row["first"] == pytest.approx(100 * (20 + 10 + 2 * 12) / (2 * 46))  # of 92 answers those for what stood first
    _, low, high = paired_difference(20, 4, 12, 10)
    assert (row["first_low"], row["first_high"]) == pytest.approx((50 + 50 * low, 50 + 50 * high)) and row["first_low"] > 50


def test_a_judge_that_always_says_a_is_all_bias_and_one_that_is_consistent_has_none():
    always, never = (examined(frame_of(**{answers: 30}), np.arange(30)) for answers in ("policy_against", "policy_policy"))
    assert (always["first"], always["inconsistency"]) == (100, 100) and always["first_low"] > 80
    assert (never["first"], never["inconsistency"]) == (50, 0) and never["first_low"] < 50 < never["first_high"]


def test_prompts_of_one_cluster_count_as_fewer():
    frame = frame_of(policy_policy=20, policy_against=20)
    alone, together, few = (examined(frame, np.repeat(np.arange(count), 40 // count)) for count in (40, 8, 4))
    assert together["first"] == alone["first"] and together["first_high"] > alone["first_high"]
    assert together["inconsistency_low"] < alone["inconsistency_low"]
    assert (few["first"], few["inconsistency"]) == (alone["first"], alone["inconsistency"])
    assert not any(name.endswith(("_low", "_high")) for name in few)  # four clusters say nothing of the next one


def test_what_was_not_answered_is_no_contradiction():
    frame = pd.DataFrame({"policy_first": [None, "policy"], "against_first": [None, None], "outcome": ["same", "unreadable"]})
    row = examined(frame, np.arange(2))
    assert row["decided"] == 0 and "first" not in row and "inconsistency" not in row and (row["same"], row["unreadable"]) == (1, 1)


def test_the_table_has_all_pairs_together_and_each_contrast(tmp_path):
    config = config_of([7, 8])
    rewards = rewards_of(config, 1)
    ratings = write_ratings(tmp_path / "ratings.parquet", rewards, LIMITS)
    paths = write_choices(tmp_path, config, rewards)
    status, printed = call(examine_pairwise, config=config, ratings=ratings, choices=paths, output=tmp_path / "pairwise.parquet")
    assert status == 0 and "referee, harmlessness: 0.0 % of pairs answered otherwise in the other order" in printed
    rows = read_table(tmp_path / "pairwise.parquet").to_pylist()
    total, *parts = [row for row in rows if row["axis"] == "helpfulness"]
    assert total["policy_b"] is None and total["n"] == 4 * N == sum(row["n"] for row in parts) and len(parts) == 4
    assert total["wins"] == sum(row["wins"] for row in parts)


def test_choices_of_other_prompts_are_refused(tmp_path):
    config = config_of([7], [("sft", "base")])
    rewards = rewards_of(config, 1)
    ratings = write_ratings(tmp_path / "ratings.parquet", rewards, LIMITS)
    rows = choices_of(rewards, "sft", "base", 7)
    for wrong, said in ((rows[1:], "other prompts of helpfulness"), ([rows[0] | {"outcome": "A"}, *rows[1:]], "unknown outcome A")):
        write_table(tmp_path / "c.parquet", wrong, CHOICES, {})
        result = call(examine_pairwise, config=config, ratings=ratings, choices=[tmp_path / "c.parquet"], output=tmp_path / "o.parquet")
        assert_refused(result, said, where=tmp_path / "c.parquet")

"""Contrasts: what changes nothing, what a swap turns round, win rates, one rule for the verdict, and several seeds."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import call
from paper_release import CONFIG
from rated import rated_of, write_ratings
from scipy.stats import binomtest

from hh_align.analysis import compute_metrics, compute_retention
from hh_align.analysis.compare_policies import compare_policies
from hh_align.analysis.families import decided
from hh_align.analysis.ratings import read_ratings


def compared(ratings, config=None, **more):
    """(policy, against, metric) -> row, all pairs at once."""
    config = CONFIG | {"all_pairs": True} | (config or {})
    prompts = {axis: len(frame) for (_, _, _, axis), frame in ratings.items()}
    rows = compare_policies(ratings, {axis: np.arange(n) for axis, n in prompts.items()}, config, **more)
    return {(row["policy_b"], row["policy_a"], row["metric"], row["family"], row["seed"], row["estimand"]): row for row in rows}


def outcome(rows):
    return {key: (row["verdict"], pytest.approx(row["p"]), pytest.approx(row["difference"])) for key, row in rows.items()}


@pytest.fixture(scope="module")
def ratings(released):
    """The frames of the paper's release."""
    return read_ratings(released / "ratings.parquet").ratings


def test_swapping_policies_negates_a_contrast(ratings):
    swapped = {"contrasts": [pair[::-1] for pair in CONFIG["contrasts"]], "primary": ["sft", "sft_dpo", "CAS"], "all_pairs": False}
    there, back = compared(ratings), compared(ratings, swapped)
    opposite = {"better": "worse", "worse": "better"}
    seen = 0
    for (b, a, *rest), row in there.items():
        if row["family"] in ("declared", "primary"):
            other, seen = back[a, b, *rest], seen + 1
            assert other["difference"] == pytest.approx(-row["difference"])
            assert (other["ci_low"], other["sim_low"]) == pytest.approx((-row["ci_high"], -row["sim_high"]), abs=0.1)
            assert (other["p"], other["p_holm"]) == pytest.approx((row["p"], row["p_holm"]))
            assert other["verdict"] == opposite.get(row["verdict"], row["verdict"])
    assert seen == 4 * 7


def test_names_and_a_common_shift_change_no_verdict(ratings):
    expected = outcome(compared(ratings))
    names = {"base": "zero", "sft": "a", "dpo": "m", "sft_dpo": "b"}
    config = CONFIG | {
        "judges": {"deberta": {"harmless_min": 4.0, "helpful_above": 5.0}},
        "policies": {names[policy]: {"parent": names.get(entry["parent"])} for policy, entry in CONFIG["policies"].items()},
        "order": [names[policy] for policy in CONFIG["order"]],
        "contrasts": [[names[policy] for policy in pair] for pair in CONFIG["contrasts"]],
        "primary": [names["sft_dpo"], names["sft"], "CAS"],
        "all_pairs": True,
    }
    rewards = {}
    for (judge, policy, seed, axis), frame in ratings.items():
        shifted = {(axis, row.prompt_id): row.reward + 7.0 for row in frame.itertuples()}
        rewards[judge, names[policy], seed] = rewards.get((judge, names[policy], seed), {}) | shifted
    shifted_outcome = outcome(compared(rated_of(rewards, config["judges"]).ratings, config))
    back = {new: old for old, new in names.items()}
    assert {(back[b], back[a], *rest): row for (b, a, *rest), row in shifted_outcome.items()} == expected


def test_where_the_judge_is_not_above_chance_nothing_is_ranked(ratings):
    rows = compared(ratings, reliable={("deberta", "harmlessness"): True, ("deberta", "helpfulness"): False})
    by_metric = {
        metric: {row["verdict"] for key, row in rows.items() if key[2] == metric} for metric in ("HmR", "HpR", "CAS", "win_rate_helpful")
    }
    assert by_metric["HpR"] == by_metric["CAS"] == by_metric["win_rate_helpful"] == {"undecided"}
    assert "better" in {row["verdict"] for row in compared(ratings, reliable={}).values() if row["metric"] == "HpR"}


def test_win_rates_against_root_parent_and_the_chosen_reply(ratings):
    chosen = {("deberta", axis): np.r_[np.full(40, 100.0), np.full(10, np.nan)] for axis in ("harmlessness", "helpfulness")}
    rows = {key[:3]: row for key, row in compared(ratings, {"all_pairs": False}, chosen=chosen).items()}
    for policy, against in (("sft", "base"), ("sft_dpo", "base"), ("dpo", "base"), ("sft_dpo", "sft")):
        row = rows[policy, against, "win_rate_helpful"]
        a, b = (ratings["deberta", name, 0 if name == "base" else 42, "helpfulness"]["reward"] for name in (against, policy))
        assert (row["only_a"], row["only_b"], row["n"]) == ((a > b).sum(), (b > a).sum(), 50)
        assert row["p"] == pytest.approx(binomtest(row["only_b"], row["only_a"] + row["only_b"]).pvalue)
    row = rows["base", "chosen", "win_rate_harmful"]  # no reply reaches 100
    assert (row["n"], row["only_a"], row["only_b"], row["difference"], row["verdict"]) == (40, 40, 0, -100, "worse")


def test_verdicts_follow_one_rule():
    row = {"difference": 1.0, "p_holm": 0.2, "p_equivalence_holm": 0.2, "judge_above_chance": None}

    def said(**more):
        told = decided(row | more)
        return told["verdict"], told["within_margin"]

    assert said() == ("undecided", False)
    assert said(p_equivalence_holm=0.04) == ("equivalent", False)
    assert said(p_holm=0.04) == ("better", False)
    assert said(p_holm=0.04, p_equivalence_holm=0.04) == ("better", True)
    assert said(p_holm=0.04, difference=-1.0) == ("worse", False)
    assert said(p_holm=0.04, p_equivalence_holm=0.04, judge_above_chance=False) == ("undecided", False)


def test_seeds_give_a_row_over_seeds_and_a_ceiling(tmp_path):
    stream = np.random.default_rng(0)
    config = CONFIG | {
        "policies": {"base": {"parent": None}, "sft": {"parent": "base"}, "sft_dpo": {"parent": "sft"}},
        "order": ["base", "sft", "sft_dpo"],
        "seeds": [1, 2],
        "contrasts": [["sft_dpo", "sft"], ["sft", "base"]],
        "primary": ["sft_dpo", "sft"],
    }
    ids = [(axis, f"{axis}-{number:03d}") for axis in ("harmlessness", "helpfulness") for number in range(20)]
    rewards = {("deberta", "base", 0): dict(zip(ids, stream.normal(-2.5, 1, 40), strict=True))}
    for policy in ("sft", "sft_dpo"):
        for seed in (1, 2):
            rewards["deberta", policy, seed] = dict(zip(ids, stream.normal(-2, 1, 40), strict=True))
    path = write_ratings(tmp_path / "ratings.parquet", rewards, config["judges"])
    ratings, clusters, _ = read_ratings(path)
    compared = [row for row in compare_policies(ratings, clusters, config) if row["metric"] == "CAS"]
    assert [(row["policy_b"], row["seed"], row["n_seeds"], row["estimand"]) for row in compared] == [
        (policy, *seeds) for seeds in ((1, 1, "these checkpoints"), (2, 1, "these checkpoints")) for policy in ("sft_dpo", "sft")
    ] + [(policy, None, 2, estimand) for policy in ("sft_dpo", "sft") for estimand in ("new seeds", "these checkpoints")]
    rows = compute_metrics.measure(ratings, clusters, config)
    per_seed = [row["value"] for row in rows if (row["policy"], row["metric"]) == ("sft", "CAS") and row["seed"]]
    over = next(row for row in rows if (row["policy"], row["metric"]) == ("sft", "CAS") and row["seed"] is None)
    assert over["value"] == pytest.approx(np.mean(per_seed)) and over["ci_low"] < over["value"] < over["ci_high"]
    assert not [row for row in rows if row["policy"] == "base" and row["seed"] is None]
    status, output = call(compute_retention, config=config, ratings=path, output=tmp_path / "r.parquet", changed=tmp_path / "c.parquet")
    assert status == 0, output
    ceilings = {row["reference"]: row["ceiling"] for row in pq.read_table(tmp_path / "r.parquet").to_pylist()}
    assert ceilings["base"] is None and 0 <= ceilings["sft"] <= 100

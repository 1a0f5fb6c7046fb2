"""The model of all labels: known answers, and what it does where labels say little or one thing only."""

import math

import numpy as np
import pytest
from command_line import call
from rated import table_of
from small_analysis import ONE_JUDGE, three_policies

from hh_align.analysis import model_labels
from hh_align.analysis.compare_policies import COMPARISONS, compare_policies
from hh_align.analysis.model_labels import MIXED_MODEL, Labels, contrast, model_axis
from hh_align.analysis.ratings import split
from hh_align.core.artifacts import read_table, write_table
from hh_align.core.axes import AXES
from hh_align.core.tables import RATINGS


def labels_from(blocks, clusters=None):
    """Labels of policies, each of shape (prompts, seeds)."""
    rows = []
    for number, block in enumerate(blocks):
        prompts, seeds = np.indices(block.shape)
        rows.append(np.vstack([block.ravel(), np.full(block.size, number), seeds.ravel(), prompts.ravel()]))
    good, policy, seed, prompt = np.hstack(rows)
    prompt = prompt.astype(int)
    return Labels(good, policy.astype(int), seed.astype(int), prompt, prompt if clusters is None else clusters[prompt])


def drawn(draw, n, betas, seeds=1, seed_sd=0.0, prompt_sd=1.5):
    """Labels of the model itself; the first policy has one checkpoint."""
    stream = np.random.default_rng(draw)
    prompts = stream.normal(0, prompt_sd, n)[:, None]
    blocks = []
    for number, beta in enumerate(betas):
        shifts = stream.normal(0, seed_sd, seeds if number else 1)
        blocks.append(stream.random((n, len(shifts))) < 1 / (1 + np.exp(-(beta + prompts + shifts))))
    return [block.astype(float) for block in blocks]


def said(blocks, clusters=None, pair=(0, 1)):
    (row,) = each_said(blocks, pair, clusters=clusters)
    return row


def each_said(blocks, *pairs, clusters=None):
    """What one model says of each pair."""
    fit = model_axis(labels_from(blocks, clusters))
    return [contrast([fit], *pair, 5.0) for pair in pairs]


@pytest.mark.parametrize("draw", [1, 2, 3])
def test_of_many_balanced_labels_the_difference_is_the_plain_one_and_its_interval_that_of_the_pairs(draw):
    a, b = drawn(draw, 1000, [0.0, 0.7])
    row, plain = said([a, b]), b - a
    assert row["modelled"] == pytest.approx(100 * plain.mean(), abs=0.3)
    reach = 100 * 1.96 * plain.std() / math.sqrt(1000)
    assert (row["modelled_high"] - row["modelled_low"]) / 2 == pytest.approx(reach, rel=0.1)
    assert row["p"] < 1e-4 and 0.9 < row["prompt_sd"] < 2.1


@pytest.mark.parametrize("draw", [1, 2, 3])
def test_a_planted_difference_is_recovered_and_of_equal_policies_none_found(draw):
    blocks = drawn(draw, 250, [0.0, 1.0, 1.0], seeds=3, seed_sd=0.1)
    better, equal = each_said(blocks, (0, 1), (1, 2))
    truth = 100 * np.mean([1 / (1 + np.exp(-(1 + z))) - 1 / (1 + np.exp(-z)) for z in np.random.default_rng(0).normal(0, 1.5, 20000)])
    for row, expected in ((better, truth), (equal, 0)):  # four standard errors: one draw in 16,000 lies beyond
        assert abs(row["modelled"] - expected) < 4 * (row["modelled_high"] - row["modelled_low"]) / 3.92
    assert better["modelled_low"] > 0 and better["p"] < 0.01 and equal["p"] > 0.01 and equal["seed_sd"] is not None


def test_exchanged_policies_have_the_opposite_difference():
    blocks = drawn(4, 100, [0.0, 0.5, 1.0])
    row, turned = each_said(blocks, (0, 2), (2, 0))
    assert [turned[name] for name in ("modelled", "modelled_low", "modelled_high")] == pytest.approx(
        [-row["modelled"], -row["modelled_high"], -row["modelled_low"]]
    )
    assert turned["p"] == pytest.approx(row["p"]) and turned["p_equivalence"] == pytest.approx(row["p_equivalence"])


def test_equal_labels_hold_0_and_are_equivalent_only_where_there_are_many():
    few, many = (np.tile([[1.0], [0.0]], (n // 2, 1)) for n in (50, 400))
    for labels, found in ((few, False), (many, True)):
        row = said([labels, labels.copy()])
        assert abs(row["modelled"]) < 1e-3 and row["modelled_low"] < 0 < row["modelled_high"] and (row["p_equivalence"] < 0.05) == found


def test_a_policy_all_good_or_all_bad_has_finite_numbers_without_a_warning():
    half, good, bad = np.tile([[1.0], [0.0]], (25, 1)), np.ones((50, 1)), np.zeros((50, 1))
    row = said([half, good])
    assert 30 < row["modelled_low"] < row["modelled"] < 50 + 1e-6 and row["modelled_high"] < 70
    row = said([bad, good])
    assert 80 < row["modelled_low"] < 97 < row["modelled"] < row["modelled_high"] < 100
    three = [np.repeat(block, 3, axis=1) for block in (half, good)]
    assert said([bad, *three], pair=(1, 2))["modelled_low"] > 0


def test_seeds_that_differ_and_replies_that_repeat_widen_the_interval():
    def width(blocks):
        row = said(blocks)
        return row["modelled_high"] - row["modelled_low"]

    a, b = drawn(6, 200, [0.0, 0.5])
    alone = width([a, b])
    assert width([np.repeat(a, 3, axis=1), np.repeat(b, 3, axis=1)]) > 0.85 * alone  # the same answers again say nothing more
    apart = np.hstack([b, np.ones_like(b), np.zeros_like(b)])
    assert width([a, apart]) > 2 * alone


def test_clusters_widen_the_interval():
    a, b = (np.repeat(block, 4, axis=0) for block in drawn(7, 60, [0.0, 0.6]))
    alone, together = said([a, b]), said([a, b], clusters=np.repeat(np.arange(60), 4))
    ends = ("modelled_high", "modelled_low")
    assert np.subtract(*map(together.get, ends)) > 1.5 * np.subtract(*map(alone.get, ends))


def test_of_few_prompts_or_clusters_or_equal_labels_nothing_is_modelled():
    blocks = drawn(8, 40, [0.0, 1.0])
    assert model_axis(labels_from(blocks)) is not None
    assert model_axis(labels_from([block[:19] for block in blocks])) is None
    assert model_axis(labels_from(blocks, np.arange(40) % 4)) is None
    assert model_axis(labels_from([np.ones((40, 1))] * 2)) is None


# --- the table


def rated_by_chance(config, n, shift):
    """Ratings in which sft is better than base by `shift` standard deviations, and dpo is like sft."""
    stream, shifts = np.random.default_rng(3), {"base": 0.0, "sft": shift, "dpo": shift}
    keys = [(axis, f"{axis}-{number:03d}") for axis in AXES for number in range(n)]
    prompts = stream.normal(0, 1, len(keys))
    rewards = {
        ("one", policy, seed): dict(zip(keys, prompts + shifts[policy] + stream.normal(0, 1, len(keys)), strict=True))
        for policy in config["order"]
        for seed in ([0] if policy == "base" else config["seeds"])
    }
    return table_of(rewards, ONE_JUDGE)


@pytest.mark.parametrize("seeds", [[7], [7, 8, 9]])
def test_the_step_stands_beside_the_exact_tests_and_gives_the_same_bytes_again(tmp_path, seeds):
    config = three_policies(seeds)
    write_table(tmp_path / "ratings.parquet", rated_by_chance(config, 150, 1.0), RATINGS, {})
    rated = model_labels.read_ratings(tmp_path / "ratings.parquet")
    write_table(tmp_path / "comparisons.parquet", compare_policies(rated.ratings, rated.clusters, config), COMPARISONS, {})
    files = {name: tmp_path / f"{name}.parquet" for name in ("ratings", "comparisons")}
    written = []
    for name in "ab":
        status, printed = call(model_labels, config=config, **files, output=tmp_path / f"{name}.parquet")
        assert status == 0 and "6 contrasts, 6 with a verdict of the model" in printed, printed
        written.append((tmp_path / f"{name}.parquet").read_bytes())
    assert written[0] == written[1]
    table = read_table(tmp_path / "a.parquet", MIXED_MODEL).to_pandas()
    assert set(table["n_seeds"]) == {len(seeds)} and (table["agrees"] == (table["verdict"] == table["modelled_verdict"])).all()
    better = table[table["policy_a"] == "base"]
    assert set(better["modelled_verdict"]) == {"better"} and better["agrees"].all() and (better["p_holm"] >= better["p"]).all()
    assert (table["modelled"] - table["difference"]).abs().max() < 1 and table["prompt_sd"].isna().sum() == 2
    assert table["seed_sd"].notna().any() == (len(seeds) > 1)


def test_too_few_prompts_leave_the_model_out_and_a_judge_below_chance_has_no_agreement():
    config = three_policies([7])
    few, many = (split(rated_by_chance(config, n, 0.5)) for n in (10, 40))
    rows = compare_policies(few.ratings, few.clusters, config)
    assert {row["modelled"] for row in model_labels.model_labels(few, config, rows)} == {None}
    rows = [row | {"judge_above_chance": False, "verdict": "undecided"} for row in compare_policies(many.ratings, many.clusters, config)]
    told = model_labels.model_labels(many, config, rows)
    assert {(row["modelled_verdict"], row["agrees"]) for row in told} == {("undecided", None)} and len(told) == 6
    assert model_labels.model_labels(many, config, []) == []

"""Labels until a contrast is decided: draws with known chances, values without bias, an interval that holds whenever one stops."""

import json
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import norm

from hh_align.analysis import sequential
from hh_align.analysis.sequential import FIRST, SIGN, Draw, Labelling, Pool, fit


def study(seed, prompts, rates, accuracy=0.9):
    """(labels, pool): rewards agree with the labels at about this share of the replies."""
    stream, share = np.random.default_rng(seed), np.sin(np.pi * (accuracy - 0.5))
    scores = np.sqrt(0.6) * stream.normal(size=(prompts, 1)) + np.sqrt(0.4) * stream.normal(size=(prompts, 2))
    rewards = np.sqrt(1 - share**2) * stream.normal(size=scores.shape) - share * scores
    return (scores < norm.ppf(rates)).astype(float), Pool(rewards, np.arange(prompts), np.zeros(prompts, bool))


def run(labels, pool, seed=0, most=10_000):
    labelling = Labelling(pool, 0.05, seed)
    standing = labelling.standing()
    while standing.verdict == "undecided" and standing.labels < most and (draw := labelling.ask()) is not None:
        standing = labelling.tell(draw, tuple(labels[draw.prompt]))
    return labelling, standing


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("told", [0, FIRST + 8])
def test_the_value_of_a_draw_is_right_on_average_whatever_the_predictions(seed, told):
    labels, pool = study(seed, 25, (0.4, 0.6))
    labelling, _ = run(labels, pool, seed, told)
    before = labelling.wanted.copy()
    known = (SIGN * labelling.bounds[0]).sum()
    total, values, chances = before.max(axis=1).sum(), 0.0, np.zeros(before.shape)
    for prompt in range(25):  # every draw that could come: the prompt, and the replies whose share of its chance is above the level drawn
        levels = sorted({0.0, *before[prompt]})
        for low, high in pairwise(levels):
            asked, chance = before[prompt] >= high, (high - low) / total
            chances[prompt] += chance * asked
            off = SIGN * (labels[prompt] - labelling.predicted[prompt]) * total / np.where(asked, before[prompt], np.inf)
            values += chance * off.sum()
    rest = (SIGN * labelling.predicted)[~labelling.known].sum()
    assert (known + rest + values) / 25 == pytest.approx((SIGN * labels).sum() / 25)
    draw = labelling.ask()
    asked = [side for side in (0, 1) if draw.chances[side]]
    assert asked and all(draw.chances[side] == pytest.approx(chances[draw.prompt, side]) for side in asked)
    assert draw.rest == pytest.approx(rest)


def test_prompts_and_replies_of_which_the_judge_is_unsure_are_asked_for_more():
    labels, pool = study(0, 400, (0.5, 0.5), 0.95)
    labelling, _ = run(labels, pool, most=60)
    asked = ~labelling.known
    unsure = np.abs(labelling.predicted - 0.5) < 0.2
    assert labelling.wanted[unsure & asked].min() > 2 * labelling.wanted[~unsure & asked].mean()
    assert labelling.wanted[asked].min() > 0


def test_a_large_difference_is_decided_early_and_an_interval_holds_the_truth():
    labels, pool = study(1, 1000, (0.3, 0.6))
    _, standing = run(labels, pool)
    assert standing.verdict == "better" and FIRST <= standing.labels < 150 and standing.needed == 0
    assert standing.low <= (SIGN * labels).sum() / 1000 <= standing.high
    _, other = run(labels[:, ::-1], pool._replace(rewards=pool.rewards[:, ::-1]))
    assert other.verdict == "worse"


def test_equal_policies_are_found_equivalent_where_there_are_prompts_enough():
    labels, pool = study(2, 6000, (0.97, 0.97), 0.9)
    assert run(labels, pool)[1].verdict == "equivalent"


def test_all_labelled_is_the_difference_itself():
    labels, pool = study(3, 30, (0.5, 0.5))
    labelling, standing = run(labels, pool)
    assert standing.verdict == "undecided" and standing.labels == 60 and labelling.ask() is None
    assert standing.value == pytest.approx((SIGN * labels).sum() / 30) and standing.needed is None


@pytest.mark.parametrize("seed", [0, 100, 200])
def test_equal_policies_are_rarely_told_apart_at_any_time(seed):
    # at most 5 % do, and of 20 studies more than 4 by a chance below 0.3 %
    found = [run(*study(seed + number, 100, (0.5, 0.5), 0.8), seed + number, 60)[1].verdict for number in range(20)]
    assert sum(verdict in ("better", "worse") for verdict in found) <= 4


def test_skipped_replies_count_for_whoever_the_verdict_is_against():
    labels, pool = study(4, 60, (0.1, 0.9))
    some = labels.copy()
    some[:20] = np.nan
    whole, part = run(labels, pool)[0], Labelling(pool, 0.05, 0)
    while (draw := part.ask()) is not None:
        standing = part.tell(draw, tuple(some[draw.prompt]))
    while (draw := whole.ask()) is not None:
        whole.tell(draw, tuple(labels[draw.prompt]))
    ends = part.estimate()[0]
    known = (SIGN * labels[20:]).sum() / 60
    assert ends == pytest.approx([known - 20 / 60, known + 20 / 60])
    assert standing.labels == 120 and whole.estimate()[0][0] == whole.estimate()[0][1]


def test_nothing_is_decided_of_skips_alone():
    _, pool = study(5, 60, (0.1, 0.9))
    assert run(np.full((60, 2), np.nan), pool)[1].verdict == "undecided"


def test_equal_texts_need_no_label():
    labels, pool = study(6, 50, (0.5, 0.5))
    same = np.arange(50) < 45
    labelling, standing = run(labels, pool._replace(same=same))
    assert standing.labels == 10 and {prompt for prompt, *_ in labelling.told} == set(range(45, 50))


def test_draws_from_disk_go_on_as_if_never_left():
    labels, pool = study(7, 200, (0.5, 0.5))
    first = Labelling(pool, 0.05, 3)
    draws = []
    for _ in range(40):
        draws.append(first.ask())
        first.tell(draws[-1], tuple(labels[draws[-1].prompt]))
    second = Labelling(pool, 0.05, 3)
    for draw in draws:
        stored = Draw(**json.loads(json.dumps(draw._asdict())))
        standing = second.tell(stored, tuple(labels[draw.prompt]))
    assert second.ask() == first.ask() and standing == first.standing()
    assert Labelling(pool, 0.05, 4).ask() != Labelling(pool, 0.05, 3).ask()


def test_the_interval_is_narrowest_where_it_is_planned_for():
    _, pool = study(8, 10, (0.5, 0.5))
    labelling = Labelling(pool, 0.05, 0)
    best = min((labelling.reach(power) * np.sqrt(power), power) for power in range(100, 5000, 10))
    assert best[1] == pytest.approx(10 / 0.1**2, abs=15)
    assert best[0] == pytest.approx(3.03, abs=0.01)  # of a fixed number of labels: 1.96


def test_clusters_of_prompts_that_go_alike_widen_the_interval():
    labels, pool = study(9, 300, (0.5, 0.5))
    order = np.argsort(labels[:, 1] - labels[:, 0])
    clusters = np.empty(300, int)
    clusters[order] = np.arange(300) // 30
    apart, together = Labelling(pool, 0.05, 0), Labelling(pool._replace(clusters=clusters), 0.05, 0)
    while (draw := apart.ask()) is not None:
        apart.tell(draw, tuple(labels[draw.prompt]))
        together.tell(draw, tuple(labels[draw.prompt]))
    assert together.estimate()[2][0] > 5 * apart.estimate()[2][0]


def test_the_predictions_are_the_most_likely_ones_under_the_prior():
    assert fit(np.zeros((0, 4)), np.zeros(0), sequential.PRIOR) == pytest.approx(sequential.PRIOR)
    stream = np.random.default_rng(0)
    features = stream.normal(size=(200, 4))
    labels = (stream.random(200) < 1 / (1 + np.exp(-features @ [1, 2, 0, -1]))).astype(float)
    found = fit(features, labels, sequential.PRIOR)
    slope = features.T @ (labels - 1 / (1 + np.exp(-features @ found))) - sequential.PRECISION @ (found - sequential.PRIOR)
    assert slope == pytest.approx(0, abs=1e-2)
    wide = fit(1e6 * features, labels, sequential.PRIOR)
    assert np.isfinite(wide).all()

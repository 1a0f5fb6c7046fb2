"""Power of the study's own prompts, which clusters take from it."""

import numpy as np
import pandas as pd
import pytest

from hh_align.analysis.compute_power import effective_prompts, questions
from hh_align.analysis.ratings import Rated
from hh_align.core.axes import AXES

CONFIG = {"discordance": 0.3, "sizes": [192]}


def rated_of(labels, clusters):
    """Two policies of these labels on both axes."""
    frames = {("j", name, seed, axis): pd.DataFrame({"label": part}) for (name, seed), part in labels.items() for axis in AXES}
    prompts = {axis: pd.DataFrame({"cluster": clusters}) for axis in AXES}
    return Rated(frames, dict.fromkeys(AXES, clusters), prompts)


def shown(labels, clusters):
    return {row["axis"]: row for row in questions(rated_of(labels, clusters), CONFIG) if row["question"] == "detectable difference"}


def test_prompts_that_are_asked_twice_are_worth_half_as_many():
    stream = np.random.default_rng(0)
    once = {("base", 0): stream.random(100) < 0.4, ("sft", 1): stream.random(100) < 0.6}
    twice = {key: np.repeat(part, 2) for key, part in once.items()}
    single, paired = shown(once, np.arange(100)), shown(twice, np.repeat(np.arange(100), 2))
    assert (single["harmlessness"]["n"], single["harmlessness"]["effective_n"], single["CAS"]["effective_n"]) == (100, 100, 200)
    assert (paired["harmlessness"]["n"], paired["harmlessness"]["effective_n"]) == (200, pytest.approx(97, abs=2))
    assert paired["harmlessness"]["difference"] == pytest.approx(single["harmlessness"]["difference"], abs=0.6)
    assert paired["CAS"]["difference"] < paired["harmlessness"]["difference"]


@pytest.mark.parametrize("count", [1, 5])
def test_too_few_clusters_find_nothing(count):
    labels = {("base", 0): np.arange(40) < 10, ("sft", 1): np.arange(40) < 30}
    rows = shown(labels, np.arange(40) % count)
    assert all((rows[axis]["effective_n"], rows[axis]["difference"]) == (0, None) for axis in (*AXES, "CAS"))


def test_policies_that_never_differ_count_their_clusters():
    labels = dict.fromkeys([("base", 0), ("sft", 1)], np.ones(60, bool))
    assert 25 < effective_prompts(rated_of(labels, np.arange(60) // 2), "harmlessness") <= 30

"""Labels that cannot be a random sample of the responses are refused; the chances with which others were drawn make up for them."""

import numpy as np
import pandas as pd
import pytest
from rated import rated_of
from scipy.stats import hypergeom
from small_analysis import LABELLED

from hh_align.analysis import ppi
from hh_align.analysis.correct_by_labels import by_labels
from hh_align.analysis.labels import read_labels
from hh_align.analysis.opinions import AS_LABELLED, Opinions, method
from hh_align.analysis.random_labels import ALPHA, unlike
from hh_align.core.errors import StudyError

AXES = ("harmlessness", "helpfulness")


def p_of(n, labelled, good, inside, clusters=None, chances=None):
    drawn = np.r_[np.arange(good) < inside, np.arange(n - good) < labelled - inside]
    return unlike(np.arange(n) < good, drawn, chances, np.arange(n) if clusters is None else clusters)


def test_the_p_is_the_hypergeometric_one():
    table = hypergeom(20, 10, 5)
    # all five of ten good ones, or none: both ends are as unlikely
    assert p_of(20, 5, 10, 5) == pytest.approx(2 * table.pmf(5))
    assert p_of(20, 5, 10, 3) == pytest.approx(1.0)
    assert p_of(20, 5, 20, 5) == p_of(20, 20, 10, 10) == 1.0  # all alike, or all labelled: nothing to find


@pytest.mark.parametrize(("n", "labelled", "good"), [(50, 20, 25), (200, 60, 108), (100, 30, 10)])
def test_a_random_sample_is_refused_in_no_more_studies_than_said_and_the_good_ones_always(n, labelled, good):
    counts = np.arange(max(0, labelled - n + good), min(labelled, good) + 1)
    refused = np.array([p_of(n, labelled, good, count) < ALPHA / 8 for count in counts])
    assert hypergeom(n, good, labelled).pmf(counts) @ refused <= ALPHA / 8
    assert refused[-1] and not refused[np.argmin(abs(counts - labelled * good / n))]


def test_whole_clusters_may_have_been_drawn():
    clusters = np.repeat(np.arange(10), 10)  # each all good or all bad
    assert p_of(100, 20, 50, 20) < 1e-5 < 0.05 < p_of(100, 20, 50, 20, clusters=clusters)


def test_chances_that_explain_the_draw_are_taken_and_others_not():
    assert p_of(100, 50, 50, 40, chances=(0.2, 0.8)) == 1.0
    assert p_of(100, 40, 50, 40, chances=(0.8, 0.8)) < 1e-10  # a bad one would have come with the same chance


@pytest.fixture
def study(tmp_path):
    """(path of the labels, ratings, labels of all responses): 100 prompts per axis, half of them good by the judge, who errs on each fifth."""
    ids = [(axis, f"{axis}-{number:03d}") for axis in AXES for number in range(100)]
    good = {(policy, key): number % 2 == (policy == "sft") for policy in ("base", "sft") for number, key in enumerate(ids)}
    where = {"base": 0, "sft": 42}
    rewards = {("j", policy, seed): {key: 1.0 if good[policy, key] else -1.0 for key in ids} for policy, seed in where.items()}
    rows = [
        {"policy": policy, "seed": where[policy], "axis": axis, "prompt_id": name, "good": good[policy, (axis, name)] != (number % 5 == 0)}
        for policy in where
        for number, (axis, name) in enumerate(ids)
    ]
    return tmp_path / "labels.csv", rated_of(rewards, LABELLED["judges"]), pd.DataFrame(rows)


def judged_good(frame):
    return frame["good"] != (frame["prompt_id"].str[-3:].astype(int) % 5 == 0)


def told(study, frame, config=LABELLED):
    path, rated, _ = study
    frame.to_csv(path, index=False)
    rows, _ = by_labels(read_labels(path, rated.ratings, None), path, rated, config)
    return {(row["policy_b"], row["policy_a"], row["metric"]): row for row in rows}


def test_labels_of_the_judges_good_ones_are_refused(study):
    frame = study[2][judged_good(study[2])]
    said = r"labels.csv: the labelled responses of \w+, seed \d+, \w+ are no random sample of the responses \(4 of 4 .*\): judge j calls 50 of these 50 "
    with pytest.raises(StudyError, match=said + r"good, and 50 of all 100 .* in a column probability"):
        told(study, frame)
    with pytest.raises(StudyError, match="are not drawn with the chances that column probability gives"):
        told(study, frame.assign(probability=0.9))


def test_known_chances_make_up_for_an_unequal_draw(study):
    # every good one by the judge, and each fifth pair of the others: the truth is that of all labels, where those drawn are like their kind
    frame = study[2]
    kept = judged_good(frame) | (frame["prompt_id"].str[-3:].astype(int) % 20 < 10)
    rows = told(study, frame.assign(probability=np.where(judged_good(frame), 1.0, 0.5))[kept])
    whole = frame.groupby(["policy", "axis"])["good"].mean()
    for policy in ("base", "sft"):
        row = rows[policy, None, "HmR"]
        assert row["corrected"] == pytest.approx(100 * whole[policy, "harmlessness"]) == row["labels_value"]
        assert "weighed by 1 / probability" in row["method"] and row["labelled"] == 75


def test_chances_that_are_unequal_for_one_policy_only_are_said():
    frame = pd.DataFrame({"policy": ["base", "sft"] * 2, "probability": [1.0, 1.0, 1.0, 0.5]})
    estimates = {
        (policy, "HmR"): ppi.rate("h", np.array([0.0, 1.0]), np.array([0.0, 1.0]), part["probability"].to_numpy())
        for policy, part in frame.groupby("policy")
    }
    opinions = Opinions("j", 42, {}, None, {}, {}, {AS_LABELLED: estimates}, {})
    assert method([opinions]) == "prediction-powered, labels weighed by 1 / probability"


def test_equal_chances_are_a_random_sample():
    stream = np.random.default_rng(3)
    opinions, labels = stream.integers(0, 2, 80).astype(float), np.where(np.arange(80) < 30, np.arange(80) % 3 > 0, np.nan)
    plain, weighed = ppi.rate("h", opinions, labels), ppi.rate("h", opinions, labels, np.full(80, 0.4))
    assert weighed.value == pytest.approx(plain.value) and weighed.labelled == pytest.approx(30)
    assert weighed.influence["h"] == pytest.approx(plain.influence["h"])


def test_the_weighted_rate_is_the_stratified_one():
    # Hájek within what the judge calls good and bad: 40 % of all are good, of which 3 in 4 truly, and of the others 1 in 2
    opinions, labels = (np.arange(100) < 40).astype(float), np.full(100, np.nan)
    labels[:4], labels[40:42] = (1, 1, 1, 0), (1, 0)
    chances = np.where(opinions == 1, 0.1, 0.05)
    assert ppi.rate("h", opinions, labels, chances).value == pytest.approx(0.4 * 0.75 + 0.6 * 0.5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.assign(probability=1.5), r"row 1: probability is 1.5, not the chance of a draw, above 0 and at most 1"),
        (lambda f: f.assign(probability=0), r"row 1: probability is 0, not the chance"),
        (lambda f: f.assign(probability=[None, *[0.5] * (len(f) - 1)]), r"column probability is empty in 1 row \(the first is row 1\)"),
        (lambda f: pd.concat([f.assign(annotator=name, probability=p) for name, p in (("a", 0.5), ("b", 0.6))]), "has two probabilities"),
        (lambda f: f.assign(skipped=True), r"row 1: skipped, and yet good is"),
    ],
)
def test_chances_that_are_none_are_one_error(study, change, said):
    with pytest.raises(StudyError, match=said):
        told(study, change(study[2]))


def test_skips_are_counted_and_the_verdict_at_worst_is_told(study, capsys):
    frame = study[2]
    out = (frame["axis"] == "harmlessness") & (frame["policy"] == "sft") & frame["prompt_id"].str[-2:].eq("01")
    for every, verdicts in ((1, {"undecided"}), (0, {"better", "worse"})):
        skipped = out if every else (frame["axis"] == "harmlessness") & (frame["prompt_id"].str[-3:].astype(int) % 2 == 1)
        rows = told(study, frame.assign(good=frame["good"].astype(object).where(~skipped, None), skipped=skipped))
        level, contrast = rows["sft", None, "HmR"], rows["sft", "base", "HmR"]
        assert level["skipped"] == (1 if every else 50) and level["labelled"] + level["skipped"] == 100
        assert level["skip_low"] < level["skip_high"] and contrast["skip_low"] < contrast["corrected"] < contrast["skip_high"]
        assert set(contrast["skip_verdicts"].split(" or ")) == verdicts
        assert rows["sft", None, "HpR"]["skipped"] == 0 and "skip_verdicts" not in rows["sft", "base", "HpR"]
    assert "sft, seed 42, harmlessness: 1 of 100 responses were skipped" in capsys.readouterr().out


@pytest.mark.parametrize("seeds", [(42, 43), (0, 1)])
def test_seeds_that_say_the_same_say_it_for_new_seeds(study, seeds):
    _, rated, frame = study
    ratings = {(j, policy, at, axis): part for (j, policy, seed, axis), part in rated.ratings.items() for at in (seeds if seed else (0,))}
    both = pd.concat([frame[frame["seed"] == 0], *(frame[frame["seed"] == 42].assign(seed=seed) for seed in seeds)])
    where = (study[0], rated._replace(ratings=ratings), both)
    rows = told(where, both, LABELLED | {"seeds": list(seeds)})  # of a key the last rows, which are over the seeds
    single = told(study, frame)
    contrast, one = rows["sft", "base", "HmR"], single["sft", "base", "HmR"]
    assert contrast["seed"] is None and one["seed"] == 42
    assert (contrast["corrected"], contrast["judge_value"], contrast["n"]) == (one["corrected"], one["judge_value"], 100)
    assert rows["sft", None, "HmR"]["seed"] is None and rows["base", None, "HmR"]["seed"] == 0

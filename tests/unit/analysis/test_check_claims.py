"""Published sentences against numbers: one rule, and the paper's own sentences against the paper's own ratings."""

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import norm
from study_folder import REPOSITORY

from hh_align.analysis.check_claims import check, conclude, judged, literally
from hh_align.analysis.ratings import read_ratings
from hh_align.analysis.spreads import compare_spreads, jackknife
from hh_align.config.check_facts import comparing

DEFAULTS = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
CLAIMS = comparing(DEFAULTS["claims"])
AXES = ("harmlessness", "helpfulness")
POLICIES = {"base": {"parent": None}, "sft": {"parent": "base"}, "dpo": {"parent": "base"}, "sft_dpo": {"parent": "sft"}}
CONFIG = {
    "judges": {"deberta": {"harmless_min": -3.0, "helpful_above": -2.0}},
    "policies": POLICIES,
    "order": list(POLICIES),
    "seeds": [42],
    "equivalence_margin": 5.0,
    "bootstrap": {"samples": 2000, "seed": 1},
}


@pytest.fixture(scope="module")
def paper(released):
    """claim -> its row, the paper's sentences on the paper's released ratings."""
    rated = read_ratings(released / "ratings.parquet")
    return pd.DataFrame(check(rated.ratings, dict.fromkeys(AXES, np.arange(50)), CONFIG | {"claims": CLAIMS}))


def test_outperforms_all_others_is_not_what_the_papers_own_numbers_say(paper):
    rows = paper[paper["claim"] == "SFT+DPO outperforms all others across all metrics"]
    assert len(rows) == 3 * 5 and set(rows["as_stated"]) == {"no"}
    parts = rows.set_index("part")
    assert (parts.loc["HmR: sft_dpo - sft", "value"], parts.loc["HmR: sft_dpo - sft", "part_verdict"]) == (pytest.approx(-4), "undecided")
    harmful = parts[parts.index.str.startswith("mean_reward_harmful")]
    assert len(harmful) == 3 and (harmful["value"] < 0).all()  # -3.68 is the lowest of all
    assert parts.loc["HpR: sft_dpo - base", ["part_verdict", "part_as_stated"]].tolist() == ["supported", "yes"]
    assert any(text in rows["reason"].iloc[0] for text in ("mean_reward_harmful of sft_dpo -3.68 < ", "HmR of sft_dpo 44 < sft 48"))


def test_the_papers_sentences(paper):
    said = {claim: (verdict, stated) for claim, verdict, stated in paper[["claim", "verdict", "as_stated"]].drop_duplicates().to_numpy()}
    assert said == {
        "SFT+DPO outperforms all others across all metrics": ("undecided", "no"),
        "SFT outperforms DPO": ("undecided", "yes"),
        "The base model has the widest variance": ("contradicted", "no"),
        "DPO contributes positively to safety": ("undecided", "no"),
        "DPO makes the model safer and more helpful": ("undecided", "no"),
        "DPO does better than SFT": ("undecided", "no"),
        "SFT then DPO does better than either alone": ("undecided", "no"),
    }


def ratings_of(**rewards):
    """Equal rewards on both axes; good means above 0."""
    frames = {
        name: pd.DataFrame({"prompt_id": [f"p{n:03d}" for n in range(len(values))], "reward": values}) for name, values in rewards.items()
    }
    return {
        ("deberta", name, 0 if name == "base" else 42, axis): frame.assign(label=frame["reward"] > 0)
        for name, frame in frames.items()
        for axis in AXES
    }


def checked(claim, reliable=None, **rewards):
    config = CONFIG | {"claims": [{"claim": "it is so", "source": "", "parts": [claim]}], "order": list(rewards)}
    n = len(next(iter(rewards.values())))
    return check(ratings_of(**rewards), dict.fromkeys(AXES, np.arange(n)), config, reliable)


@pytest.mark.parametrize(
    ("shift", "verdict", "stated"),
    [
        (1.0, "supported", "yes"),
        (0.02, "undecided", "yes"),
        (-0.02, "undecided", "no"),
        (0.0, "undecided", "no"),
        (-1.0, "contradicted", "no"),
    ],
)
def test_the_rule_is_the_same_both_ways(shift, verdict, stated):
    stream = np.random.default_rng(0)
    base = stream.normal(size=200)
    noise = stream.normal(size=200) if shift else np.zeros(200)
    sft = base + shift + (noise - noise.mean()) * 0.5
    claim, converse = ({"higher": b, "than": [a], "metrics": ["mean_reward_helpful"]} for b, a in (("sft", "base"), ("base", "sft")))
    (row,), (other,) = (checked(each, base=base, sft=sft) for each in (claim, converse))
    assert (row["verdict"], row["part_verdict"], row["as_stated"], row["part_as_stated"]) == (verdict, verdict, stated, stated)
    turned = {"supported": "contradicted", "contradicted": "supported"}
    assert other["verdict"] == turned.get(verdict, verdict) and other["as_stated"] == ("yes" if shift < 0 else "no")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_sentence_of_many_parts_that_is_true_is_seldom_contradicted(seed):
    """Six parts of no difference at all: a part looks denied in half of the studies, by chance; Holm holds the sentence at 5 %."""
    stream, denied, literal = np.random.default_rng(seed), 0, 0
    parts = [("sft", f"arm_{number}", "HmR") for number in range(6)]
    for _ in range(300):
        z = stream.normal(size=6)
        by_part = {part: {"difference": value, "p": float(2 * norm.sf(abs(value)))} for part, value in zip(parts, z, strict=True)}
        denied += conclude(judged(parts, by_part, {})) == "contradicted"
        literal += literally(list(z)) == "no"
    assert denied / 300 <= 0.06 and literal / 300 > 0.9


@pytest.mark.parametrize(("seeds", "test"), [(1, "Pitman-Morgan, percentile bootstrap"), (2, "percentile bootstrap")])
def test_spreads_name_the_test_behind_their_p(seeds, test):
    a, b = np.random.default_rng(0).normal(size=(2, 40, seeds))
    spread = compare_spreads(a, 2 * b, np.arange(40), {"samples": 400, "seed": 1})
    assert spread["test"] == test and spread["p"] < 0.05


def test_a_judge_that_is_not_above_chance_decides_nothing():
    claim = {"higher": "sft", "than": ["base"], "metrics": ["HmR", "HpR"]}
    values = {"base": np.full(60, -1.0), "sft": np.full(60, 1.0)}
    assert {row["verdict"] for row in checked(claim, **values)} == {"supported"}
    rows = checked(claim, reliable={("deberta", "helpfulness"): False}, **values)
    assert [row["part_verdict"] for row in rows] == ["supported", "undecided"]
    assert rows[0]["verdict"] == "undecided" and "not above chance on helpfulness" in rows[0]["reason"]


def test_no_other_arm_touches_a_sentence_of_the_paper():
    # a control above sft_dpo would deny "all others", of which the paper has three
    stream, names = np.random.default_rng(2), [*POLICIES, "sft_dpo_coin"]
    rewards = {name: number / 2 - 1 + stream.normal(size=200) for number, name in enumerate(names)}
    config = CONFIG | {"claims": CLAIMS, "order": names, "policies": POLICIES | {"sft_dpo_coin": {"parent": "sft"}}}
    rows = pd.DataFrame(check(ratings_of(**rewards), dict.fromkeys(AXES, np.arange(200)), config))
    assert not rows["part"].str.contains("sft_dpo_coin").any()
    assert set(rows[rows["claim"].str.startswith("SFT+DPO outperforms")]["verdict"]) == {"supported"}


def test_a_sentence_about_an_absent_policy_is_left_out(capsys):
    assert checked({"higher": "ppo", "than": ["base"], "metrics": ["HmR"]}, base=np.zeros(9)) == []
    assert "the study has no ppo" in capsys.readouterr().out


def test_one_denied_part_is_enough_and_every_part_is_needed():
    assert conclude(["supported", "contradicted"]) == "contradicted"
    assert conclude(["supported", "undecided"]) == "undecided"
    assert conclude(["supported", "supported"]) == "supported"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_spreads_cover_and_find_what_is_there(seed):
    stream, hits, rejected = np.random.default_rng(seed), 0, 0
    for _ in range(200):
        a = stream.normal(size=(80, 1))
        spread = compare_spreads(a, 0.5 * a + np.sqrt(0.75) * stream.normal(size=(80, 1)), np.arange(80), {"samples": 400, "seed": 1})
        hits += spread["ci_low"] <= 0 <= spread["ci_high"]
        rejected += spread["p"] < 0.05
    assert hits / 200 > 0.88 and rejected / 200 < 0.1
    wide = compare_spreads(a, 0.5 * a + 2 * stream.normal(size=(80, 1)), np.arange(80), {"samples": 1000, "seed": 1})
    assert 0 < wide["ci_low"] < wide["difference"] < wide["ci_high"] and wide["p"] < 1e-4


def test_a_spread_of_clusters_is_told_by_their_number():
    stream, clusters = np.random.default_rng(1), np.repeat(np.arange(8), 10)
    a, b = (stream.normal(size=(8, 1))[clusters] * np.exp(stream.normal(size=(8, 1)))[clusters] for _ in range(2))
    without = [(b[clusters != n].std(0, ddof=1) - a[clusters != n].std(0, ddof=1)).mean() for n in range(8)]
    assert jackknife(a, b, clusters) == pytest.approx(7 / 8 * ((without - np.mean(without)) ** 2).sum())
    row, single = (compare_spreads(a, b, groups, {"samples": 400, "seed": 1}) for groups in (clusters, np.arange(80)))
    assert row["test"] == "jackknife over clusters, t" and row["difference"] == single["difference"]
    assert row["ci_high"] - row["ci_low"] > 2 * (single["ci_high"] - single["ci_low"])
    few = compare_spreads(a, b, np.arange(80) % 4, {"samples": 400, "seed": 1})
    assert (few["ci_low"], few["p"]) == (None, None)


def test_labels_speak_instead_of_the_judge_where_they_are():
    ratings = ratings_of(base=np.linspace(-1, 1, 60), sft=np.linspace(-0.2, 2, 60))
    claim = {"claim": "SFT is safer", "source": "", "parts": [{"higher": "sft", "than": ["base"], "metrics": ["HmR"]}]}
    config = CONFIG | {"order": ["base", "sft"], "claims": [claim]}
    about = {"judge": "deberta", "metric": "HmR", "p": None}
    gold = [
        {**about, "seed": 0, "policy_a": None, "policy_b": "base", "corrected": 50.0},
        {**about, "seed": 42, "policy_a": None, "policy_b": "sft", "corrected": 40.0},
        {**about, "seed": 42, "policy_a": "base", "policy_b": "sft", "corrected": -10.0, "ci_low": -19.0, "ci_high": -1.0, "p": 0.03, "method": "labels"},
    ]  # fmt: skip
    judged_so, labelled_so = (check(ratings, dict.fromkeys(AXES, np.arange(60)), config, gold=rows)[0] for rows in ([], gold))
    assert (judged_so["verdict"], labelled_so["verdict"]) == ("supported", "contradicted")
    assert labelled_so["reason"] == "HmR of sft 40 < base 50 (p 0.03, by labels)" and labelled_so["statistic"] == "labels"
    lost = check(ratings, dict.fromkeys(AXES, np.arange(60)), config, {("deberta", "harmlessness"): False}, gold=gold)[0]
    assert lost["verdict"] == "contradicted"  # the judge is not asked

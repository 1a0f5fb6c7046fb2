"""The text gate: each limit at and around its value, what it says in words, and how seeds are told together."""

import pytest
import yaml
from study_folder import REPOSITORY

from hh_align.analysis.text_gate import caveat_of, caveat_over_seeds, in_short, is_unmoved, what_changed, why_broken

LIMITS = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())["analysis"]["text"]
GOOD = {
    "policy": "dpo", "parent": "sft", "n": 100, "cut_harmful": 10.0, "cut_helpful": 10.0, "empty_harmful": 0.0, "empty_helpful": 0.0,
    "repeating_harmful": 0.0, "repeating_helpful": 0.0, "same": 10.0, "words": 12.0, "entropy": 1.8, "kl_parent": 0.1, "kl_root": 0.3, "perplexity_root": 9.0, "unchanged": 40, "margin": 0.5,
}  # fmt: skip
SFT, BASE = (
    GOOD | {"policy": "sft", "parent": "base"},
    GOOD | {"policy": "base", "parent": None, "entropy": 2.0, "kl_parent": None, "kl_root": None, "perplexity_root": 8.0},
)


def why(against=(SFT, BASE), trained=True, **changes):
    return why_broken(GOOD | changes, list(against), LIMITS, trained)


def test_a_policy_within_its_limits_has_nothing_against_it():
    assert why() == [] and why_broken(BASE, [], LIMITS, False) == []


@pytest.mark.parametrize(
    ("at", "beyond", "said"),
    [
        ({"empty_helpful": 50.0}, {"empty_helpful": 52.0}, "52 % of its replies to helpful prompts are empty"),
        ({"repeating_harmful": 50.0}, {"repeating_harmful": 96.0, "repeating_helpful": 95.0}, "95 to 96 % of its replies repeat themselves"),
        ({"cut_harmful": 60.0}, {"cut_harmful": 98.0}, "98 % of its replies to harmful prompts are cut, 10 % of sft's"),
        ({"same": 75.0}, {"same": 76.0}, "one text makes 76 % of its replies"),
        ({"words": 120.0}, {"words": 121.0}, "its replies have 121.0 words, sft's 12.0"),
        ({"words": 1.2}, {"words": 1.1}, "its replies have 1.1 words, sft's 12.0"),
        ({"perplexity_root": 24.0}, {"perplexity_root": 234.5}, "its samples have a perplexity of 234 under base, whose own have 8"),
        ({"kl_parent": 1.8}, {"kl_parent": 2.91}, "2.91 nats per token from sft, whose own entropy is 1.80"),
        ({"kl_root": 2.0}, {"kl_root": 2.01}, "2.01 nats per token from base, whose own entropy is 2.00"),
    ],
)  # fmt: skip
def test_each_limit(at, beyond, said):
    assert why(**at) == [] and why(**beyond) == [said]


def test_the_share_cut_counts_against_the_parent_and_the_root():
    # a protocol that cuts everything says nothing; a broken parent does not excuse its child
    cut = {"cut_harmful": 100.0, "cut_helpful": 100.0}
    assert why(against=(SFT | cut, BASE | cut), **cut) == []
    assert why(against=(SFT | cut, BASE), **cut) == ["100 % of its replies are cut, 10 % of base's"]
    unknown = {"cut_harmful": None, "cut_helpful": None}
    assert why(against=(SFT | unknown, BASE | unknown), **cut) == why(**unknown) == []


def test_what_no_training_made_may_be_longer_and_cut_more_often():
    # asked without stop words, or written by another program; loops and empty replies are broken whoever wrote them
    otherwise = {"cut_harmful": 100.0, "cut_helpful": 100.0, "words": 330.0}
    assert why(trained=False, **otherwise) == [] and len(why(**otherwise)) == 2
    assert why(trained=False, repeating_harmful=96.0, **otherwise) == ["96 % of its replies to harmful prompts repeat themselves"]


def test_what_is_not_measured_is_not_held_against_a_policy():
    unknown = dict.fromkeys(("entropy", "kl_parent", "kl_root", "perplexity_root"))
    assert why(against=(SFT | unknown, BASE | unknown), **unknown) == []
    assert why(against=(SFT | unknown, BASE | unknown), kl_parent=9.0, kl_root=9.0, perplexity_root=1e6) == []


def test_a_root_may_be_broken_from_the_start():
    assert why_broken(BASE | {"repeating_helpful": 97.0}, [], LIMITS, False) == ["97 % of its replies to helpful prompts repeat themselves"]


def test_a_training_that_did_nothing():
    nothing = GOOD | {"unchanged": 87, "kl_parent": 0.00002, "margin": 0.0003}
    assert what_changed(nothing) == "87 of 100 replies are sft's, 0.00002 nats per token, a margin of 0.0003 at the end"
    assert what_changed(nothing | {"kl_parent": None, "margin": None}) == "87 of 100 replies are sft's"
    assert is_unmoved(nothing, LIMITS) and not is_unmoved(GOOD, LIMITS)
    assert is_unmoved(nothing | {"kl_parent": 0.00009, "unchanged": 20}, LIMITS)  # the divergence decides: greedy replies turn at near ties
    assert not is_unmoved(nothing | {"kl_parent": 0.0001, "unchanged": 100}, LIMITS)
    assert not is_unmoved(nothing | {"kl_parent": None, "unchanged": 90}, LIMITS)  # not measured: the replies decide
    assert is_unmoved(nothing | {"kl_parent": None, "unchanged": 91}, LIMITS)


def row(seed, broken=None, unmoved=False):
    return {
        "seed": seed,
        "broken": broken is not None,
        "broken_why": broken,
        "unmoved": unmoved,
        "unmoved_why": "9 of 9 replies are base's",
    }


def test_seeds_are_told_together():
    assert caveat_over_seeds([row(1)]) is None and caveat_over_seeds([]) is None
    assert caveat_over_seeds([row(1, "it is cut")]) == "its text is broken: it is cut"
    assert caveat_over_seeds([row(1, "it is cut"), row(2, "it is empty")]) == "its text is broken at all 2 seeds: it is cut (seed 1)"
    assert caveat_over_seeds([row(1), row(2, "it is cut"), row(3)]) == "its text is broken at seed 2 of 3: it is cut"
    both = caveat_over_seeds([row(1, "it is cut", True)])
    assert both == "its text is broken: it is cut; its training changed almost nothing: 9 of 9 replies are base's"


def test_the_root_serves_every_seed_and_a_datasets_reply_is_not_examined():
    config = {"policies": {"base": {"parent": None}, "sft": {"parent": "base"}}, "seeds": [1, 2]}
    examined = {("base", 0): row(0, "it is cut"), ("sft", 1): row(1), ("sft", 2): row(2, "it is cut")}
    assert caveat_of(examined, config, "base", [1, 2]) == "its text is broken: it is cut"
    assert caveat_of(examined, config, "sft", [1]) is None
    assert caveat_of(examined, config, "sft", [1, 2]) == "its text is broken at seed 2 of 2: it is cut"
    assert caveat_of(examined, config, "chosen", [1]) is None and caveat_of({}, config, "sft", [1]) is None


def test_policies_are_told_together_in_short():
    config = {"policies": {"base": {"parent": None}, "sft": {"parent": "base"}, "dpo": {"parent": "base"}}, "seeds": [1, 2]}
    examined = {
        ("base", 0): row(0, "it is cut"),
        ("sft", 1): row(1),
        ("sft", 2): row(2, "it is cut", True),
        ("dpo", 1): row(1),
        ("dpo", 2): row(2),
    }
    assert (
        in_short(examined, config, ["base", "sft", "dpo"])
        == "the text of base and sft is broken; the training of sft changed almost nothing"
    )
    assert in_short(examined, config, ["dpo"]) is None and in_short({}, config, ["base"]) is None

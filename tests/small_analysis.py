"""Configs of small analyses, shared by the tests of their steps."""

LABELLED = {
    "judges": {"j": {"harmless_min": 0.0, "helpful_above": 0.0}},
    "policies": {"base": {"parent": None}, "sft": {"parent": "base"}},
    "order": ["base", "sft"],
    "seeds": [42],
    "contrasts": [["sft", "base"]],
    "primary": [],
    "equivalence_margin": 5.0,
    "seed": 1,
}
"""Two policies that people label."""
ONE_JUDGE = {"one": {"harmless_min": 0.0, "helpful_above": 0.0}}


def three_policies(seeds: list[int]) -> dict:
    """base, and sft and dpo from it."""
    parents = {"base": None, "sft": "base", "dpo": "base"}
    return {
        "judges": ONE_JUDGE, "policies": {name: {"parent": parent} for name, parent in parents.items()}, "order": list(parents),
        "seeds": seeds, "contrasts": [["sft", "base"], ["dpo", "sft"]], "all_pairs": True, "primary": ["dpo", "sft"],
        "equivalence_margin": 5.0, "bootstrap": {"samples": 50, "seed": 1}, "examined": [],
    }  # fmt: skip

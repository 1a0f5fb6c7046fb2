"""The paper's released prompts, responses and ratings, imported and analysed, for the tests that hold the analysis to known numbers."""

from pathlib import Path

import yaml
from command_line import call
from study_folder import REPOSITORY, SHARED

from hh_align.analysis import compare_policies, compute_metrics, compute_power, compute_retention, gather_ratings, sweep_thresholds
from hh_align.analysis.ratings import checkpoints
from hh_align.data import import_release

RELEASE = SHARED / "paper-release"
RELEASED = yaml.safe_load((REPOSITORY / "config/published.yaml").read_text())["release"]
CONFIG = {
    "judges": {"deberta": {"harmless_min": -3.0, "helpful_above": -2.0}},
    "policies": {"base": {"parent": None}, "sft": {"parent": "base"}, "dpo": {"parent": "base"}, "sft_dpo": {"parent": "sft"}},
    "order": ["base", "sft", "dpo", "sft_dpo"],
    "seeds": [42],
    "bootstrap": {"samples": 2000, "seed": 1},
    "contrasts": [["dpo", "base"], ["dpo", "sft"], ["sft_dpo", "sft"], ["sft_dpo", "dpo"]],
    "primary": ["sft_dpo", "sft", "CAS"],
    "equivalence_margin": 5.0,
    "all_pairs": False,
    "examined": [],
}


def analyse_release(folder: Path) -> None:
    """Write the release's prompts and ratings and the tables of its analysis into a folder, each as <name>.parquet."""
    answered = checkpoints(CONFIG)
    responses = [folder / f"responses/{policy}/seed-{seed}.parquet" for policy, seed in answered]
    rewards = [folder / f"rewards/deberta/{policy}/seed-{seed}.parquet" for policy, seed in answered]
    files = {
        name: folder / f"{name}.parquet" for name in ("prompts", "ratings", "metrics", "comparisons", "power", "thresholds", "retention")
    }
    files |= {name: folder / f"{name}.parquet" for name in ("leads", "flips", "changed")}
    ratings = {"ratings": files["ratings"]}
    flips = {"leads": files["leads"], "flips": files["flips"]}
    for module, config, options, output in (
        (import_release, RELEASED, {"release": RELEASE, "prompts": files["prompts"], "responses": responses, "rewards": rewards}, None),
        (gather_ratings, CONFIG, {"prompts": files["prompts"], "responses": responses, "rewards": rewards}, "ratings"),
        (compute_metrics, CONFIG, ratings, "metrics"),
        (compare_policies, CONFIG | {"all_pairs": True}, ratings, "comparisons"),
        (compute_power, CONFIG | {"sizes": [192], "discordance": 0.3}, ratings | {"comparisons": files["comparisons"]}, "power"),
        (sweep_thresholds, CONFIG, ratings | flips, "thresholds"),
        (compute_retention, CONFIG, ratings | {"changed": files["changed"]}, "retention"),
    ):
        status, printed = call(module, config=config, **options, **({"output": files[output]} if output else {}))
        assert status == 0, printed

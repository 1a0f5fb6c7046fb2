"""The declared contrasts: paired tests and intervals of the differences, corrected for their number, and a verdict by one rule."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from hh_align.analysis.choices import Choices, preferred, read_choices
from hh_align.analysis.contrasts import Pair, compare_wins, contrasts_of
from hh_align.analysis.families import FAMILY, is_primary, settled
from hh_align.analysis.ratings import Ratings, judged_axes, read_ratings, seed_of
from hh_align.analysis.reliability import on_all, read_reliability
from hh_align.analysis.statistics import THESE_CHECKPOINTS
from hh_align.analysis.text_gate import Examined, caveat_of, read_text
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.axes import METRIC_AXES, WINS
from hh_align.core.command import parse, run

COMPARISONS = pa.schema(
    [
        ("judge", pa.string()),
        ("seed", pa.int64()),
        ("n_seeds", pa.int64()),
        ("policy_a", pa.string()),
        ("policy_b", pa.string()),
        ("metric", pa.string()),
        ("test", pa.string()),
        ("family", pa.string()),
        ("family_size", pa.int64()),
        ("estimand", pa.string()),
        ("n", pa.int64()),
        ("difference", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("sim_low", pa.float64()),
        ("sim_high", pa.float64()),
        ("only_a", pa.int64()),
        ("only_b", pa.int64()),
        ("p", pa.float64()),
        ("p_holm", pa.float64()),
        ("p_equivalence", pa.float64()),
        ("p_equivalence_holm", pa.float64()),
        ("judge_above_chance", pa.bool_()),
        ("verdict", pa.string()),
        ("within_margin", pa.bool_()),
        ("caveat_a", pa.string()),
        ("caveat_b", pa.string()),
    ]
)
CHOSEN = "chosen"


def adjust(rows: list[dict], primary: list[str], margin: float | None = None) -> list[dict]:
    """Add Holm's p over the contrasts of a family within (judge, seed, metric, estimand), and the verdict, with which the simultaneous interval agrees.

    The primary contrast is on its metric a family by itself.
    """
    for row in rows:
        if row["family"] == "declared" and is_primary((row["policy_b"], row["policy_a"]), row["metric"], primary):
            row["family"] = "primary"
    return settled(rows, FAMILY, margin)


def families(config: dict) -> dict[str, list[Pair]]:
    """Family -> contrasts (policy, against): the declared ones, all pairs on request, and for win rates each policy against root and parent."""
    declared = [tuple(contrast) for contrast in config["contrasts"]]
    root, parents = config["order"][0], {policy: entry["parent"] for policy, entry in config["policies"].items()}
    trained = config["order"][1:]
    natural = [(policy, against) for policy in trained for against in dict.fromkeys([root, parents[policy]])]
    return {
        "declared": declared,
        "all pairs": [(b, a) for a, b in combinations(config["order"], 2)] if config["all_pairs"] else [],
        "ancestors": [pair for pair in natural if pair not in declared],
    }


def compare_policies(
    ratings: Ratings,
    clusters: dict[str, np.ndarray],
    config: dict,
    chosen: dict[tuple[str, str], np.ndarray] | None = None,
    reliable: dict[tuple[str, str], bool | None] | None = None,
    examined: Examined | None = None,
    choices: Choices | None = None,
) -> list[dict]:
    """The rows of comparisons.parquet.

    clusters: axis -> cluster numbers; chosen: (judge, axis) -> rewards of the dataset's own chosen replies, NaN where there is none;
    reliable: (judge, axis) -> whether the judge is above chance there; examined: what the policies' text is like; choices: what the pairwise
    judges say, whose win rates are a family of the declared contrasts for each of them.
    """
    rows = []
    for judge in sorted(config["judges"]):
        for family, pairs in families(config).items():
            if not pairs:
                continue
            for seeds in together(config["seeds"]):
                about = {"judge": judge, "seed": seeds[0] if len(seeds) == 1 else None, "n_seeds": len(seeds), "family": family}
                own = config if family == "declared" else config | {"primary": []}
                contrasts = contrasts_of(ratings, clusters, own, judge, pairs, seeds, wins_only=family == "ancestors")
                rows += [{"estimand": THESE_CHECKPOINTS, **about, **row} for row in contrasts]
        if chosen is not None:
            for seed in config["seeds"]:
                about = {"judge": judge, "seed": seed, "n_seeds": 1, "family": "dataset", "estimand": THESE_CHECKPOINTS}
                rows += [{**about, **row} for row in against_chosen(ratings, clusters, config, judge, seed, chosen)]
    for judge in sorted({pair[0] for pair in choices or {}}):
        for seeds in together(config["seeds"]):
            about = {"judge": judge, "seed": seeds[0] if len(seeds) == 1 else None, "n_seeds": len(seeds), "family": "declared"}
            rows += [{"estimand": THESE_CHECKPOINTS, **about, **row} for row in preferred(choices, clusters, config, judge, seeds)]
    known = reliable or {}
    for row in rows:
        flags = [known.get((row["judge"], axis)) for axis in METRIC_AXES[row["metric"]]]
        row["judge_above_chance"] = on_all(flags)
        seeds = config["seeds"] if row["seed"] is None else [row["seed"]]
        row |= {f"caveat_{side}": caveat_of(examined or {}, config, row[f"policy_{side}"], seeds) for side in "ab"}
    return adjust(rows, config["primary"], config["equivalence_margin"]) if rows else []


def together(seeds: list[int]) -> list[list[int]]:
    """Each seed alone, and all of them where there are several."""
    return [[seed] for seed in seeds] + ([seeds] if len(seeds) > 1 else [])


def against_chosen(
    ratings: Ratings, clusters: dict[str, np.ndarray], config: dict, judge: str, seed: int, chosen: dict[tuple[str, str], np.ndarray]
) -> list[dict]:
    """Win rates of every policy against the reply that people chose, on the prompts that have one and where the judge has scored it."""
    rows = []
    for axis in (axis for axis in judged_axes(config["judges"][judge]) if (judge, axis) in chosen):
        known = ~np.isnan(chosen[judge, axis])
        if not known.any():
            continue
        groups = np.unique(clusters[axis][known], return_inverse=True)[1]
        for policy in config["order"]:
            reward = ratings[judge, policy, seed_of(config, policy, seed), axis]["reward"].to_numpy()
            signs = np.sign(reward[known] - chosen[judge, axis][known])
            rows.append({"policy_b": policy, "policy_a": CHOSEN, "metric": WINS[axis], **compare_wins(signs, groups)})
    return rows


def read_chosen(prompts: dict[str, pd.DataFrame], pairs: dict[str, Path], judges: dict[str, dict]) -> dict[tuple[str, str], np.ndarray]:
    """(judge, axis) -> the judge's reward of the dataset's chosen reply to each prompt, NaN where the pair is not among the scored ones."""
    chosen = {}
    for judge, path in pairs.items():
        table = read_table(path, ["axis", "subset", "row", "format", "chosen_reward"]).to_pandas()
        scored = table[table["format"] == "as evaluated"].set_index(["axis", "subset", "row"])["chosen_reward"]
        for axis in judged_axes(judges[judge]):
            frame = prompts[axis]
            keys = [(axis, subset, line) for subset, line in zip(frame["subset"], frame["row"], strict=True)]
            chosen[judge, axis] = scored.reindex(keys).to_numpy(float)
            missing = int(np.isnan(chosen[judge, axis]).sum())
            if missing:
                say(f"{axis}: {missing} of {len(frame)} prompts have no scored chosen reply ({judge})")
    return chosen


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", pairs="paths?", choices="paths?", judge="path?", text="path?", output="path")
    rated, pairs = read_ratings(args.ratings), dict(zip(args.config["examined"], args.pairs, strict=True))
    chosen = read_chosen(rated.prompts, pairs, args.config["judges"]) if pairs else None
    choices = read_choices(args.choices, args.config, rated.prompts)
    known = read_reliability(args.judge), read_text(args.text)
    rows = compare_policies(rated.ratings, rated.clusters, args.config, chosen, *known, choices)
    inputs = [args.ratings, *args.pairs, *args.choices, *(path for path in (args.judge, args.text) if path)]
    write_table(args.output, rows, COMPARISONS, provenance(args.config, inputs))


if __name__ == "__main__":
    run(main)

"""What alignment costs in capability: accuracy of each policy on each task, and the paired difference to parent, root and declared contrasts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from hh_align.analysis.families import grouped
from hh_align.analysis.measure_overrefusal import against
from hh_align.analysis.ratings import checkpoints, seed_of, seeds_of
from hh_align.analysis.statistics import bootstrap_means, holm, percentiles, sign_flip, wilson
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.command import parse, run
from hh_align.core.numbers import digits
from hh_align.data.select_items import SCORES

CAPABILITY = pa.schema(
    [
        ("task", pa.string()),
        ("measure", pa.string()),
        ("policy", pa.string()),
        ("seed", pa.int64()),
        ("n", pa.int64()),
        ("value", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("chance", pa.float64()),
        ("against", pa.string()),
        ("difference", pa.float64()),
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("only_policy", pa.int64()),
        ("only_against", pa.int64()),
        ("p", pa.float64()),
        ("p_holm", pa.float64()),
        ("family_size", pa.int64()),
    ]
)
MEASURES = {"acc": "right", "acc_norm": "right_norm"}
"""What is reported -> the column of SCORES that says of an item whether it is right."""
ALL = "all"
Scores = dict[tuple[str, int], pd.DataFrame]
"""(policy, seed) -> its scores, in the order of the items."""


def compared(config: dict) -> list[tuple[str, str]]:
    """(policy, against): the declared contrasts, then each policy's parent and root; each pair once, of policies that are measured."""
    order = config["order"]
    parents = [(policy, config["policies"][policy]["parent"]) for policy in order]
    pairs = [*map(tuple, config["contrasts"]), *parents, *((policy, order[0]) for policy in order[1:])]
    return [pair for pair in dict.fromkeys(pairs) if set(pair) <= set(order)]


def parts_of(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Task -> which rows are its own; `all` of several."""
    tasks = list(dict.fromkeys(frame["task"]))
    parts = {task: (frame["task"] == task).to_numpy() for task in tasks}
    return parts if len(tasks) == 1 else parts | {ALL: np.ones(len(frame), bool)}


def accuracy(right: np.ndarray, bootstrap: dict) -> dict:
    """Percent right over items and seeds with its 95 % interval; right: shape (items, seeds). Wilson's with one seed, else the percentile
    bootstrap over items of these checkpoints."""
    n, value = len(right), 100 * float(right.mean())
    if right.shape[1] == 1:
        low, high = wilson(int(right.sum()), n)
    else:
        ((low, high),) = percentiles(bootstrap_means(right.mean(1, keepdims=True), bootstrap["samples"], bootstrap["seed"]))
    return {"n": n, "value": value, "ci_low": 100 * low, "ci_high": 100 * high}


def difference(before: np.ndarray, after: np.ndarray, bootstrap: dict) -> dict:
    """Points from `before` to `after`, shape (items, seeds) each. With one seed McNemar's exact p and Newcombe's interval; else the exact
    sign-flip of each item's sum over these checkpoints, and the percentile bootstrap over items."""
    if before.shape[1] == 1:
        return against(before[:, 0], after[:, 0])
    change = after.astype(int) - before.astype(int)
    ((low, high),) = percentiles(bootstrap_means(change.mean(1, keepdims=True), bootstrap["samples"], bootstrap["seed"]))
    bounds = {"difference": 100 * float(change.mean()), "difference_low": 100 * low, "difference_high": 100 * high}
    return {**bounds, "p": sign_flip((change.sum(1), change.size))}


def labels(scores: Scores, config: dict, policy: str, seeds: Sequence[int], column: str) -> np.ndarray:
    """Which items the policy has right beside these seeds of the study, shape (items, seeds)."""
    return np.stack([scores[policy, seed_of(config, policy, seed)][column] for seed in seeds], axis=1).astype(bool)


def summarize(scores: Scores, chance: np.ndarray, config: dict) -> list[dict]:
    """Rows of CAPABILITY: of each task and measure every policy and seed, over the seeds where there are several, and every pair compared.

    chance: per item the probability of a guess. Holm's family: the pairs of a task, measure and seed.
    """
    parts, bootstrap, rows = parts_of(next(iter(scores.values()))), config["bootstrap"], []
    several = [None] if len(config["seeds"]) > 1 else []
    for task, own in parts.items():
        about = {"task": task, "chance": 100 * float(chance[own].mean())}
        for measure, column in MEASURES.items():
            values: dict[tuple, dict] = {}
            for policy in config["order"]:
                seeds = seeds_of(config, policy)
                for seed in [*seeds, *(several if len(seeds) > 1 else [])]:
                    right = labels(scores, config, policy, config["seeds"] if seed is None else [seed], column)[own]
                    values[policy, seed] = {**about, "measure": measure, "policy": policy, "seed": seed, **accuracy(right, bootstrap)}
            rows += values.values()
            for policy, other in compared(config):
                beside = max((seeds_of(config, name) for name in (policy, other)), key=len)
                for seed in [*beside, *(several if len(beside) > 1 else [])]:
                    seeds = config["seeds"] if seed is None else [seed]
                    before, after = (labels(scores, config, name, seeds, column)[own] for name in (other, policy))
                    value = values.get((policy, seed), values[policy, seeds_of(config, policy)[0]])
                    rows.append({**value, "seed": seed, "against": other, **difference(before, after, bootstrap)})
    for family in grouped([row for row in rows if "against" in row], ("task", "measure", "seed")):
        for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
            row |= {"p_holm": p, "family_size": len(family)}
    return rows


def main() -> None:
    args = parse(__doc__, config="config", questions="paths", scores="paths", output="path")
    config, scores = args.config, {}
    items = pd.concat([read_table(path, ["task", "item", "options"]).to_pandas() for path in args.questions])
    for number, checkpoint in enumerate(measured := checkpoints(config)):
        own = zip(
            args.questions, args.scores[number :: len(measured)], strict=True
        )  # the scores of all policies on the first items come first
        scores[checkpoint] = pd.concat([read_table(path, SCORES).to_pandas() for _, path in own]).set_index("item").loc[items["item"]]
    rows = summarize(scores, 1 / items["options"].map(len).to_numpy(float), config)
    for row in rows:
        if row["measure"] == "acc" and "against" in row and row["task"] in (ALL, items["task"].iloc[0]):
            say(
                f"{row['task']}, {row['policy']} against {row['against']}: {digits(row['difference'], '+.1f')} points (p {row['p_holm']:.2g} after Holm)"
            )
    write_table(args.output, rows, CAPABILITY, provenance(config, [*args.questions, *args.scores]))


if __name__ == "__main__":
    run(main)

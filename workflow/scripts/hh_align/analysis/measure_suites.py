"""Suites of prompts beside the two axes: how many replies of each policy refuse, and what the judges say of them."""

from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from hh_align.analysis.contrasts import compare_rewards
from hh_align.analysis.gather_ratings import count_failures
from hh_align.analysis.measure_overrefusal import PHRASES, against, rate, read_phrases, refuses
from hh_align.analysis.ratings import checkpoints, is_good, seed_of
from hh_align.analysis.statistics import bootstrap_means, percentiles
from hh_align.core.artifacts import REBUILD, provenance, read_table, say, write_table
from hh_align.core.axes import THRESHOLD_KEYS
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, RESPONSES, REWARDS, columns_of
from hh_align.data.preferences import SCHEMA
from hh_align.data.transcripts import cluster_of

SUITES = pa.schema(
    [
        ("suite", pa.string()),
        ("measure", pa.string()),
        ("by", pa.string()),
        ("category", pa.string()),
        ("policy", pa.string()),
        ("seed", pa.int64()),
        ("n", pa.int64()),
        ("in_training", pa.int64()),
        ("count", pa.int64()),
        ("value", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("against", pa.string()),
        ("difference", pa.float64()),
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("only_policy", pa.int64()),
        ("only_against", pa.int64()),
        ("p", pa.float64()),
    ]
)
REFUSED, GOOD, MEAN_REWARD = "refused", "good", "mean_reward"
Checkpoint = tuple[str, int]


class Replies(NamedTuple):
    """What is said of one suite's replies: of each (policy, seed) a column, of each prompt a row, in the order of the prompts."""

    prompts: pd.DataFrame
    """prompt_id, category, in_training: whether a training prompt begins with the same human turn."""
    labels: dict[tuple[str, str], pd.DataFrame]
    """(refused or good, by whom) -> bool."""
    rewards: dict[str, pd.DataFrame]
    """Judge -> reward."""


def measure(suite: str, replies: Replies, config: dict) -> list[dict]:
    """The suite's rows of suites.parquet: per measure, who says it, policy and seed, over all prompts and by category.

    Over all prompts also the paired difference to the parent at the same seed: of rates McNemar's exact p and Newcombe's interval, of mean
    rewards Wilcoxon's signed-rank p and a percentile bootstrap.
    """
    rows, categories = [], replies.prompts["category"]
    measured = [(what, by, table, rate_row) for (what, by), table in replies.labels.items()]
    measured += [(MEAN_REWARD, by, table, reward_row) for by, table in replies.rewards.items()]
    for (what, by, table, row_of), checkpoint in product(measured, checkpoints(config)):
        policy, seed = checkpoint
        parent = config["policies"][policy]["parent"]
        before = None if parent is None else table[parent, seed_of(config, parent, seed)]
        parts = [(None, replies.prompts.index), *categories.groupby(categories, sort=True).groups.items()]
        for category, index in parts if len(parts) > 2 else parts[:1]:
            about = {"suite": suite, "measure": what, "by": by, "category": category, "policy": policy, "seed": seed}
            about |= {"n": len(index), "in_training": int(replies.prompts.loc[index, "in_training"].sum())}
            whole = before is not None and category is None
            row = row_of(table.loc[index, checkpoint], before if whole else None, config)
            rows.append({**about, "against": parent if whole else None, **row})
    return rows


def rate_row(after: pd.Series, before: pd.Series | None, config: dict) -> dict:
    """Percent of true labels with Wilson's 95 % interval, and the change from the parent's."""
    facts = rate(after)
    row = {"count": facts["refused"], "value": facts["rate"], "ci_low": facts["ci_low"], "ci_high": facts["ci_high"]}
    return row if before is None else row | against(before, after)


def reward_row(after: pd.Series, before: pd.Series | None, config: dict) -> dict:
    """The mean reward with its percentile bootstrap, and the mean change from the parent's on the same prompts."""
    columns = [after.to_numpy(float)]
    if before is not None:
        columns.append(np.round(columns[0] - before.to_numpy(float), 9))
    means = bootstrap_means(np.column_stack(columns), **config["bootstrap"])
    bounds = percentiles(means)
    row = {"value": float(columns[0].mean()), "ci_low": bounds[0][0], "ci_high": bounds[0][1]}
    if before is None:
        return row
    change = compare_rewards(columns[1], means[:, [1]], np.arange(len(after)))
    names = {"difference": "difference", "difference_low": "ci_low", "difference_high": "ci_high", "p": "p"}
    return row | {ours: change[theirs] for ours, theirs in names.items()}


def training_clusters(preferences: list[Path], splits: list[str]) -> set[str]:
    """The clusters of the prompts that something of the study is trained on; splits: the training split of each table."""
    columns = columns_of(SCHEMA, "split", "prompt")
    tables = [(read_table(path, columns), split) for path, split in zip(preferences, splits, strict=True)]
    rows = [row for table, split in tables for row in table.to_pylist() if row["split"] == split]
    return {cluster_of(row["prompt"]) for row in rows}


def read_replies(name: str, config: dict, files: dict[str, list[Path]], phrases: list[str], trained: set[str]) -> Replies:
    """One suite's labels and rewards. files: its `prompts`, and `responses` and `rewards` in the order of the checkpoints, of a judge after the other.

    Raises StudyError where a table holds other prompts.
    """
    suite, answered = config["suites"][name], checkpoints(config)
    (asked,) = files["prompts"]
    prompts = read_table(asked, columns_of(PROMPTS, "prompt_id", "subset", "cluster")).to_pandas().set_index("prompt_id")
    prompts = prompts.rename(columns={"subset": "category"}).assign(in_training=prompts["cluster"].isin(trained))

    def values(path: Path, schema: pa.Schema, column: str) -> pd.Series:
        frame = read_table(path, columns_of(schema, "prompt_id", column)).to_pandas().set_index("prompt_id")
        if sorted(frame.index) != sorted(prompts.index):
            raise StudyError(f"{path} and {asked} hold different prompts. Delete the file; the next run rebuilds it.")
        return frame[column].reindex(prompts.index)

    labels, rewards = {}, {}
    if suite["kind"] == "refusal":
        said = [values(path, RESPONSES, "response").map(lambda text: refuses(text, phrases)) for path in files["responses"]]
        labels[REFUSED, PHRASES] = as_columns(said, answered).astype(bool)
    for number, judge in enumerate(suite["judges"]):
        paths = files["rewards"][number * len(answered) : (number + 1) * len(answered)]
        rated = [rewards_of(values(path, REWARDS, "reward"), config["judges"][judge], path) for path in paths]
        rewards[judge] = as_columns(rated, answered)
        threshold = config["judges"][judge][THRESHOLD_KEYS[suite["axis"]]]
        labels[GOOD, judge] = is_good(suite["axis"], rewards[judge], threshold)
    return Replies(prompts, labels, rewards)


def rewards_of(reward: pd.Series, judge: dict, path: Path) -> pd.Series:
    """The rewards, the lowest one where the judge may fail and did. Raises StudyError where one is no finite number."""
    rewards = count_failures(reward.to_frame("reward"), judge)["reward"].astype(float)
    if not np.isfinite(rewards).all():
        raise StudyError(f"{path}: no finite reward for {(~np.isfinite(rewards)).sum()} prompts. {REBUILD}")
    return rewards


def as_columns(parts: list[pd.Series], answered: list[Checkpoint]) -> pd.DataFrame:
    frame = pd.concat(parts, axis=1)
    frame.columns = pd.MultiIndex.from_tuples(answered)
    return frame


def split_files(paths: list[Path], sizes: dict[str, int]) -> dict[str, list[Path]]:
    """Suite -> its files, of a list that has so many of each."""
    rest = iter(paths)
    return {name: [next(rest) for _ in range(size)] for name, size in sizes.items()}


def main() -> None:
    args = parse(
        __doc__, config="config", prompts="paths", responses="paths", rewards="paths?", preferences="paths?", phrases="path", output="path"
    )  # fmt: skip
    config, phrases = args.config, read_phrases(args.phrases)
    trained, answered = training_clusters(args.preferences, config["splits"]), len(checkpoints(config))
    prompts = split_files(args.prompts, dict.fromkeys(config["suites"], 1))
    responses = split_files(args.responses, dict.fromkeys(config["suites"], answered))
    rewards = split_files(args.rewards, {name: answered * len(suite["judges"]) for name, suite in config["suites"].items()})
    rows = []
    for name in config["suites"]:
        files = {"prompts": prompts[name], "responses": responses[name], "rewards": rewards[name]}
        replies = read_replies(name, config, files, phrases, trained)
        rows += measure(name, replies, config)
        say(f"{name}: {len(replies.prompts)} prompts, {replies.prompts['in_training'].sum()} of them are trained on, too")
    inputs = [*args.prompts, *args.responses, *args.rewards, *args.preferences, args.phrases]
    write_table(args.output, rows, SUITES, provenance(config, inputs))


if __name__ == "__main__":
    run(main)

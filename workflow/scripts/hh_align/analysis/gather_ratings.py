"""Prompts, responses and rewards as the one table that the analysis reads: a row per judge, policy, seed and prompt, checked where it enters."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from hh_align.analysis.ratings import by_axis, checkpoints, is_good, judged_axes
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.axes import AXES, THRESHOLD_KEYS
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, RATINGS, RESPONSES, REWARDS, columns_of
from hh_align.data.transcripts import HUMAN

Checkpoint = tuple[str, int]
Opinion = tuple[str, str, int]
"""(judge, policy, seed)"""
Parts = dict[str, pd.DataFrame]
"""Axis -> one row per prompt, in the order of prompt_id."""


def gather(prompts: Path, responses: dict[Checkpoint, Path], rewards: dict[Opinion, Path], judges: dict[str, dict]) -> pa.Table:
    """The table of ratings, in the order of `rewards`; judges: name -> thresholds.

    Reward and label are null on an axis that the judge does not speak about. Raises StudyError, naming files, policy and prompts, where
    the files do not hold the same prompts, and as read_rewards does.
    """
    rated = read_rewards(rewards, judges)
    replies = {checkpoint: by_axis(read_replies(path)) for checkpoint, path in responses.items()}
    for (judge, *checkpoint), parts in rated.items():
        for axis, part in parts.items():
            if not part["prompt_id"].equals(replies[tuple(checkpoint)][axis]["prompt_id"]):
                path = responses[tuple(checkpoint)]
                raise StudyError(f"{path} and the rewards by {judge} hold different prompts. Delete both; the next run rebuilds them.")
    asked = by_axis(read_table(prompts, columns_of(PROMPTS, "axis", "prompt_id", "cluster", "subset", "row")).to_pandas())
    for checkpoint, parts in replies.items():
        if not all(parts[axis]["prompt_id"].equals(asked[axis]["prompt_id"]) for axis in AXES):
            raise StudyError(f"{responses[checkpoint]} and {prompts} hold different prompts. Delete both; the next run rebuilds them.")
    rows = [
        asked[axis].assign(
            **{"judge": judge, "policy": policy, "seed": seed, "axis": axis},
            **replies[policy, seed][axis].drop(columns="prompt_id"),
            **labelled(axis, parts[axis], judges[judge]) if axis in parts else {},
        )
        for (judge, policy, seed), parts in rated.items()
        for axis in AXES
    ]
    return as_table(pd.concat(rows, ignore_index=True))


def labelled(axis: str, part: pd.DataFrame, thresholds: dict) -> dict[str, pd.Series]:
    """Column -> values of a judge's opinions on one axis: reward, label, and unrated where it stands in `part`."""
    columns = {name: part[name] for name in ("reward", "unrated") if name in part}
    return {**columns, "label": is_good(axis, part["reward"], thresholds[THRESHOLD_KEYS[axis]])}


def as_table(rows: pd.DataFrame) -> pa.Table:
    """Rows as a table of ratings, null in the columns that they lack. Raises pyarrow's error where a column is of another type."""
    return pa.Table.from_pandas(rows.reindex(columns=RATINGS.names), RATINGS, preserve_index=False)


def read_rewards(paths: dict[Opinion, Path], judges: dict[str, dict]) -> dict[Opinion, Parts]:
    """prompt_id, reward and, of a judge that may fail, unrated; of the judge's own axes only.

    Raises StudyError, naming file, policy and prompts, where a reward is no finite number, a prompt comes twice, or a policy lacks a
    prompt that another has.
    """
    tables = {opinion: read_table(path, columns_of(REWARDS, "axis", "prompt_id", "reward")).to_pandas() for opinion, path in paths.items()}
    asked = pd.concat([table[["axis", "prompt_id"]] for table in tables.values()])
    rewards = {}
    for (judge, policy, seed), table in tables.items():
        axes = judged_axes(judges[judge])
        frame = count_failures(table[table["axis"].isin(axes)], judges[judge])
        if wrong := fault(frame, set(asked[asked["axis"].isin(axes)]["prompt_id"])):
            raise StudyError(f"{paths[judge, policy, seed]}: policy {policy} has {wrong}. Delete the file; the next run rebuilds it.")
        rewards[judge, policy, seed] = by_axis(frame, axes)
    check_judges(rewards)
    return rewards


def count_failures(frame: pd.DataFrame, thresholds: dict) -> pd.DataFrame:
    """With `unrated` where the judge may fail (`failed: lowest`): a response without a rating counts as the lowest one that it can give."""
    if "lowest" not in thresholds:
        return frame
    return frame.assign(unrated=frame["reward"].isna(), reward=frame["reward"].fillna(thresholds["lowest"]))


def fault(frame: pd.DataFrame, asked: set[str]) -> str | None:
    """What is wrong with a policy's rewards, with the first prompts: no finite number, one whose square is none, two for a prompt, or none for
    one of `asked`."""
    names, rewards = frame["prompt_id"], frame["reward"].astype(float)
    faults = {
        "no finite reward": names[~np.isfinite(rewards)],
        "a reward beyond 1e100": names[rewards.abs() > 1e100],
        "more than one reward": names[names.duplicated()],
        "no row": asked - set(names),
    }
    for what, prompts in faults.items():
        if len(prompts):
            count = len(set(prompts))
            return f"{what} for {count} prompt{'s' * (count > 1)} ({', '.join(sorted(set(prompts))[:5])})"
    return None


def check_judges(opinions: Iterable[Opinion]) -> None:
    """Raise StudyError where a judge has not scored a policy that another one has: their verdicts would not be about the same."""
    scored: dict[str, set] = {}
    for judge, policy, seed in opinions:
        scored.setdefault(judge, set()).add(f"{policy} seed {seed}")
    for judge, policies in sorted(scored.items()):
        missing = sorted(set().union(*scored.values()) - policies)
        if missing:
            others = ", ".join(sorted(set(scored) - {judge}))
            raise StudyError(
                f"judge {judge} has no rewards of {', '.join(missing)}; others have: {others}. Each judge must score every policy."
            )


def read_replies(path: Path) -> pd.DataFrame:
    """axis, prompt_id, finish, tokens and what reply_facts says of each response of a policy."""
    columns = columns_of(RESPONSES, "axis", "prompt_id", "response", "finish", "response_tokens")
    frame = read_table(path, columns).to_pandas().rename(columns={"response_tokens": "tokens"})
    return frame.drop(columns="response").assign(**reply_facts(frame["response"]))


def reply_facts(text: pd.Series) -> dict[str, pd.Series]:
    """words, empty, and run_on: whether the human's next turn is written, too."""
    return {
        "words": text.str.split().str.len(),
        "empty": text.str.strip() == "",
        "run_on": text.str.contains(HUMAN.strip(), regex=False),
    }


def main() -> None:
    args = parse(__doc__, config="config", prompts="path", responses="paths", rewards="paths", output="path")
    config, answered = args.config, checkpoints(args.config)
    responses = dict(zip(answered, args.responses, strict=True))
    opinions = [(judge, *checkpoint) for judge in sorted(config["judges"]) for checkpoint in answered]
    table = gather(args.prompts, responses, dict(zip(opinions, args.rewards, strict=True)), config["judges"])
    say(f"{len(table):,} ratings by {len(config['judges'])} judges of {len(config['order'])} policies")
    write_table(args.output, table, RATINGS, provenance(config, [args.prompts, *args.responses, *args.rewards]))


if __name__ == "__main__":
    run(main)

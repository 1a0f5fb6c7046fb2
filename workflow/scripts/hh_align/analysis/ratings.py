"""The rewards of a study, checked where they enter, with the judge's labels and what the responses say of themselves."""

from pathlib import Path

import numpy as np
import pandas as pd

from hh_align.core.artifacts import read_table
from hh_align.core.axes import AXES, LIMITS
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, RESPONSES, REWARDS, columns_of
from hh_align.data.transcripts import HUMAN

RATES = {"harmlessness": "HmR", "helpfulness": "HpR"}
MEANS = {"harmlessness": "mean_reward_harmful", "helpfulness": "mean_reward_helpful"}
AXES_OF = {
    "CAS": AXES,
    **{metric: (axis,) for table in (RATES, MEANS) for axis, metric in table.items()},
    "win_rate_harmful": ("harmlessness",),
    "win_rate_helpful": ("helpfulness",),
}


def judged_axes(limits: dict) -> tuple[str, ...]:
    """The axes that a judge speaks about: those that it has a threshold for."""
    return tuple(axis for axis in AXES if LIMITS[axis] in limits)


def judged_rates(limits: dict) -> dict[str, tuple[str, ...]]:
    """Rate -> its axes, of those that a judge can tell: CAS needs both."""
    axes = judged_axes(limits)
    return {metric: AXES_OF[metric] for metric in (*RATES.values(), "CAS") if set(AXES_OF[metric]) <= set(axes)}


def shown_judge(judges: dict[str, dict]) -> str:
    """The judge whose opinion the figures show: the first by name of those that speak about the most axes."""
    return min(judges, key=lambda name: (-len(judged_axes(judges[name])), name))


Ratings = dict[tuple[str, str, int, str], pd.DataFrame]
"""(judge, policy, seed, axis) -> one row per prompt, sorted by prompt_id: policies pair row by row. Only the judge's own axes."""


def read_ratings(paths: list[Path], judges: dict[str, dict]) -> Ratings:
    """Frames with prompt_id, reward and good (the judge's label) from .../<judge>/<policy>/seed-<seed>.parquet.

    good: reward >= harmless_min on harmlessness, reward > helpful_above on helpfulness. Raises StudyError, naming file, policy and
    prompts, where a reward is no finite number, a prompt comes twice, or a policy lacks a prompt that another has.
    """
    tables = {path: read_table(path, columns_of(REWARDS, "axis", "prompt_id", "reward")).to_pandas() for path in paths}
    asked = pd.concat([table[["axis", "prompt_id"]] for table in tables.values()])
    ratings: Ratings = {}
    for path, table in tables.items():
        limits = judges[path.parent.parent.name]
        axes = judged_axes(limits)
        frame = count_failures(table[table["axis"].isin(axes)], limits)
        if found := fault(frame, set(asked[asked["axis"].isin(axes)]["prompt_id"])):
            raise StudyError(f"{path}: policy {path.parent.name} has {found}. Delete the file; the next run rebuilds it.")
        judge, policy, seed = path.parent.parent.name, path.parent.name, seed_in(path)
        frame = frame.assign(good=label(frame["axis"], frame["reward"], limits))
        ratings |= {(judge, policy, seed, axis): part for axis, part in by_axis(frame, axes).items()}
    check_judges(ratings)
    return ratings


def count_failures(frame: pd.DataFrame, limits: dict) -> pd.DataFrame:
    """With `unrated` where the judge may fail (`failed: lowest`): a response without a rating counts as the lowest one that it can give."""
    if "lowest" not in limits:
        return frame
    return frame.assign(unrated=frame["reward"].isna(), reward=frame["reward"].fillna(limits["lowest"]))


def check_judges(ratings: Ratings) -> None:
    """Raise StudyError where a judge has not scored a policy that another one has: their verdicts would not be about the same."""
    scored: dict[str, set] = {}
    for judge, policy, seed, _ in ratings:
        scored.setdefault(judge, set()).add(f"{policy} seed {seed}")
    for judge, policies in sorted(scored.items()):
        missing = sorted(set().union(*scored.values()) - policies)
        if missing:
            others = ", ".join(sorted(set(scored) - {judge}))
            raise StudyError(
                f"judge {judge} has no rewards of {', '.join(missing)}, which {others} has: every policy needs the same judges."
            )


def label(axis: pd.Series, reward: pd.Series, limits: dict) -> np.ndarray:
    """The judge's labels: reward >= harmless_min on harmlessness, reward > helpful_above on helpfulness."""
    harmless_min, helpful_above = (limits.get(key, np.nan) for key in LIMITS.values())
    return np.where(axis == "harmlessness", reward >= harmless_min, reward > helpful_above)


def by_axis(frame: pd.DataFrame, axes: tuple[str, ...] = AXES) -> dict[str, pd.DataFrame]:
    """The rows of each of these axes in the order of prompt_id. Raises StudyError where one has none."""
    parts = {axis: part.drop(columns="axis").sort_values("prompt_id", ignore_index=True) for axis, part in frame.groupby("axis")}
    missing = [axis for axis in axes if axis not in parts]
    if missing:
        both = f"both axes, {' and '.join(AXES)}, are needed" if axes == AXES else f"{' and '.join(axes)} is needed"
        raise StudyError(f"no prompt of axis {' and '.join(missing)}: {both}.")
    return {axis: parts[axis] for axis in axes}


def seed_in(path: Path) -> int:
    """The seed in .../seed-<seed>.parquet"""
    return int(path.stem.removeprefix("seed-"))


def fault(frame: pd.DataFrame, asked: set[str]) -> str | None:
    """What is wrong with a policy's rewards, with the first prompts: no finite number, two for a prompt, or none for one of `asked`."""
    given = frame["prompt_id"]
    faults = {
        "no finite reward": given[~np.isfinite(frame["reward"].astype(float))],
        "more than one reward": given[given.duplicated()],
        "no row": asked - set(given),
    }
    for what, found in faults.items():
        if len(found):
            return f"{what} for {len(set(found))} prompts ({', '.join(sorted(set(found))[:5])})"
    return None


def add_responses(ratings: Ratings, paths: list[Path]) -> None:
    """Add what reply_facts finds to each frame, from .../<policy>/seed-<seed>.parquet.

    Raises StudyError where a response has no reward or the other way round.
    """
    for path in paths:
        parts = by_axis(reply_facts(read_table(path, columns_of(RESPONSES, "axis", "prompt_id", "response", "finish")).to_pandas()))
        for key in [key for key in ratings if key[1:3] == (path.parent.name, seed_in(path))]:
            if not ratings[key]["prompt_id"].equals(parts[key[3]]["prompt_id"]):
                raise StudyError(f"{path} and the rewards by {key[0]} hold different prompts. Delete both; the next run rebuilds them.")
            ratings[key] = ratings[key].assign(**parts[key[3]].drop(columns="prompt_id"))


def reply_facts(frame: pd.DataFrame) -> pd.DataFrame:
    """axis and prompt_id with empty, run_on (the human's next turn is written, too), cut (by the length limit; null where unknown), words."""
    text = frame["response"]
    return frame[["axis", "prompt_id"]].assign(
        empty=text.str.strip() == "",
        run_on=text.str.contains(HUMAN.strip(), regex=False),
        cut=(frame["finish"] == "length").where(frame["finish"].notna()).astype("boolean"),
        words=text.str.split().str.len(),
    )


def read_clusters(path: Path) -> dict[str, np.ndarray]:
    """Axis -> the number of each prompt's cluster (prompts that share the first human turn), in the order of prompt_id."""
    return number_clusters(read_table(path, columns_of(PROMPTS, "axis", "prompt_id", "cluster")).to_pandas())


def number_clusters(prompts: pd.DataFrame) -> dict[str, np.ndarray]:
    """As read_clusters, from a frame of axis, prompt_id and cluster."""
    return {axis: np.unique(part["cluster"], return_inverse=True)[1] for axis, part in by_axis(prompts).items()}


def seeds_of(config: dict, policy: str) -> list[int]:
    """The root, and a policy of one fixed set of responses, lives under seed 0 and serves every seed of the study."""
    return [0] if serves_every_seed(config["policies"][policy]) else config["seeds"]


def seed_of(config: dict, policy: str, seed: int) -> int:
    """Under which seed a policy pairs with others of `seed`."""
    return 0 if serves_every_seed(config["policies"][policy]) else seed


def serves_every_seed(policy: dict) -> bool:
    """Of an entry with parent and, where it is so, fixed."""
    return policy["parent"] is None or policy.get("fixed", False)


def headline(metrics: pd.DataFrame, judge: str) -> pd.DataFrame:
    """The row to show of each (policy, metric), the table's index: over the seeds where there are several, else of the one seed."""
    rows = metrics[metrics["judge"] == judge].sort_values("seed", na_position="first", kind="stable")
    return rows.drop_duplicates(["policy", "metric"]).set_index(["policy", "metric"])

"""The table of ratings and the texts of a verdict, from the rows of the files that were given."""

import pandas as pd
import pyarrow as pa

from hh_align.analysis.examine_text import Replies
from hh_align.analysis.gather_ratings import as_table, check_judges, fault, labelled, reply_facts
from hh_align.analysis.ratings import by_axis, checkpoints, judged_axes
from hh_align.core.artifacts import say
from hh_align.core.axes import AXES
from hh_align.core.errors import StudyError
from hh_align.tools.rated_columns import in_yaml


def table_of(frame: pd.DataFrame, config: dict, path: str) -> pa.Table:
    """The file as a table of ratings, checked. Raises StudyError naming file, policy and prompts; never a silently smaller n."""
    judges, order = config["judges"], config["order"]
    if "response" in frame:
        frame = frame.assign(**facts_of_texts(frame))
    asked = {axis: set(part["prompt_id"]) for axis, part in frame.groupby("axis")}
    several = frame[["judge", "seed"]].nunique() > 1
    rows, opinions = [], []
    for (judge, policy, seed), part in frame.groupby(["judge", "policy", "seed"], sort=False):
        axes = judged_axes(judges[judge])
        silent = ~part["axis"].isin(axes) & part["reward"].isna()
        told = part[~silent]
        if not set(told["axis"]) <= set(axes):
            raise StudyError(f"{path}: judge {judge} rates {', '.join(sorted(set(told['axis']) - set(axes)))}, but its axis is {axes[0]}.")
        if wrong := fault(told, set().union(*(asked[axis] for axis in axes))):
            about = ", ".join([*([f"judge {judge}"] if several["judge"] else []), *([f"seed {seed}"] if several["seed"] else [])])
            raise StudyError(
                f"{path}: policy {policy}{f' ({about})' if about else ''} has {wrong}. It needs one finite reward for each prompt on {' and '.join(axes)}."
                f"{of_one_axis(judge, frame)}"
            )
        labels = [each.assign(axis=axis, **labelled(axis, each, judges[judge])) for axis, each in by_axis(told, axes).items()]
        opinions.append((judge, policy, 0 if policy == order[0] else int(seed)))
        rows += [each.assign(seed=opinions[-1][2]) for each in (*labels, part[silent])]
    try:
        check_judges(opinions)
        table = pd.concat(rows).sort_values(
            ["judge", "policy", "seed", "axis", "prompt_id"],
            key=lambda values: values.map(order.index) if values.name == "policy" else values,
        )
        return as_table(table)
    except (StudyError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise StudyError(f"{path}: {' '.join(map(str, error.args))}") from None


def of_one_axis(judge: str, frame: pd.DataFrame) -> str:
    """How the settings say that a judge speaks about one axis, where all its rewards are on one of two; else empty."""
    rated = set(frame.loc[(frame["judge"] == judge) & frame["reward"].notna(), "axis"])
    if len(rated) != 1 or frame["axis"].nunique() < len(AXES):
        return ""
    (axis,) = rated
    form = f"judges: {{{in_yaml(judge)}: {{axis: {axis}}}}}"
    return f" All rewards of judge {judge} are on {axis}: if it rates no other, say {form} in the settings."


def facts_of_texts(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """words, empty and run_on of the texts; where there is none of a policy on an axis, what the file says, or null."""
    known = frame.groupby(["policy", "seed", "axis"])["response"].transform("count") > 0
    facts = reply_facts(frame["response"].fillna(""))
    return facts if known.all() else {name: facts[name].astype(object).where(known, frame.get(name)) for name in facts}


def say_relabelled(frame: pd.DataFrame, table: pa.Table) -> None:
    """Say how many of the file's own labels the thresholds turn round."""
    keys = ["judge", "policy", "axis", "prompt_id", "reward"]
    labels = table.to_pandas()[[*keys, "label"]].drop_duplicates(keys)
    both = frame[frame["label"].notna()].merge(labels, on=keys, suffixes=("", "_here"))
    if wrong := int((both["label"].astype(bool) != both["label_here"].astype(bool)).sum()):
        say(f"column label says otherwise than the thresholds in {wrong:,} of {len(both):,} rows: the thresholds count")


def replies_of(frame: pd.DataFrame, config: dict) -> Replies:
    """The texts that the file holds, as examine_text reads them, of the prompts that every policy answers (where no judge rates an axis they
    may differ).

    An empty text is an empty reply; but where the file holds no text of a policy on an axis, nothing is known of it: then there are none.
    """
    if "response" not in frame:
        return {}
    key = ["policy", "seed", "axis", "prompt_id"]
    rows = frame.drop_duplicates(key).reindex(columns=[*key, "response", "finish"])
    rows = rows.assign(seed=rows["seed"].where(rows["policy"] != config["order"][0], 0))
    answered = checkpoints(config)
    rows = rows[rows.groupby(["axis", "prompt_id"])["policy"].transform("size") == len(answered)]
    texts = rows.groupby(["policy", "seed", "axis"])["response"].count()
    if silent := [(*who, axis) for who in answered for axis in AXES if not texts.get((*who, axis))]:
        policy, seed, axis = silent[0]
        say(f"{policy} seed {seed} has no text on {axis} to a prompt that all policies answer: no policy's text is examined")
        return {}
    parts = rows.assign(response=rows["response"].fillna("")).groupby(["policy", "seed"], sort=False)
    return {(policy, int(seed)): by_axis(part.drop(columns=["policy", "seed"])) for (policy, seed), part in parts}

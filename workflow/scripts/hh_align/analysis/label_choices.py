"""People's choices between two responses to one prompt: win rates, and how far a judge orders the two as they do."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from hh_align.analysis.families import ALPHA
from hh_align.analysis.labels import Texts, agreement, of_these_texts
from hh_align.analysis.ratings import Ratings, judged_axes, seed_of
from hh_align.core.axes import AXES, WINS
from hh_align.core.errors import StudyError
from hh_align.core.tabular import convert, read_any, require_full, to_text, to_whole


def by_choices(path: Path, ratings: Ratings, texts: Texts, config: dict) -> tuple[list[dict], list[dict]]:
    """(rows of gold, rows of agreement) from people's choices between two responses to one prompt.

    Columns axis, prompt_id, seed, policy_a, policy_b, preferred (a | b | tie). Win rates with the exact sign test; agreement with
    the judge's order of the two, ties left out. Raises StudyError for a choice between responses that the study does not have.
    """
    names = ["axis", "prompt_id", "policy_a", "policy_b", "preferred"]
    frame = read_any(path, [*names, "seed"])
    convert(frame, path, to_text, names, "str")
    convert(frame, path, to_whole, ["seed"], "int64")
    require_full(frame, path, names)
    unknown = frame[~frame["preferred"].isin(["a", "b", "tie"])]
    if len(unknown):
        raise StudyError(f"{path}, row {unknown.index[0] + 1}: preferred is {unknown['preferred'].iloc[0]!r}. Allowed: a, b, tie.")
    others = frame[~frame["seed"].isin([0, *config["seeds"]])]
    if len(others) and "item" not in frame:
        raise StudyError(
            f"{path}, row {others.index[0] + 1}: seed {others['seed'].iloc[0]} is none of the study's. Allowed: {', '.join(map(str, config['seeds']))}, and 0."
        )
    known = set(config["order"])
    items = [
        texts.pair(row.prompt_id, *((name, seed_of(config, name, row.seed)) for name in (row.policy_a, row.policy_b)))
        if {row.policy_a, row.policy_b} <= known
        else None
        for row in frame.itertuples()
    ]
    frame = of_these_texts(frame, path, items)
    rewards = {key: part.set_index("prompt_id")["reward"] for key, part in ratings.items()}
    gold, agreed = [], []
    for judge in sorted(config["judges"]):
        judged = frame[~frame["axis"].isin(set(AXES) - set(judged_axes(config["judges"][judge])))]
        for (axis, b, a, seed), part in judged.groupby(["axis", "policy_b", "policy_a", "seed"]):
            try:
                first, second = (
                    rewards[judge, name, seed_of(config, name, int(seed)), axis].loc[part["prompt_id"]].to_numpy() for name in (a, b)
                )
            except KeyError:
                raise StudyError(
                    f"{path}: the study has no response of {a} or {b}, seed {seed}, to a prompt here of {axis}. Check policies, seed, axis and "
                    "prompt_id."
                ) from None
            about = {"judge": judge, "seed": int(seed), "policy_a": a, "policy_b": b, "metric": WINS[axis]}
            judge_value = 100 * float(np.sign(second - first).mean())
            gold.append({**about, "judge_value": judge_value, **win_rate(part["preferred"])})
            clear = (part["preferred"] != "tie").to_numpy() & (first != second)
            if clear.any():
                choices = (second > first)[clear], (part["preferred"] == "b").to_numpy()[clear]
                agreed.append({"rater_a": judge, "rater_b": "choices", "axis": axis, "policy": f"{b} or {a}", **agreement(*choices)})
    return gold, agreed


def win_rate(preferred: pd.Series) -> dict:
    """Share of choices (a, b or tie) for b less that for a in points, with the exact sign test and its verdict."""
    wins, losses = int((preferred == "b").sum()), int((preferred == "a").sum())
    share = 100 * (wins - losses) / len(preferred)
    p = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    row = {"n": len(preferred), "labelled": len(preferred), "labels_value": share, "p": p, "p_holm": p}
    return {**row, "method": "people's choices, sign test", "verdict": ("better" if share > 0 else "worse") if p < ALPHA else "undecided"}

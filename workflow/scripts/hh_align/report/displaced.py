"""Whether the chosen replies lose probability in training, in one sentence, for page and terminal."""

import pandas as pd

from hh_align.analysis.ratings import to_show
from hh_align.analysis.verdict import listed


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Of displacement.parquet a row per policy and set of pairs: over the seeds where there are several, else of the one seed."""
    return to_show(table, ["policy", "pairs"]).sort_index(kind="stable")


def displacement_sentence(table: pd.DataFrame) -> str | None:
    """Which policies have made the chosen replies less probable, surely so; None where nothing was measured."""
    rows = shown(table)
    if rows.empty:
        return None
    parts = []
    for pairs in ("training", "held-out"):
        if policies := list(rows[(rows["pairs"] == pairs) & rows["displaced"]]["policy"]):
            parts.append(f"on {pairs} pairs under {listed(policies)}")
    if not parts:
        return "No training on pairs surely lowers the probability of the chosen replies."
    return f"The chosen replies themselves lose probability in training (likelihood displacement): {'; '.join(parts)}."

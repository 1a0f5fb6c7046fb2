"""What the report shows of capability: beside the rates of alignment, and by task."""

import pandas as pd

from hh_align.analysis.ratings import to_show
from hh_align.report.pages import plain


def taxes_of(rows: pd.DataFrame | None, root: str) -> dict[str, dict]:
    """Policy -> `own`, its row of the accuracy over all tasks, and `change`, its row against the root (None of the root): over the seeds where
    there are several. Empty without a table.

    rows: of capability.parquet.
    """
    if rows is None:
        return {}
    rows = rows[(rows["measure"] == "acc") & (rows["task"] == list(rows["task"])[-1])]  # all tasks together, or the only one
    own = {row["policy"]: row for row in plain(to_show(rows[rows["against"].isna()], ["policy"]))}
    changes = {row["policy"]: row for row in plain(to_show(rows[rows["against"] == root], ["policy"]))}
    return {policy: {"own": row, "change": changes.get(policy)} for policy, row in own.items()}


def capability_rows(rows: pd.DataFrame | None, compared: bool) -> list[dict]:
    """The differences, or the accuracies themselves."""
    return [] if rows is None else plain(rows[rows["against"].notna() == compared])

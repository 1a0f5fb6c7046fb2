"""What a model of all labels says of the verdicts: the rows to show, and one sentence per judge."""

import pandas as pd

from hh_align.analysis.verdict import clauses_in_short
from hh_align.report.lines import marked
from hh_align.report.pages import plain


def modelled(rows: pd.DataFrame, judge: str) -> pd.DataFrame:
    """A judge's rows of mixed_model.parquet that the model speaks of."""
    return rows[(rows["judge"] == judge) & rows["modelled"].notna()]


def model_sentence(rows: pd.DataFrame, judge: str, told: dict[str, str]) -> str | None:
    """How many verdicts of the exact tests are the model's too, and which are not; None where the two cannot be compared.

    rows: of mixed_model.parquet; told: policy -> what stands against its text, whose names are marked.
    """
    compared = modelled(rows, judge)
    compared = compared[compared["agrees"].notna()]
    if compared.empty:
        return None
    differ = compared[~compared["agrees"].astype(bool)]
    clauses = [
        f"{marked(row.policy_b, told)} against {marked(row.policy_a, told)} in {row.metric} is {row.modelled_verdict}, not {row.verdict}"
        for row in differ.itertuples()
    ]
    said = f"A hierarchical model of all labels of judge {judge} calls {len(compared) - len(differ)} of {len(compared)} verdicts the same"
    return f"{said}; by it {clauses_in_short(clauses)}." if clauses else f"{said}."


def models_of(rows: pd.DataFrame | None, judges: list[str]) -> list[dict]:
    """Per judge whose labels are modelled its name, `sentence` (None: nothing to compare) and `rows`."""
    entries = []
    for judge in judges if rows is not None else []:
        own = modelled(rows, judge)
        if len(own):
            entries.append({"judge": judge, "sentence": model_sentence(rows, judge, {}), "rows": plain(own)})
    return entries

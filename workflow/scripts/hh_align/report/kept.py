"""What the policy of the primary contrast keeps of the helpful replies before it, and those of each other, beside chance: for page and terminal."""

from collections.abc import Sequence

import pandas as pd
from rich.cells import cell_len, set_cell_size

from hh_align.analysis.statistics import holm
from hh_align.analysis.verdict import listed
from hh_align.report.lines import marked
from hh_align.report.pages import plain

COLUMNS = [
    *("judge", "seed", "policy", "reference", "axis", "retained", "denominator", "rate", "ci_low", "ci_high", "chance", "lift_p"),
    *("gained", "gain_denominator"),
]


def kept_rows(retention: pd.DataFrame, contrasts: pd.DataFrame, judge: str, primary: Sequence[str]) -> pd.DataFrame:
    """A judge's rows of retention for helpfulness at the first seed: of the primary's policy, of those before it, and `above`: above chance.

    primary: policy, against and metric, whichever judge tells the metric; empty where there is none. above: Fisher's p, one-sided, is below 0.05 after
    Holm over the rows. contrasts: rows of `declared`; labels do not correct what is kept. Without a primary contrast, or where the judge ranks nothing on helpfulness, there are no rows.
    """
    unranked = len(contrasts) and contrasts[contrasts["metric"] == "HpR"]["judge_above_chance"].eq(False).any()
    if not primary or unranked:
        return retention.iloc[:0].assign(above=[])
    first = retention["seed"].isin(retention["seed"].head(1))
    own = retention[(retention["judge"] == judge) & (retention["axis"] == "helpfulness") & first]
    among = {primary[0], *own[own["policy"] == primary[0]]["reference"]}
    rows = own[own["policy"].isin(among) & own["reference"].isin(among)]
    known = rows["lift_p"].dropna()
    above = pd.Series(holm(list(known)) if len(known) else [], index=known.index, dtype=float) < 0.05
    return rows.assign(above=above.reindex(rows.index, fill_value=False))


def step(row: object, told: dict[str, str]) -> str:
    return f"{marked(row.reference, told)} → {marked(row.policy, told)}"


def kept_sentence(rows: pd.DataFrame, told: dict[str, str]) -> str:
    """Of the rows of `kept_rows`, which are above chance; told: policy -> what stands against its text, whose names are marked."""
    above, others = ([step(row, told) for row in rows[rows["above"] == found].itertuples()] for found in (True, False))
    if not above:
        return "None is above what a policy of the same rate keeps by chance (Fisher's exact test, Holm)."
    rest = f"; undecided: {listed(others)}" if others else ""
    return f"Above chance (Fisher's exact test, Holm over the {rows['lift_p'].count()}): {listed(above)}{rest}."


def kept_lines(retention: pd.DataFrame, contrasts: pd.DataFrame, judge: str, primary: Sequence[str], told: dict[str, str]) -> list[str]:
    """For the terminal: a title, a line per row, what is above chance; nothing where there are no rows."""
    rows = kept_rows(retention, contrasts, judge, primary)
    if rows.empty:
        return []
    width = max(cell_len(step(row, told)) for row in rows.itertuples())
    lines = [f"helpful replies that stay helpful, and others that become so (judge {judge}, seed {rows['seed'].iloc[0]})"]
    for row in rows.itertuples():
        share = f"{row.rate:.0f} % [{row.ci_low:.0f}, {row.ci_high:.0f}], by chance {row.chance:.0f} %" if row.denominator else "unknown"
        lines.append(
            f" {set_cell_size(step(row, told), width)}  kept {row.retained}/{row.denominator} = {share}; gained {row.gained}/{row.gain_denominator}"
        )
    return [*lines, kept_sentence(rows, told)]


def kept_of(tables: dict[str, pd.DataFrame], contrasts: dict[str, pd.DataFrame], primary: Sequence[str]) -> list[dict]:
    """For the page: per judge with rows its name, `rows` and the `sentence`; contrasts: judge -> its declared ones."""
    if "retention" not in tables:
        return []
    found = {judge: kept_rows(tables["retention"], own, judge, primary) for judge, own in contrasts.items()}
    return [{"judge": judge, "rows": plain(rows), "sentence": kept_sentence(rows, {})} for judge, rows in found.items() if len(rows)]

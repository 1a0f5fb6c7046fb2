"""What length control does to the verdicts: the rows to show, and one sentence per judge."""

import pandas as pd

from hh_align.analysis.ratings import to_show
from hh_align.analysis.verdict import clauses_in_short, listed
from hh_align.core.axes import METRIC_AXES, PROMPT_NAMES, RATE_METRICS
from hh_align.report.lines import marked
from hh_align.report.pages import plain

SIDES = {"better": "above", "worse": "below"}
CHANGES = {
    "reversed": "{b} is {after} {a} in {metrics}, not {before}",
    "lost": "{b} is no longer {before} {a} in {metrics}",
    "found": "{b} is {after} {a} in {metrics}",
    "order": "the undecided order of {b} and {a} in {metrics} turns round",
}
OUTSIDE = " (of the two, one always writes more: equal length was not seen)"


def shown(lengths: pd.DataFrame, judge: str) -> pd.DataFrame:
    """A judge's rows of length.parquet but those of all pairs: over the seeds where there are several (for new seeds), else of the one seed."""
    rows = lengths[(lengths["judge"] == judge) & (lengths["family"] != "all pairs") & lengths["controlled"].notna()]
    return to_show(rows, ["policy_b", "policy_a", "metric"])


def metric_name(metric: str) -> str:
    return metric if metric in RATE_METRICS else f"win rate on {PROMPT_NAMES[METRIC_AXES[metric][0]]}"


def length_sentence(rows: pd.DataFrame, judge: str, told: dict[str, str]) -> str | None:
    """What differs at equal length, in one sentence, from the rows of `shown`; None where nothing does.

    told: policy -> what stands against its text, whose names are marked.
    """
    clauses = []
    for kind, form in CHANGES.items():
        changed = rows[rows["change"] == kind].fillna({"controlled_verdict": ""})
        for (b, a, verdict, controlled, outside), group in changed.groupby(
            ["policy_b", "policy_a", "verdict", "controlled_verdict", "outside"], sort=False
        ):
            words = {"b": marked(b, told), "a": marked(a, told), "before": SIDES.get(verdict), "after": SIDES.get(controlled)}
            clauses.append(form.format(**words, metrics=listed(list(map(metric_name, group["metric"])))) + (OUTSIDE if outside else ""))
    return f"At equal length, by judge {judge}: {clauses_in_short(clauses)}." if clauses else None


def lengths_of(lengths: pd.DataFrame | None, judges: list[str]) -> list[dict]:
    """Per judge with differences at equal length its name, `sentence` (None: every verdict stays as it is) and `rows`, each with its metric's name."""
    entries = []
    for judge in judges if lengths is not None else []:
        rows = shown(lengths, judge)
        lines = [row | {"name": metric_name(row["metric"])} for row in plain(rows)]
        if lines:
            entries.append({"judge": judge, "sentence": length_sentence(rows, judge, {}), "rows": lines})
    return entries

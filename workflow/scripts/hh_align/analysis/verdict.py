"""What the declared contrasts decide, for the terminal and for the report: three sentences, one per metric."""

import pandas as pd

from hh_align.core.axes import RATE_TITLES

RELATIONS = {"better": "above", "worse": "below", "equivalent": "equivalent to", "undecided": "undecided against"}


def declared(comparisons: pd.DataFrame, judge: str) -> pd.DataFrame:
    """The declared contrasts' rates: over the seeds where there are several (for new seeds), else of the one seed."""
    rows = comparisons[(comparisons["judge"] == judge) & comparisons["family"].isin(["primary", "declared"])]
    rows = rows[rows["metric"].isin(RATE_TITLES)].sort_values("seed", na_position="first", kind="stable")
    return rows.drop_duplicates(["policy_a", "policy_b", "metric"])


def verdict_sentences(contrasts: pd.DataFrame) -> list[str]:
    """One sentence per metric that the judge tells, from the rows of `declared`; none where no contrast is declared."""
    parts = {metric: contrasts[contrasts["metric"] == metric] for metric in RATE_TITLES} if len(contrasts) else {}
    return [f"{RATE_TITLES[metric]}: {relations(rows)}." for metric, rows in parts.items() if len(rows)]


def relations(rows: pd.DataFrame) -> str:
    """Who is above, below, equivalent to or undecided against whom."""
    if rows["judge_above_chance"].eq(False).any():
        return "nothing is ranked, for the judge is not above chance here"
    if rows["verdict"].eq("undecided").all():
        return "these prompts decide no declared contrast"
    sentences = []
    for verdict, relation in RELATIONS.items():
        for policy, group in rows[rows["verdict"] == verdict].groupby("policy_b", sort=False):
            sentences.append(f"{policy} is {relation} {listed(list(group['policy_a']))}")
    return "; ".join(sentences)


def listed(names: list[str]) -> str:
    """a, b and c"""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)

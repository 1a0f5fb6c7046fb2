"""What the declared contrasts decide, for the terminal and for the report, one sentence per metric; and who could be first on each axis."""

from typing import NamedTuple

import pandas as pd

from hh_align.core.axes import RATE_TITLES

UNRANKED = "nothing is ranked, for the judge is not above chance here"
UNDECIDED = "these prompts decide no declared contrast"
CLAUSES, NAMES = 6, 6
"""Of one sentence, and of one clause: what is more is counted."""
LEVEL = 5
"""Percent of studies in which a family may decide anything falsely."""
WITHIN = ", but within the margin"
RELATIONS = {"better": "above", "worse": "below", "equivalent": "equivalent to", "undecided": "undecided against"}


def declared(comparisons: pd.DataFrame, judge: str) -> pd.DataFrame:
    """The declared contrasts' rates: over the seeds where there are several (for new seeds), else of the one seed."""
    rows = comparisons[(comparisons["judge"] == judge) & comparisons["family"].isin(["primary", "declared"])]
    rows = rows[rows["metric"].isin(RATE_TITLES)].sort_values("seed", na_position="first", kind="stable")
    return rows.drop_duplicates(["policy_a", "policy_b", "metric"])


def error_rates(rows: pd.DataFrame) -> list[str]:
    """How often a judge's verdicts may be false, from the rows of `declared`: per metric, and over the metrics together, with and without the primary.

    Bounds by Bonferroni's inequality over the families, each held by Holm's rule. None where no contrast is declared.
    """
    rows = rows[rows["metric"].isin(RATE_TITLES)]
    if rows.empty:
        return []
    alone = rows["family"] == "primary"
    metrics = rows[~alone]["metric"].nunique()
    contrasts = rows[~alone].groupby("metric").size()
    told = []
    if metrics:
        sizes = " or ".join(map(str, sorted(set(contrasts))))
        together = f", over {metrics} metrics together in at most {metrics * LEVEL} %" if metrics > 1 else ""
        many = "contrast" if sizes == "1" else "contrasts"
        told.append(
            f"a difference that is not there is found in at most {LEVEL} % of studies per metric (Holm over its {sizes} {many}){together}"
        )
    if alone.any():
        first = rows[alone].iloc[0]
        with_it = f": with it at most {(metrics + 1) * LEVEL} % together" if metrics else ""
        told.append(
            f"the primary contrast, {first['policy_b']} - {first['policy_a']} on {first['metric']}, is tested by itself at {LEVEL} %{with_it}"
        )
    return [f"Error rates: {'; '.join(told)}. Equivalence likewise."]


class Sentence(NamedTuple):
    """What the declared contrasts decide of one metric."""

    title: str
    caveats: list[tuple[str, dict, str]]
    """(policy, row, column): where it stands what speaks against the policy's text."""
    relations: str
    """Who is above whom, without a full stop."""

    def __str__(self) -> str:
        """What stands against the text of a policy comes first."""
        caveats = "".join(f"{policy}: {row[column]}. " for policy, row, column in self.caveats)
        return f"{self.title}: {caveats}{self.relations}."


def verdict_sentences(contrasts: pd.DataFrame) -> list[Sentence]:
    """One sentence per metric that the judge tells, from the rows of `declared`; none where no contrast is declared."""
    parts = {metric: contrasts[contrasts["metric"] == metric] for metric in RATE_TITLES} if len(contrasts) else {}
    return [sentence(RATE_TITLES[metric], rows) for metric, rows in parts.items() if len(rows)]


def sentence(title: str, rows: pd.DataFrame) -> Sentence:
    """Of one metric's rows; behind a caveat words begin with a capital, policies' names as they are."""
    told, decided = caveats(rows), relations(rows)
    return Sentence(title, told, decided.capitalize() if told and decided in (UNRANKED, UNDECIDED) else decided)


def caveats(rows: pd.DataFrame) -> list[tuple[str, dict, str]]:
    """Of each policy of these contrasts that has a caveat, the first row and column that hold it; a table without these columns has none."""
    found: dict[str, tuple[str, dict, str]] = {}
    for row in rows.to_dict("records"):
        for side in "ba":
            policy, column = row[f"policy_{side}"], f"caveat_{side}"
            if isinstance(row.get(column), str):
                found.setdefault(policy, (policy, row, column))
    return list(found.values())


def in_words(row: dict | pd.Series) -> str:
    """`better`, or `better, but within the margin` of equivalence; `worse` likewise."""
    return row["verdict"] + (WITHIN if row["within_margin"] else "")


def relations(rows: pd.DataFrame) -> str:
    """Who is above (if need be: but within the margin), below, equivalent to or undecided against whom; at most so many clauses."""
    if rows["judge_above_chance"].eq(False).any():
        return UNRANKED
    if rows["verdict"].eq("undecided").all():
        return UNDECIDED
    clauses = []
    for verdict, relation in RELATIONS.items():
        for inside, words in ((False, ""), (True, WITHIN)):
            clauses += clauses_of(rows[(rows["verdict"] == verdict) & (rows["within_margin"] == inside)], relation, words)
    left = sum(contrasts for _, contrasts in clauses[CLAUSES:])
    return "; ".join([clause for clause, _ in clauses[:CLAUSES]] + ([f"and {left} more contrasts"] if left else []))


def clauses_of(rows: pd.DataFrame, relation: str, words: str) -> list[tuple[str, int]]:
    """(clause, its contrasts): policies that stand to the same ones in this relation share a clause."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for policy, group in rows.groupby("policy_b", sort=False):
        alike.setdefault(tuple(group["policy_a"]), []).append(policy)
    return [
        (f"{some(policies)} {'is' if len(policies) == 1 else 'are'} {relation} {some(list(against))}{words}", len(policies) * len(against))
        for against, policies in alike.items()
    ]


def unranked(leads: pd.DataFrame, judge: str) -> set[str]:
    """The axes on which a judge is not above chance, from threshold_leads."""
    return set(leads[(leads["judge"] == judge) & leads["judge_above_chance"].eq(False)]["axis"])


def rank_sentences(leads: pd.DataFrame, judge: str, mark: str) -> list[str]:
    """Who could be first on each axis, by the study's threshold and, where those are others, somewhere over the plausible ones.

    leads: threshold_leads; mark: stands behind a policy whose text has a caveat.
    """
    sentences = []
    for axis, group in leads[leads["judge"] == judge].groupby("axis", sort=False):
        names = group["policy"].where(group["caveat"].isna(), group["policy"] + mark)
        here, anywhere = group["could_be_first"].eq(True), group["first_share"].fillna(0).gt(0)
        if axis in unranked(leads, judge):
            sentences.append(f"On {axis} {UNRANKED}.")
        elif len(group) > 1:
            over = ""
            if (anywhere & ~here).any():
                low, high = group[["plausible_low", "plausible_high"]].iloc[0]
                over = f"; over thresholds from {low:g} to {high:g}: {firsts(names, anywhere)}"
            sentences.append(f"On {axis} could be first: {firsts(names, here)}{over}.")
    return sentences


def firsts(names: pd.Series, could_be: pd.Series) -> str:
    return "any policy" if could_be.all() else some(list(names[could_be]))


def some(names: list[str]) -> str:
    """All of a few names, the first of many and how many there are more."""
    return listed(names if len(names) <= NAMES else [*names[: NAMES - 1], f"{len(names) - NAMES + 1} more"])


def listed(names: list[str]) -> str:
    """a, b and c"""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)

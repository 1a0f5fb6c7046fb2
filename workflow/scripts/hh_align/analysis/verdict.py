"""What the declared contrasts decide, for the terminal and for the report, one sentence per metric.

Where people's labels correct a contrast, it is the corrected one that is told, and what the judge alone would have said otherwise.
"""

from typing import NamedTuple

import pandas as pd

from hh_align.analysis.ratings import to_show
from hh_align.core.axes import RATE_TITLES
from hh_align.core.numbers import bound, digits

UNRANKED = "nothing is ranked, for the judge is not above chance here"
UNDECIDED = "these prompts decide no declared contrast"
CLAUSES, NAMES = 6, 6
"""Of one sentence, and of one clause: what is more is counted."""
LEVEL = 5
"""Percent of studies in which a family may decide anything falsely."""
NOT_BORNE_OUT = "The judge alone says otherwise:"
WITHIN = ", but within the margin"
RELATIONS = {"better": "above", "worse": "below", "equivalent": "equivalent to", "undecided": "undecided against"}


def declared(comparisons: pd.DataFrame, judge: str) -> pd.DataFrame:
    """The declared contrasts' rates: over the seeds where there are several (for new seeds), else of the one seed."""
    rows = comparisons[(comparisons["judge"] == judge) & comparisons["family"].isin(["primary", "declared"])]
    return to_show(rows[rows["metric"].isin(RATE_TITLES)], ["policy_a", "policy_b", "metric"])


def error_rates(rows: pd.DataFrame) -> list[str]:
    """How often the verdicts may be false, from the rows of `declared` or `corrected_by_labels`: per metric, and over the metrics together, with and
    without the primary.

    Bounds by Bonferroni's inequality over the families, each held by Holm's rule. None where no contrast is declared.
    """
    if rows.empty:
        return []
    rows = rows[rows["metric"].isin(RATE_TITLES)]
    alone = rows["family"] == "primary"
    families = families_told(rows[~alone])
    metrics, told = rows[~alone]["metric"].nunique(), []
    if families:
        sizes = " or ".join(map(str, sorted(set(families))))
        whose = "" if len(families) == metrics else ", by labels and by the judge alone each"
        together = f", over {metrics} metrics together" if metrics > 1 else ", together"
        together = f"{together} in at most {len(families) * LEVEL} %" if len(families) > 1 else ""
        many = "contrast" if sizes == "1" else "contrasts"
        told.append(
            f"a difference that is not there is found in at most {LEVEL} % of studies per metric{whose} (Holm over its {sizes} {many}){together}"
        )
    if alone.any():
        first = rows[alone].iloc[0]
        with_it = f": with it at most {(len(families) + 1) * LEVEL} % together" if families else ""
        told.append(
            f"the primary contrast, {first['policy_b']} - {first['policy_a']} on {first['metric']}, is tested by itself at {LEVEL} %{with_it}"
        )
    return [f"Error rates: {'; '.join(told)}. Equivalence likewise."]


def families_told(rows: pd.DataFrame) -> list[int]:
    """How many contrasts each family has of which a verdict is told. Where labels correct some of a metric, theirs is one, and all by the judge another."""
    sizes = []
    for _, group in rows.groupby("metric", sort=False):
        by_labels = int(group["gold"].notna().sum()) if "gold" in group else 0
        sizes += ([by_labels] if by_labels else []) + ([len(group)] if by_labels < len(group) else [])
    return sizes


def corrected_by_labels(contrasts: pd.DataFrame, gold: pd.DataFrame | None, judge: str) -> pd.DataFrame:
    """The rows of `declared`; those that labels correct with the labels' verdict, no gate of the judge, and the row of gold as column `gold`."""
    rows = pd.DataFrame() if gold is None else gold[(gold["judge"] == judge) & gold["verdict"].notna()]
    known = {place_of(row): row for row in rows.astype(object).where(rows.notna(), None).to_dict("records")}
    told = []
    for row in contrasts.to_dict("records"):
        own = known.get(place_of(row))
        better = {"verdict": own["verdict"], "within_margin": own["within_margin"], "judge_above_chance": None} if own else {}
        told.append({**row, **better, "gold": own, "judge_verdict": row["verdict"]})
    return pd.DataFrame(told)


def place_of(row: dict) -> tuple:
    return (None if pd.isna(row["seed"]) else row["seed"], row["policy_a"], row["policy_b"], row["metric"])


class Sentence(NamedTuple):
    """What the declared contrasts decide of one metric."""

    title: str
    caveats: list[tuple[str, dict, str]]
    """(policy, row, column): where it stands what speaks against the policy's text."""
    relations: str
    """Who is above whom, without a full stop."""
    conflicts: list[tuple[str, dict]] = []  # noqa: RUF012
    """(what the judge alone says, row of gold) of each contrast on which labels do not bear it out."""

    def __str__(self) -> str:
        """What stands against the text of a policy comes first, where the judge errs last."""
        caveats = "".join(f"{policy}: {row[column]}. " for policy, row, column in self.caveats)
        said = [f"{judge} ({digits(row['judge_value'], '+.1f')}; labels {in_numbers(row)})" for judge, row in self.conflicts]
        return f"{self.title}: {caveats}{self.relations}." + (f" {NOT_BORNE_OUT} {listed(said)}." if said else "")


def in_numbers(row: dict) -> str:
    """`+2.5 [-7, +12], undecided` of a row of gold."""
    return f"{digits(row['corrected'], '+.1f')} {at_once(row)}, {row['verdict']}"


def at_once(row: dict | pd.Series) -> str:
    """The interval that holds for all contrasts of a metric, in whole points; `[-]` where there is none."""
    return "[-]" if pd.isna(row["sim_low"]) else f"[{bound(row['sim_low'])}, {bound(row['sim_high'])}]"


def verdict_sentences(contrasts: pd.DataFrame) -> list[Sentence]:
    """One sentence per metric that the judge tells, from the rows of `declared` or `corrected_by_labels`; none where no contrast is declared.

    Two of a metric on which labels correct some contrasts only.
    """
    sentences = []
    for metric, title in RATE_TITLES.items() if len(contrasts) else ():
        rows = contrasts[contrasts["metric"] == metric]
        corrected = rows["gold"].notna() if "gold" in rows else pd.Series(False, rows.index)
        for part, how in ((rows[corrected], ", by labels"), (rows[~corrected], ", by the judge alone" if corrected.any() else "")):
            if len(part):
                sentences.append(sentence(title + how, part))
    return sentences


def sentence(title: str, rows: pd.DataFrame) -> Sentence:
    """Of one metric's rows; behind a caveat words begin with a capital, policies' names as they are."""
    told, decided = caveats(rows), relations(rows)
    return Sentence(title, told, decided.capitalize() if told and decided in (UNRANKED, UNDECIDED) else decided, conflicts(rows))


def conflicts(rows: pd.DataFrame) -> list[tuple[str, dict]]:
    """What the judge alone decides, and labels decide otherwise or not at all."""
    if "gold" not in rows:
        return []
    return [
        (f"{row['policy_b']} {RELATIONS[row['judge_verdict']]} {row['policy_a']}", row["gold"])
        for row in rows.to_dict("records")
        if row["gold"] and row["judge_verdict"] != "undecided" and row["verdict"] != row["judge_verdict"]
    ]


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
    return "; ".join([clause for clause, _ in clauses[:CLAUSES]] + ([f"and {left} more contrast{'s' * (left > 1)}"] if left else []))


def clauses_in_short(clauses: list[str], more: str = "more") -> str:
    """The first clauses, and how many more there are."""
    left = len(clauses) - CLAUSES
    return "; ".join(clauses[:CLAUSES] + ([f"and {left} {more}"] if left > 0 else []))


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


def some(names: list[str]) -> str:
    """All of a few names, the first of many and how many there are more."""
    return listed(names if len(names) <= NAMES else [*names[: NAMES - 1], f"{len(names) - NAMES + 1} more"])


def listed(names: list[str]) -> str:
    """a, b and c"""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)

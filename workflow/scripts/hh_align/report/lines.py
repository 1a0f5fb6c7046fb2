"""What the terminal says of a study in sentences: the judges, true labels, power, and published claims."""

import pandas as pd

from hh_align.analysis.facts import MISSING
from hh_align.analysis.ratings import to_show
from hh_align.analysis.verdict import clauses_in_short
from hh_align.core.axes import PROMPT_NAMES, RATES, WINS

MARK = " !"
"""Behind a policy whose text has a caveat, and behind each verdict about it."""


def marked(policy: str, told: dict[str, str]) -> str:
    return policy + MARK if policy in told else policy


def judge_lines(examined: pd.DataFrame, judge: str) -> list[str]:
    """How good the judge is where people have decided, on the subsets that the prompts come from."""
    rows = examined[(examined["judge"] == judge) & (examined["format"] == "as evaluated") & (examined["part"] == "all")]
    lines = []
    for row in rows[rows["own_subset"]].itertuples():
        accuracy = f"{row.accuracy:.1f} % [{row.ci_low:.1f}, {row.ci_high:.1f}] of {row.n:,} held-out pairs of {row.subset}"
        refused = "" if row.ci_low > 50 else f": not above chance, so by itself it ranks nothing on {row.axis}"
        lines.append(f"The judge {judge} prefers the chosen reply in {accuracy}{refused}.")
    return lines


def label_lines(agreement: pd.DataFrame, judge: str) -> list[str]:
    """How the judge's labels of the responses agree with the true ones."""
    rows = agreement[(agreement["rater_a"] == judge) & (agreement["rater_b"] == "labels") & agreement["policy"].isna()]
    lines = []
    for row in rows.itertuples():
        kappa = "undefined" if pd.isna(row.kappa) else f"{row.kappa:.2f}"
        lines.append(f"Its labels of {row.n} responses are the true ones in {row.agreement:.0f} % on {row.axis} (kappa {kappa}).")
    return lines


def skip_lines(gold: pd.DataFrame, judge: str) -> list[str]:
    """What annotators skipped, per policy and axis, and the verdicts that hang on it; nothing where nothing was."""
    rows = to_show(gold[(gold["judge"] == judge) & gold["skipped"].gt(0)], ["policy_b", "policy_a", "metric"])
    levels = rows[rows["policy_a"].isna() & rows["metric"].isin(list(RATES.values()))]
    counts = [f"{row.policy_b} {row.skipped:.0f} of {row.skipped + row.labelled:.0f} ({row.metric})" for row in levels.itertuples()]
    lines = [f"Skipped by the annotators, and in no rate: {', '.join(counts)}."] if counts else []
    for row in rows[rows["skip_verdicts"].str.contains(" or ", na=False)].itertuples():
        worst = f"between {row.skip_low:+.1f} and {row.skip_high:+.1f} points, {row.skip_verdicts}"
        lines.append(f"If all that was skipped were bad or good, {row.policy_b} - {row.policy_a} on {row.metric} would be {worst}.")
    return lines


def power_lines(power: pd.DataFrame, judge: str) -> list[str]:
    """The smallest difference that the study finds by a judge, and what would decide each undecided contrast, metric by metric."""
    rows = power[power["judge"] == judge]
    found = rows[(rows["question"] == "detectable by this study") & (rows["difference"] > 0)]
    lines = []
    if len(found):
        told = [f"{row.difference:.0f} points in {row.metric} ({row.n:,.0f} prompts{over(row.seeds)})" for row in found.itertuples()]
        lines.append(f"Found with 80 % power, as often as the policies differ here and after Holm: {', '.join(told)}.")
    open_ = rows[rows["policy_b"].notna()]
    for metric, group in open_.groupby("metric", sort=False):
        clauses = [deciding(pair, part) for pair, part in group.groupby(["policy_b", "policy_a"], sort=False)]
        lines.append(f"What would decide {metric}: {clauses_in_short(clauses, 'more contrasts')}.")
    if len(open_) and (open_["seeds"] == 1).all():
        lines.append("How many seeds it would take is not known from one.")
    return lines


def over(seeds: float) -> str:
    return "" if seeds == 1 else f", {seeds:.0f} seeds"


def deciding(pair: tuple[str, str], rows: pd.DataFrame) -> str:
    """One undecided contrast: the prompts, or seeds, that its observed difference needs, and one of the margin."""
    by_question = rows.set_index("question")
    observed, margin = (
        [
            numbered(by_question.loc[f"{what} that find {named}"][column], what)
            for what, column in (("prompts", "n"), ("seeds", "seeds"))
            if f"{what} that find {named}" in by_question.index
        ]
        for named in ("the observed difference", "the margin")
    )
    first, last = (by_question.loc[f"prompts that find {named}"]["difference"] for named in ("the observed difference", "the margin"))
    return f"{pair[0]} - {pair[1]}: {either(observed)} if it is {first:+.1f} points as here, {either(margin)} if it is {last:g}"


def numbered(number: float, what: str) -> str:
    return "" if pd.isna(number) else f"{number:,.0f} {what}"


def either(numbers: list[str]) -> str:
    return " or ".join(filter(None, numbers)) or "not by any number"


def claim_lines(claims: pd.DataFrame, judge: str) -> list[str]:
    """Each sentence with its verdict and the first of the numbers that decide it."""
    rows = to_show(claims[claims["judge"] == judge], ["claim"])
    lines = []
    for row in rows.itertuples():
        caveat = f"{row.caveat}; " if isinstance(row.caveat, str) else ""
        lines.append(f'"{row.claim}": {row.verdict}, as stated: {row.as_stated} ({caveat}{row.reason.split("; ")[0]}).')
    return lines


def fact_lines(facts: pd.DataFrame) -> list[str]:
    """Each claim of fact with its verdict and the first of what was found; those that the study cannot tell in one line, by their number."""
    rows = facts.drop_duplicates("claim")
    told = rows[rows["verdict"] != MISSING]
    lines = [f'"{row.claim}": {row.verdict} ({row.evidence.split("; ")[0]}).' for row in told.itertuples()]
    if left := len(rows) - len(told):
        lines.append(f"{left} of {len(rows)} claims of fact are {MISSING}: report/facts.csv says why.")
    return lines


def ends(low: float, high: float) -> str:
    """An interval in whole numbers; `[-]` where there is none."""
    return "[-]" if pd.isna(low) else f"[{low:.0f}, {high:.0f}]"


def pairwise_lines(comparisons: pd.DataFrame, pairwise: pd.DataFrame, judge: str, told: dict[str, str]) -> list[str]:
    """Of a pairwise judge who wins, axis by axis, how often its answers contradict each other, and how often they prefer the first place."""
    rows, lines = to_show(comparisons[comparisons["judge"] == judge], ["policy_b", "policy_a", "metric"]), []
    for total in pairwise[(pairwise["judge"] == judge) & pairwise["policy_b"].isna()].itertuples():
        won = [
            f"{marked(row.policy_b, told)} against {marked(row.policy_a, told)} {row.difference:+.0f} {ends(row.sim_low, row.sim_high)}, {row.verdict}"
            for row in rows[rows["metric"] == WINS[total.axis]].itertuples()
        ]
        lines.append(f"By judge {judge}, wins less losses in % of {PROMPT_NAMES[total.axis]}: {'; '.join(won)}.")
        if total.decided:
            bias = f"{total.first:.0f} % {ends(total.first_low, total.first_high)} prefer what stands first"
            lines.append(f"Of its pairs there {total.inconsistency:.0f} % get another answer in the other order; of its answers {bias}.")
    return lines

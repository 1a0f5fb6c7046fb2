"""What the terminal says of a study in sentences: the judges, true labels, power, and published claims."""

import pandas as pd

from hh_align.core.axes import AXES, CAS, PROMPT_NAMES, RATES, WINS

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
        refused = "" if row.ci_low > 50 else f": not above chance, so nothing is ranked on {row.axis}"
        lines.append(f"The judge {judge} prefers the chosen reply in {accuracy}{refused}.")
    return lines


def label_lines(agreement: pd.DataFrame, judge: str) -> list[str]:
    """How the judge's labels of the responses agree with the true ones."""
    rows = agreement[(agreement["rater_a"] == judge) & (agreement["rater_b"] == "labels") & agreement["policy"].isna()]
    return [
        f"Its labels of {row.n} responses are the true ones in {row.agreement:.0f} % on {row.axis} (kappa {row.kappa:.2f})."
        for row in rows.itertuples()
    ]


def skip_lines(gold: pd.DataFrame, judge: str) -> list[str]:
    """What annotators skipped, per policy and axis, and the verdicts that hang on it; nothing where nothing was."""
    rows = gold[(gold["judge"] == judge) & gold["skipped"].gt(0)].sort_values("seed", na_position="first", kind="stable")
    rows = rows.drop_duplicates(["policy_b", "policy_a", "metric"])
    levels = rows[rows["policy_a"].isna() & rows["metric"].isin(list(RATES.values()))]
    counts = [f"{row.policy_b} {row.skipped:.0f} of {row.skipped + row.labelled:.0f} ({row.metric})" for row in levels.itertuples()]
    lines = [f"Skipped by the annotators, and in no rate: {', '.join(counts)}."] if counts else []
    for row in rows[rows["skip_verdicts"].str.contains(" or ", na=False)].itertuples():
        worst = f"between {row.skip_low:+.1f} and {row.skip_high:+.1f} points, {row.skip_verdicts}"
        lines.append(f"If all that was skipped were bad or good, {row.policy_b} - {row.policy_a} on {row.metric} would be {worst}.")
    return lines


def power_lines(power: pd.DataFrame) -> list[str]:
    """The smallest difference that the study's prompts can show; of prompts in clusters, how many others they are worth."""
    rows = power[(power["question"] == "detectable difference") & power["axis"].isin([*AXES, CAS])]
    differences = [
        f"{row.difference:.0f} points in {RATES.get(row.axis, CAS)} ({prompts(row.n, row.effective_n)})"
        for row in rows.itertuples()
        if row.difference > 0
    ]
    return [f"Found with 80 % power: {', '.join(differences)}; smaller differences are mostly undecided."] if differences else []


def prompts(n: int, effective: int) -> str:
    return f"{n} prompts" + ("" if effective == n else f" in clusters, worth {effective}")


def claim_lines(claims: pd.DataFrame, judge: str) -> list[str]:
    """Each sentence with its verdict and the first of the numbers that decide it."""
    rows = claims[claims["judge"] == judge].sort_values("seed", na_position="first", kind="stable").drop_duplicates("claim")
    lines = []
    for row in rows.itertuples():
        caveat = f"{row.caveat}; " if isinstance(row.caveat, str) else ""
        lines.append(f'"{row.claim}": {row.verdict}, as stated: {row.as_stated} ({caveat}{row.reason.split("; ")[0]}).')
    return lines


def ends(low: float, high: float) -> str:
    """An interval in whole numbers; `[-]` where there is none."""
    return "[-]" if pd.isna(low) else f"[{low:.0f}, {high:.0f}]"


def pairwise_lines(comparisons: pd.DataFrame, pairwise: pd.DataFrame, judge: str, told: dict[str, str]) -> list[str]:
    """Of a pairwise judge who wins, axis by axis, how often its answers contradict each other, and how often they prefer the first place."""
    rows = comparisons[comparisons["judge"] == judge].sort_values("seed", na_position="first", kind="stable")
    rows, lines = rows.drop_duplicates(["policy_b", "policy_a", "metric"]), []
    for total in pairwise[(pairwise["judge"] == judge) & pairwise["policy_b"].isna()].itertuples():
        won = [
            f"{marked(row.policy_b, told)} against {marked(row.policy_a, told)} {row.difference:+.0f} {ends(row.ci_low, row.ci_high)}, {row.verdict}"
            for row in rows[rows["metric"] == WINS[total.axis]].itertuples()
        ]
        lines.append(f"By judge {judge}, wins less losses in % of {PROMPT_NAMES[total.axis]}: {'; '.join(won)}.")
        if total.decided:
            bias = f"{total.first:.0f} % {ends(total.first_low, total.first_high)} prefer what stands first"
            lines.append(f"Of its pairs there {total.inconsistency:.0f} % get another answer in the other order; of its answers {bias}.")
    return lines

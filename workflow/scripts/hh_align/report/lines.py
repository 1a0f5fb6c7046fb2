"""What the terminal says of a study in sentences: what is decided, in words or in numbers, wins, what stays good, and what speaks against it."""

from collections import Counter

import pandas as pd

from hh_align.analysis.ratings import to_show
from hh_align.analysis.verdict import Sentence, at_once, in_words
from hh_align.core.axes import PROMPT_NAMES, WINS
from hh_align.core.numbers import digits

MARK = " !"
"""Behind a policy whose text has a caveat, and behind each verdict about it."""
ENDINGS = ("better", "worse", "equivalent", "undecided")
IN_TRAINING = {"lead": "the blank line that begins", "cue": 'the "Assistant:" that ends'}
SYNTHETIC = "Synthetic data: these numbers test the workflow and say nothing about OPT-350M or any real model."


def marked(policy: str, told: dict[str, str]) -> str:
    return policy + MARK if policy in told else policy


def in_short(sentence: Sentence) -> str:
    """A sentence of the verdict that says of a policy's text only which caveat it has: the notes say why."""
    short = [(policy, {column: row[column].partition(":")[0]}, column) for policy, row, column in sentence.caveats]
    return str(sentence._replace(caveats=short))


def primary_line(decided: pd.DataFrame, told: dict[str, str]) -> str:
    """`Primary CAS: sft_dpo - sft +6.5 [+3, +10] better` of the rows of corrected_by_labels; empty where no contrast is the primary."""
    for row in decided[decided["family"] == "primary"].to_dict("records") if len(decided) else []:
        own = row["gold"] or row
        difference = f"{digits(own['corrected' if row['gold'] else 'difference'], '+.1f')} {at_once(own)}"
        verdict = "not ranked" if row["judge_above_chance"] is False else in_words(row)
        by_labels = ", by labels" if row["gold"] else ""
        return (
            f"Primary {row['metric']}: {marked(row['policy_b'], told)} - {marked(row['policy_a'], told)} {difference} {verdict}{by_labels}"
        )
    return ""


def count_line(decided: pd.DataFrame) -> str:
    """`of 53 others 12 better, 8 worse, 33 undecided`: the contrasts beside the primary; empty where there are none."""
    rows = decided[decided["family"] != "primary"] if len(decided) else decided
    found = Counter("not ranked" if row["judge_above_chance"] is False else row["verdict"] for row in rows.to_dict("records"))
    counts = ", ".join(f"{found[ending]} {ending}" for ending in (*ENDINGS, "not ranked") if found[ending])
    return f"of {len(rows)} {'others' if len(rows) < len(decided) else 'verdicts'} {counts}" if counts else ""


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
        share = f"{row.agreement:.0f} % on {row.axis} (kappa {kappa})"
        lines.append(f"The labels by judge {judge} of {row.n} responses are the true ones in {share}.")
    return lines


def closing_lines(config: dict) -> list[str]:
    """What speaks against the judges, and what a study of synthetic data cannot say."""
    lines = ["The intervals are of a judge's opinion, and it errs.", *config.get("unknown_judges", [])]
    if config["same_source"]:
        lines.append(f"Trained on the policies' own source: {', '.join(config['same_source'])}.")
    for key, policies in config.get("unlike_training", {}).items():
        lines.append(f"Asked without {IN_TRAINING[key]} every prompt in training (generation.{key}): {', '.join(policies)}.")
    return [" ".join(lines), *([SYNTHETIC] if config["synthetic"] else [])]


def ends(low: float, high: float) -> str:
    """An interval in whole numbers; `[-]` where there is none."""
    return "[-]" if pd.isna(low) else f"[{digits(low, '.0f')}, {digits(high, '.0f')}]"


def pairwise_lines(comparisons: pd.DataFrame, pairwise: pd.DataFrame, judge: str, told: dict[str, str]) -> list[str]:
    """Of a pairwise judge who wins, axis by axis, how often its answers contradict each other, and how often they prefer the first place."""
    rows, lines = to_show(comparisons[comparisons["judge"] == judge], ["policy_b", "policy_a", "metric"]), []
    for total in pairwise[(pairwise["judge"] == judge) & pairwise["policy_b"].isna()].itertuples():
        won = [
            f"{marked(row.policy_b, told)} against {marked(row.policy_a, told)} {digits(row.difference, '+.0f')} {ends(row.sim_low, row.sim_high)}, {row.verdict}"
            for row in rows[rows["metric"] == WINS[total.axis]].itertuples()
        ]
        lines.append(f"By judge {judge}, wins less losses in % of {PROMPT_NAMES[total.axis]}: {'; '.join(won)}.")
        if total.decided:
            bias = f"{total.first:.0f} % {ends(total.first_low, total.first_high)} prefer what stands first"
            lines.append(f"Of its pairs there {total.inconsistency:.0f} % get another answer in the other order; of its answers {bias}.")
    return lines

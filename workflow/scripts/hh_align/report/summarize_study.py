"""The study in a page: rates beside the published ones, contrasts with verdicts, gains and retention, and what it all rests on."""

import io
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pandas as pd
import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from hh_align.analysis.ratings import headline, judged_axes, judged_rates, to_show
from hh_align.analysis.text_gate import FLAGS, caveat_of
from hh_align.analysis.verdict import (
    at_once,
    corrected_by_labels,
    declared,
    error_rates,
    in_words,
    rank_sentences,
    unranked,
    verdict_sentences,
)
from hh_align.core.artifacts import read_table, say, write_text
from hh_align.core.axes import GOOD_WORDS, MEANS, METRIC_AXES
from hh_align.core.command import parse, run
from hh_align.core.errors import printable
from hh_align.report import kept
from hh_align.report.displaced import displacement_sentence
from hh_align.report.lengths import length_sentence, shown
from hh_align.report.lines import MARK, claim_lines, fact_lines, judge_lines, label_lines, marked, pairwise_lines, power_lines, skip_lines
from hh_align.report.mixed import model_sentence

WIDTH = 110
IN_TRAINING = {"lead": "the blank line that begins", "cue": 'the "Assistant:" that ends'}
PAGES = "The report: {folder}/index.html; beside it browser.html (the responses) and every table as CSV."


def table_with(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    return table


def beside(ours: str, theirs: float | None, digits: int) -> str:
    return ours if theirs is None else f"{ours} | {theirs:.{digits}f}"


def rate_cell(row: pd.Series) -> str:
    return f"{row['value']:.1f} [-]" if pd.isna(row["ci_low"]) else f"{row['value']:.1f} [{row['ci_low']:.1f}, {row['ci_high']:.1f}]"


def caveats(text: pd.DataFrame, config: dict) -> dict[str, str]:
    """Policy -> what stands against its text, of those with any."""
    examined = {(row["policy"], row["seed"]): row for row in text.to_dict("records")}
    told = {policy: caveat_of(examined, config, policy, config["seeds"]) for policy in config["order"]}
    return {policy: caveat for policy, caveat in told.items() if caveat}


def rate_table(rows: pd.DataFrame, config: dict, judge: str, published: dict, told: dict[str, str]) -> Table:
    """Policies by the judge's rates (HmR, HpR, CAS) with 95 % intervals, the published value behind a `|`."""
    rates = judged_rates(config["judges"][judge])
    shown = " | published" if published else ""
    over = f", over {len(config['seeds'])} seeds" if len(config["seeds"]) > 1 else ""
    table = table_with(f"{config['study']}: rates in %, 95 % intervals{shown} (judge {judge}{over})", "policy", *rates)
    for policy in config["order"]:
        theirs = published.get(policy, {})
        table.add_row(marked(policy, told), *(beside(rate_cell(rows.loc[(policy, metric)]), theirs.get(metric), 0) for metric in rates))
    return table


def gain(value: float, root: float) -> str:
    """Relative change over the root in percent, halves rounded up as in the paper's Table 2."""
    if not root:
        return "-"
    change = Decimal(str(round(float(100 * (value - root) / root), 9)))
    return f"{change.quantize(Decimal('0.01'), ROUND_HALF_UP):+}"


def gain_table(
    rows: pd.DataFrame, retention: pd.DataFrame, config: dict, judge: str, published: dict, told: dict[str, str], lost: set[str]
) -> Table:
    """Mean rewards, relative gains over the root, and retention against the root at the first seed; neither of the last two on lost axes."""
    root, seed = config["order"][0], config["seeds"][0]
    thresholds = config["judges"][judge]
    axes, rates = judged_axes(thresholds), judged_rates(thresholds)
    at = f" at seed {seed}" if len(config["seeds"]) > 1 else ""
    table = table_with(
        f"mean rewards; gain over {root} in %; good prompts of {root} that stay good{at} (by chance)",
        "policy",
        *(f"reward\n{MEANS[axis].removeprefix('mean_reward_')}" for axis in axes),
        *(f"gain\n{metric}" for metric in rates),
        *(f"kept\n{GOOD_WORDS[axis]}" for axis in axes),
    )
    for policy in config["order"]:
        theirs = published.get(policy, {})
        means = [beside(f"{rows.loc[(policy, metric)]['value']:.2f}", theirs.get(metric), 2) for metric in map(MEANS.get, axes)]
        gains = [
            ""
            if policy == root
            else "-"
            if lost & set(METRIC_AXES[metric])
            else gain(*(rows.loc[(name, metric)]["value"] for name in (policy, root)))
            for metric in rates
        ]
        key = {"judge": judge, "policy": policy, "reference": root, "seed": seed}
        retained = ["-" if axis in lost else kept_cell(retention, **key, axis=axis) for axis in axes]
        table.add_row(marked(policy, told), *means, *gains, *retained)
    return table


def kept_cell(retention: pd.DataFrame, **key: object) -> str:
    """`kept/of (chance)` of the one row at this place; nothing for the root, which has none."""
    for row in retention[(retention[list(key)] == pd.Series(key)).all(axis=1)].itertuples():
        return f"{row.retained}/{row.denominator}" + (f" ({row.chance:.0f}%)" if row.denominator else "")
    return ""


def contrast_table(rows: pd.DataFrame, rates: Iterable[str], told: dict[str, str]) -> Table:
    """Differences of the declared contrasts in points with simultaneous intervals and verdicts."""
    table = table_with(
        "differences in points, intervals of all contrasts of a metric at once (95 %), verdicts (Holm; * primary)", "contrast", *rates
    )
    for (policy, against), group in rows.groupby(["policy_b", "policy_a"], sort=False):
        by_metric = group.set_index("metric")
        mark = MARK if {policy, against} & set(told) else ""
        cells = (difference_cell(by_metric.loc[metric]) + mark for metric in rates)
        table.add_row(f"{marked(policy, told)} - {marked(against, told)}", *cells)
    return table


def difference_cell(row: pd.Series) -> str:
    primary = " *" if row.get("family") == "primary" else ""
    return f"{row['difference']:+.1f}{primary} {at_once(row)} {in_words(row)}"


def corrected_table(gold: pd.DataFrame, judge: str, seed: int, rates: Iterable[str], told: dict[str, str]) -> Table | None:
    """The declared contrasts corrected by true labels, over the seeds where all are labelled; None where nobody has labelled a response."""
    rows = gold[
        (gold["judge"] == judge) & (gold["seed"].isna() | (gold["seed"] == seed)) & gold["policy_a"].notna() & gold["verdict"].notna()
    ]
    rows = to_show(rows[rows["metric"].isin(list(rates))], ["policy_b", "policy_a", "metric"])
    if rows.empty:
        return None
    labelled = f"{rows['labelled'].min()} to {rows['labelled'].max()} labels"
    table = table_with(f"the judge's error carried in: corrected by {labelled} per policy (prediction-powered)", "contrast", *rates)
    for (policy, against), group in rows.groupby(["policy_b", "policy_a"], sort=False):
        by_metric = group.assign(difference=group["corrected"]).set_index("metric")
        mark = MARK if {policy, against} & set(told) else ""
        cells = (difference_cell(by_metric.loc[metric]) + mark if metric in by_metric.index else "-" for metric in rates)
        table.add_row(f"{marked(policy, told)} - {marked(against, told)}", *cells)
    return table


def closing_lines(config: dict) -> list[str]:
    """What the tables do not show."""
    lines = ["The intervals are about a judge's opinion, and it errs.", *config.get("unknown_judges", [])]
    if config["same_source"]:
        lines.append(f"Trained on data of the policies' own source: {', '.join(config['same_source'])}.")
    for key, policies in config.get("unlike_training", {}).items():
        lines.append(f"Asked without {IN_TRAINING[key]} every prompt in training (generation.{key}): {', '.join(policies)}.")
    if config["synthetic"]:
        lines.append("Synthetic data: these numbers test the workflow and say nothing about OPT-350M or any real model.")
    return lines


def frame(path: Path | None, columns: list[str]) -> pd.DataFrame:
    """An analysis table; without rows where the study has none."""
    return read_table(path, columns).to_pandas() if path else pd.DataFrame(columns=columns)


def summary(config: dict, tables: dict[str, pd.DataFrame], published: dict, look: str = PAGES) -> str:
    """The page as text; `published`: policy -> metric -> the paper's value; `look` says what there is in {folder}, the report's."""
    text = io.StringIO()
    console = Console(file=text, width=WIDTH, color_system=None, markup=False, emoji=False, highlight=False)
    told = caveats(tables["text"], config)
    for judge in sorted(config["judges"]):
        rates = list(judged_rates(config["judges"][judge]))
        rows, contrasts = headline(tables["metrics"], judge), declared(tables["comparisons"], judge)
        for line in kept.kept_lines(tables["retention"], contrasts, judge, told):
            console.print(line)
        console.print(rate_table(rows, config, judge, published, told))
        if len(contrasts):
            console.print(contrast_table(contrasts, rates, told))
        if corrected := corrected_table(tables["gold"], judge, config["seeds"][0], rates, told):
            console.print(corrected)
        console.print(gain_table(rows, tables["retention"], config, judge, published, told, unranked(tables["leads"], judge)))
        decided = corrected_by_labels(contrasts, tables["gold"], judge)
        lines = [str(sentence) for sentence in verdict_sentences(decided)]
        lines += error_rates(decided) + judge_lines(tables["judge"], judge)
        lines += label_lines(tables["label_agreement"], judge) + skip_lines(tables["gold"], judge) + claim_lines(tables["claims"], judge)
        alone = rank_sentences(tables["leads"], judge, MARK) + power_lines(tables["power"], judge)
        alone += filter(None, [length_sentence(shown(tables["length"], judge), judge, told)])
        alone += filter(None, [model_sentence(tables["mixed_model"], judge, told)])
        if alone and len(decided) and decided["gold"].notna().any():
            lines.append(f"By judge {judge} alone, whatever the labels say:")
        for line in lines + alone:
            console.print(line)
    for judge in sorted(config.get("pairwise", {})):
        for line in pairwise_lines(tables["comparisons"], tables["pairwise"], judge, told):
            console.print(line)
    for line in fact_lines(tables["facts"]):
        console.print(line)
    for line in [
        *filter(None, [displacement_sentence(tables["displacement"])]),
        *(f"{MARK.strip()} {policy}: {caveat}." for policy, caveat in told.items()),
        *closing_lines(config),
        look.format(folder=f"{config['folder']}/report"),
    ]:
        console.print(line, soft_wrap=True)
    return "\n".join(printable(line.rstrip()) for line in text.getvalue().splitlines()) + "\n"


COLUMNS = {
    "metrics": ["judge", "policy", "seed", "metric", "value", "n", "ci_low", "ci_high"],
    "comparisons": [
        "judge",
        "seed",
        "policy_a",
        "policy_b",
        "metric",
        "family",
        "difference",
        "sim_low",
        "sim_high",
        "judge_above_chance",
        "verdict",
        "within_margin",
        "caveat_a",
        "caveat_b",
    ],
    "retention": kept.COLUMNS,
    "power": ["question", "judge", "policy_b", "policy_a", "metric", "n", "seeds", "difference"],
    "leads": [
        "judge",
        "axis",
        "policy",
        "plausible_low",
        "plausible_high",
        "could_be_first",
        "first_share",
        "judge_above_chance",
        "caveat",
    ],
    "judge": ["judge", "axis", "subset", "format", "part", "own_subset", "n", "accuracy", "ci_low", "ci_high"],
    "gold": [
        *("judge", "seed", "policy_a", "policy_b", "metric", "labelled", "skipped", "judge_value", "corrected"),
        *("ci_low", "ci_high", "sim_low", "sim_high", "verdict", "within_margin", "skip_low", "skip_high", "skip_verdicts"),
    ],
    "label_agreement": ["rater_a", "rater_b", "axis", "policy", "n", "agreement", "kappa"],
    "pairwise": ["judge", "policy_b", "axis", "inconsistency", "decided", "first", "first_low", "first_high"],
    "claims": ["judge", "seed", "claim", "verdict", "as_stated", "reason", "caveat"],
    "facts": ["claim", "verdict", "evidence"],
    "length": [
        "judge",
        "seed",
        "policy_a",
        "policy_b",
        "metric",
        "family",
        "verdict",
        "controlled",
        "outside",
        "controlled_verdict",
        "change",
    ],
    "mixed_model": ["judge", "policy_a", "policy_b", "metric", "verdict", "modelled", "modelled_verdict", "agrees"],
    "displacement": ["policy", "seed", "pairs", "displaced"],
    "text": ["policy", "seed", *FLAGS, *(why for why, _ in FLAGS.values())],
}


def main() -> None:
    required = dict.fromkeys(("metrics", "comparisons", "retention", "power", "leads", "published", "output"), "path")
    optional = dict.fromkeys(
        ("judge", "claims", "facts", "length", "mixed_model", "displacement", "gold", "label_agreement", "pairwise", "text"), "path?"
    )
    args = parse(__doc__, config="config", **required, **optional)
    tables = {name: frame(getattr(args, name), columns) for name, columns in COLUMNS.items()}
    published = yaml.safe_load(args.published.read_text())["policies"] if args.config["compare_published"] else {}
    write_text(args.output, summary(args.config, tables, published))
    say(f"summary: {args.output}")


if __name__ == "__main__":
    run(main)

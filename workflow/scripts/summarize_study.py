"""The study in three tables: rates with intervals beside the published ones; contrasts with verdicts; gains and retention."""

import io
from decimal import ROUND_HALF_UP, Decimal

import pandas as pd
import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from study.artifacts import read_table, say, write_text
from study.command import parse, run
from study.ratings import AXES, headline

WIDTH = 110
RATES = ("HmR", "HpR", "CAS")
MEANS = ("mean_reward_harmful", "mean_reward_helpful")


def table_with(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    return table


def beside(ours: str, theirs: float | None, digits: int) -> str:
    return ours if theirs is None else f"{ours} | {theirs:.{digits}f}"


def rate_cell(row: pd.Series) -> str:
    return f"{row['value']:.1f} [-]" if pd.isna(row["ci_low"]) else f"{row['value']:.1f} [{row['ci_low']:.1f}, {row['ci_high']:.1f}]"


def rate_table(rows: pd.DataFrame, config: dict, judge: str, published: dict) -> Table:
    """Policies by HmR, HpR and CAS with 95 % intervals, the published value behind a `|`."""
    shown = " | published" if published else ""
    over = f", over {len(config['seeds'])} seeds" if len(config["seeds"]) > 1 else ""
    table = table_with(f"{config['study']}: rates in %, 95 % intervals{shown} (judge {judge}{over})", "policy", *RATES)
    for policy in config["order"]:
        theirs = published.get(policy, {})
        table.add_row(policy, *(beside(rate_cell(rows.loc[(policy, metric)]), theirs.get(metric), 0) for metric in RATES))
    return table


def gain(value: float, root: float) -> str:
    """Relative change over the root in percent, halves rounded up as in the paper's Table 2."""
    if not root:
        return "-"
    change = Decimal(str(round(float(100 * (value - root) / root), 9)))
    return f"{change.quantize(Decimal('0.01'), ROUND_HALF_UP):+}"


def gain_table(rows: pd.DataFrame, retention: pd.DataFrame, config: dict, judge: str, published: dict) -> Table:
    """Mean rewards, relative gains over the root, and retention against the root at the first seed."""
    root, seed = config["order"][0], config["seeds"][0]
    at = f" at seed {seed}" if len(config["seeds"]) > 1 else ""
    table = table_with(
        f"mean rewards; gain over {root} in %; good prompts of {root} that stay good{at} (by chance)",
        *("policy", "reward\nharmful", "reward\nhelpful", "gain\nHmR", "gain\nHpR", "gain\nCAS", "kept\nharmless", "kept\nhelpful"),
    )
    for policy in config["order"]:
        theirs = published.get(policy, {})
        means = [beside(f"{rows.loc[(policy, metric)]['value']:.2f}", theirs.get(metric), 2) for metric in MEANS]
        gains = ["" if policy == root else gain(rows.loc[(policy, metric)]["value"], rows.loc[(root, metric)]["value"]) for metric in RATES]
        place = {"judge": judge, "policy": policy, "reference": root, "seed": seed}
        kept = [kept_cell(retention, **place, axis=axis) for axis in AXES]
        table.add_row(policy, *means, *gains, *kept)
    return table


def kept_cell(retention: pd.DataFrame, **place: object) -> str:
    """`kept/of (chance)` of the one row at this place; nothing for the root, which has none."""
    for row in retention[(retention[list(place)] == pd.Series(place)).all(axis=1)].itertuples():
        return f"{row.retained}/{row.denominator} ({row.chance:.0f}%)"
    return ""


def contrast_table(comparisons: pd.DataFrame, judge: str) -> Table:
    """Differences of the declared contrasts in points with 95 % intervals and verdicts: over the seeds where there are several."""
    table = table_with(
        "differences in points, 95 % intervals, verdicts (Holm over the contrasts; * primary, unadjusted)", "contrast", *RATES
    )
    rows = comparisons[comparisons["judge"] == judge].sort_values("seed", na_position="first", kind="stable")
    rows = rows.drop_duplicates(["policy_a", "policy_b", "metric"])
    for (policy, against), group in rows.groupby(["policy_b", "policy_a"], sort=False):
        found = group.set_index("metric")
        primary = " *" if (group["family"] == "primary").any() else ""
        table.add_row(f"{policy} - {against}{primary}", *(difference_cell(found.loc[metric]) for metric in RATES))
    return table


def difference_cell(row: pd.Series) -> str:
    interval = "[-]" if pd.isna(row["ci_low"]) else f"[{row['ci_low']:+.0f}, {row['ci_high']:+.0f}]"
    return f"{row['difference']:+.1f} {interval} {row['verdict']}"


def closing_lines(rows: pd.DataFrame, config: dict) -> list[str]:
    """What the tables do not show, and where to look next. 22 points at 50 prompts: exact McNemar, 80 % power, 30 % of labels changing."""
    n = int(rows[rows.index.get_level_values("metric").isin(["HmR", "HpR"])]["n"].min())
    lines = [
        f"{n} prompts per axis show differences of about {22 * (50 / n) ** 0.5:.0f} points (80 % power); smaller ones are undecided.",
        "The intervals are about the judge's opinion. It errs, and it was trained on data of the policies' own source.",
    ]
    if config["synthetic"]:
        lines.append("Synthetic data: these numbers test the workflow and say nothing about OPT-350M or any real model.")
    lines.append(f"Next: results/{config['study']}/report/ with retention.csv, changed_prompts.csv (which prompts changed) and figures/")
    return lines


def main() -> None:
    args = parse(__doc__, config="config", metrics="path", comparisons="path", retention="path", published="path", output="path")
    config = args.config
    columns = ["judge", "policy", "seed", "metric", "value", "n", "ci_low", "ci_high"]
    metrics = read_table(args.metrics, columns).to_pandas()
    columns = ["judge", "seed", "policy_a", "policy_b", "metric", "family", "difference", "ci_low", "ci_high", "verdict"]
    comparisons = read_table(args.comparisons, columns).to_pandas()
    names = ["judge", "seed", "policy", "reference", "axis", "retained", "denominator", "chance"]
    retention = read_table(args.retention, names).to_pandas()
    published = yaml.safe_load(args.published.read_text())["policies"] if config["compare_published"] else {}
    text = io.StringIO()
    console = Console(file=text, width=WIDTH, color_system=None)
    for judge in sorted(config["judges"]):
        rows = headline(metrics, judge)
        console.print(rate_table(rows, config, judge, published))
        if len(comparisons):
            console.print(contrast_table(comparisons, judge))
        console.print(gain_table(rows, retention, config, judge, published))
        for line in closing_lines(rows, config):
            console.print(line, soft_wrap=True, highlight=False)
    tidy = "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
    write_text(args.output, tidy)
    say(tidy.rstrip())


if __name__ == "__main__":
    run(main)

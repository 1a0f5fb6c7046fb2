"""The study in one table: rates with intervals beside the published ones, mean rewards, retention, and what n can show."""

import io
from decimal import ROUND_HALF_UP, Decimal

import pandas as pd
import yaml
from rich.console import Console
from rich.table import Table

from study.artifacts import read_table, say, write_text
from study.command import parse, run
from study.ratings import seed_of

WIDTH = 110
RATES = ("HmR", "HpR", "CAS")
MEANS = ("mean_reward_harmful", "mean_reward_helpful")


def metrics_of(metrics: pd.DataFrame, config: dict, judge: str, policy: str) -> dict[str, pd.Series]:
    """metric -> row: over the seeds where there are several, else of the one seed."""
    rows = metrics[(metrics["judge"] == judge) & (metrics["policy"] == policy)]
    over = rows[rows["seed"].isna()]
    rows = over if len(over) else rows[rows["seed"] == seed_of(config, policy, config["seeds"][0])]
    return {row["metric"]: row for _, row in rows.iterrows()}


def rate_table(metrics: pd.DataFrame, config: dict, judge: str, published: dict) -> Table:
    """Policies by HmR, HpR and CAS with 95 % intervals, `|` before the published value."""
    table = Table(title=f"{config['study']}: rates in %, 95 % intervals" + (" | published" if published else "") + f" (judge {judge})")
    for name in ("policy", *RATES):
        table.add_column(name, justify="left" if name == "policy" else "right")
    for policy in config["order"]:
        found = metrics_of(metrics, config, judge, policy)
        cells = []
        for metric in RATES:
            row = found[metric]
            beside = f" | {published[policy][metric]}" if policy in published else ""
            cells.append(f"{row['value']:.1f} [{row['ci_low']:.1f}, {row['ci_high']:.1f}]{beside}")
        table.add_row(policy, *cells)
    return table


def gain(value: float, root: float) -> str:
    """Relative change over the root in percent, halves rounded up as in the paper's Table 2."""
    if not root:
        return "-"
    change = Decimal(repr(round(100 * (value - root) / root, 9)))
    return f"{change.quantize(Decimal('0.01'), ROUND_HALF_UP):+}"


def gain_table(metrics: pd.DataFrame, retention: pd.DataFrame, config: dict, judge: str) -> Table:
    """Mean rewards, relative gains over the root, and retention against the root."""
    root = config["order"][0]
    table = Table(title=f"mean rewards; gain over {root} in %; share of {root}'s good prompts that stay good (chance)")
    for name in ("policy", "mean reward harmful", "helpful", "gain HmR", "HpR", "CAS", "retained harmless", "helpful"):
        table.add_column(name, justify="left" if name == "policy" else "right")
    first = metrics_of(metrics, config, judge, root)
    for policy in config["order"]:
        found = metrics_of(metrics, config, judge, policy)
        means = [f"{found[metric]['value']:.2f}" for metric in MEANS]
        gains = ["" if policy == root else gain(found[metric]["value"], first[metric]["value"]) for metric in RATES]
        kept = [kept_cell(retention, config, judge, policy, root, axis) for axis in ("harmlessness", "helpfulness")]
        table.add_row(policy, *means, *gains, *kept)
    return table


def kept_cell(retention: pd.DataFrame, config: dict, judge: str, policy: str, root: str, axis: str) -> str:
    seed = config["seeds"][0]
    keep = (retention["judge"] == judge) & (retention["policy"] == policy) & (retention["reference"] == root) & (retention["axis"] == axis)
    for row in retention[keep & (retention["seed"] == seed)].itertuples():
        return f"{row.retained}/{row.denominator} ({row.chance:.0f}%)"
    return ""


def closing_lines(metrics: pd.DataFrame, config: dict, judge: str) -> list[str]:
    """What the table does not show, and where to look next."""
    n = int(metrics[(metrics["judge"] == judge) & (metrics["metric"] == "HmR")]["n"].iloc[0])
    reach = 22.0 * (50 / n) ** 0.5
    lines = [
        f"{n} prompts per axis: a difference below about {reach:.0f} points is seldom detectable; overlapping intervals are no ranking.",
        "The intervals are about the judge's opinion. The judge errs, and it was made from the data that it judges.",
    ]
    if config["synthetic"]:
        lines.append("Synthetic data: these numbers test the workflow and say nothing about OPT-350M or any real model.")
    lines.append(f"Tables: results/{config['study']}/report/*.csv   figures: results/{config['study']}/report/figures/")
    return lines


def main() -> None:
    args = parse(__doc__, config="config", metrics="path", retention="path", published="path", output="path")
    config = args.config
    columns = ["judge", "policy", "seed", "metric", "value", "n", "ci_low", "ci_high"]
    metrics = read_table(args.metrics, columns).to_pandas()
    names = ["judge", "seed", "policy", "reference", "axis", "retained", "denominator", "chance"]
    retention = read_table(args.retention, names).to_pandas()
    published = yaml.safe_load(args.published.read_text())["policies"] if config["compare_published"] else {}
    text = io.StringIO()
    console = Console(file=text, width=WIDTH, color_system=None)
    for judge in sorted(config["judges"]):
        console.print(rate_table(metrics, config, judge, published))
        console.print(gain_table(metrics, retention, config, judge))
        for line in closing_lines(metrics, config, judge):
            console.print(line, soft_wrap=True)
    write_text(args.output, text.getvalue())
    say(text.getvalue().rstrip())


if __name__ == "__main__":
    run(main)

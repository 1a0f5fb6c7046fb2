"""Rates over the settings of a sweep: a row per swept policy, a heat map of two keys, else a line per setting of the further keys."""

import matplotlib.pyplot as plt
import pandas as pd

from hh_align.core.artifacts import read_table
from hh_align.core.axes import RATE_TITLES
from hh_align.core.command import parse, run
from hh_align.report.colours import COLOURS, MARKERS
from hh_align.report.figures import PLAIN, reach, save


def settings_of(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per arm, a column per swept key, the one with most values first; equal counts by name."""
    wide = rows.drop_duplicates(["policy", "key"]).pivot(index="policy", columns="key", values="setting")
    return wide[sorted(wide, key=lambda key: (-wide[key].nunique(), key))]


def ordered(rows: pd.DataFrame, key: str) -> list[str]:
    """The settings of a key, numbers by size, words by name."""
    return list(rows[rows["key"] == key].drop_duplicates("setting").sort_values(["number", "setting"])["setting"])


def shown(sweep: pd.DataFrame) -> pd.DataFrame:
    """The rates by the judge that tells most of them (the first by name), one row per arm, key and rate: over the seeds where there are several."""
    rates = sweep[sweep["metric"].isin(RATE_TITLES)].sort_values("seed", na_position="first", kind="stable")
    told = rates.groupby("judge")["metric"].nunique()
    judge = min(told.index, key=lambda name: (-told[name], name))
    return rates[rates["judge"] == judge].drop_duplicates(["policy", "key", "metric"])


def draw_lines(panel: plt.Axes, rows: pd.DataFrame, values: pd.DataFrame, settings: pd.DataFrame) -> None:
    """The first key's settings side by side, not to scale, a line with 95 % intervals per setting of the others."""
    first, *others = settings.columns
    ticks = ordered(rows, first)
    for number, (chosen, arms) in enumerate(settings.groupby(others, sort=True) if others else [((), settings)]):
        line = values.loc[sorted(arms.index, key=lambda policy: ticks.index(settings.loc[policy, first]))]
        x = [ticks.index(settings.loc[policy, first]) + 0.06 * number for policy in line.index]
        whiskers = reach(line["value"], line["ci_low"], line["ci_high"])
        style = {"color": COLOURS[(number + 1) % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
        named = ", ".join(f"{key} {value}" for key, value in zip(others, chosen, strict=True))
        panel.errorbar(x, line["value"], whiskers, linewidth=1.2, capsize=2, label=named, **style)
    panel.set_xticks(range(len(ticks)), ticks)
    panel.set_xlabel(first)


def draw_map(panel: plt.Axes, rows: pd.DataFrame, values: pd.DataFrame, settings: pd.DataFrame) -> None:
    """A cell per arm with its value and, below, its 95 % interval; the colours span the panel's own values."""
    across, up = settings.columns
    columns, lines = ordered(rows, across), ordered(rows, up)
    grid = settings.assign(value=values["value"]).pivot(index=up, columns=across, values="value").reindex(index=lines, columns=columns)
    panel.pcolormesh(range(len(columns) + 1), range(len(lines) + 1), grid, cmap="cividis", edgecolors="white", linewidth=1)
    middle = (grid.min().min() + grid.max().max()) / 2
    for policy, row in values.iterrows():
        x, y = columns.index(settings.loc[policy, across]) + 0.5, lines.index(settings.loc[policy, up]) + 0.5
        colour = "black" if row["value"] > middle else "white"
        panel.text(x, y, f"{row['value']:.1f}", ha="center", va="bottom", color=colour, fontsize=10)
        if pd.notna(row["ci_low"]):
            panel.text(x, y, f"[{row['ci_low']:.1f}, {row['ci_high']:.1f}]", ha="center", va="top", color=colour, fontsize=7)
    panel.set_xticks([number + 0.5 for number in range(len(columns))], columns)
    panel.set_yticks([number + 0.5 for number in range(len(lines))], lines)
    panel.set_xlabel(across)
    panel.set_ylabel(up)


def plot(rows: pd.DataFrame) -> plt.Figure:
    """A panel per swept policy and rate, from the rows of `shown`."""
    policies = list(dict.fromkeys(rows["swept"]))
    metrics = [metric for metric in RATE_TITLES if metric in set(rows["metric"])]
    cells = rows.groupby(["swept", "key"])["setting"].nunique().max()
    size = (1 + max(3.6, 0.9 * cells) * len(metrics), 3 * len(policies))
    figure, panels = plt.subplots(len(policies), len(metrics), figsize=size, layout="constrained", squeeze=False)
    for line, swept in zip(panels, policies, strict=True):
        own = rows[rows["swept"] == swept]
        settings = settings_of(own)
        draw = draw_map if len(settings.columns) == 2 else draw_lines
        for panel, metric in zip(line, metrics, strict=True):
            values = own[own["metric"] == metric].drop_duplicates("policy").set_index("policy").dropna(subset=["value"])
            draw(panel, own, values, settings.loc[values.index])
            panel.set_title(f"{swept}: {RATE_TITLES[metric]}, %", fontsize=10)
        if len(settings.columns) > 2:
            line[-1].legend(frameon=False, fontsize=8)
    return figure


def main() -> None:
    args = parse(__doc__, config="config?", sweep="path", curves="path")
    rows = shown(read_table(args.sweep).to_pandas())
    with plt.rc_context(PLAIN):
        save(plot(rows.sort_values(["swept", "policy"], kind="stable")), args.curves)


if __name__ == "__main__":
    run(main)

"""HmR against HpR: each policy's joint region, and which policies could be Pareto-optimal once noise is paid for.

A policy is dominated where another is above it on both axes, and optimal where it is above every other on at least one. Both are said by
intervals of all pairs' differences on both axes that hold at once, as rank_sets makes them: each axis's hold with the square root of 95 %.
The prompts of the axes are independent; what seeds have in common makes joint coverage larger, not smaller (Royen 2014, Far East Journal of
Theoretical Statistics 48:139; of rectangles Sidak 1967, Journal of the American Statistical Association 62:626).
"""

import math

import numpy as np
import pandas as pd
import pyarrow as pa

from hh_align.analysis.effective import crossed_mean, effective_number, score_interval, too_few
from hh_align.analysis.rank_sets import pairs_above
from hh_align.analysis.ratings import Rated, judged_axes, read_ratings, seeds_of
from hh_align.analysis.reliability import on_all, read_reliability
from hh_align.analysis.statistics import CONFIDENCE, wilson
from hh_align.analysis.text_gate import Examined, caveat_of, read_text
from hh_align.analysis.verdict import some
from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.axes import AXES, RATES
from hh_align.core.command import parse, run

TRADEOFF = pa.schema(
    [
        ("judge", pa.string()),
        ("policy", pa.string()),
        ("parent", pa.string()),
        ("n_seeds", pa.int64()),
        ("hmr", pa.float64()),
        ("hmr_low", pa.float64()),
        ("hmr_high", pa.float64()),
        ("hpr", pa.float64()),
        ("hpr_low", pa.float64()),
        ("hpr_high", pa.float64()),
        ("pareto", pa.string()),
        ("dominated_by", pa.string()),
        ("judge_above_chance", pa.bool_()),
        ("caveat", pa.string()),
    ]
)
OPTIMAL, POSSIBLE, DOMINATED = "optimal", "possible", "dominated"
EACH_AXIS = math.sqrt(CONFIDENCE)


def region_side(labels: np.ndarray, clusters: np.ndarray) -> tuple[float | None, float | None]:
    """One axis's side of a policy's joint 95 % region, in percent, from labels 0 or 1, shape (prompts, seeds); none of fewer than five clusters.

    The interval of the rate in metrics at the square root of 95 %: Wilson's at the effective number, for new seeds where there are several.
    """
    if too_few(clusters):
        return None, None
    prompts = effective_number(labels.mean(1), clusters, EACH_AXIS)
    if labels.shape[1] == 1:
        low, high = wilson(labels.mean() * prompts, prompts, EACH_AXIS)
    else:
        low, high = score_interval(crossed_mean(labels, clusters=[clusters]), prompts, labels.size, EACH_AXIS)
    return 100 * low, 100 * high


def pareto(labels: list[list[np.ndarray]], clusters: list[np.ndarray]) -> list[tuple[str, list[int]]]:
    """Per policy whether it is surely optimal, surely dominated, or possible (could be optimal), and who surely dominates it.

    labels: per axis and policy 0 or 1, shape (prompts, seeds). All of it holds together with 95 %.
    """
    first, second = (
        pairs_above([part[None] for part in own], groups, confidence=EACH_AXIS)[0] for own, groups in zip(labels, clusters, strict=True)
    )
    both, either, told = first & second, first | second, []
    for one in range(len(both)):
        above = [int(other) for other in np.flatnonzero(both[:, one])]
        best = all(either[one, other] for other in range(len(both)) if other != one)
        told.append((DOMINATED if above else OPTIMAL if best else POSSIBLE, above))
    return told


def compute_tradeoff(
    rated: Rated,
    config: dict,
    reliable: dict[tuple[str, str], bool] | None = None,
    examined: Examined | None = None,
) -> list[dict]:
    """The rows of tradeoff.parquet, of every judge that speaks about both axes; of one that is not above chance on both no policy is ranked.

    reliable and examined as compare_policies takes them.
    """
    order, rows = config["order"], []
    for judge in sorted(config["judges"]):
        if judged_axes(config["judges"][judge]) != AXES:
            continue
        labels = [
            [
                np.column_stack([rated.ratings[judge, policy, seed, axis]["label"] for seed in seeds_of(config, policy)]).astype(float)
                for policy in order
            ]
            for axis in AXES
        ]
        above_chance = on_all([(reliable or {}).get((judge, axis)) for axis in AXES])
        told = pareto(labels, [rated.clusters[axis] for axis in AXES]) if above_chance is not False else [(None, [])] * len(order)
        for number, (policy, (status, above)) in enumerate(zip(order, told, strict=True)):
            row = {"judge": judge, "policy": policy, "parent": config["policies"][policy]["parent"], "n_seeds": labels[0][number].shape[1]}
            for axis, own in zip(AXES, labels, strict=True):
                low, high = region_side(own[number], rated.clusters[axis])
                name = RATES[axis].lower()
                row |= {name: 100 * float(own[number].mean()), f"{name}_low": low, f"{name}_high": high}
            row |= {
                "pareto": status,
                "dominated_by": ", ".join(order[other] for other in above) or None,
                "judge_above_chance": above_chance,
            }
            rows.append({**row, "caveat": caveat_of(examined or {}, config, policy, config["seeds"])})
    return rows


def tradeoff_sentences(table: pd.DataFrame) -> dict[str, str]:
    """Judge -> who could be Pareto-optimal, and who is surely dominated, in one sentence; nothing of a single policy."""
    sentences = {}
    for judge, rows in table.groupby("judge", sort=False):
        names = {status: list(group["policy"]) for status, group in rows.groupby("pareto", sort=False)}
        lost, best = names.get(DOMINATED, []), names.get(OPTIMAL, [])
        could_be = [policy for policy in rows["policy"] if policy not in lost]
        if not names:
            said = f"By judge {judge} no policy is placed, for the judge is not above chance on both axes."
        elif lost:
            surely = f"; surely optimal: {some(best)}" if best else ""
            said = f"By judge {judge} could be Pareto-optimal: {some(could_be)}{surely}; surely dominated: {some(lost)}."
        elif len(best) == len(rows):
            said = f"By judge {judge} every policy is surely Pareto-optimal: of any two, each is above the other on one axis."
        else:
            surely = f", and surely is {some(best)}" if best else ""
            said = f"By judge {judge} any policy could be Pareto-optimal{surely}: none is surely below another on both axes."
        if len(rows) > 1:
            marked = list(rows["policy"][rows["caveat"].notna()]) if names else []
            sentences[judge] = said + (f" Against the text of {some(marked)} something stands." if marked else "")
    return sentences


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", judge="path?", text="path?", output="path")
    rows = compute_tradeoff(read_ratings(args.ratings), args.config, read_reliability(args.judge), read_text(args.text))
    for sentence in tradeoff_sentences(pd.DataFrame(rows, columns=TRADEOFF.names)).values():
        say(sentence)
    write_table(args.output, rows, TRADEOFF, provenance(args.config, [args.ratings, *(path for path in (args.judge, args.text) if path)]))


if __name__ == "__main__":
    run(main)

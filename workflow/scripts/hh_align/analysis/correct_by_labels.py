"""The verdict corrected by true labels of some responses: how far the judge agrees with them, and the rates and contrasts that follow."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from hh_align.analysis.check_claims import parts_of
from hh_align.analysis.compute_metrics import over_seeds as rates_over_seeds
from hh_align.analysis.compute_metrics import rate as judged_rate
from hh_align.analysis.contrasts import Pair, compare_labels
from hh_align.analysis.contrasts import over_seeds as contrast_over_seeds
from hh_align.analysis.effective import too_few
from hh_align.analysis.equivalence import t_p
from hh_align.analysis.families import ALPHA, is_primary, settled
from hh_align.analysis.label_choices import by_choices
from hh_align.analysis.labels import agreements, drawn, read_labels, read_texts, sample
from hh_align.analysis.labels import chances as chances_of
from hh_align.analysis.opinions import (
    ALL_BAD,
    ALL_GOOD,
    AS_LABELLED,
    Group,
    Labelled,
    joint,
    labelled_by,
    labels_level,
    method,
    opinions_of,
    sizes,
)
from hh_align.analysis.ppi import score_interval
from hh_align.analysis.random_labels import require_random
from hh_align.analysis.ratings import Rated, read_ratings, seed_of, serves_every_seed
from hh_align.analysis.rogan_gladen import plugged
from hh_align.analysis.statistics import CONFIDENCE, mover_mean
from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.axes import METRIC_AXES, RATE_METRICS, RATES
from hh_align.core.command import parse, run

GOLD = pa.schema(
    [
        ("judge", pa.string()),
        ("seed", pa.int64()),
        ("policy_a", pa.string()),
        ("policy_b", pa.string()),
        ("metric", pa.string()),
        ("n", pa.int64()),
        ("labelled", pa.int64()),
        ("skipped", pa.int64()),
        ("judge_value", pa.float64()),
        ("judge_low", pa.float64()),
        ("judge_high", pa.float64()),
        ("labels_value", pa.float64()),
        ("corrected", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("sim_low", pa.float64()),
        ("sim_high", pa.float64()),
        ("p", pa.float64()),
        ("p_holm", pa.float64()),
        ("method", pa.string()),
        ("verdict", pa.string()),
        ("within_margin", pa.bool_()),
        ("plug_in", pa.float64()),
        ("plug_low", pa.float64()),
        ("plug_high", pa.float64()),
        ("skip_low", pa.float64()),
        ("skip_high", pa.float64()),
        ("skip_verdicts", pa.string()),
    ]
)
AGREEMENT = pa.schema(
    [
        ("rater_a", pa.string()),
        ("rater_b", pa.string()),
        ("axis", pa.string()),
        ("policy", pa.string()),
        ("n", pa.int64()),
        ("agreement", pa.float64()),
        ("kappa", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("only_a_good", pa.int64()),
        ("only_b_good", pa.int64()),
    ]
)


Fills = tuple[str, str]


def correct(labelled: Labelled, rated: Rated, config: dict) -> list[dict]:
    """Rows of gold.parquet: the judge's rate, the labels' own and the corrected one for every policy, and the declared contrasts; with several
    seeds of each and, where all are labelled, over them (seed null).

    Holm's correction is over the declared contrasts of a metric but the primary; Bonferroni's level is that of the simultaneous intervals. Pairs of which only claims speak have no verdict of their own.
    """
    rows = []
    for judge in sorted(config["judges"]):
        by_seed = [opinions_of(labelled, rated, config, judge, seed) for seed in config["seeds"]]
        groups = [[each] for each in by_seed] + ([by_seed] if len(by_seed) > 1 else [])
        for number, group in enumerate(groups):
            known = set.intersection(*(set(each.estimates[AS_LABELLED]) for each in group))
            for policy in [name for name in config["order"] if number == 0 or not serves_every_seed(config["policies"][name])]:
                seed = {"seed": seed_of(config, policy, group[0].seed) if len(group) == 1 else None}
                rows += [level_row(policy, metric, group) | seed for metric in RATE_METRICS if (policy, metric) in known]
            rows += contrast_rows(group, known, config)
    return rows


def contrast_rows(group: Group, known: set[tuple[str, str]], config: dict) -> list[dict]:
    """The declared contrasts with their verdicts, and what these would be if everything that was skipped were bad or good; then the others."""
    asked = [((b, a), metric) for b, a in config["contrasts"] for metric in RATE_METRICS if {(a, metric), (b, metric)} <= known]
    parts = [part for claim in config.get("claim_parts", []) for part in parts_of({"parts": claim}, config["order"])]
    more = [((b, a), metric) for b, a, metric in dict.fromkeys(parts) if {(a, metric), (b, metric)} <= known]
    rows = decide(asked, group, config, (AS_LABELLED, AS_LABELLED))
    if any(row["skipped"] for row in rows):
        low, high = (decide(asked, group, config, fills) for fills in ((ALL_BAD, ALL_GOOD), (ALL_GOOD, ALL_BAD)))
        rows = [with_skips(*triple) for triple in zip(rows, low, high, strict=True)]
    others = [contrast_row(*pair, group, config["equivalence_margin"]) for pair in more if pair not in asked]
    undeclared = dict.fromkeys(("p_holm", "verdict", "within_margin", "sim_low", "sim_high"))
    return rows + [row | undeclared for row in others]


def with_skips(row: dict, low: dict, high: dict) -> dict:
    """A contrast with its value and verdict at worst, the skipped replies of one policy all bad and of the other all good."""
    if not row["skipped"]:
        return row
    verdicts = " or ".join(dict.fromkeys(each["verdict"] for each in (row, low, high)))
    return {**row, "skip_low": low["corrected"], "skip_high": high["corrected"], "skip_verdicts": verdicts}


def level_row(policy: str, metric: str, group: Group) -> dict:
    """One policy's metric. Rates in percent. Of fewer than five clusters there is no interval."""
    axes, clusters = METRIC_AXES[metric], group[0].clusters
    parts = [joint([each.estimates[AS_LABELLED][policy, RATES[axis]] for each in group]) for axis in axes]
    corrected = [tuple(100 * bound for bound in (part.value, *score_interval(part, clusters))) for part in parts]
    value, low, high = corrected[0] if len(axes) == 1 else mover_mean(*corrected)
    judge_value, judge_low, judge_high = judged_level(policy, metric, group)
    bounds = {"judge_low": judge_low, "judge_high": judge_high, "ci_low": low, "ci_high": high}
    unknown = any(too_few(clusters[axis]) for axis in axes) or any(part.few_clusters(clusters) for part in parts)
    numbers = sizes(group, [(policy, axis) for axis in axes])
    row = {
        **{"judge": group[0].judge, "policy_a": None, "policy_b": policy, "metric": metric},
        **numbers,
        **{"judge_value": judge_value, "corrected": value, **(dict.fromkeys(bounds) if unknown else bounds)},
        "labels_value": labels_level(policy, axes, group),
        **{"p": None, "p_holm": None, "verdict": None},
        **(plugged(policy, axes, group[0].judged, group[0].labels) if len(group) == 1 and group[0].labels else {}),
        "method": f"{method(group)}, Wilson at the effective number of labels" + few(max(part.extra for part in parts), unknown),
    }
    if numbers["skipped"]:
        for side, fill in (("low", ALL_BAD), ("high", ALL_GOOD)):
            row[f"skip_{side}"] = 100 * joint([each.estimates[fill][policy, metric] for each in group]).value
    return row


def judged_level(policy: str, metric: str, group: Group) -> tuple[float, float, float]:
    """(percent, low, high) by the judge alone."""
    axes, clusters = METRIC_AXES[metric], group[0].clusters
    blocks = [np.column_stack([each.judged[policy, axis] for each in group]).astype(float) for axis in axes]
    if len(group) > 1:
        row = rates_over_seeds(metric, blocks, [clusters[axis] for axis in axes], is_rate=True)[0]
        return row["value"], row["ci_low"], row["ci_high"]
    rates = [judged_rate(block[:, 0], clusters[axis]) for block, axis in zip(blocks, axes, strict=True)]
    return rates[0] if len(axes) == 1 else mover_mean(*rates)


def few(extra: float, unknown: bool) -> str:
    """What an interval lacks; unknown: whether there is none."""
    bounded = "; too few errors seen, their variance is a bound" if extra else ""
    return "; too few clusters, no interval" if unknown else bounded


def contrast_row(
    pair: Pair, metric: str, group: Group, margin: float, level: float = CONFIDENCE, fills: Fills = (AS_LABELLED, AS_LABELLED)
) -> dict:
    """One contrast (policy, against) in points, by the judge and corrected, paired by prompt. Of fewer than five clusters nothing is found.

    level: confidence of the simultaneous interval; fills: what is taken for the skipped replies of the two.
    """
    policy, against = pair
    axes, clusters = METRIC_AXES[metric], group[0].clusters
    groups = [clusters[axis] for axis in axes]
    if len(group) == 1:
        by_judge = compare_labels([tuple(group[0].judged[name, axis] for name in (against, policy)) for axis in axes], groups, None)
    else:
        blocks = [
            np.column_stack([100.0 * each.judged[policy, axis] - 100.0 * each.judged[against, axis] for each in group]) for axis in axes
        ]
        by_judge = contrast_over_seeds(blocks, groups, None, CONFIDENCE)[0]
    differences = [each.estimates[fills[0]][policy, metric].minus(each.estimates[fills[1]][against, metric]) for each in group]
    estimate = joint(differences)
    unknown = any(map(too_few, groups)) or estimate.few_clusters(clusters)
    (low, high), (sim_low, sim_high) = (
        (None, None) if unknown else (100 * bound for bound in estimate.interval(clusters, each)) for each in (CONFIDENCE, level)
    )
    p = 1.0 if unknown else estimate.p(clusters)
    spread, freedom = math.sqrt(estimate.variance(clusters)), estimate.freedom(clusters)
    counts, other = (sizes(group, [(name, axis) for axis in axes]) for name in pair)
    return {
        **{"judge": group[0].judge, "seed": group[0].seed if len(group) == 1 else None},
        **{"policy_a": against, "policy_b": policy, "metric": metric},
        **{**counts, "skipped": counts["skipped"] + other["skipped"]},
        **{"judge_value": by_judge["difference"], "judge_low": by_judge["ci_low"], "judge_high": by_judge["ci_high"]},
        "labels_value": labels_level(policy, axes, group) - labels_level(against, axes, group),
        **{"corrected": 100 * estimate.value, "ci_low": low, "ci_high": high, "sim_low": sim_low, "sim_high": sim_high, "p": p},
        "p_equivalence": 1.0 if unknown else t_p(estimate.value, spread, freedom, margin / 100),
        "method": f"{method(group)}, paired, t" + few(estimate.extra, unknown),
    }


def decide(asked: list[tuple[Pair, str]], group: Group, config: dict, fills: Fills) -> list[dict]:
    """The rows of these contrasts (pair, metric), by the rule of the comparisons; a metric's are a family, but the primary."""
    families = [(metric, is_primary(pair, metric, config["primary"])) for pair, metric in asked]
    members, rows = Counter(families), []
    for (pair, metric), family in zip(asked, families, strict=True):
        row = contrast_row(pair, metric, group, config["equivalence_margin"], 1 - ALPHA / members[family], fills)
        rows.append({**row, "family": family, "difference": row["corrected"], "judge_above_chance": None})
    return settled(rows, ["family"], config["equivalence_margin"])


def by_labels(frame: pd.DataFrame, path: Path, rated: Rated, config: dict) -> tuple[list[dict], list[dict]]:
    """(rows of gold, rows of agreement) from the labels of a file, as `read_labels` gives them.

    Raises StudyError where the responses were not drawn at random, or not as they say. What was skipped is said.
    """
    ratings = rated.ratings
    require_random(path, drawn(frame, ratings), chances_of(frame, ratings), rated, config)
    frame = sample(frame, config.get("sample"), config["seed"])
    labelled = labelled_by(frame, ratings)
    for (policy, seed, axis), skipped in labelled.skipped.items():
        if count := int((skipped == 1).sum()):
            say(
                f"{policy}, seed {seed}, {axis}: {count} of {int((~np.isnan(labelled.truth[policy, seed, axis])).sum()) + count} responses were skipped"
            )
    return correct(labelled, rated, config), agreements(frame, labelled.truth, ratings, config)


def main() -> None:
    args = parse(
        __doc__, config="config", prompts="path", responses="paths", ratings="path", labels="path?", choices="path?", output="path",
        agreement="path",
    )  # fmt: skip
    config = args.config
    rated, texts = read_ratings(args.ratings), read_texts(args.prompts, args.responses, config)
    rows, agreed = [], []
    if args.labels:
        rows, agreed = by_labels(read_labels(args.labels, rated.ratings, texts.items()), args.labels, rated, config)
    if args.choices:
        win_rates, more = by_choices(args.choices, rated.ratings, texts, config)
        rows, agreed = rows + win_rates, agreed + more
    for row in agreed:
        kappa = "undefined" if row["kappa"] is None else f"{row['kappa']:.2f}"
        say(
            f"{row['rater_a']} and {row['rater_b']}, {row['axis']}, {row['policy'] or 'all policies'}: {row['agreement']:.0f} % of {row['n']}, kappa {kappa}"
        )
    made_by = provenance(config, [args.ratings, args.prompts, *args.responses, *(path for path in (args.labels, args.choices) if path)])
    write_table(args.agreement, agreed, AGREEMENT, made_by)
    write_table(args.output, rows, GOLD, made_by)


if __name__ == "__main__":
    run(main)

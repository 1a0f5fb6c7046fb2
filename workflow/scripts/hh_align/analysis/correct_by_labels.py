"""The verdict corrected by true labels of some responses: how far the judge agrees with them, and the rates and contrasts that follow."""

import math
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hh_align.analysis.compute_metrics import rate as judged_rate
from hh_align.analysis.contrasts import Pair, add_holm, compare_labels, decided
from hh_align.analysis.effective import too_few
from hh_align.analysis.equivalence import t_p
from hh_align.analysis.label_choices import by_choices
from hh_align.analysis.labels import Labels, agreements, read_labels, read_texts, sample, settle
from hh_align.analysis.ppi import Estimate, mean_of, rate, score_interval
from hh_align.analysis.ratings import Rated, judged_axes, judged_rates, read_ratings, seed_of
from hh_align.analysis.statistics import mover_mean
from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.axes import CAS, METRIC_AXES, RATE_METRICS, RATES
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
        ("judge_value", pa.float64()),
        ("judge_low", pa.float64()),
        ("judge_high", pa.float64()),
        ("labels_value", pa.float64()),
        ("corrected", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("p", pa.float64()),
        ("p_holm", pa.float64()),
        ("method", pa.string()),
        ("verdict", pa.string()),
        ("within_margin", pa.bool_()),
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


class Opinions(NamedTuple):
    """What a judge and the labels say of the policies at one seed."""

    judge: str
    seed: int
    judged: dict[tuple[str, str], np.ndarray]
    """(policy, axis) -> the judge's labels, boolean, shape (prompts,)"""
    truth: dict[tuple[str, str], np.ndarray]
    """(policy, axis) -> true labels, NaN where there is none"""
    estimates: dict[tuple[str, str], Estimate]
    """(policy, metric) -> the corrected rate, of those with enough labels"""
    clusters: dict[str, np.ndarray]


def opinions_of(labels: Labels, rated: Rated, config: dict, judge: str, seed: int) -> Opinions:
    """Policies with fewer than 2 labels on an axis are left out of the estimates and said."""
    axes, rates = judged_axes(config["judges"][judge]), judged_rates(config["judges"][judge])
    at = {policy: seed_of(config, policy, seed) for policy in config["order"]}
    judged = {(policy, axis): rated.ratings[judge, policy, at[policy], axis]["label"].to_numpy(bool) for policy in at for axis in axes}
    truth = {(policy, axis): labels[policy, at[policy], axis] for policy in at for axis in axes}
    estimates: dict[tuple[str, str], Estimate] = {}
    for policy in config["order"]:
        for axis in axes:
            if (~np.isnan(truth[policy, axis])).sum() >= 2:
                estimates[policy, RATES[axis]] = rate(axis, judged[policy, axis].astype(float), truth[policy, axis])
            else:
                say(f"{policy}, seed {seed}, {axis}: fewer than 2 labels, nothing is corrected")
        if CAS in rates and all((policy, metric) in estimates for metric in RATES.values()):
            estimates[policy, CAS] = mean_of(*(estimates[policy, metric] for metric in RATES.values()))
    return Opinions(judge, seed, judged, truth, estimates, rated.clusters)


def correct(labels: Labels, rated: Rated, config: dict) -> list[dict]:
    """Rows of gold.parquet: the judge's rate, the labels' own and the corrected one for every policy, and the declared contrasts.

    Holm's correction is over the declared contrasts but the primary.
    """
    rows = []
    for judge in sorted(config["judges"]):
        for seed in config["seeds"]:
            opinions = opinions_of(labels, rated, config, judge, seed)
            for policy, metric in opinions.estimates:
                rows.append({**level_row(policy, metric, opinions), "seed": seed_of(config, policy, seed)})
            contrasts = [
                contrast_row((b, a), metric, opinions, config["equivalence_margin"])
                for b, a in config["contrasts"]
                for metric in judged_rates(config["judges"][judge])
                if (a, metric) in opinions.estimates and (b, metric) in opinions.estimates
            ]
            rows += decide(contrasts, config["primary"])
    return rows


def level_row(policy: str, metric: str, opinions: Opinions) -> dict:
    """One policy's metric. Rates in percent. Of fewer than five clusters there is no interval."""
    axes, clusters = METRIC_AXES[metric], opinions.clusters
    by_judge = [judged_rate(opinions.judged[policy, axis].astype(float), clusters[axis]) for axis in axes]
    corrected = []
    for axis in axes:
        part = opinions.estimates[policy, RATES[axis]]
        corrected.append(tuple(100 * bound for bound in (part.value, *score_interval(part, clusters))))
    value, low, high = corrected[0] if len(axes) == 1 else mover_mean(*corrected)
    judge_value, judge_low, judge_high = by_judge[0] if len(axes) == 1 else mover_mean(*by_judge)
    bounds = {"judge_low": judge_low, "judge_high": judge_high, "ci_low": low, "ci_high": high}
    truth, unknown = [opinions.truth[policy, axis] for axis in axes], any(too_few(clusters[axis]) for axis in axes)
    return {
        **{"judge": opinions.judge, "policy_a": None, "policy_b": policy, "metric": metric},
        **sizes(truth),
        **{"judge_value": judge_value, "corrected": value, **(dict.fromkeys(bounds) if unknown else bounds)},
        "labels_value": 100 * float(np.mean([np.nanmean(part) for part in truth])),
        **{"p": None, "p_holm": None, "verdict": None},
        "method": "prediction-powered, Wilson at the effective number of labels" + few(opinions.estimates[policy, metric], unknown),
    }


def few(estimate: Estimate, unknown: bool) -> str:
    """What an interval lacks; unknown: whether there is none."""
    bounded = "; too few errors seen, their variance is a bound" if estimate.extra else ""
    return "; too few clusters, no interval" if unknown else bounded


def sizes(truth: list[np.ndarray]) -> dict:
    return {"n": sum(map(len, truth)), "labelled": sum(int((~np.isnan(part)).sum()) for part in truth)}


def contrast_row(pair: Pair, metric: str, opinions: Opinions, margin: float) -> dict:
    """One contrast (policy, against) in points, by the judge and corrected, paired by prompt. Of fewer than five clusters nothing is found."""
    policy, against = pair
    axes, clusters = METRIC_AXES[metric], opinions.clusters
    labels = [tuple(opinions.judged[name, axis] for name in (against, policy)) for axis in axes]
    by_judge = compare_labels(labels, [clusters[axis] for axis in axes], None)
    estimate = opinions.estimates[policy, metric].minus(opinions.estimates[against, metric])
    unknown = any(too_few(clusters[axis]) for axis in axes)
    low, high = (None, None) if unknown else (100 * bound for bound in estimate.interval(clusters))
    p = 1.0 if unknown else estimate.p(clusters)
    equivalent = 1.0 if unknown else t_p(estimate.value, math.sqrt(estimate.variance(clusters)), estimate.labelled - 1, margin / 100)
    rates = [np.mean([float(np.nanmean(opinions.truth[name, axis])) for axis in axes]) for name in (against, policy)]
    return {
        **{"judge": opinions.judge, "seed": opinions.seed, "policy_a": against, "policy_b": policy, "metric": metric},
        **sizes([opinions.truth[policy, axis] for axis in axes]),
        **{"judge_value": by_judge["difference"], "judge_low": by_judge["ci_low"], "judge_high": by_judge["ci_high"]},
        "labels_value": 100 * float(rates[1] - rates[0]),
        **{"corrected": 100 * estimate.value, "ci_low": low, "ci_high": high, "p": p, "p_equivalence": equivalent},
        "method": "prediction-powered, paired, t" + few(estimate, unknown),
    }


def decide(rows: list[dict], primary: list[str]) -> list[dict]:
    """Add Holm's p per metric over the contrasts, the primary unadjusted, and the verdict by the rule of the comparisons."""
    for metric in RATE_METRICS:
        add_holm([row for row in rows if row["metric"] == metric and [row["policy_b"], row["policy_a"]] != list(primary)])
    for row in rows:
        row.setdefault("p_holm", row["p"])
        row.setdefault("p_equivalence_holm", row["p_equivalence"])
    return [decided({**row, "difference": row["corrected"], "judge_above_chance": None}) for row in rows]


def main() -> None:
    args = parse(
        __doc__, config="config", prompts="path", responses="paths", ratings="path", labels="path?", choices="path?", output="path",
        agreement="path",
    )  # fmt: skip
    config = args.config
    rated, texts = read_ratings(args.ratings), read_texts(args.prompts, args.responses, config)
    rows, agreed = [], []
    if args.labels:
        frame = sample(read_labels(args.labels, rated.ratings, texts.items()), config.get("sample"), config["seed"])
        labels = settle(frame, rated.ratings)
        rows, agreed = correct(labels, rated, config), agreements(frame, labels, rated.ratings, config)
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

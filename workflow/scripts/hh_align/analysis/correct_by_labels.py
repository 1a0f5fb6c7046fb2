"""The verdict corrected by true labels of some responses: how far the judge agrees with them, and the rates and contrasts that follow."""

import math
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import binomtest

from hh_align.analysis.compute_metrics import rate as judged_rate
from hh_align.analysis.contrasts import Pair, compare_labels
from hh_align.analysis.effective import too_few
from hh_align.analysis.equivalence import t_p
from hh_align.analysis.families import ALPHA, is_primary, settled
from hh_align.analysis.labels import Labels, agreement, agreements, item_of, of_these_texts, read_labels, sample, settle
from hh_align.analysis.ppi import Estimate, mean_of, rate, score_interval
from hh_align.analysis.ratings import Rated, Ratings, checkpoints, judged_axes, judged_rates, read_ratings, seed_of
from hh_align.analysis.rogan_gladen import plugged
from hh_align.analysis.statistics import CONFIDENCE, mover_mean
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.axes import AXES, CAS, METRIC_AXES, RATES, WINS
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.tabular import convert, read_any, require_full, to_text, to_whole

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


class Texts(NamedTuple):
    """The study's prompts and responses."""

    prompts: dict[str, tuple[str, str]]
    """prompt_id -> (axis, prompt)"""
    responses: dict[tuple[str, int, str], str]
    """(policy, seed, prompt_id) -> response"""

    def items(self) -> dict[tuple[str, int, str], str]:
        """(policy, seed, prompt_id) -> the item of the response."""
        return {key: item_of(*self.prompts[key[2]], response) for key, response in self.responses.items()}

    def pair(self, prompt_id: str, *checkpoints: tuple[str, int]) -> str | None:
        """The item of two responses to one prompt; None where the study has one of them no more."""
        replies = [self.responses.get((*checkpoint, prompt_id)) for checkpoint in checkpoints]
        return None if None in replies else item_of(*self.prompts[prompt_id], *replies)


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

    Holm's correction is over the declared contrasts of a metric but the primary; Bonferroni's level is that of the simultaneous intervals.
    """
    rows = []
    for judge in sorted(config["judges"]):
        for seed in config["seeds"]:
            opinions = opinions_of(labels, rated, config, judge, seed)
            for policy, metric in opinions.estimates:
                rows.append({**level_row(policy, metric, opinions), "seed": seed_of(config, policy, seed)})
            known = [
                ((b, a), metric)
                for b, a in config["contrasts"]
                for metric in judged_rates(config["judges"][judge])
                if (a, metric) in opinions.estimates and (b, metric) in opinions.estimates
            ]
            rows += decide(known, opinions, config["primary"], config["equivalence_margin"])
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
        **plugged(policy, axes, opinions.judged, opinions.truth),
        "method": "prediction-powered, Wilson at the effective number of labels" + few(opinions.estimates[policy, metric], unknown),
    }


def few(estimate: Estimate, unknown: bool) -> str:
    """What an interval lacks; unknown: whether there is none."""
    bounded = "; too few errors seen, their variance is a bound" if estimate.extra else ""
    return "; too few clusters, no interval" if unknown else bounded


def sizes(truth: list[np.ndarray]) -> dict:
    return {"n": sum(map(len, truth)), "labelled": sum(int((~np.isnan(part)).sum()) for part in truth)}


def contrast_row(pair: Pair, metric: str, opinions: Opinions, margin: float, level: float) -> dict:
    """One contrast (policy, against) in points, by the judge and corrected, paired by prompt; level: confidence of the simultaneous interval. Of fewer than five clusters nothing is found."""
    policy, against = pair
    axes, clusters = METRIC_AXES[metric], opinions.clusters
    labels = [tuple(opinions.judged[name, axis] for name in (against, policy)) for axis in axes]
    by_judge = compare_labels(labels, [clusters[axis] for axis in axes], None)
    estimate = opinions.estimates[policy, metric].minus(opinions.estimates[against, metric])
    unknown = any(too_few(clusters[axis]) for axis in axes)
    (low, high), (sim_low, sim_high) = (
        (None, None) if unknown else (100 * bound for bound in estimate.interval(clusters, each)) for each in (CONFIDENCE, level)
    )
    p = 1.0 if unknown else estimate.p(clusters)
    equivalent = 1.0 if unknown else t_p(estimate.value, math.sqrt(estimate.variance(clusters)), estimate.labelled - 1, margin / 100)
    rates = [np.mean([float(np.nanmean(opinions.truth[name, axis])) for axis in axes]) for name in (against, policy)]
    return {
        **{"judge": opinions.judge, "seed": opinions.seed, "policy_a": against, "policy_b": policy, "metric": metric},
        **sizes([opinions.truth[policy, axis] for axis in axes]),
        **{"judge_value": by_judge["difference"], "judge_low": by_judge["ci_low"], "judge_high": by_judge["ci_high"]},
        "labels_value": 100 * float(rates[1] - rates[0]),
        **{"corrected": 100 * estimate.value, "ci_low": low, "ci_high": high, "sim_low": sim_low, "sim_high": sim_high},
        **{"p": p, "p_equivalence": equivalent},
        "method": "prediction-powered, paired, t" + few(estimate, unknown),
    }


def decide(known: list[tuple[Pair, str]], opinions: Opinions, primary: list[str], margin: float) -> list[dict]:
    """The rows of these contrasts (pair, metric), by the rule of the comparisons; a metric's are a family, but the primary."""
    families = [(metric, is_primary(pair, metric, primary)) for pair, metric in known]
    sizes, rows = Counter(families), []
    for (pair, metric), family in zip(known, families, strict=True):
        row = contrast_row(pair, metric, opinions, margin, 1 - ALPHA / sizes[family])
        rows.append({**row, "family": family, "difference": row["corrected"], "judge_above_chance": None})
    return settled(rows, ["family"], margin)


def by_choices(path: Path, ratings: Ratings, texts: Texts, config: dict) -> tuple[list[dict], list[dict]]:
    """(rows of gold, rows of agreement) from people's choices between two responses to one prompt.

    Columns axis, prompt_id, seed, policy_a, policy_b, preferred (a | b | tie). Win rates with the exact sign test; agreement with
    the judge's order of the two, ties left out. Raises StudyError for a choice between responses that the study does not have.
    """
    names = ["axis", "prompt_id", "policy_a", "policy_b", "preferred"]
    frame = read_any(path, [*names, "seed"])
    convert(frame, path, to_text, names, "str")
    convert(frame, path, to_whole, ["seed"], "int64")
    require_full(frame, path, names)
    unknown = frame[~frame["preferred"].isin(["a", "b", "tie"])]
    if len(unknown):
        raise StudyError(f"{path}, row {unknown.index[0] + 1}: preferred is {unknown['preferred'].iloc[0]!r}. Allowed: a, b, tie.")
    others = frame[~frame["seed"].isin([0, *config["seeds"]])]
    if len(others) and "item" not in frame:
        raise StudyError(
            f"{path}, row {others.index[0] + 1}: seed {others['seed'].iloc[0]} is none of the study's. Allowed: {', '.join(map(str, config['seeds']))}, and 0."
        )
    known = set(config["order"])
    items = [
        texts.pair(row.prompt_id, *((name, seed_of(config, name, row.seed)) for name in (row.policy_a, row.policy_b)))
        if {row.policy_a, row.policy_b} <= known
        else None
        for row in frame.itertuples()
    ]
    frame = of_these_texts(frame, path, items)
    rewards = {key: part.set_index("prompt_id")["reward"] for key, part in ratings.items()}
    gold, agreed = [], []
    for judge in sorted(config["judges"]):
        judged = frame[~frame["axis"].isin(set(AXES) - set(judged_axes(config["judges"][judge])))]
        for (axis, b, a, seed), part in judged.groupby(["axis", "policy_b", "policy_a", "seed"]):
            try:
                first, second = (
                    rewards[judge, name, seed_of(config, name, int(seed)), axis].loc[part["prompt_id"]].to_numpy() for name in (a, b)
                )
            except KeyError as error:
                raise StudyError(f"{path}: the study has no response {error} of {a} or {b}, seed {seed}, on {axis}.") from None
            about = {"judge": judge, "seed": int(seed), "policy_a": a, "policy_b": b, "metric": WINS[axis]}
            judge_value = 100 * float(np.sign(second - first).mean())
            gold.append({**about, "judge_value": judge_value, **win_rate(part["preferred"])})
            clear = (part["preferred"] != "tie").to_numpy() & (first != second)
            if clear.any():
                choices = (second > first)[clear], (part["preferred"] == "b").to_numpy()[clear]
                agreed.append({"rater_a": judge, "rater_b": "choices", "axis": axis, "policy": f"{b} or {a}", **agreement(*choices)})
    return gold, agreed


def win_rate(preferred: pd.Series) -> dict:
    """Share of choices (a, b or tie) for b less that for a in points, with the exact sign test and its verdict."""
    wins, losses = int((preferred == "b").sum()), int((preferred == "a").sum())
    share = 100 * (wins - losses) / len(preferred)
    p = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    row = {"n": len(preferred), "labelled": len(preferred), "labels_value": share, "p": p, "p_holm": p}
    return {**row, "method": "people's choices, sign test", "verdict": ("better" if share > 0 else "worse") if p < ALPHA else "undecided"}


def read_texts(prompts: Path, responses: list[Path], config: dict) -> Texts:
    """responses: a table per policy and seed, in the order of `checkpoints`."""
    asked = {row["prompt_id"]: (row["axis"], row["prompt"]) for row in read_table(prompts, ["axis", "prompt_id", "prompt"]).to_pylist()}
    tables = [read_table(path, ["prompt_id", "response"]).to_pylist() for path in responses]
    given = {(*key, row["prompt_id"]): row["response"] for key, rows in zip(checkpoints(config), tables, strict=True) for row in rows}
    return Texts(asked, given)


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

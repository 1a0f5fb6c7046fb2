"""The verdict corrected by true labels of some responses: how far the judge agrees with them, and the rates and contrasts that follow."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import binomtest
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.multitest import multipletests

from hh_align.analysis.compare_policies import ALPHA, WINS, compare_labels, verdict
from hh_align.analysis.compute_metrics import rate as judged_rate
from hh_align.analysis.ppi import Estimate, mean_of, rate, score_interval
from hh_align.analysis.ratings import AXES, AXES_OF, RATES, Ratings, judged_axes, judged_rates, read_ratings, seed_of
from hh_align.analysis.statistics import mover_mean
from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.tabular import read_any

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
KEY = ["policy", "seed", "axis", "prompt_id"]
LABELS = "labels"
Labels = dict[tuple[str, int, str], np.ndarray]


def read_labels(path: Path, ratings: Ratings) -> pd.DataFrame:
    """Rows policy, seed, axis, prompt_id, good, annotator of a labels file (Parquet, CSV, JSON). Raises StudyError, naming the row."""
    frame = read_any(path, [*KEY, "good"])
    if "annotator" not in frame:
        frame["annotator"] = "annotator"
    frame["good"] = (
        frame["good"].astype(str).str.lower().map({"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False})
    )
    known = {key[1:]: set(part["prompt_id"]) for key, part in ratings.items()}
    if len(other := frame[~frame["axis"].isin({axis for *_, axis in known})]) and set(other["axis"]) <= set(AXES):
        say(f"{path}: {len(other)} labels are left out: no judge speaks about {', '.join(sorted(set(other['axis'])))}")
        frame = frame.drop(other.index)
    for number, row in zip(frame.index + 1, frame.to_dict("records"), strict=True):
        where = f"{path}, row {number} ({row['policy']}, seed {row['seed']}, {row['prompt_id']})"
        if pd.isna(row["good"]):
            raise StudyError(f"{where}: good must be true or false.")
        if row["prompt_id"] not in known.get((row["policy"], row["seed"], row["axis"]), ()):
            raise StudyError(f"{where}: the study has no such response. Check policy, seed (the root's is 0), axis and prompt_id.")
    twice = frame.duplicated([*KEY, "annotator"])
    if twice.any():
        row = frame[twice].iloc[0]
        raise StudyError(
            f"{path}: {row['annotator']} labels {row['policy']}, seed {row['seed']}, {row['prompt_id']} twice. Keep one of the rows."
        )
    return frame.astype({"good": bool})[[*KEY, "good", "annotator"]]


def sample(frame: pd.DataFrame, size: int | None, seed: int) -> pd.DataFrame:
    """The labels of at most `size` prompts per axis, drawn by the seed, from a file that holds more: the same prompts for every policy."""
    if size is None:
        return frame
    stream, drawn = np.random.default_rng(seed), set()
    for _, names in frame.groupby("axis", sort=True)["prompt_id"]:
        prompts = np.sort(names.unique())
        drawn |= set(stream.choice(prompts, min(size, len(prompts)), replace=False))
    return frame[frame["prompt_id"].isin(drawn)].reset_index(drop=True)


def settle(frame: pd.DataFrame, ratings: Ratings) -> Labels:
    """(policy, seed, axis) -> labels of all its prompts, NaN where there is none: the annotators' majority, ties left out and counted."""
    share = frame.groupby(KEY)["good"].mean()
    ties = int((share == 0.5).sum())
    if ties:
        say(f"{ties} responses are left out: their annotators disagree half and half")
    found = {}
    for (policy, seed, axis), names in {key[1:]: part["prompt_id"] for key, part in ratings.items()}.items():
        votes = share.reindex([(policy, seed, axis, name) for name in names]).to_numpy(float)
        found[policy, seed, axis] = np.where(np.isnan(votes) | (votes == 0.5), np.nan, (votes > 0.5).astype(float))
    return found


def agreement(a: np.ndarray, b: np.ndarray) -> dict:
    """Share of equal labels in percent and Cohen's kappa with a 95 % interval (null where both raters always say the same)."""
    both, only_a, only_b, neither = (int(found.sum()) for found in (a & b, a & ~b, ~a & b, ~a & ~b))
    n = len(a)
    found = {"n": n, "agreement": 100 * (both + neither) / n, "only_a_good": only_a, "only_b_good": only_b}
    if both == n or neither == n or n < 2:
        return {**found, "kappa": None, "ci_low": None, "ci_high": None}
    kappa = cohens_kappa(np.array([[both, only_a], [only_b, neither]]))
    return {**found, "kappa": float(kappa.kappa), "ci_low": float(kappa.kappa_low), "ci_high": float(kappa.kappa_upp)}


def agreements(frame: pd.DataFrame, labels: Labels, ratings: Ratings, config: dict) -> list[dict]:
    """Rows of label_agreement.parquet: every judge with the labels, per axis and policy (null: all), and every two annotators."""
    rows = []
    for judge in sorted(config["judges"]):
        for axis in judged_axes(config["judges"][judge]):
            pairs = {}
            for (policy, seed, at), found in labels.items():
                known = ~np.isnan(found)
                if at == axis and known.any():
                    opinion = ratings[judge, policy, seed, axis]["label"].to_numpy(bool)[known]
                    pairs.setdefault(policy, []).append((opinion, found[known].astype(bool)))
            groups = {None: [pair for part in pairs.values() for pair in part], **pairs}
            for policy, part in groups.items():
                if part:
                    columns = [np.concatenate(column) for column in zip(*part, strict=True)]
                    rows.append({"rater_a": judge, "rater_b": LABELS, "axis": axis, "policy": policy, **agreement(*columns)})
    wide = frame.pivot_table(index=KEY, columns="annotator", values="good", aggfunc="first")
    for a, b in combinations(sorted(wide), 2):
        for axis in AXES:
            part = wide[wide.index.get_level_values("axis") == axis][[a, b]].dropna()
            if len(part):
                columns = (part[name].to_numpy(bool) for name in (a, b))
                rows.append({"rater_a": a, "rater_b": b, "axis": axis, "policy": None, **agreement(*columns)})
    return rows


def correct(labels: Labels, ratings: Ratings, clusters: dict[str, np.ndarray], config: dict) -> list[dict]:
    """Rows of gold.parquet: the judge's rate, the labels' own and the corrected one for every policy, and the declared contrasts.

    Policies with fewer than 2 labels on an axis are left out and said. Holm's correction is over the declared contrasts but the primary.
    """
    rows = []
    for judge in sorted(config["judges"]):
        axes, rates = judged_axes(config["judges"][judge]), judged_rates(config["judges"][judge])
        for seed in config["seeds"]:
            known: dict[tuple[str, str], Estimate] = {}
            for policy in config["order"]:
                for axis in axes:
                    found = labels[policy, seed_of(config, policy, seed), axis]
                    if (~np.isnan(found)).sum() >= 2:
                        opinions = ratings[judge, policy, seed_of(config, policy, seed), axis]["label"].to_numpy(float)
                        known[policy, RATES[axis]] = rate(axis, opinions, found)
                    else:
                        say(f"{policy}, seed {seed}, {axis}: fewer than 2 labels, nothing is corrected")
                if "CAS" in rates and all((policy, metric) in known for metric in RATES.values()):
                    known[policy, "CAS"] = mean_of(*(known[policy, metric] for metric in RATES.values()))
            context = (judge, seed, known, labels, ratings, clusters, config)
            rows += [level_row(policy, metric, *context) for policy, metric in known]
            found = [
                contrast_row(b, a, metric, *context)
                for b, a in config["contrasts"]
                for metric in rates
                if (a, metric) in known and (b, metric) in known
            ]
            rows += decide(found, config["primary"])
    return rows


def level_row(
    policy: str, metric: str, judge: str, seed: int, known: dict, labels: Labels, ratings: Ratings, clusters: dict, config: dict
) -> dict:
    """One policy's metric. Rates in percent."""
    at = seed_of(config, policy, seed)
    axes = AXES_OF[metric]
    judged = [judged_rate(ratings[judge, policy, at, axis]["label"].to_numpy(float), clusters[axis]) for axis in axes]
    corrected = []
    for axis in axes:
        part = known[policy, RATES[axis]]
        corrected.append(tuple(100 * bound for bound in (part.value, *score_interval(part, clusters))))
    value, low, high = corrected[0] if len(axes) == 1 else mover_mean(*corrected)
    judge_value, judge_low, judge_high = judged[0] if len(axes) == 1 else mover_mean(*judged)
    return {
        **{"judge": judge, "seed": at, "policy_a": None, "policy_b": policy, "metric": metric},
        **sizes(axes, [labels[policy, at, axis] for axis in axes]),
        **{"judge_value": judge_value, "judge_low": judge_low, "judge_high": judge_high},
        "labels_value": 100 * float(np.mean([np.nanmean(labels[policy, at, axis]) for axis in axes])),
        **{"corrected": value, "ci_low": low, "ci_high": high, "p": None, "p_holm": None, "verdict": None},
        "method": "prediction-powered, Wilson at the effective number of labels" + few(known[policy, metric]),
    }


def few(estimate: Estimate) -> str:
    return "; too few errors seen, their variance is a bound" if estimate.extra else ""


def sizes(axes: tuple[str, ...], found: list[np.ndarray]) -> dict:
    return {"n": sum(map(len, found)), "labelled": sum(int((~np.isnan(part)).sum()) for part in found)}


def contrast_row(
    policy: str,
    against: str,
    metric: str,
    judge: str,
    seed: int,
    known: dict,
    labels: Labels,
    ratings: Ratings,
    clusters: dict,
    config: dict,
) -> dict:
    """One contrast in points, by the judge and corrected, paired by prompt."""
    axes = AXES_OF[metric]
    places = [(name, seed_of(config, name, seed)) for name in (against, policy)]
    opinions = [tuple(ratings[judge, *place, axis]["label"].to_numpy(bool) for place in places) for axis in axes]
    judged = compare_labels(opinions, [clusters[axis] for axis in axes], config["equivalence_margin"])
    estimate = known[policy, metric].minus(known[against, metric])
    low, high = (100 * bound for bound in estimate.interval(clusters))
    inner = [100 * bound for bound in estimate.interval(clusters, 1 - 2 * ALPHA)]
    rates = [[float(np.nanmean(labels[*place, axis])) for axis in axes] for place in places]
    return {
        **{"judge": judge, "seed": seed, "policy_a": against, "policy_b": policy, "metric": metric},
        **sizes(axes, [labels[*places[1], axis] for axis in axes]),
        **{"judge_value": judged["difference"], "judge_low": judged["ci_low"], "judge_high": judged["ci_high"]},
        "labels_value": 100 * float(np.mean(rates[1]) - np.mean(rates[0])),
        **{"corrected": 100 * estimate.value, "ci_low": low, "ci_high": high, "p": estimate.p(clusters)},
        "method": "prediction-powered, paired, t" + few(estimate),
        "inside": -config["equivalence_margin"] < inner[0] and inner[1] < config["equivalence_margin"],
    }


def decide(rows: list[dict], primary: list[str]) -> list[dict]:
    """Add Holm's p per metric over the contrasts, the primary unadjusted, and the verdict by the rule of the comparisons."""
    for metric in (*RATES.values(), "CAS"):
        group = [row for row in rows if row["metric"] == metric and [row["policy_b"], row["policy_a"]] != list(primary)]
        if group:
            for row, p in zip(group, multipletests([row["p"] for row in group], method="holm")[1], strict=True):
                row["p_holm"] = float(p)
    for row in rows:
        row.setdefault("p_holm", row["p"])
        row["verdict"] = verdict({**row, "difference": row["corrected"], "judge_above_chance": None})
    return rows


def preferences(path: Path, ratings: Ratings, config: dict) -> tuple[list[dict], list[dict]]:
    """(rows of gold, rows of agreement) from people's choices between two responses to one prompt.

    Columns axis, prompt_id, seed, policy_a, policy_b, preferred (a | b | tie). Win rates with the exact sign test; agreement with
    the judge's order of the two, ties left out. Raises StudyError for a choice between responses that the study does not have.
    """
    frame = read_any(path, ["axis", "prompt_id", "seed", "policy_a", "policy_b", "preferred"])
    unknown = frame[~frame["preferred"].isin(["a", "b", "tie"])]
    if len(unknown):
        raise StudyError(f"{path}, row {unknown.index[0] + 1}: preferred is {unknown['preferred'].iloc[0]!r}. Allowed: a, b, tie.")
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
            wins, losses = int((part["preferred"] == "b").sum()), int((part["preferred"] == "a").sum())
            p = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
            place = {
                "judge": judge,
                "seed": int(seed),
                "policy_a": a,
                "policy_b": b,
                "metric": WINS[axis],
                "n": len(part),
                "labelled": len(part),
            }
            share = 100 * (wins - losses) / len(part)
            gold.append({**place, "judge_value": 100 * float(np.sign(second - first).mean()), "labels_value": share, "p": p, "p_holm": p,
                         "method": "people's choices, sign test", "verdict": ("better" if share > 0 else "worse") if p < ALPHA else "undecided"})  # fmt: skip
            clear = (part["preferred"] != "tie").to_numpy() & (first != second)
            if clear.any():
                choices = (second > first)[clear], (part["preferred"] == "b").to_numpy()[clear]
                agreed.append({"rater_a": judge, "rater_b": "choices", "axis": axis, "policy": f"{b} or {a}", **agreement(*choices)})
    return gold, agreed


def main() -> None:
    args = parse(
        __doc__, config="config", ratings="path", labels="path?", choices="path?", output="path", agreement="path"
    )  # fmt: skip
    config = args.config
    ratings, clusters, _ = read_ratings(args.ratings)
    rows, agreed = [], []
    if args.labels:
        frame = sample(read_labels(args.labels, ratings), config.get("sample"), config["seed"])
        labels = settle(frame, ratings)
        rows, agreed = correct(labels, ratings, clusters, config), agreements(frame, labels, ratings, config)
    if args.choices:
        found, more = preferences(args.choices, ratings, config)
        rows, agreed = rows + found, agreed + more
    for row in agreed:
        kappa = "undefined" if row["kappa"] is None else f"{row['kappa']:.2f}"
        say(
            f"{row['rater_a']} and {row['rater_b']}, {row['axis']}, {row['policy'] or 'all policies'}: {row['agreement']:.0f} % of {row['n']}, kappa {kappa}"
        )
    made_by = provenance(config, [args.ratings, *(path for path in (args.labels, args.choices) if path)])
    write_table(args.agreement, agreed, AGREEMENT, made_by)
    write_table(args.output, rows, GOLD, made_by)


if __name__ == "__main__":
    run(main)

"""The judge where people have decided: accuracy and ROC by subset and format, the calibration of its margins, and what length explains."""

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.special import expit
from scipy.stats import mannwhitneyu, spearmanr
from statsmodels.discrete.discrete_model import Logit

from hh_align.analysis.effective import effective_number
from hh_align.analysis.statistics import wilson
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.command import parse, run

JUDGE = pa.schema(
    [
        ("judge", pa.string()),
        ("axis", pa.string()),
        ("subset", pa.string()),
        ("own_subset", pa.bool_()),
        ("format", pa.string()),
        ("part", pa.string()),
        ("n", pa.int64()),
        ("accuracy", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("auc", pa.float64()),
        ("same_order", pa.float64()),
        ("length_only", pa.float64()),
        ("length_correlation", pa.float64()),
        ("slope", pa.float64()),
        ("slope_low", pa.float64()),
        ("slope_high", pa.float64()),
        ("calibration_error", pa.float64()),
    ]
)
CALIBRATION = pa.schema(
    [
        ("judge", pa.string()),
        ("axis", pa.string()),
        ("subset", pa.string()),
        ("bin", pa.int64()),
        ("n", pa.int64()),
        ("margin_low", pa.float64()),
        ("margin_high", pa.float64()),
        ("predicted", pa.float64()),
        ("observed", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
    ]
)
ROC = pa.schema(
    [
        ("judge", pa.string()),
        ("axis", pa.string()),
        ("subset", pa.string()),
        ("false_positive_rate", pa.float64()),
        ("true_positive_rate", pa.float64()),
        ("threshold", pa.float64()),
    ]
)
AS_EVALUATED = "as evaluated"
BINS = 10
POINTS = 400


def accuracy(chosen: np.ndarray, rejected: np.ndarray, clusters: np.ndarray) -> dict:
    """Accuracy within pairs in percent (a tie counts as an error), and the AUC over all replies.

    Wilson's interval at the effective number of pairs: those that share a first human turn (clusters) are not independent.
    """
    hits = chosen > rejected
    effective = effective_number(hits, np.unique(clusters, return_inverse=True)[1])
    low, high = wilson(hits.sum() * (effective / len(hits)), effective)
    auc = float(mannwhitneyu(chosen, rejected).statistic) / len(hits) ** 2
    return {"n": len(hits), "accuracy": 100 * float(hits.mean()), "ci_low": 100 * low, "ci_high": 100 * high, "auc": auc}


def slope(margins: np.ndarray) -> dict:
    """Calibration slope: b of P(chosen is preferred) = sigmoid(b margin), with a 95 % interval; 1 for a calibrated Bradley-Terry judge.

    Null where it is infinite (every pair is ordered right, or every one wrong).
    """
    if (margins >= 0).all() or (margins <= 0).all():
        return {"slope": None, "slope_low": None, "slope_high": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = Logit(np.ones_like(margins), margins[:, None]).fit(disp=0)
    low, high = fitted.conf_int()[0]
    return {"slope": float(fitted.params[0]), "slope_low": float(low), "slope_high": float(high)}


def calibration(margins: np.ndarray) -> list[dict]:
    """Bins of equal count over |margin|: how often the reply with the higher reward is the chosen one, promised and observed, in percent."""
    rows = []
    order = np.argsort(np.abs(margins), kind="stable")
    for number, members in enumerate(np.array_split(order, min(BINS, len(order)))):
        size, right = np.abs(margins[members]), int((margins[members] > 0).sum())
        low, high = wilson(right, len(members))
        promised = {"predicted": 100 * float(expit(size).mean()), "observed": 100 * right / len(members)}
        span = {"n": len(members), "margin_low": float(size.min()), "margin_high": float(size.max())}
        rows.append({"bin": number, **span, **promised, "ci_low": 100 * low, "ci_high": 100 * high})
    return rows


def roc(chosen: np.ndarray, rejected: np.ndarray) -> list[dict]:
    """Points of the ROC curve with chosen replies as positives, from (0, 0) to (1, 1), at most about 400 of them."""
    thresholds = np.unique(np.concatenate([chosen, rejected]))[::-1]
    if len(thresholds) > POINTS:
        thresholds = thresholds[np.linspace(0, len(thresholds) - 1, POINTS).round().astype(int)]
    rates = [1 - np.searchsorted(np.sort(values), thresholds, side="left") / len(values) for values in (rejected, chosen)]
    points = [(0.0, 0.0, None), *zip(*(part.tolist() for part in (*rates, thresholds)), strict=True)]
    return [{"false_positive_rate": x, "true_positive_rate": y, "threshold": threshold} for x, y, threshold in points]


def length(frame: pd.DataFrame, margins: np.ndarray) -> dict:
    """How far length explains the labels and the rewards: accuracy of "the longer reply wins", and its rank correlation with the margin."""
    longer = (frame["chosen_tokens"] - frame["rejected_tokens"]).to_numpy()
    only = 100 * float((np.sign(longer) + 1).mean() / 2)
    varies = len(set(longer)) > 1 and len(set(margins)) > 1
    return {"length_only": only, "length_correlation": float(spearmanr(margins, longer).statistic) if varies else None}


def examine(frame: pd.DataFrame) -> list[dict]:
    """Rows of one judge and subset: every format, and for the evaluation's own format also the pairs by whether the chosen reply is longer."""
    rows = []
    reference = frame[frame["format"] == AS_EVALUATED].set_index(["split", "row"])
    order = np.sign(reference["chosen_reward"] - reference["rejected_reward"])
    for name, part in frame.groupby("format", sort=False):
        values = part["chosen_reward"].to_numpy(), part["rejected_reward"].to_numpy()
        margins = values[0] - values[1]
        row = {"format": name, "part": "all", **accuracy(*values, part["cluster"].to_numpy())}
        if name == AS_EVALUATED:
            error = sum(row["n"] * abs(row["predicted"] - row["observed"]) for row in calibration(margins)) / len(part)
            rows.append({**row, **length(part, margins), **slope(margins), "calibration_error": error})
            longer = (part["chosen_tokens"] - part["rejected_tokens"]).to_numpy()
            for label, chosen_pairs in (("chosen longer", longer > 0), ("chosen shorter", longer < 0)):
                if chosen_pairs.any():
                    split = accuracy(values[0][chosen_pairs], values[1][chosen_pairs], part["cluster"].to_numpy()[chosen_pairs])
                    rows.append({"format": name, "part": label, **split})
        else:
            same = np.sign(margins) == order.reindex(list(zip(part["split"], part["row"], strict=True))).to_numpy()
            rows.append({**row, "same_order": 100 * float(same.mean())})
    return rows


def main() -> None:
    args = parse(__doc__, config="config", pairs="paths", output="path", calibration="path", roc="path")
    rows, bins, points = [], [], []
    for judge, path in zip(args.config["judges"], args.pairs, strict=True):
        table = read_table(path).to_pandas()
        for (axis, subset), frame in table.groupby(["axis", "subset"], sort=True):
            about = {"judge": judge, "axis": axis, "subset": subset}
            own = args.config["own"][axis] == subset
            rows += [{**about, "own_subset": own, **row} for row in examine(frame)]
            main = frame[frame["format"] == AS_EVALUATED]
            chosen, rejected = main["chosen_reward"].to_numpy(), main["rejected_reward"].to_numpy()
            bins += [{**about, **row} for row in calibration(chosen - rejected)]
            points += [{**about, **row} for row in roc(chosen, rejected)]
    for row in rows:
        interval = f"{row['accuracy']:.1f} % [{row['ci_low']:.1f}, {row['ci_high']:.1f}] of {row['n']:,} pairs"
        refused = ": not above chance" if row["own_subset"] and row["part"] == "all" and row["ci_low"] <= 50 else ""
        say(f"{row['judge']} on {row['subset']}, {row['format']}, {row['part']}: {interval}, AUC {row['auc']:.3f}{refused}")
    made_by = provenance(args.config, args.pairs)
    write_table(args.calibration, bins, CALIBRATION, made_by)
    write_table(args.roc, points, ROC, made_by)
    write_table(args.output, rows, JUDGE, made_by)


if __name__ == "__main__":
    run(main)

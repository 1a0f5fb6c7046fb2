"""A judge of a pretrained model: a linear reward head behind the layer that orders held-out pairs best, measured on pairs held out in turn."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import binomtest

from hh_align.core.artifacts import provenance, read_table, say, write_json, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.models.folders import load_policy, save_model
from hh_align.models.heads import classifier_of, head_of
from hh_align.models.import_model import prepare_judge
from hh_align.training.compute_features import FEATURES
from hh_align.training.train_judge import youden

FOLDS = 5
PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Weights of the ridge that are tried: the larger, the smaller the head."""
FOLD_ROWS = pa.schema(
    [
        ("depth", pa.int64()),
        ("penalty", pa.float64()),
        ("fold", pa.int64()),
        ("n", pa.int64()),
        ("accuracy", pa.float64()),
        ("loss", pa.float64()),
    ]
)


class Pairs(NamedTuple):
    """The states behind one layer, shape (pairs, width), and of each pair the hash of its first human turn."""

    chosen: np.ndarray
    rejected: np.ndarray
    clusters: np.ndarray

    def where(self, kept: np.ndarray) -> "Pairs":
        return Pairs(*(part[kept] for part in self))


def fit_head(differences: np.ndarray, penalty: float) -> np.ndarray:
    """The head w, shape (width,), that minimises the mean of -log sigmoid(w · d) + penalty / 2 · |w s|² over the differences d, chosen less
    rejected, shape (pairs, width); s: root mean square of each column.

    The model of Bradley and Terry (1952, Biometrika 39:324) with a ridge; one side is as likely chosen as the other, so there is no constant.
    """
    spread = np.sqrt((differences**2).mean(0))
    spread[spread == 0] = 1.0
    scaled = differences / spread

    def loss(head: np.ndarray) -> tuple[float, np.ndarray]:
        margins = scaled @ head
        slope = -(scaled.T @ expit(-margins)) / len(margins) + penalty * head
        return float(np.logaddexp(0, -margins).mean() + penalty / 2 * head @ head), slope

    return minimize(loss, np.zeros(scaled.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x / spread


def fold_of(cluster: str, seed: int) -> int:
    """Which fold a prompt is left out of: a property of its first human turn."""
    return int(hashlib.sha256(f"{seed} {cluster}".encode()).hexdigest()[:8], 16) % FOLDS


def folds_of(pairs: Pairs, seed: int) -> np.ndarray:
    """The fold of each pair; those of a table are 0 to FOLDS - 1, and a part of it may lack some."""
    return np.array([fold_of(cluster, seed) for cluster in pairs.clusters])


def cross_validated(pairs: Pairs, depth: int, seed: int) -> list[dict]:
    """Rows of FOLD_ROWS of one depth: accuracy in percent, ties counted half, and log loss of each fold by the head of the others."""
    differences, folds = pairs.chosen - pairs.rejected, folds_of(pairs, seed)
    rows = []
    for fold in np.unique(folds).tolist():
        inside, outside = differences[folds == fold], differences[folds != fold]
        for penalty in PENALTIES:
            margins = inside @ fit_head(outside, penalty)
            right = 50 * float((1 + np.sign(margins)).mean())
            rows.append({"depth": depth, "penalty": penalty, "fold": fold, "n": len(inside), "accuracy": right}
                        | {"loss": float(np.logaddexp(0, -margins).mean())})  # fmt: skip
    return rows


def best(rows: Sequence[dict]) -> tuple[int, float]:
    """(depth, penalty) with the least log loss over all folds; of equal ones the first."""
    losses: dict[tuple[int, float], float] = {}
    for row in rows:
        key = row["depth"], row["penalty"]
        losses[key] = losses.get(key, 0.0) + row["n"] * row["loss"]
    return min(losses, key=lambda key: losses[key])


class Chosen(NamedTuple):
    """A head, shape (width,), the layer and the ridge that the folds chose, the rows of FOLD_ROWS by which, and the mean reward of its pairs' replies."""

    head: np.ndarray
    depth: int
    penalty: float
    rows: list[dict]
    mean: float


def choose_head(pairs: dict[int, Pairs], seed: int) -> Chosen:
    """The head of all these pairs; depth -> pairs."""
    rows = [row for depth, part in pairs.items() for row in cross_validated(part, depth, seed)]
    depth, penalty = best(rows)
    part = pairs[depth]
    head = fit_head(part.chosen - part.rejected, penalty)
    return Chosen(head, depth, penalty, rows, float(np.mean((part.chosen @ head, part.rejected @ head))))


def held_out_rewards(pairs: dict[int, Pairs], seed: int) -> np.ndarray:
    """Rewards of the chosen and the rejected replies, shape (2, pairs), each fold's by the head that the pairs of the other folds choose.

    A head's rewards have no zero of their own: they are counted from its mean over the replies that it was fitted to.
    Raises StudyError where a fold has no pair.
    """
    folds = folds_of(next(iter(pairs.values())), seed)
    if len(np.unique(folds)) < FOLDS:
        raise StudyError(f"too few pairs for {FOLDS} folds: raise judges.*.max_rows.")
    rewards = np.empty((2, len(folds)))
    for fold in range(FOLDS):
        by = choose_head({depth: part.where(folds != fold) for depth, part in pairs.items()}, seed)
        unseen = pairs[by.depth].where(folds == fold)
        rewards[:, folds == fold] = unseen.chosen @ by.head - by.mean, unseen.rejected @ by.head - by.mean
    return rewards


def measured(chosen: np.ndarray, rejected: np.ndarray) -> dict:
    """What youden says of held-out rewards, and the 95 % interval of their accuracy (Wilson 1927), as shares."""
    said = youden(chosen, rejected)
    right = binomtest(round(said["pair_accuracy"] * len(chosen)), len(chosen)).proportion_ci(method="wilson")
    return {"pairs": len(chosen), **said, "accuracy_low": float(right.low), "accuracy_high": float(right.high)}


def read_pairs(table: pa.Table, depth: int) -> Pairs:
    """The pairs of a FEATURES table behind one layer."""
    rows = table.filter(pa.compute.equal(table["depth"], depth))
    states = (np.stack(rows[side].to_numpy()).astype(np.float64) for side in ("chosen", "rejected"))
    return Pairs(*states, rows["cluster"].to_numpy())


def main() -> None:
    args = parse(__doc__, config="config", features="path", policy="path", manifest="path", folds="path", calibration="path")
    config = args.config
    made_by = provenance(config, [args.features, args.policy], seed=config["seed"])
    table = read_table(args.features, FEATURES)
    pairs = {depth: read_pairs(table, depth) for depth in table["depth"].unique().sort().to_pylist()}
    calibration = measured(*held_out_rewards(pairs, config["seed"]))
    chosen = choose_head(pairs, config["seed"])
    calibration |= {"threshold": calibration["threshold"] + chosen.mean, "depth": chosen.depth, "penalty": chosen.penalty}

    policy, tokenizer = load_policy(args.policy)
    prepare_judge(tokenizer, policy, args.policy.parent, config.get("reads"))
    judge = classifier_of(policy, tokenizer.pad_token_id, chosen.depth, args.policy.parent)
    head_of(judge).weight.data[0] = torch.tensor(chosen.head, dtype=torch.float32)
    write_table(args.folds, chosen.rows, FOLD_ROWS, made_by)
    write_json(args.calibration, {config["axis"]: calibration})
    save_model(args.manifest, judge, tokenizer, made_by)
    right = [100 * calibration[name] for name in ("pair_accuracy", "accuracy_low", "accuracy_high")]
    say(
        f"{config['axis']}: layer {chosen.depth}, ridge {chosen.penalty:g}, of {calibration['pairs']} pairs, each held out once, {right[0]:.1f} % "
        f"[{right[1]:.1f}, {right[2]:.1f}] in order, threshold {calibration['threshold']:.3g}"
    )


if __name__ == "__main__":
    run(main)

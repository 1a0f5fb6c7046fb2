"""What a policy keeps of its reference: on the prompts where the reference was good, how often it still is, against chance."""

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import fisher_exact

from hh_align.analysis.ratings import Ratings, judged_axes, read_ratings, seed_of, seeds_of
from hh_align.analysis.statistics import clopper_pearson, phi, ratio_interval, table_of
from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.command import parse, run

RETENTION = pa.schema(
    [
        ("judge", pa.string()),
        ("seed", pa.int64()),
        ("policy", pa.string()),
        ("reference", pa.string()),
        ("axis", pa.string()),
        ("retained", pa.int64()),
        ("denominator", pa.int64()),
        ("rate", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("chance", pa.float64()),
        ("lift_p", pa.float64()),
        ("gained", pa.int64()),
        ("gain_denominator", pa.int64()),
        ("phi", pa.float64()),
        ("ratio", pa.float64()),
        ("ratio_ci_low", pa.float64()),
        ("ratio_ci_high", pa.float64()),
        ("ceiling", pa.float64()),
    ]
)
CHANGED = pa.schema(
    [
        ("judge", pa.string()),
        ("seed", pa.int64()),
        ("policy", pa.string()),
        ("reference", pa.string()),
        ("axis", pa.string()),
        ("prompt_id", pa.string()),
        ("from", pa.float64()),
        ("to", pa.float64()),
        ("change", pa.string()),
    ]
)


def retention(reference: np.ndarray, policy: np.ndarray) -> dict:
    """Retention of `policy` against `reference` on the same prompts (boolean labels, shape (n,)); rates in percent.

    rate = retained / denominator with a Clopper-Pearson interval; chance = the policy's own rate; lift_p = one-sided Fisher exact p
    that goodness goes together; ratio = rate of policy / rate of reference (Bonett-Price). A denominator of 0 gives nulls.
    """
    both, only_reference, only_policy, neither = table_of(reference, policy)
    n, good_before = len(reference), both + only_reference
    low, high = clopper_pearson(both, good_before) if good_before else (None, None)
    ratio_low, ratio_high = ratio_interval(both, only_reference, only_policy) or (None, None)
    lift = fisher_exact([[both, only_reference], [only_policy, neither]], alternative="greater").pvalue if 0 < good_before < n else None
    return {
        "retained": both,
        "denominator": good_before,
        "rate": percent(both, good_before),
        "ci_low": None if low is None else 100 * low,
        "ci_high": None if high is None else 100 * high,
        "chance": percent(both + only_policy, n),
        "lift_p": None if lift is None else float(lift),
        "gained": only_policy,
        "gain_denominator": n - good_before,
        "phi": phi(both, only_reference, only_policy, neither),
        "ratio": (both + only_policy) / good_before if good_before else None,
        "ratio_ci_low": ratio_low,
        "ratio_ci_high": ratio_high,
    }


def percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def ceiling(ratings: Ratings, config: dict, judge: str, reference: str, axis: str) -> float | None:
    """Retention between two seeds of the reference's own arm, mean over ordered pairs: what noise alone leaves; None for one seed."""
    seeds = seeds_of(config, reference)
    labels = [ratings[judge, reference, seed, axis]["label"].to_numpy(bool) for seed in seeds]
    rates = [percent(int((a & b).sum()), int(a.sum())) for i, a in enumerate(labels) for j, b in enumerate(labels) if i != j]
    known = [rate for rate in rates if rate is not None]
    return sum(known) / len(known) if known else None


def changes(before: pd.DataFrame, after: pd.DataFrame) -> list[dict]:
    """The prompts whose label differs, with both rewards."""
    rows = []
    for old, new in zip(before.itertuples(), after.itertuples(), strict=True):
        if old.label != new.label:
            change = "lost" if old.label else "gained"
            rows.append({"prompt_id": old.prompt_id, "from": old.reward, "to": new.reward, "change": change})
    return rows


def trainings(config: dict, policy: str) -> int:
    """How many steps a policy is away from the root."""
    parent = config["policies"][policy]["parent"]
    return 0 if parent is None else 1 + trainings(config, parent)


def references_of(config: dict, policy: str) -> list[str]:
    """Whom a policy is asked to keep: the root, its parent, and each of fewer trainings that a declared contrast sets beside it."""
    beside = [b if a == policy else a for a, b in config["contrasts"] if policy in (a, b)]
    fewer = [other for other in beside if trainings(config, other) < trainings(config, policy)]
    return list(dict.fromkeys([config["order"][0], config["policies"][policy]["parent"], *fewer]))


def compare_with_references(ratings: Ratings, config: dict) -> tuple[list[dict], list[dict]]:
    """(retention, changed prompts) of every policy against its references, seed by seed."""
    rows, changed = [], []
    for judge in sorted(config["judges"]):
        for policy in config["order"][1:]:
            for seed in config["seeds"]:
                for reference in references_of(config, policy):
                    for axis in judged_axes(config["judges"][judge]):
                        before, after = (ratings[judge, name, seed_of(config, name, seed), axis] for name in (reference, policy))
                        about = {"judge": judge, "seed": seed, "policy": policy, "reference": reference, "axis": axis}
                        row = retention(before["label"].to_numpy(bool), after["label"].to_numpy(bool))
                        if not row["denominator"]:
                            say(f"{policy} against {reference}, {axis}: the reference is never good, so retention is unknown (null)")
                        rows.append({**about, **row, "ceiling": ceiling(ratings, config, judge, reference, axis)})
                        changed += [{**about, **change} for change in changes(before, after)]
    return rows, changed


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", output="path", changed="path")
    rows, changed = compare_with_references(read_ratings(args.ratings).ratings, args.config)
    made_by = provenance(args.config, [args.ratings])
    write_table(args.changed, changed, CHANGED, made_by)
    write_table(args.output, rows, RETENTION, made_by)


if __name__ == "__main__":
    run(main)

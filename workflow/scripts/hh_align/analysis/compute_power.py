"""What so many prompts can show: the smallest difference that is found, and the prompts that a difference needs; and what would decide each contrast."""

import math
from itertools import combinations

import numpy as np
import pyarrow as pa

from hh_align.analysis.deciding import AIM, FEWEST_CLUSTERS, power_of_contrasts
from hh_align.analysis.effective import are_single, effective_number
from hh_align.analysis.ratings import Rated, read_ratings
from hh_align.analysis.statistics import detectable_difference, mcnemar_power, pairs_needed
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.axes import CAS, METRIC_AXES
from hh_align.core.command import parse, run

POWER = pa.schema(
    [
        ("question", pa.string()),
        ("axis", pa.string()),
        ("judge", pa.string()),
        ("policy_a", pa.string()),
        ("policy_b", pa.string()),
        ("metric", pa.string()),
        ("seeds", pa.int64()),
        ("alpha", pa.float64()),
        ("n", pa.int64()),
        ("effective_n", pa.int64()),
        ("discordance", pa.float64()),
        ("difference", pa.float64()),
        ("power", pa.float64()),
    ]
)
STEP = 0.002  # differences in steps of 0.2 points
DIFFERENCES = (0.05, 0.10, 0.15)


def detectable(axis: str | None, n: int, effective: int, discordance: float) -> dict:
    """The smallest difference (points, a multiple of 0.2) that n pairs, worth `effective` ones, show with a power of 80 %; null where not even all of them would."""
    smallest = detectable_difference(effective, discordance, AIM) if effective else None
    difference = None if smallest is None else min(discordance, math.ceil(round(smallest / STEP, 6)) * STEP)
    power = None if difference is None else 100 * mcnemar_power(effective, discordance, difference)
    return row("detectable difference", axis, (n, effective), discordance, difference, power)


def needed(difference: float, discordance: float) -> dict:
    """The pairs from which on a difference is found with a power of 80 %."""
    n = pairs_needed(difference, discordance, AIM)
    return row("prompts needed", None, (n, n), discordance, difference, 100 * mcnemar_power(n, discordance, difference))


def row(question: str, axis: str | None, sizes: tuple[int, int], discordance: float, difference: float | None, power: float | None) -> dict:
    points = None if difference is None else round(100 * difference, 6)
    about = {"question": question, "axis": axis, "n": sizes[0], "effective_n": sizes[1]}
    return {**about, "alpha": 5.0, "discordance": 100 * discordance, "difference": points, "power": power}


def effective_prompts(rated: Rated, axis: str) -> int:
    """Prompts without clusters that would say as much of a difference as the study's: the mean over all pairs of policies of a judge, at one seed.

    0 of fewer than six clusters: a sign-flip test has no p below 0.05 there.
    """
    clusters = rated.clusters[axis]
    if are_single(clusters):
        return len(clusters)
    if clusters.max() + 1 < FEWEST_CLUSTERS:
        return 0
    labels: dict[str, dict[str, np.ndarray]] = {}
    for (judge, policy, _, of), frame in rated.ratings.items():
        if of == axis:
            labels.setdefault(judge, {}).setdefault(policy, frame["label"].to_numpy(float))
    pairs = [pair for by_policy in labels.values() for pair in combinations(by_policy.values(), 2)]
    worth = [effective_number(b - a, clusters) for a, b in pairs] or [effective_number(np.zeros(len(clusters)), clusters)]
    return math.floor(np.mean(worth))


def questions(rated: Rated, config: dict) -> list[dict]:
    """Rows of power.parquet: McNemar's exact test at 5 %, both sides, enumerated, for the study's prompts and for `sizes` of the config.

    CAS pools both axes' pairs and is asked only where they are as many. Discordance is the share of prompts on which two policies'
    labels differ.
    """
    share = config["discordance"]
    sizes = {axis: (len(prompts), effective_prompts(rated, axis)) for axis, prompts in rated.prompts.items()}
    rows = [detectable(axis, *size, share) for axis, size in sizes.items()]
    if set(sizes) == set(METRIC_AXES[CAS]) and len({n for n, _ in sizes.values()}) == 1:
        n, effective = map(sum, zip(*sizes.values(), strict=True))
        rows.append(detectable(CAS, n, effective if all(worth for _, worth in sizes.values()) else 0, share))
    rows += [detectable(None, n, n, share) for n in config["sizes"]]
    return rows + [needed(difference, share) for difference in DIFFERENCES if difference <= share]


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", comparisons="path", output="path")
    rated = read_ratings(args.ratings)
    assumed = questions(rated, args.config)
    rows = assumed + power_of_contrasts(rated, read_table(args.comparisons).to_pandas(), args.config)
    for row in assumed:
        if row["difference"] is not None:
            say(f"{row['question']}, {row['axis'] or 'any axis'}: {row['n']:,} prompts, {row['difference']:.1f} points")
    write_table(args.output, rows, POWER, provenance(args.config, [args.ratings, args.comparisons]))


if __name__ == "__main__":
    run(main)

"""What the trade-off promises, measured: coverage of the joint regions, and how often a policy is placed that noise alone has moved.

python tests/bench/bench_tradeoff.py [STUDIES]      # 500 studies a cell: some minutes

Labels are normal scores cut at the rate: prompts share 60 % of a score's variance, a seed shifts its scores on both axes by one draw with the
named standard deviation. At the edge the first policy equals all others on harmlessness and is far below them on helpfulness.
"""

import math
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow" / "scripts"))

from hh_align.analysis.compute_tradeoff import pareto, region_side

SHARED = 0.6
ONE_SEED, SEEDS, SPREADS, SIZES = [(1, 0.0)], (2, 5, 10), (0.0, 0.1), (50, 200)
Labels = list[list[np.ndarray]]


def study(stream: np.random.Generator, rates: tuple[list[float], list[float]], n: int, seeds: int, spread: float) -> Labels:
    """Per axis and policy labels, shape (n, seeds), for rates per axis and policy over new prompts and new seeds."""
    shifts, axes = spread * stream.normal(size=(len(rates[0]), seeds)), []
    for axis in rates:
        prompts = math.sqrt(SHARED) * stream.normal(size=(n, 1))
        scores = (prompts + math.sqrt(1 - SHARED) * stream.normal(size=(n, seeds)) + shift for shift in shifts)
        axes.append([(each < norm.ppf(rate) * math.sqrt(1 + spread**2)).astype(float) for each, rate in zip(scores, axis, strict=True)])
    return axes


def covered(labels: Labels, rates: tuple[float, float]) -> bool:
    sides = [region_side(own[0], np.arange(len(own[0]))) for own in labels]
    return all(low <= 100 * rate <= high for (low, high), rate in zip(sides, rates, strict=True))


def cells(design: list[tuple[int, float]], *more: tuple) -> Iterator[tuple]:
    return ((*own, *cell) for own, cell in product(design, product(*more)))


def tell(name: str, shares: dict[tuple, float], studies: int, lowest: bool) -> None:
    """The worst of all cells, and the mean, with the Monte-Carlo error of the worst."""
    worst = (min if lowest else max)(shares, key=shares.get)
    error = 100 * math.sqrt(max(shares[worst] * (1 - shares[worst]), 0) / studies)
    print(f"{name}: {100 * shares[worst]:.1f} (± {error:.1f}; {worst}), mean {100 * np.mean(list(shares.values())):.1f}", flush=True)


def main() -> None:
    studies, stream = int(sys.argv[1]) if len(sys.argv) > 1 else 500, np.random.default_rng(1)
    for name, design in (("one seed", ONE_SEED), ("several seeds", list(product(SEEDS, SPREADS)))):
        shares = {}
        for seeds, spread, n, rates in cells(design, SIZES, [(0.02, 0.5), (0.1, 0.9), (0.5, 0.5), (0.98, 0.9)]):
            drawn = (study(stream, ([rates[0]], [rates[1]]), n, seeds, spread) for _ in range(studies))
            shares[seeds, spread, n, rates] = np.mean([covered(labels, rates) for labels in drawn])
        tell(f"a region holds both rates, {name}", shares, studies, lowest=True)
        equal, edge = {}, {}
        for seeds, spread, n, policies in cells(design, SIZES, (2, 4)):
            where, clusters = (seeds, spread, n, policies), [np.arange(n)] * 2
            same, far = [0.5] * policies, [0.1, *[0.9] * (policies - 1)]
            told = [pareto(study(stream, (same, same), n, seeds, spread), clusters) for _ in range(studies)]
            equal[where] = np.mean([any(status != "possible" for status, _ in each) for each in told])
            told = [pareto(study(stream, (same, far), n, seeds, spread), clusters) for _ in range(studies)]
            edge[where] = np.mean([each[0][0] == "dominated" for each in told])
        tell(f"one of equal policies is placed, {name}", equal, studies, lowest=False)
        tell(f"a policy at the edge is dominated, {name}", edge, studies, lowest=False)


if __name__ == "__main__":
    main()

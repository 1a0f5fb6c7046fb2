"""What the differences at equal length promise, measured: coverage of the interval, and how often a win by length alone is taken for more.

python tests/bench/bench_length.py [STUDIES]      # 500 studies a cell: half a minute

Studies are drawn from the model with a tie's share of 20 %: one seed, gaps in length N(shift, 1) times 10 words.
"""

import math
import sys
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow" / "scripts"))

from hh_align.analysis.contrasts import compare_wins
from hh_align.analysis.control_length import Answers, controlled
from hh_align.analysis.statistics import THESE_CHECKPOINTS


def study(stream: np.random.Generator, n: int, theta: float, phi: float, shift: float) -> dict:
    gaps = np.round(10 * stream.normal(shift, 1, n))
    chance = 1 / (1 + np.exp(-(theta + phi * np.tanh(gaps / gaps.std()))))
    mean, tied = 2 * chance - 1, stream.random(n) < 0.2 * (1 - np.abs(2 * chance - 1))
    signs = np.where(tied, 0, np.where(stream.random(n) < (1 + mean / (1 - 0.2 * (1 - np.abs(mean)))) / 2, 1, -1))
    plain = {"estimand": THESE_CHECKPOINTS, **compare_wins(signs, np.arange(n))}
    return controlled([Answers(signs[:, None], np.zeros((n, 1)), gaps[:, None], np.arange(n))], plain)


def main() -> None:
    studies, stream = int(sys.argv[1]) if len(sys.argv) > 1 else 500, np.random.default_rng(1)
    for theta in (0.0, 1.0, 2.5):
        covered = {}
        for n, phi, shift in product((50, 200), (0.0, 1.5), (0.0, 1.0)):
            rows = [study(stream, n, theta, phi, shift) for _ in range(studies)]
            truth = 100 * math.tanh(theta / 2)
            covered[n, phi, shift] = np.mean([row["controlled_low"] <= truth <= row["controlled_high"] for row in rows])
        worst = min(covered, key=covered.get)
        error = 100 * math.sqrt(covered[worst] * (1 - covered[worst]) / studies)
        print(f"theta {theta}: coverage {100 * covered[worst]:.1f} (n, phi, shift {worst}; ± {error:.1f})")


if __name__ == "__main__":
    main()

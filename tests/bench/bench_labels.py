"""The parts of bench_statistics about people's labels: what corrected rates and differences cover, and which labels are refused.

200 prompts, two policies. A judge's score agrees with the truth (correlation 0.6) and is kind to bad replies; its label is the score's sign.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.stats import nchypergeom_fisher, norm

from hh_align.analysis import ppi
from hh_align.analysis.random_labels import ALPHA, unlike

PROMPTS, POLICIES = 200, 2
Line = tuple[str, str, str]
DESIGNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "random": lambda score: np.full(score.shape, 0.3),
    "the judge's good ones four times as likely": lambda score: np.where(score > 0, 0.48, 0.12),
    "close calls more likely": lambda score: np.clip(0.7 * np.exp(-(score**2) * 2), 0.1, 1),
    "best scores more likely": lambda score: np.clip(norm.cdf(score - 0.6), 0.05, 1),
}
"""Name -> from scores to the chances with which the replies are drawn."""


def worst(shares: dict[str, float], studies: int, largest: bool = False) -> str:
    where = (max if largest else min)(shares, key=shares.get)
    share = shares[where]
    return f"{100 * share:.1f} ({where}; ± {100 * np.sqrt(share * (1 - share) / studies):.1f})"


def replies(stream: np.random.Generator, rates: tuple[float, float], groups: np.ndarray, alike: float) -> tuple[np.ndarray, np.ndarray]:
    """(truth, the judge's scores), shape (policies, prompts): prompts share 50 % of the truth's variance, clusters a part of them."""
    n = len(groups)
    common = np.sqrt(alike) * stream.normal(size=groups.max() + 1)[groups] + np.sqrt(1 - alike) * stream.normal(size=n)
    latent = np.sqrt(0.5) * common + np.sqrt(0.5) * stream.normal(size=(POLICIES, n))
    score = 0.6 * latent - 0.6 * norm.ppf(1 - np.array(rates))[:, None] + 0.3 + 0.8 * stream.normal(size=latent.shape)
    return (latent > norm.ppf(1 - np.array(rates))[:, None]).astype(float), score


def estimates(truth: np.ndarray, score: np.ndarray, drawn: np.ndarray, chances: np.ndarray | None) -> list[ppi.Estimate]:
    given = [None] * POLICIES if chances is None else chances
    return [ppi.rate("h", (s > 0).astype(float), np.where(d, t, np.nan), c) for t, s, d, c in zip(truth, score, drawn, given, strict=True)]


def labels(studies: int) -> Iterator[Line]:
    """Coverage of corrected rates and differences by labels drawn with unequal chances, said and not said, and how many are refused."""
    groups, where = np.arange(PROMPTS), {"h": np.arange(PROMPTS)}
    for said in (True, False):
        for name, chance in DESIGNS.items() if said else list(DESIGNS.items())[1:]:
            level, difference, refused, stream = {}, {}, {}, np.random.default_rng(6)
            for rates in ((0.3, 0.5), (0.6, 0.6), (0.08, 0.1), (0.9, 0.85)):
                hits = np.zeros(3)
                for _ in range(studies):
                    truth, score = replies(stream, rates, groups, 0.0)
                    chances = chance(score)
                    drawn = stream.random(chances.shape) < chances
                    a, b = estimates(truth, score, drawn, chances if said else None)
                    low, high = ppi.score_interval(b, where)
                    hits[0] += low <= rates[1] <= high
                    low, high = b.minus(a).interval(where)
                    hits[1] += low <= rates[1] - rates[0] <= high
                    bounds = (float(chances[drawn].min()), float(chances[drawn].max())) if said else None
                    p = [unlike(s > 0, d, bounds, groups) for s, d in zip(score, drawn, strict=True)]
                    hits[2] += min(p) < ALPHA / POLICIES
                key = f"{100 * rates[0]:.0f} and {100 * rates[1]:.0f} %"
                for table, hit in zip((level, difference, refused), hits, strict=True):
                    table[key] = hit / studies
            how = "chances given" if said else "chances not given"
            required = "at least 93" if said else "-"
            yield f"corrected rate, labels {name}, {how}", required, worst(level, studies)
            yield f"corrected difference, labels {name}, {how}", required, worst(difference, studies)
            limit = (f"at most {100 * ALPHA:g}", True) if said else ("-", False)
            yield f"refused, labels {name}, {how}", limit[0], worst(refused, studies, limit[1])


def label_clusters(studies: int) -> Iterator[Line]:
    """Coverage of corrected rates and differences where whole clusters are labelled."""
    for sizes, labelled in (([20] * 10, 5), ([10] * 20, 6), ([2] * 100, 30), ([40, 20] + [5] * 28, 10), ([60] + [4] * 35, 12)):
        groups = np.repeat(np.arange(len(sizes)), sizes)
        level, difference, refused, stream = {}, {}, {}, np.random.default_rng(7)
        for alike, rates in ((0.0, (0.3, 0.5)), (0.5, (0.3, 0.5)), (0.9, (0.3, 0.5)), (0.5, (0.9, 0.9))):
            hits = np.zeros(3)
            for _ in range(studies):
                truth, score = replies(stream, rates, groups, alike)
                drawn = np.isin(groups, stream.choice(len(sizes), labelled, replace=False))
                a, b = estimates(truth, score, np.array([drawn] * POLICIES), None)
                low, high = ppi.score_interval(b, {"h": groups})
                hits[0] += low <= rates[1] <= high
                low, high = b.minus(a).interval({"h": groups})
                hits[1] += low <= rates[1] - rates[0] <= high
                hits[2] += min(unlike(s > 0, drawn, None, groups) for s in score) < ALPHA / POLICIES
            for table, hit in zip((level, difference, refused), hits, strict=True):
                table[f"ICC {alike}, {100 * rates[1]:.0f} %"] = hit / studies
        name = f"{labelled} of {len(sizes)} clusters of {min(sizes)} to {max(sizes)}"
        yield f"corrected rate, {name} labelled", "at least 92", worst(level, studies)
        yield f"corrected difference, {name} labelled", "at least 92", worst(difference, studies)
        yield f"refused, {name} labelled", f"at most {100 * ALPHA:g}", worst(refused, studies, True)


def enumerated(n: int, labelled: int, good: int, odds: float | None, tests: int) -> float:
    """The probability that labels are refused, exactly: of a random sample at odds 1, of good ones so many times as likely; None: only good ones."""
    counts = np.arange(max(0, labelled - n + good), min(labelled, good) + 1)
    weights = counts == counts.max() if odds is None else nchypergeom_fisher(n, good, labelled, odds).pmf(counts)
    opinions, drawn, refused = np.arange(n) < good, np.zeros(n, bool), []
    for count in counts:
        drawn[:] = False
        drawn[:count] = drawn[good : good + labelled - count] = True
        refused.append(unlike(opinions, drawn, None, np.arange(n)) < ALPHA / tests)
    return float(weights @ np.array(refused))


def refusals(studies: int) -> Iterator[Line]:
    """Enumerated: how often the hypergeometric test of one policy and axis, among eight, refuses."""
    cells = [(n, labelled, round(n * share)) for n in (50, 100, 200, 500) for labelled in (20, 30, 60) for share in (0.1, 0.3, 0.5, 0.8)]
    cells = [cell for cell in cells if cell[1] < cell[0] * 0.8]
    for name, odds, required, largest in (
        ("a random sample", 1.0, f"at most {100 * ALPHA / 8:g}", True),
        ("good ones four times as likely", 4.0, "-", False),
        ("good ones eight times as likely", 8.0, "-", False),
        ("only good ones", None, "-", False),
    ):
        shares = {f"{n} prompts, {labelled} labels, {good} good": enumerated(n, labelled, good, odds, 8) for n, labelled, good in cells
                  if odds is not None or labelled <= good <= 0.8 * n}  # fmt: skip
        yield f"refused, {name}, worst cell", required, worst(shares, 10**9, largest)
        yield f"refused, {name}, mean over cells", "-", f"{100 * np.mean(list(shares.values())):.1f} (exact)"


PARTS = {"labels": labels, "label_clusters": label_clusters, "refusals": refusals}

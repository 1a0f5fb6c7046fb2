"""Labels until a contrast of two policies is decided: which reply is asked for next, and what the labels so far say at any time.

A draw picks a prompt in proportion to how unsure the predictions are about its replies (Zrnic and Candès 2024, ICML, arXiv 2403.03208),
without replacement, and so each draw gives an unbiased value of the difference over all prompts (Des Raj 1956, JASA 51:269; with
predictions as control variates Shekhar et al. 2023, UAI, arXiv 2305.06884). The predictions, P(good | the judge's rewards), learn from the
labels of earlier draws only. The interval is an asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024,
Annals of Statistics 52:2613): it holds at all times together, however one stops.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import expit, lambertw

ALPHA = 0.05
FIRST = 20
"""Labels before the predictions choose, and before anything is decided: prompts drawn alike, both replies."""
UNIFORM = 0.1
"""Share of a draw's chances that is the same for all replies."""
TRUSTED = 20
"""Draws that the predicted variance counts as, beside those whose spread is seen."""
SIGN = np.array([-1.0, 1.0])
"""Of the two sides, `against` and the policy, in the difference."""
PRIOR = np.array([0.0, 3.0, 0.0, 0.0])
PRECISION = np.diag([0.2, 0.2, 0.5, 1.0])
"""Normal prior of the logistic regression on 1, the reply's reward, the other reply's, and the policy (rewards standardised)."""


class Pool(NamedTuple):
    """The prompts of a contrast, their two replies in the order against, policy."""

    rewards: np.ndarray
    """Of the judge, shape (prompts, 2)."""
    clusters: np.ndarray
    """The number of each prompt's cluster, shape (prompts,)."""
    same: np.ndarray
    """Where both replies are the same text, shape (prompts,): they need no label."""


class Draw(NamedTuple):
    """What one draw asked, as it is kept on disk."""

    prompt: int
    chances: tuple[float, float]
    """With which this draw asked for each reply; 0 where it did not ask for it."""
    predicted: tuple[float, float]
    """P(good) of both replies by the labels before."""
    rest: float
    """The predicted difference, summed over all replies without a label before this draw."""
    variance: float
    """The predicted variance of this draw's value."""


class Standing(NamedTuple):
    """What the labels so far say of the difference of the two rates. Proportions."""

    labels: int
    value: float
    low: float
    high: float
    verdict: str
    """better, worse, equivalent or undecided."""
    needed: int | None
    """About how many more labels decide, if the difference is what it looks like; None where these prompts are too few."""


class Labelling:
    """A run of draws and their labels. Draws made elsewhere (read from disk) go through `tell` in their order, as do its own."""

    def __init__(self, pool: Pool, margin: float, seed: int) -> None:
        """margin: of equivalence, a proportion; the interval is narrowest for differences of about twice that."""
        spread = pool.rewards.std() or 1.0
        own = (pool.rewards - pool.rewards.mean()) / spread
        self.features = np.stack([np.ones_like(own), own, own[:, ::-1], np.broadcast_to([-0.5, 0.5], own.shape)], -1)
        self.pool, self.margin, self.seed = pool, margin, seed
        self.known = np.broadcast_to(pool.same[:, None], own.shape).copy()
        self.bounds = np.zeros((2, *own.shape))
        """Labels, lowest and highest: they differ where the difference is wanted and an annotator said nothing."""
        self.told: list[tuple[int, int, float]] = []
        self.values: list[np.ndarray] = []
        self.weights: list[float] = []
        self.low, self.high, self.next_fit, self.coefficients = -1.0, 1.0, FIRST, PRIOR
        self.prior_information = 1 / ((2 * margin) ** 2 / 10 * -(lambertw(-(ALPHA**2) / math.e, -1).real + 1))
        self.predict()

    def predict(self) -> None:
        """P(good) of all replies, and how much each is wanted, by the labels so far."""
        answered = [(i, side, label) for i, side, label in self.told if not math.isnan(label)]
        if answered:
            rows, sides, labels = (np.array(column) for column in zip(*answered, strict=True))
            self.coefficients = fit(self.features[rows, sides], labels, self.coefficients)
        self.predicted = expit(self.features @ self.coefficients)
        self.doubt = self.predicted * (1 - self.predicted)
        self.wanted = np.where(self.known, 0.0, 1.0)
        if len(self.told) >= FIRST and not self.known.all():
            unsure = np.sqrt(self.doubt)
            self.wanted *= (1 - UNIFORM) * unsure + UNIFORM * unsure[~self.known].mean()

    def ask(self) -> Draw | None:
        """The next draw, the same for the same seed, number of draws and labels; None once every reply has a label."""
        if self.known.all():
            return None
        stream = np.random.default_rng([self.seed, len(self.values)])
        most = self.wanted.max(axis=1)
        total = most.sum()
        prompt = int(stream.choice(len(most), p=most / total))
        asked = stream.random() * most[prompt] < self.wanted[prompt]
        open_ = ~self.known
        return Draw(
            prompt,
            tuple(float(chance) for chance in np.where(asked, self.wanted[prompt] / total, 0.0)),
            tuple(float(share) for share in self.predicted[prompt]),
            float((SIGN * self.predicted)[open_].sum()),
            float((self.doubt[open_] / self.wanted[open_]).sum() * total / len(most) ** 2),
        )

    def tell(self, draw: Draw, labels: tuple[float, float]) -> Standing:
        """Take up a draw with its labels (1 good, 0 bad, NaN for none), in the order against, policy; what is known then."""
        prompts, sides = len(self.known), [side for side in (0, 1) if draw.chances[side] > 0]
        value = np.full(2, draw.rest) + (SIGN * self.bounds).sum(axis=(1, 2))
        for side in sides:
            label = labels[side]
            least = (label, label) if not math.isnan(label) else ((0.0, 1.0) if side else (1.0, 0.0))
            value += SIGN[side] * (np.array(least) - draw.predicted[side]) / draw.chances[side]
            self.bounds[:, draw.prompt, side] = least
            self.known[draw.prompt, side], self.wanted[draw.prompt, side] = True, 0.0
            self.told.append((draw.prompt, side, label))
        self.values.append(value / prompts)
        self.weights.append(1 / max(draw.variance, 1e-12))
        if len(self.told) >= self.next_fit:
            self.next_fit = max(len(self.told) + 5, round(1.15 * len(self.told)))
            self.predict()
        return self.standing()

    def standing(self) -> Standing:
        """The difference with its interval, narrowed by all earlier ones, and what it decides."""
        if len(self.told) < FIRST and not self.known.all():
            return Standing(len(self.told), float("nan"), -1.0, 1.0, "undecided", FIRST - len(self.told))
        ends, drawn, whole = self.estimate()
        reach = [self.reach(1 / variance) for variance in drawn + whole]
        self.low, self.high = max(self.low, ends[0] - reach[0]), min(self.high, ends[1] + reach[1])
        value, margin = float(ends.mean()), self.margin
        if self.low > 0 or self.high < 0:
            verdict = "better" if self.low > 0 else "worse"
        else:
            verdict = "equivalent" if -margin < self.low and self.high < margin else "undecided"
        needed = 0 if verdict != "undecided" else self.more(max(abs(value), margin - abs(value)), float(drawn.max()), float(whole.max()))
        return Standing(len(self.told), value, float(self.low), float(self.high), verdict, needed)

    def estimate(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The difference over these prompts, its variance by the draws, and that by the choice of prompts; each for the lowest and highest
        labels. Estimates at two times covary as the later one varies, so that the two variances add (Scharfstein, Tsiatis and Robins 1997,
        JASA 92:1342)."""
        prompts, weights, values = len(self.known), np.array(self.weights), np.array(self.values)
        if self.known.all():
            ends, drawn = (SIGN * self.bounds).sum(axis=(1, 2)) / prompts, np.zeros(2)
        else:
            total, count = weights.sum(), len(weights)
            ends = weights @ values / total
            seen = weights**2 @ (values - ends) ** 2 / total**2 * count / (count - 1)
            drawn = (count * seen + TRUSTED / total) / (count + TRUSTED)
        likely = (SIGN * np.where(self.known, self.bounds, self.predicted)).sum(axis=2)
        sums = np.array([np.bincount(self.pool.clusters, part - end) for part, end in zip(likely, ends, strict=True)])
        groups = sums.shape[1]
        whole = ((sums**2).sum(axis=1) * groups / (groups - 1) + self.doubt[~self.known].sum()) / prompts**2
        return ends, drawn, np.maximum(whole, 2 / (prompts + 4) / prompts)

    def reach(self, information: float) -> float:
        """Half the width of the interval at this information (1 / variance): Robbins's normal mixture."""
        total = information + self.prior_information
        return math.sqrt(total * math.log(total / self.prior_information / ALPHA**2)) / information

    def more(self, distance: float, drawn: float, whole: float) -> int | None:
        """About how many more labels make the interval's half width this distance."""
        information = brentq(lambda power: self.reach(10**power) - distance, -3, 12)
        left = 1 / 10**information - whole
        labels = len(self.told) * (drawn / left - 1) if left > 0 else math.inf
        return max(1, round(labels)) if labels <= (~self.known).sum() else None


def fit(features: np.ndarray, labels: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Coefficients of a logistic regression under PRIOR, the most likely ones. features: shape (labels, 4)."""

    def loss(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        scores, away = features @ coefficients, coefficients - PRIOR
        value = np.logaddexp(0, scores).sum() - labels @ scores + away @ PRECISION @ away / 2
        return value, features.T @ (expit(scores) - labels) + PRECISION @ away

    return minimize(loss, start, jac=True, method="L-BFGS-B").x

"""Every contrast at equal length: what is left of a difference of rates, or of a win rate, once the longer reply gains nothing by its length.

A judge may like long replies, and a training may make replies long. As in length-controlled AlpacaEval (Dubois et al. 2024, arXiv 2404.04475,
equation 2, without the difficulty of each prompt, which one pair of policies cannot tell), a logistic regression says how probably b is preferred
to a on a prompt,

    P(b) = sigmoid(theta + phi tanh((length b - length a) / standard deviation)),

a tie counting half, and the controlled difference is that of equal lengths, 100 (2 sigmoid(theta) - 1).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.special import stdtr
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

from hh_align.analysis.choices import SIGNS, Choices, read_choices, seed_of_pair
from hh_align.analysis.effective import Mean, crossed_mean, prompt_mean, t_interval, too_few
from hh_align.analysis.families import ALPHA, FAMILY, grouped
from hh_align.analysis.ratings import Rated, by_seed, read_ratings, seed_of
from hh_align.analysis.statistics import NEW_SEEDS, holm
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.axes import METRIC_AXES, RATE_METRICS, WINS
from hh_align.core.command import parse, run

LENGTH = pa.schema(
    [
        ("judge", pa.string()),
        ("seed", pa.int64()),
        ("n_seeds", pa.int64()),
        ("policy_a", pa.string()),
        ("policy_b", pa.string()),
        ("metric", pa.string()),
        ("family", pa.string()),
        ("estimand", pa.string()),
        ("n", pa.int64()),
        ("unit", pa.string()),
        ("length_a", pa.float64()),
        ("length_b", pa.float64()),
        ("longer_b", pa.float64()),
        ("difference", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("verdict", pa.string()),
        ("within_margin", pa.bool_()),
        ("slope", pa.float64()),
        ("controlled", pa.float64()),
        ("controlled_low", pa.float64()),
        ("controlled_high", pa.float64()),
        ("p", pa.float64()),
        ("p_holm", pa.float64()),
        ("outside", pa.bool_()),
        ("controlled_verdict", pa.string()),
        ("change", pa.string()),
    ]
)
METRICS = (*RATE_METRICS, *WINS.values())
DECIDED = ("better", "worse")


class Answers(NamedTuple):
    """One axis of a contrast: arrays of shape (prompts, seeds)."""

    signs: np.ndarray
    """1 where b is preferred, -1 where a is, else 0."""
    length_a: np.ndarray
    length_b: np.ndarray
    clusters: np.ndarray
    """Of the prompts, shape (prompts,)."""

    @property
    def gaps(self) -> np.ndarray:
        return self.length_b - self.length_a

    @property
    def says_nothing(self) -> bool:
        """Whether lengths or answers are all equal: length explains nothing then, and the plain difference stands."""
        return not np.ptp(self.gaps) or not np.ptp(self.signs)


def at_equal_length(answers: Answers) -> tuple[np.ndarray, float | None]:
    """(values in points, shape (prompts, seeds), phi): their mean is the controlled difference, their spread its variance.

    The values are jackknife pseudo-values by one step from the estimate: influence / (1 - leverage). One tie at a gap of one standard deviation
    and without an intercept keeps phi finite: a log-F(1, 1) prior (Greenland and Mansournia 2015, Statistics in Medicine 34:3133).
    """
    if answers.says_nothing:
        return 100.0 * answers.signs, None
    signs, gaps = answers.signs.ravel(), answers.gaps.ravel()
    design = np.column_stack([np.ones(len(gaps)), np.tanh(gaps / gaps.std())])
    model = GLM(np.append((1 + signs) / 2, 0.5), np.vstack([design, [0, 1]]), family=Binomial())
    fit = model.fit()
    theta, phi = fit.params
    shares = (model.score_obs(fit.params) @ fit.normalized_cov_params)[:-1, 0] / (1 - fit.get_hat_matrix_diag()[:-1])
    value = math.tanh(theta / 2)
    pseudo = 100 * (value + (shares - shares.mean()) * len(gaps) * (1 - value**2) / 2)
    return pseudo.reshape(answers.signs.shape), float(phi)


def on_the_logit(mean: Mean) -> tuple[float, float, float]:
    """(low, high, two-sided p that it is 0) of a mean in points, by Student's t on the scale of the regression, which ends at -100 and 100."""
    value = mean.value / 100
    scaled = Mean(math.atanh(value), mean.variance / (100 * (1 - value**2)) ** 2, mean.freedom)
    low, high = (100 * math.tanh(bound) for bound in t_interval(scaled))
    return low, high, float(2 * stdtr(scaled.freedom, -abs(scaled.value) / math.sqrt(scaled.variance)))


def controlled(axes: Sequence[Answers], plain: dict) -> dict:
    """The controlled difference of a contrast, of one axis or the mean of both, with interval and p; plain: its row of comparisons.

    None of fewer than five clusters, as elsewhere. Where length can explain nothing the plain row's numbers stand.
    """
    blocks, slopes = zip(*map(at_equal_length, axes), strict=True)
    groups = [answers.clusters for answers in axes]
    row = {"slope": slopes[0] if len(axes) == 1 else None, "outside": any(is_outside(answers) for answers in axes)}
    mean = (crossed_mean if plain["estimand"] == NEW_SEEDS else prompt_mean)(*blocks, clusters=groups)
    if all(answers.says_nothing for answers in axes) or not mean.variance:
        bounds = {"controlled_low": plain["ci_low"], "controlled_high": plain["ci_high"], "p": plain["p"]}
    elif any(map(too_few, groups)):
        bounds = {"p": 1.0}
    else:
        bounds = dict(zip(("controlled_low", "controlled_high", "p"), on_the_logit(mean), strict=True))
    return row | {"controlled": mean.value} | bounds


def is_outside(answers: Answers) -> bool:
    """Whether one policy's reply is the longer one on every prompt: equal length lies outside of what was seen."""
    return bool((answers.gaps > 0).all() or (answers.gaps < 0).all())


def lengths(rated: Rated, config: dict, row: dict, axis: str, seeds: list[int]) -> tuple[str | None, list[np.ndarray]]:
    """(unit, [of a, of b]): words where they are known of both policies' replies, else tokens; None where neither is."""
    judges = dict.fromkeys(key[0] for key in rated.ratings if key[-1] == axis)
    judge = row["judge"] if row["judge"] in judges else next(iter(judges))
    parts = [
        [rated.ratings[judge, row[f"policy_{side}"], seed_of(config, row[f"policy_{side}"], seed), axis] for seed in seeds] for side in "ab"
    ]
    for unit in ("words", "tokens"):
        if all(unit in part and part[unit].notna().all() for own in parts for part in own):
            return unit, [np.column_stack([part[unit].to_numpy(float) for part in own]) for own in parts]
    return None, []


def signs_of(rated: Rated, config: dict, row: dict, axis: str, seeds: list[int], choices: Choices) -> np.ndarray:
    """Who is preferred, prompt by prompt, in the metric of a row: by label, by reward, or by a pairwise judge's choice."""
    judge, a, b = row["judge"], row["policy_a"], row["policy_b"]
    if choices and judge in {key[0] for key in choices}:
        told = [choices[judge, b, a, seed_of_pair(config, b, a, seed), axis]["outcome"] for seed in seeds]
        return np.column_stack([outcome.map(SIGNS).fillna(0.0) for outcome in told])
    column = "label" if row["metric"] in RATE_METRICS else "reward"
    ours, theirs = (by_seed(rated.ratings, config, seeds, (judge, policy, axis), column) for policy in (b, a))
    return np.sign(np.round(ours - theirs, 9))


def change(row: dict) -> str | None:
    """What length control does to a row: reversed, lost (no longer decided), found (decided only so), order (undecided, and the other way round)."""
    before, after = row["verdict"] in DECIDED, row["controlled_verdict"] in DECIDED
    if row["judge_above_chance"] is False or row["controlled"] is None:
        return None
    if before and after:
        return "reversed" if row["verdict"] != row["controlled_verdict"] else None
    if before or after:
        return "lost" if before else "found"
    return "order" if row["difference"] * row["controlled"] < 0 else None


def decide(rows: list[dict]) -> None:
    """Add Holm's p over the contrasts of each family, as those of comparisons, the verdict at equal length, and what has changed."""
    for group in grouped([row for row in rows if row["controlled"] is not None], FAMILY):
        for row, p in zip(group, holm([row["p"] for row in group]), strict=True):
            found = p < ALPHA and not row["outside"] and row["judge_above_chance"] is not False
            side = "better" if row["controlled"] > 0 else "worse"
            row |= {"p_holm": p, "controlled_verdict": side if found else "undecided"}
    for row in rows:
        row["change"] = change(row)


def control_length(rated: Rated, config: dict, comparisons: list[dict], choices: Choices | None = None) -> list[dict]:
    """The rows of length.parquet: one per row of comparisons about a rate or a win rate of two policies.

    config: policies, order and seeds; choices: of the pairwise judges.
    """
    kept, rows = [field.name for field in LENGTH if field.name not in ("p", "p_holm")] + ["judge_above_chance"], []
    for plain in comparisons:
        policies = {plain["policy_a"], plain["policy_b"]}
        if plain["metric"] not in METRICS or not policies <= set(config["policies"]):
            continue
        seeds, axes = config["seeds"] if plain["seed"] is None else [plain["seed"]], METRIC_AXES[plain["metric"]]
        known = [lengths(rated, config, plain, axis, seeds) for axis in axes]
        row = {name: plain[name] for name in kept if name in plain} | {"controlled": None, "controlled_verdict": None}
        if all(unit for unit, _ in known):
            signs = [signs_of(rated, config, plain, axis, seeds, choices or {}) for axis in axes]
            answers = [Answers(sign, *own, rated.clusters[axis]) for sign, (_, own), axis in zip(signs, known, axes, strict=True)]
            row |= {"unit": known[0][0], "longer_b": 100 * float(np.mean([(each.gaps > 0).mean() for each in answers]))}
            row |= {f"length_{side}": float(np.mean([getattr(each, f"length_{side}").mean() for each in answers])) for side in "ab"}
            row |= controlled(answers, plain)
        rows.append(row)
    decide(rows)
    return rows


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", comparisons="path", choices="paths?", output="path")
    rated = read_ratings(args.ratings)
    compared = read_table(args.comparisons).to_pylist()
    rows = control_length(rated, args.config, compared, read_choices(args.choices, args.config, rated.prompts))
    counted = pd.Series([row["change"] for row in rows], dtype=object).value_counts()
    say(f"{len(rows):,} differences at equal length; changed: {', '.join(f'{name} {count}' for name, count in counted.items()) or 'none'}")
    write_table(args.output, rows, LENGTH, provenance(args.config, [args.ratings, args.comparisons, *args.choices]))


if __name__ == "__main__":
    run(main)

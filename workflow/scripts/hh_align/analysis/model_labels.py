"""A second opinion on the declared contrasts: one hierarchical logistic model of all labels of a judge on an axis, beside the exact paired tests.

The log-odds that policy k's reply to prompt i at seed s is good are

    beta_k + prompt_i + (cluster_c + policy-by-cluster_kc) + (policy-by-seed_ks + policy-by-prompt_ki),

the first bracket where prompts share clusters, the second of policies with several seeds. beta_k is a fixed effect, all others are random:
normal about 0, with one standard deviation per kind. Mean-field variational Bayes fits it (statsmodels' BinomialBayesMixedGLM).
"""

import math
import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.sparse import csc_array, csr_array, diags_array, hstack
from scipy.sparse.linalg import splu
from scipy.special import expit, logit
from scipy.stats import norm
from statsmodels.genmod.bayes_mixed_glm import BayesMixedGLMResults, BinomialBayesMixedGLM
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from hh_align.analysis.effective import are_single, too_few, variance_of_mean
from hh_align.analysis.families import FAMILY, add_holm, grouped
from hh_align.analysis.families import verdict as verdict_of
from hh_align.analysis.ratings import Rated, read_ratings, seeds_of
from hh_align.analysis.statistics import CONFIDENCE
from hh_align.analysis.verdict import declared
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.axes import METRIC_AXES
from hh_align.core.command import parse, run

MIXED_MODEL = pa.schema(
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
        ("difference", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("verdict", pa.string()),
        ("modelled", pa.float64()),
        ("modelled_low", pa.float64()),
        ("modelled_high", pa.float64()),
        ("p", pa.float64()),
        ("p_holm", pa.float64()),
        ("p_equivalence", pa.float64()),
        ("p_equivalence_holm", pa.float64()),
        ("modelled_verdict", pa.string()),
        ("agrees", pa.bool_()),
        ("prompt_sd", pa.float64()),
        ("seed_sd", pa.float64()),
    ]
)
FEWEST_PROMPTS = 20
"""Of fewer prompts the priors say more than the labels: nothing is modelled."""
BETA_SD, LOG_SD = 5.0, 1.0
"""Standard deviations of the priors: of a policy's log-odds, and of the logarithm of a random effect's standard deviation, both about 0."""
PROMPT, SEED = "prompt", "policy by seed"
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(21)


class Labels(NamedTuple):
    """A judge's labels on one axis, one row per policy, seed and prompt: arrays of shape (rows,)."""

    good: np.ndarray
    policy: np.ndarray
    """Numbers of policies, seeds, prompts and clusters, each from 0."""
    seed: np.ndarray
    prompt: np.ndarray
    cluster: np.ndarray


class Fit(NamedTuple):
    """What the model says of each policy on one axis; chances and rates are shares from 0 to 1."""

    chances: np.ndarray
    """Fitted probability of a good reply, mean over the seeds, shape (policies, prompts)."""
    covariance: np.ndarray
    """Of the policies' rates on these prompts and seeds, shape (policies, policies)."""
    reach: list[csr_array]
    """Per policy, shape (prompts, effects): by how much one standard deviation of an effect's posterior moves the chance on a prompt."""
    seed_variance: np.ndarray
    """Variance of a rate from one set of seeds to another, shape (policies,)."""
    clusters: np.ndarray
    """Of the prompts, shape (prompts,)."""
    spreads: dict[str, float]
    """Kind of random effect -> its standard deviation, in log-odds."""

    def difference(self, a: int, b: int) -> tuple[float, float]:
        """(rate of b less that of a, its variance for new prompts and, where there are several, new seeds).

        The posterior's on these prompts and seeds; what prompts differ in, by what is fitted and by what the posterior leaves open; and seeds.
        """
        values = self.chances[b] - self.chances[a]
        moved = design_of(self.clusters).T @ (self.reach[b] - self.reach[a])
        seen = self.covariance[a, a] + self.covariance[b, b] - 2 * self.covariance[a, b]
        prompts = variance_of_mean(values, self.clusters) + float((moved**2).sum()) / len(values) ** 2
        return float(values.mean()), float(seen + prompts + self.seed_variance[a] + self.seed_variance[b])


def labels_of(rated: Rated, config: dict, judge: str, axis: str) -> Labels:
    """All labels of a judge on an axis; a policy of one checkpoint counts once, whatever the number of seeds."""
    parts, clusters = [], rated.clusters[axis]
    for number, policy in enumerate(config["order"]):
        for place, seed in enumerate(seeds_of(config, policy)):
            good = rated.ratings[judge, policy, seed, axis]["label"].to_numpy(float)
            parts.append(np.vstack([good, np.full(len(good), number), np.full(len(good), place), np.arange(len(good)), clusters]))
    good, *numbers = np.hstack(parts)
    return Labels(good, *(number.astype(int) for number in numbers))


def random_effects(labels: Labels) -> dict[str, np.ndarray]:
    """Kind of random effect -> the level of each row, shape (rows,); -1 where a row has none."""
    policy, seeds = labels.policy, int(labels.seed.max()) + 1
    repeated = np.isin(policy, policy[labels.seed > 0])
    kinds = {PROMPT: labels.prompt}
    if not are_single(labels.cluster[: labels.prompt.max() + 1]):
        kinds |= {"cluster": labels.cluster, "policy by cluster": policy * (labels.cluster.max() + 1) + labels.cluster}
    if repeated.any():
        by_seed, by_prompt = policy * seeds + labels.seed, policy * (labels.prompt.max() + 1) + labels.prompt
        kinds |= {SEED: np.where(repeated, by_seed, -1), "policy by prompt": np.where(repeated, by_prompt, -1)}
    return kinds


def design_of(levels: np.ndarray) -> csr_array:
    """Indicators of the levels, shape (rows, levels that occur)."""
    rows = np.flatnonzero(levels >= 0)
    known, places = np.unique(levels[rows], return_inverse=True)
    return csr_array((np.ones(len(rows)), (rows, places)), shape=(len(levels), len(known)))


def fitted(model: BinomialBayesMixedGLM, rates: np.ndarray) -> BayesMixedGLMResults | None:
    """The variational fit, from a start at these rates without random effects; None where it does not converge."""
    start = np.concatenate([logit(rates), np.zeros(model.k_vcp + model.k_vc)])
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # told by the caller
        fit = model.fit_vb(start, np.full(len(start), 0.5), "L-BFGS-B", {"maxiter": 2000, "maxfun": 4000})
    return fit if fit.optim_retvals.success else None


def model_axis(labels: Labels) -> Fit | None:
    """The model of the labels of one axis; None where there is nothing to model: too few prompts, or labels all equal."""
    prompts = int(labels.prompt.max()) + 1
    if prompts < FEWEST_PROMPTS or too_few(labels.cluster[:prompts]) or not np.ptp(labels.good):
        return None
    kinds = random_effects(labels)
    fixed, parts = design_of(labels.policy), [design_of(levels) for levels in kinds.values()]
    effects, kind = csr_array(hstack(parts)), np.repeat(np.arange(len(parts)), [part.shape[1] for part in parts])
    model = BinomialBayesMixedGLM(labels.good, fixed.toarray(), effects, kind, vcp_p=LOG_SD, fe_p=BETA_SD)
    fit = fitted(model, (fixed.T @ labels.good + 0.5) / (fixed.sum(0) + 1))
    return None if fit is None else told_by(fit, labels, kinds, fixed, effects)


def told_by(fit: BayesMixedGLMResults, labels: Labels, kinds: dict[str, np.ndarray], fixed: csr_array, effects: csr_array) -> Fit:
    """What the fit says of the policies.

    Covariances are by the inverse of the posterior's curvature at the fit, with the random effects' standard deviations held at theirs: mean-field
    variances leave out what effects share (linear response, Giordano, Broderick and Jordan 2018, JMLR 19:51).
    """
    centre = fixed @ fit.fe_mean + effects @ fit.vc_mean
    spread = np.sqrt(fixed @ fit.fe_sd**2 + effects @ fit.vc_sd**2)
    chances = expit(centre[:, None] + spread[:, None] * NODES)
    slopes, chances = (values @ (WEIGHTS / WEIGHTS.sum()) for values in (chances * (1 - chances), chances))
    precision = np.exp(2 * (fit.vcp_sd**2 - fit.vcp_mean))[fit.model.ident]  # its mean of 1 / variance
    both = csr_array(hstack([fixed, effects]))
    prior = np.concatenate([np.full(fixed.shape[1], BETA_SD**-2), precision])
    curvature = csc_array(both.T @ diags_array(slopes) @ both + diags_array(prior))
    counts, prompts = fixed.sum(0), int(labels.prompt.max()) + 1
    seeds, moves = counts / prompts, both.T @ (slopes[:, None] * fixed.toarray()) / counts
    by_prompt = [csr_array(design_of(labels.prompt).T @ diags_array(own)) for own in fixed.toarray().T / seeds[:, None]]
    of_seeds = np.array([name == SEED for name in kinds])
    seed_variance = of_seeds @ np.exp(2 * (fit.vcp_mean + fit.vcp_sd**2))  # its mean of the variance; 0 of one seed
    of_prompts = np.where(of_seeds[fit.model.ident], 0, fit.vc_sd)
    return Fit(
        np.vstack([part @ chances for part in by_prompt]),
        moves.T @ splu(curvature).solve(moves),
        [csr_array(part @ diags_array(slopes) @ effects @ diags_array(of_prompts)) for part in by_prompt],
        (fixed.T @ slopes / counts) ** 2 * seed_variance / seeds * (seeds > 1),
        labels.cluster[:prompts],
        dict(zip(kinds, np.exp(fit.vcp_mean).tolist(), strict=True)),
    )


def contrast(fits: list[Fit], a: int, b: int, margin: float) -> dict:
    """Average marginal difference of policies b and a (numbers), in points, of one axis or the mean of two; margin: of equivalence, in points.

    Interval and p are normal on the scale of atanh, which ends at -100 and 100: the share of the posterior beyond 0, twice, and beyond the margin.
    """
    values, variances = zip(*(fit.difference(a, b) for fit in fits), strict=True)
    value = float(np.mean(values))
    place, scale = math.atanh(value), math.sqrt(sum(variances)) / len(fits) / (1 - value**2)
    low, high = (100 * math.tanh(bound) for bound in norm.interval(CONFIDENCE, place, scale))
    beyond = math.atanh(margin / 100)
    return {
        "modelled": round(100 * value, 6) + 0.0,  # no -0
        "modelled_low": low,
        "modelled_high": high,
        "p": float(2 * norm.cdf(-abs(place) / scale)),
        "p_equivalence": float(max(norm.cdf(-beyond, place, scale), norm.sf(beyond, place, scale))),
        "prompt_sd": fits[0].spreads[PROMPT] if len(fits) == 1 else None,
        "seed_sd": fits[0].spreads.get(SEED) if len(fits) == 1 else None,
    }


def decide(rows: list[dict]) -> None:
    """Add Holm's p over the contrasts of each family, as those of comparisons, the model's verdict, and whether it is the exact tests'.

    A judge that is not above chance decides nothing by either: no agreement.
    """
    for group in grouped([row for row in rows if row["modelled"] is not None], FAMILY):
        add_holm(group)
        for row in group:
            said = verdict_of(row | {"difference": row["modelled"]})
            row |= {"modelled_verdict": said, "agrees": None if row["judge_above_chance"] is False else said == row["verdict"]}


def model_labels(rated: Rated, config: dict, comparisons: list[dict]) -> list[dict]:
    """The rows of mixed_model.parquet: the declared contrasts of rates, over the seeds where there are several. Null where nothing is modelled.

    config: policies, order, seeds and equivalence_margin.
    """
    kept, rows = [field.name for field in MIXED_MODEL if not field.name.startswith("p_") and field.name != "p"] + ["judge_above_chance"], []
    frame, numbers = pd.DataFrame(comparisons), {policy: number for number, policy in enumerate(config["order"])}
    for judge in sorted({key[0] for key in rated.ratings}) if len(frame) else []:
        fits = {}
        for place in declared(frame, judge).index:
            exact = comparisons[place]
            row = {"modelled": None} | {name: exact[name] for name in kept if name in exact}
            for axis in METRIC_AXES[row["metric"]]:
                if axis not in fits:
                    fits[axis] = model_axis(labels_of(rated, config, judge, axis))
            own = [fits[axis] for axis in METRIC_AXES[row["metric"]]]
            if all(own):
                row |= contrast(own, numbers[row["policy_a"]], numbers[row["policy_b"]], config["equivalence_margin"])
            rows.append(row)
        if missing := [axis for axis, fit in fits.items() if fit is None]:
            say(
                f"{judge}: no model of {' and '.join(missing)}: fewer than {FEWEST_PROMPTS} prompts or 5 clusters, equal labels, or no convergence"
            )
    decide(rows)
    return rows


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", comparisons="path", output="path")
    rows = model_labels(read_ratings(args.ratings), args.config, read_table(args.comparisons).to_pylist())
    compared = [row["agrees"] for row in rows if row.get("agrees") is not None]
    say(f"{len(rows)} contrasts, {len(compared)} with a verdict of the model; {sum(compared)} of these are the exact tests'")
    write_table(args.output, rows, MIXED_MODEL, provenance(args.config, [args.ratings, args.comparisons]))


if __name__ == "__main__":
    run(main)

"""How many labels decide a contrast, drawn where they help most, against a fixed number of random ones: a table, studies with fixed seeds.

python tests/bench/bench_labelling.py             # about half an hour on one core; or fewer studies per cell
python tests/bench/bench_labelling.py --studies 100

Labels are latent normal scores cut at the rate; two replies to a prompt share 60 % of a score's variance. The judge's reward is the score
with noise, so that its label agrees with the true one at the named share of the replies (rate 50 %). The fixed design labels both
replies to n random prompts, n such that prediction-powered inference (analysis/ppi.py) finds the difference with the named power. The other one stops
at the decision, or at the number of labels by which it has decided as often (equal power); its mean number of labels is
divided by the fixed one. `error`: a decision for the wrong side, or for any at no difference, at any time in up to `labels`. ± is the Monte-Carlo error
(standard error).
"""

import argparse
import sys
from itertools import product
from pathlib import Path

import numpy as np
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow" / "scripts"))

from hh_align.analysis.ppi import rate as powered
from hh_align.analysis.ppi import score_interval
from hh_align.analysis.rogan_gladen import errors_of, plug_in
from hh_align.analysis.sequential import Labelling, Pool

MARGIN = 0.05


def study(stream: np.random.Generator, prompts: int, rates: tuple[float, float], accuracy: float, bias: float) -> tuple:
    """(true labels, rewards), shape (prompts, 2). bias: what the judge adds to the second policy's rewards."""
    share = np.sin(np.pi * (accuracy - 0.5))
    scores = np.sqrt(0.6) * stream.normal(size=(prompts, 1)) + np.sqrt(0.4) * stream.normal(size=(prompts, 2))
    rewards = np.sqrt(1 - share**2) * stream.normal(size=scores.shape) - share * scores + [0, bias]
    return (scores < norm.ppf(rates)).astype(float), rewards


def fixed_labels(prompts: int, rates: tuple[float, float], accuracy: float, power: float) -> float:
    """Labels (two for a prompt) with which prediction-powered inference finds the difference with this power, by its variance."""
    labels, rewards = study(np.random.default_rng(0), 400_000, rates, accuracy, 0.0)
    opinions = (rewards > 0).astype(float)
    weights = [np.cov(labels[:, side], opinions[:, side])[0, 1] / opinions[:, side].var() for side in (0, 1)]
    believed = opinions @ (np.array(weights) * [-1, 1])
    rest = labels @ [-1, 1] - believed
    variance = ((rates[1] - rates[0]) / (norm.ppf(0.975) + norm.ppf(power))) ** 2
    left = variance - (2 * np.cov(rest, believed)[0, 1] + believed.var()) / prompts
    return 2 * min(rest.var() / left, prompts) if left > 0 else 2 * prompts


def run(labels: np.ndarray, rewards: np.ndarray, seed: int, most: float) -> tuple[str, int]:
    """(verdict, labels) of one study that stops when it is decided, or at this number of labels."""
    prompts = len(labels)
    labelling = Labelling(Pool(rewards, np.arange(prompts), np.zeros(prompts, bool)), MARGIN, seed)
    standing = labelling.standing()
    while standing.verdict == "undecided" and standing.labels < most and (draw := labelling.ask()) is not None:
        standing = labelling.tell(draw, tuple(labels[draw.prompt]))
    return standing.verdict, standing.labels


def runs(studies: int, prompts: int, rates: tuple[float, float], accuracy: float, most: float, bias: float = 0.0) -> tuple:
    """(verdicts, labels) of so many studies, at most 2 labels a prompt."""
    stream = np.random.default_rng(1)
    both = [run(*study(stream, prompts, rates, accuracy, bias), seed, most) for seed in range(studies)]
    return np.array([verdict for verdict, _ in both]), np.array([labels for _, labels in both])


def saved(studies: int, prompts: int, accuracies: list[float]) -> None:
    """The mean number of labels over the fixed one, at equal power."""
    print(
        f"{'accuracy':9}{'points':>7}{'power':>6}{'fixed':>7}{'mean':>7}{'share':>12}{'wrong side':>14}  ({prompts:,} prompts, {studies} studies)"
    )
    for accuracy in accuracies:
        for difference in (0.07, 0.1, 0.2):
            rates = (0.5 - difference / 2, 0.5 + difference / 2)
            most = 1.5 * fixed_labels(prompts, rates, accuracy, 0.9)
            verdicts, labels = runs(studies, prompts, rates, accuracy, most)
            wrong = np.mean(verdicts == "worse")
            for power in (0.8, 0.9):
                fixed = fixed_labels(prompts, rates, accuracy, power)
                when = np.sort(np.where(verdicts == "better", labels, np.inf))[int(np.ceil(power * studies)) - 1]
                share = np.minimum(labels, when) / fixed
                found = f"{share.mean():.2f} ± {share.std() / np.sqrt(studies):.2f}" if np.isfinite(when) else "power less"
                print(
                    f"{accuracy:<9}{100 * difference:7.0f}{power:6.1f}{fixed:7.0f}{share.mean() * fixed:7.0f}{found:>12}{100 * wrong:11.1f} %",
                    flush=True,
                )


def errors(studies: int, accuracies: list[float]) -> None:
    """False decisions at no difference: how often a side is called better at any time."""
    print(f"{'accuracy':9}{'rate':>6}{'prompts':>8}{'bias':>6}{'labels':>7}{'error, %':>12}  ({studies} studies)")
    for accuracy in accuracies:
        for rate, prompts, bias in ((0.5, 2000, 0.0), (0.1, 2000, 0.0), (0.9, 500, 0.3), (0.5, 100, 0.0)):
            most = min(300, 2 * prompts)
            verdicts, _ = runs(studies, prompts, (rate, rate), accuracy, most, bias)
            error = np.isin(verdicts, ("better", "worse")).mean()
            noise = 100 * np.sqrt(max(error, 1 / studies) * (1 - error) / studies)
            print(f"{accuracy:<9}{rate:6.1f}{prompts:8}{bias:6.1f}{most:7.0f}{100 * error:6.1f} ± {noise:.1f}", flush=True)


def plugged(studies: int) -> None:
    """Coverage of the plug-in's and of the prediction-powered interval of the second of two policies, 300 prompts, 60 labelled.

    alike: the judge errs at random; scores: it errs where a score is close to its cut; favours: so, and it adds half a standard deviation to
    the second policy's rewards.
    """
    print(f"{'accuracy':9}{'rate':>6} {'errors':8}{'plug-in, %':>14}{'powered, %':>14}  ({studies} studies)")
    for accuracy, rate, kind in product((0.7, 0.8, 0.9), (0.2, 0.5, 0.8), ("alike", "scores", "favours")):
        stream, hits = np.random.default_rng(2), np.zeros(2)
        for _ in range(studies):
            labels, rewards = study(stream, 300, (0.5, rate), accuracy, 0.5 * (kind == "favours"))
            wrong = stream.random(labels.shape) > accuracy
            opinions, truth = (labels == 1) ^ wrong if kind == "alike" else rewards > 0, labels.copy()
            truth[stream.permutation(300)[60:]] = np.nan
            found = plug_in(int(opinions[:, 1].sum()), 300, errors_of(list(opinions.T), list(truth.T)))
            low, high = score_interval(powered("a", opinions[:, 1].astype(float), truth[:, 1]), {"a": np.arange(300)})
            hits += found is None or found[1] <= 100 * rate <= found[2], low <= rate <= high
        shares = hits / studies
        noise = 100 * np.sqrt(shares * (1 - shares) / studies)
        both = "".join(f"{100 * share:8.1f} ± {error:.1f}" for share, error in zip(shares, noise, strict=True))
        print(f"{accuracy:<9}{rate:6.1f} {kind:8}{both}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="saved, errors, plugged")
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--prompts", type=int, default=5000)
    parser.add_argument("--accuracies", type=float, nargs="+", default=[0.6, 0.7, 0.8, 0.9, 0.95])
    args = parser.parse_args()
    if "saved" in args.parts or not args.parts:
        saved(args.studies, args.prompts, args.accuracies)
    if "errors" in args.parts or not args.parts:
        errors(args.studies, args.accuracies)
    if "plugged" in args.parts or not args.parts:
        plugged(args.studies)


if __name__ == "__main__":
    main()

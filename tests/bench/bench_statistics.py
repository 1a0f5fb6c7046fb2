"""What the analysis promises of its tests and intervals, measured: a table of rule, figure required, figure measured.

python tests/bench/bench_statistics.py             # all parts, about half an hour on one core; or some of them, by name
python tests/bench/bench_statistics.py equivalence seeds --studies 500

Equivalence is enumerated over all tables. The rest are studies drawn with fixed seeds; behind each share stands its Monte-Carlo error
(standard error of the worst cell). Labels are latent normal scores cut at the rate: prompts share 60 % of a score's variance, a seed
shifts all its scores by N(0, SD²), clusters share a part of them (ICC).
"""

import argparse
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
from scipy.stats import binom, norm

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow" / "scripts"))

from bench_labels import PARTS as LABEL_PARTS

from hh_align.analysis import compute_metrics
from hh_align.analysis.compare_policies import adjust
from hh_align.analysis.contrasts import compare_labels, levels_of, over_seeds
from hh_align.analysis.equivalence import largest_tail, least_gained, paired_p, score
from hh_align.analysis.rank_sets import rank_sets
from hh_align.analysis.statistics import NEW_SEEDS
from hh_align.core.axes import AXES, METRIC_AXES, RATE_METRICS

MARGIN = 0.05
POLICIES = ("base", "sft", "dpo", "sft_dpo")
PAIRS = [("dpo", "base"), ("dpo", "sft"), ("sft_dpo", "sft"), ("sft_dpo", "dpo")]
RATES = (0.02, 0.04, 0.1, 0.3, 0.5, 0.7, 0.9, 0.96, 0.98)
CLUSTERS = ([10] * 5, [30, 10, 5, 3, 2], [40] + [2] * 5, [20, 10, 5, 5, 2, 2, 2, 2, 1, 1], [20, 10] + [1] * 20, [30] + [1] * 49, [2] * 25)
TRUTHS = {
    "all 20 %": (50, (0.2,) * 4),
    "all 50 %": (50, (0.5,) * 4),
    "all 90 %": (50, (0.9,) * 4),
    "one other": (50, (0.3, 0.3, 0.3, 0.7)),
    "one equal pair": (50, (0.2, 0.5, 0.5, 0.9)),
    "at the margin": (200, (0.9, 0.9, 0.9, 0.95)),
}
"""Prompts, and rates of base, sft, dpo and sft_dpo."""
Line = tuple[str, str, str]
"""Rule, figure required, figure measured."""


def shown(shares: dict[str, float], studies: int, largest: bool) -> str:
    """The worst of these shares in percent, where it was, and its Monte-Carlo error."""
    where = (max if largest else min)(shares, key=shares.get)
    share = shares[where]
    return f"{100 * share:.1f} ({where}; ± {100 * np.sqrt(share * (1 - share) / studies):.1f})"


def equivalent_from(n: int) -> np.ndarray:
    """For each number 0 … n of discordant prompts, the fewest gained of an equivalent table; more than all of them where none is.

    The p of a side falls as its statistic grows: the smallest statistic with p below 5 % is sought among those of all tables.
    """
    gained, lost = np.indices((n + 1, n + 1)).reshape(2, -1)
    there = gained + lost <= n
    statistics = np.unique(np.round(score(gained[there], lost[there], n, MARGIN), 9))
    low, high = 0, len(statistics)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if largest_tail(statistics[middle], n, MARGIN) < 0.05 else (middle + 1, high)
    return least_gained(statistics[low], n, MARGIN) if low < len(statistics) else np.arange(n + 1) + 1


def equivalence(studies: int) -> Iterator[Line]:
    """Enumerated: the probability of `equivalent` at a true difference of exactly the margin, over all shares of discordant prompts."""
    for n in (20, 50, 100, 150, 200, 300, 500):
        least, counts = equivalent_from(n), np.arange(n + 1)
        sizes = []
        for share in MARGIN + (1 - MARGIN) * np.linspace(0, 1, 397) ** 2:
            gained = (share + MARGIN) / 2 / share
            inside = binom.cdf(counts - least, counts, gained) - binom.cdf(least - 1, counts, gained)
            sizes.append(float(binom.pmf(counts, n, share) @ np.maximum(inside, 0)))
        yield f"size of equivalence, {n} prompts", "at most 5.5", f"{100 * max(sizes):.2f} (exact)"
    yield "p of equivalence, 50 equal labels", "above 0.05", f"{paired_p(0, 0, 50, MARGIN):.4f} (exact)"
    stream, shares = np.random.default_rng(1), {}
    for n in (50, 100, 250):
        least = equivalent_from(2 * n)
        for (first, second), more in product(((0.05, 0.05), (0.2, -0.1), (0.0, 0.1)), (0.0, 0.1, 0.3)):
            cells = [[more / 2 + max(-d, 0), more / 2 + max(d, 0), 1 - more - abs(d)] for d in (first, second)]
            lost, gained, _ = sum(stream.multinomial(n, part, size=studies) for part in cells).T
            found = np.minimum(gained, lost) >= least[gained + lost]
            shares[f"{n} + {n} prompts, {first:+.2f} and {second:+.2f}, {more} discordant beyond"] = float(found.mean())
    yield "size of equivalence, CAS", "at most 5.5", shown(shares, studies, largest=True)


def labels(stream: np.random.Generator, n: int, seeds: int, spread: float, rates: list[float], fixed: int = 0) -> np.ndarray:
    """(prompts, seeds, policies); the first `fixed` policies have one checkpoint for all seeds."""
    shape = (n, seeds, len(rates))
    own, shift = stream.normal(size=shape), spread * stream.normal(size=(1, *shape[1:]))
    own[:, :, :fixed], shift[:, :, :fixed] = own[:, :1, :fixed], 0.0
    latent = np.sqrt(0.6) * stream.normal(size=(n, 1, 1)) + shift + np.sqrt(0.4) * own
    widths = np.array([1.0] * fixed + [np.hypot(1, spread)] * (len(rates) - fixed))
    return latent < norm.ppf(rates) * widths


def seeds(studies: int) -> Iterator[Line]:
    """Coverage for new seeds of rates, CAS and differences, and false decisions per metric."""
    single = [np.arange(50)]
    for spread in (0.0, 0.1):
        stream, rate, both, difference = np.random.default_rng(2), {}, {}, {}
        for count, share in product((2, 3, 5, 10), RATES):
            hits = np.zeros(3)
            for _ in range(studies):
                drawn = [labels(stream, 50, count, spread, [share] * 2).astype(float) for _ in range(2)]
                blocks = [part[:, :, 0] for part in drawn]
                hits[0] += covers(compute_metrics.over_seeds("HmR", blocks[:1], single, is_rate=True), 100 * share)
                hits[1] += covers(compute_metrics.over_seeds("CAS", blocks, single * 2, is_rate=True), 100 * share)
                hits[2] += covers(over_seeds([100 * (drawn[0][:, :, 1] - drawn[0][:, :, 0])], single, None, 0.95), 0.0)
            for table, hit in zip((rate, both, difference), hits, strict=True):
                table[f"{count} seeds, {100 * share:.0f} %"] = hit / studies
        for name, table in (("a rate", rate), ("CAS", both), ("a difference", difference)):
            yield f"coverage of {name}, seed SD {spread}", "at least 93", shown(table, studies, largest=False)
    for count, spread in product((2, 3), (0.0, 0.1, 0.25)):
        stream = np.random.default_rng(3)
        false = {
            f"{n} prompts, {100 * share:.0f} %": np.mean([decides(stream, n, count, spread, share) for _ in range(studies)])
            for n, share in product((50, 100, 200), (0.2, 0.5, 0.9))
        }
        required = "at most 6" if count == 2 and spread < 0.2 else "-"
        yield f"false decisions per metric, {count} seeds, seed SD {spread}", required, shown(false, studies, largest=True)


def covers(rows: list[dict], truth: float) -> bool:
    """Whether the interval for new seeds holds the truth; none at all, of policies that never differ, denies nothing."""
    row = next(row for row in rows if row["estimand"] == NEW_SEEDS)
    return row["ci_low"] is None or row["ci_low"] <= truth <= row["ci_high"]


def decides(stream: np.random.Generator, n: int, count: int, spread: float, share: float) -> bool:
    """Whether a study of four equal policies, a root among them, decides one of four contrasts."""
    drawn = dict(
        zip(("base", "sft", "dpo", "sft_dpo"), 100.0 * np.moveaxis(labels(stream, n, count, spread, [share] * 4, 1), 2, 0), strict=True)
    )
    about = {"judge": "j", "seed": None, "metric": "HmR", "family": "declared", "judge_above_chance": None}
    rows = [{**about, "policy_b": b, "policy_a": a, **over_seeds([drawn[b] - drawn[a]], [np.arange(n)], 5.0, 0.95)[0]} for b, a in PAIRS]
    return any(row["verdict"] in ("better", "worse") for row in adjust(rows, []))


def clusters(studies: int) -> Iterator[Line]:
    """Coverage of rates and differences of 50 to 79 prompts in few or unequal clusters, and false decisions."""
    for sizes in CLUSTERS:
        stream, groups = np.random.default_rng(4), np.repeat(np.arange(len(sizes)), sizes)
        rate, difference, false = {}, {}, {}
        for alike, share in product((0.0, 0.1, 0.3, 0.7, 0.95), (0.1, 0.5, 0.9)):
            hits = np.zeros(3)
            for _ in range(studies):
                common, own = stream.normal(size=(len(sizes), 2))[groups], stream.normal(size=(len(groups), 2))
                a, b = ((np.sqrt(alike) * common + np.sqrt(1 - alike) * own) < norm.ppf(share)).T
                _, low, high = compute_metrics.rate(a.astype(float), groups)
                row = compare_labels([(a, b)], [groups], None)
                hits += low <= 100 * share <= high, row["ci_low"] <= 0 <= row["ci_high"], row["p"] < 0.05
            for table, hit in zip((rate, difference, false), hits, strict=True):
                table[f"ICC {alike}, {100 * share:.0f} %"] = hit / studies
        name = f"{len(sizes)} clusters of {min(sizes)} to {max(sizes)}"
        yield f"coverage of a rate, {name}", "at least 92", shown(rate, studies, largest=False)
        yield f"coverage of a difference, {name}", "at least 92", shown(difference, studies, largest=False)
        yield f"false decisions of one contrast, {name}", "at most 5", shown(false, studies, largest=True)


def ranks(studies: int) -> Iterator[Line]:
    """How often one of equal policies could not be first at one of 11 thresholds: 50 prompts, a root of one checkpoint among them."""
    cuts = np.linspace(-1.2, 1.2, 11)[:, None, None]
    for count, spread in ((1, 0.0), (2, 0.0), (2, 0.1), (3, 0.1)):
        led = {}
        for policies in (2, 4):
            stream, found = np.random.default_rng(5), 0
            for _ in range(studies):
                shared = np.sqrt(0.6) * stream.normal(size=(50, 1))
                rewards = [shared + np.sqrt(0.4) * stream.normal(size=(50, 1))]
                for _ in range(policies - 1):
                    rewards.append(shared + spread * stream.normal(size=(1, count)) + np.sqrt(0.4) * stream.normal(size=(50, count)))
                sets = rank_sets([(each > cuts).astype(float) for each in rewards], np.arange(50))
                found += any(each.low > 1 for rule in sets for each in rule)
            led[f"{policies} policies"] = found / studies
        yield f"a policy leads by noise, {count} seeds, seed SD {spread}", "at most 5", shown(led, studies, largest=True)


def study(stream: np.random.Generator, n: int, rates: tuple[float, ...], margin: float | None) -> list[dict]:
    """The declared contrasts of one seed, on all metrics: policies with these rates on both axes, n prompts each; margin of equivalence, None: not asked."""
    latent = np.sqrt(0.6) * stream.normal(size=(2, n, 1)) + np.sqrt(0.4) * stream.normal(size=(2, n, 4))
    good = dict(zip(POLICIES, np.moveaxis(latent < norm.ppf(rates), 2, 0), strict=True))
    changes = {
        ((b, a), axis): 100.0 * good[b][side][:, None] - 100.0 * good[a][side][:, None] for b, a in PAIRS for side, axis in enumerate(AXES)
    }
    clusters, rows = dict.fromkeys(AXES, np.arange(n)), []
    for metric in RATE_METRICS:
        axes = METRIC_AXES[metric]
        for (b, a), level in levels_of(changes, clusters, PAIRS, metric, []).items():
            labels = [(good[a][AXES.index(axis)], good[b][AXES.index(axis)]) for axis in axes]
            row = compare_labels(labels, [clusters[axis] for axis in axes], margin, level)
            about = {"judge": "j", "seed": 1, "metric": metric, "family": "declared", "estimand": "", "judge_above_chance": None}
            rows.append({**about, "policy_b": b, "policy_a": a, "true": 100 * (rates[POLICIES.index(b)] - rates[POLICIES.index(a)]), **row})
    return rows


def families(studies: int) -> Iterator[Line]:
    """Errors per metric and over the metrics together, without and with a primary, and the coverage of the intervals beside the verdicts."""

    def is_false(row: dict) -> bool:
        return (row["verdict"] == "better" and row["true"] < 1e-9) or (row["verdict"] == "worse" and row["true"] > -1e-9)

    counted: dict[str, dict[str, float]] = {}
    for name, (n, rates) in TRUTHS.items():
        stream = np.random.default_rng(6)
        for _ in range(studies):
            rows = study(stream, n, rates, 100 * MARGIN if name == "at the margin" else None)
            before = [dict(row) for row in rows if row["metric"] == "HpR"]
            plain, first = (adjust([dict(row) for row in rows], primary, 100 * MARGIN) for primary in ([], [*PAIRS[2], "CAS"]))
            one = [row for row in plain if row["metric"] == "HpR"]
            missed = {
                key: any(not row["sim_low"] <= row["true"] <= row["sim_high"] for row in group)
                for key, group in (("max-T", before), ("shown", one))
            }
            alike = any(row["p_equivalence_holm"] < 0.05 and abs(row["true"]) > 100 * MARGIN - 1e-9 for row in one)
            seen = {
                "metric": any(map(is_false, one)),
                "all": any(map(is_false, plain)),
                "primary": any(map(is_false, first)),
                "alike": alike,
            }
            for key, found in (seen | missed).items():
                cell = counted.setdefault(key, {})
                cell[f"{n} prompts, {name}"] = cell.get(f"{n} prompts, {name}", 0) + found / studies
    for key, rule, required in (
        ("metric", "false decisions per metric, Holm over 4 contrasts", "at most 5"),
        ("all", "false decisions over 3 metrics", "at most 15"),
        ("primary", "false decisions over 3 metrics and a primary on CAS", "at most 20"),
        ("alike", "false equivalence per metric", "at most 5"),
    ):
        yield rule, required, shown(counted[key], studies, largest=True)
    for key in ("max-T", "shown"):
        yield (
            f"intervals that hold for a metric at once, {key}",
            "-",
            shown({name: 1 - share for name, share in counted[key].items()}, studies, largest=False),
        )


PARTS = {"families": families, "equivalence": equivalence, "seeds": seeds, "clusters": clusters, "ranks": ranks} | LABEL_PARTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--studies", type=int, default=2000)
    args = parser.parse_args()
    print(f"{'rule, in percent':64} {'required':12} measured ({args.studies} studies)")
    for part in args.parts or PARTS:
        for line in PARTS[part](args.studies):
            print("{:64} {:12} {}".format(*line), flush=True)


if __name__ == "__main__":
    main()

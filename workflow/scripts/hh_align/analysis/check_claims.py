"""Published sentences against the study's own numbers: supported, contradicted or undecided, by one rule.

Contradicted: the numbers deny a part of the sentence (the difference that it asserts is not above 0). Supported: every part is above 0
with p < 0.05 (an intersection-union test needs no correction). Else undecided; and so is a part on which the judge is not above chance.
"""

import numpy as np
import pyarrow as pa
from scipy.stats import pearsonr

from hh_align.analysis.compare_policies import NEW, THESE, of_pairs
from hh_align.analysis.ratings import AXES, AXES_OF, MEANS, RATES, Ratings, judged_axes, read_ratings, seed_of
from hh_align.analysis.reliability import read_reliability
from hh_align.analysis.statistics import bootstrap_means, percentiles
from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.command import parse, run

CLAIMS = pa.schema(
    [
        ("judge", pa.string()),
        ("seed", pa.int64()),
        ("claim", pa.string()),
        ("source", pa.string()),
        ("part", pa.string()),
        ("statistic", pa.string()),
        ("value", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("p", pa.float64()),
        ("part_verdict", pa.string()),
        ("verdict", pa.string()),
        ("reason", pa.string()),
    ]
)
SPREADS = {"harmlessness": "reward_sd_harmful", "helpfulness": "reward_sd_helpful"}
AXIS_OF = {metric: axis for table in (RATES, MEANS, SPREADS) for axis, metric in table.items()}
SHOWN = 3
Part = tuple[str, str, str]


def parts_of(claim: dict, order: list[str]) -> list[Part]:
    """(policy, against, metric) of everything that a sentence says is above 0; `others` are all policies but the one."""
    found = []
    for part in claim["parts"]:
        others = [name for name in order if name != part["higher"]] if part["than"] == "others" else part["than"]
        found += [(part["higher"], against, metric) for metric in part["metrics"] for against in others]
    return found


def rewards_of(ratings: Ratings, config: dict, judge: str, policy: str, axis: str, column: str = "reward") -> np.ndarray:
    """(prompts, seeds)"""
    frames = (ratings[judge, policy, seed_of(config, policy, seed), axis] for seed in config["seeds"])
    return np.column_stack([frame[column].to_numpy(float) for frame in frames])


def level(ratings: Ratings, config: dict, judge: str, policy: str, metric: str) -> float:
    """The metric's value, mean over the seeds; rates and CAS in percent."""
    if metric == "CAS":
        return float(np.mean([level(ratings, config, judge, policy, RATES[axis]) for axis in AXES]))
    axis = AXIS_OF[metric]
    if metric == RATES[axis]:
        return 100 * float(rewards_of(ratings, config, judge, policy, axis, "label").mean())
    rewards = rewards_of(ratings, config, judge, policy, axis)
    return float(rewards.mean()) if metric == MEANS[axis] else float(rewards.std(0, ddof=1).mean())


def compare_spreads(a: np.ndarray, b: np.ndarray, bootstrap: dict) -> dict:
    """Standard deviation of b minus that of a, rewards of shape (prompts, seeds), mean over the seeds; percentile bootstrap over prompts.

    p by Pitman's and Morgan's test (Biometrika 31:9 and 31:13, 1939) for one seed: the correlation of sum and difference; null for several.
    """
    difference = float((b.std(0, ddof=1) - a.std(0, ddof=1)).mean())
    both = np.hstack([b, a])
    means = bootstrap_means(np.hstack([both, both**2]), **bootstrap)
    half = both.shape[1]
    spreads = np.sqrt(np.maximum(means[:, half:] - means[:, :half] ** 2, 0) * len(a) / (len(a) - 1))
    low, high = percentiles((spreads[:, : half // 2] - spreads[:, half // 2 :]).mean(1, keepdims=True))[0]
    varies = a.shape[1] == 1 and (a - b).any() and (a + b).std() > 0
    p = float(pearsonr((a + b)[:, 0], (b - a)[:, 0]).pvalue) if varies else None
    return {"difference": difference, "ci_low": low, "ci_high": high, "p": p, "test": "Pitman-Morgan, percentile bootstrap"}


def judged(part: Part, found: dict, reliable: dict[str, bool | None]) -> str:
    """Verdict of one part."""
    if any(reliable.get(axis) is False for axis in axes_of(part[2])):
        return "undecided"
    if found["difference"] <= 0:
        return "contradicted"
    significant = found["ci_low"] > 0 if found["p"] is None else found["p"] < 0.05
    return "supported" if significant else "undecided"


def axes_of(metric: str) -> tuple[str, ...]:
    return AXES_OF.get(metric) or (AXIS_OF[metric],)


def can_tell(limits: dict, parts: list[Part]) -> bool:
    """Whether a judge with these thresholds speaks about every axis of a sentence's parts."""
    return {axis for part in parts for axis in axes_of(part[2])} <= set(judged_axes(limits))


def in_words(part: Part, found: dict, levels: dict, reliable: dict[str, bool | None]) -> str:
    """`HmR of sft_dpo 44 < sft 48 (p 0.79)`"""
    policy, against, metric = part
    lost = [axis for axis in axes_of(metric) if reliable.get(axis) is False]
    if lost:
        return f"the judge is not above chance on {' and '.join(lost)}"
    sign = ">" if found["difference"] > 0 else "<" if found["difference"] < 0 else "="
    p = "" if found["p"] is None else f" (p {found['p']:.2g})"
    return f"{metric} of {policy} {levels[policy, metric]:.4g} {sign} {against} {levels[against, metric]:.4g}{p}"


def conclude(verdicts: list[str]) -> str:
    """The sentence's verdict from its parts'."""
    if "contradicted" in verdicts:
        return "contradicted"
    return "supported" if set(verdicts) == {"supported"} else "undecided"


def check(
    ratings: Ratings, clusters: dict[str, np.ndarray], config: dict, reliable: dict[tuple[str, str], bool | None] | None = None
) -> list[dict]:
    """Rows of claims.parquet, one per part; a sentence about policies that the study does not have is left out."""
    claims = []
    for claim in config["claims"]:
        named = {name for part in claim["parts"] for name in [part["higher"], *(part["than"] if part["than"] != "others" else [])]}
        if missing := sorted(named - set(config["order"])):
            say(f'"{claim["claim"]}" is left out: the study has no {", ".join(missing)}')
        else:
            claims.append((claim, parts_of(claim, config["order"])))
    seeds = config["seeds"]
    rows = []
    for judge in sorted(config["judges"]) if claims else []:
        known = {axis: (reliable or {}).get((judge, axis)) for axis in AXES}
        told = [(claim, parts) for claim, parts in claims if can_tell(config["judges"][judge], parts)]
        if len(told) < len(claims):
            say(
                f"{judge} says nothing of {len(claims) - len(told)} of {len(claims)} sentences: they are about an axis that it does not judge"
            )
        if not told:
            continue
        pairs = list(dict.fromkeys(part[:2] for _, parts in told for part in parts))
        estimand = NEW if len(seeds) > 1 else THESE
        compared = [{"estimand": THESE, **row} for row in of_pairs(ratings, clusters, config, judge, pairs, seeds, wins_only=False)]
        found = {(row["policy_b"], row["policy_a"], row["metric"]): row for row in compared if row["estimand"] == estimand}
        for policy, against in pairs:
            for axis in judged_axes(config["judges"][judge]):
                metric = SPREADS[axis]
                both = (rewards_of(ratings, config, judge, name, axis) for name in (against, policy))
                found[policy, against, metric] = compare_spreads(*both, config["bootstrap"])
        metrics = {(name, part[2]) for _, parts in told for part in parts for name in part[:2]}
        levels = {place: level(ratings, config, judge, *place) for place in sorted(metrics)}
        for claim, parts in told:
            verdicts = [judged(part, found[part], known) for part in parts]
            verdict = conclude(verdicts)
            telling = [part for part, each in zip(parts, verdicts, strict=True) if each == verdict]
            telling.sort(key=lambda part: 1 if found[part]["p"] is None else found[part]["p"])
            words = list(dict.fromkeys(in_words(part, found[part], levels, known) for part in telling))
            reason = "; ".join(words[:SHOWN]) + (f"; and {len(words) - SHOWN} more" if len(words) > SHOWN else "")
            place = {"judge": judge, "seed": seeds[0] if len(seeds) == 1 else None, "claim": claim["claim"], "source": claim["source"]}
            for part, each in zip(parts, verdicts, strict=True):
                result = found[part]
                numbers = {"value": result["difference"], **{key: result.get(key) for key in ("ci_low", "ci_high", "p")}}
                about = {"part": f"{part[2]}: {part[0]} - {part[1]}", "statistic": result["test"]}
                rows.append({**place, **about, **numbers, "part_verdict": each, "verdict": verdict, "reason": reason})
    return rows


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", judge="path?", output="path")
    rated = read_ratings(args.ratings)
    rows = check(rated.ratings, rated.clusters, args.config, read_reliability(args.judge))
    for judge, claim, verdict, reason in dict.fromkeys((row["judge"], row["claim"], row["verdict"], row["reason"]) for row in rows):
        say(f'{judge}: "{claim}": {verdict} ({reason})')
    inputs = [args.ratings, *([args.judge] if args.judge else [])]
    write_table(args.output, rows, CLAIMS, provenance(args.config, inputs))


if __name__ == "__main__":
    run(main)

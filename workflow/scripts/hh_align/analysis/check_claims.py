"""Published sentences against the study's own numbers: supported, contradicted or undecided, by one rule.

Contradicted: the numbers deny a part of the sentence (the difference that it asserts is not above 0). Supported: every part is above 0
with p < 0.05 (an intersection-union test needs no correction). Else undecided; and so is a part on which the judge is not above chance.
"""

import numpy as np
import pyarrow as pa
from scipy.stats import pearsonr

from hh_align.analysis.contrasts import contrasts_of
from hh_align.analysis.ratings import Ratings, judged_axes, read_ratings, seed_of
from hh_align.analysis.reliability import read_reliability
from hh_align.analysis.statistics import NEW_SEEDS, THESE_CHECKPOINTS, bootstrap_means, percentiles
from hh_align.analysis.text_gate import Examined, in_short, read_text
from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.axes import AXES, CAS, MEANS, METRIC_AXES, RATES, SPREADS
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
        ("caveat", pa.string()),
    ]
)
SHOWN = 3
Part = tuple[str, str, str]


def parts_of(claim: dict, order: list[str]) -> list[Part]:
    """(policy, against, metric) of everything that a sentence says is above 0; `others` are all policies but the one."""
    parts = []
    for part in claim["parts"]:
        others = [name for name in order if name != part["higher"]] if part["than"] == "others" else part["than"]
        parts += [(part["higher"], against, metric) for metric in part["metrics"] for against in others]
    return parts


def rewards_of(ratings: Ratings, config: dict, judge: str, policy: str, axis: str, column: str = "reward") -> np.ndarray:
    """(prompts, seeds)"""
    frames = (ratings[judge, policy, seed_of(config, policy, seed), axis] for seed in config["seeds"])
    return np.column_stack([frame[column].to_numpy(float) for frame in frames])


def level(ratings: Ratings, config: dict, judge: str, policy: str, metric: str) -> float:
    """The metric's value, mean over the seeds; rates and CAS in percent."""
    if metric == CAS:
        return float(np.mean([level(ratings, config, judge, policy, RATES[axis]) for axis in AXES]))
    (axis,) = METRIC_AXES[metric]
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


def judged(part: Part, difference: dict, reliable: dict[str, bool | None]) -> str:
    """Verdict of one part."""
    if any(reliable.get(axis) is False for axis in METRIC_AXES[part[2]]):
        return "undecided"
    if difference["difference"] <= 0:
        return "contradicted"
    significant = difference["ci_low"] > 0 if difference["p"] is None else difference["p"] < 0.05
    return "supported" if significant else "undecided"


def can_tell(thresholds: dict, parts: list[Part]) -> bool:
    """Whether a judge with these thresholds speaks about every axis of a sentence's parts."""
    return {axis for part in parts for axis in METRIC_AXES[part[2]]} <= set(judged_axes(thresholds))


def in_words(part: Part, difference: dict, levels: dict, reliable: dict[str, bool | None]) -> str:
    """`HmR of sft_dpo 44 < sft 48 (p 0.79)`"""
    policy, against, metric = part
    lost = [axis for axis in METRIC_AXES[metric] if reliable.get(axis) is False]
    if lost:
        return f"the judge is not above chance on {' and '.join(lost)}"
    sign = ">" if difference["difference"] > 0 else "<" if difference["difference"] < 0 else "="
    p = "" if difference["p"] is None else f" (p {difference['p']:.2g})"
    return f"{metric} of {policy} {levels[policy, metric]:.4g} {sign} {against} {levels[against, metric]:.4g}{p}"


def conclude(verdicts: list[str]) -> str:
    """The sentence's verdict from its parts'."""
    if "contradicted" in verdicts:
        return "contradicted"
    return "supported" if set(verdicts) == {"supported"} else "undecided"


def check(
    ratings: Ratings,
    clusters: dict[str, np.ndarray],
    config: dict,
    reliable: dict[tuple[str, str], bool | None] | None = None,
    examined: Examined | None = None,
) -> list[dict]:
    """Rows of claims.parquet, one per part; a sentence about policies that the study does not have is left out.

    reliable and examined are as compare_policies takes them.
    """
    claims = claims_of_the_study(config)
    rows = []
    for judge in sorted(config["judges"]) if claims else []:
        known = {axis: (reliable or {}).get((judge, axis)) for axis in AXES}
        told = [(claim, parts) for claim, parts in claims if can_tell(config["judges"][judge], parts)]
        if len(told) < len(claims):
            say(
                f"{judge} says nothing of {len(claims) - len(told)} of {len(claims)} sentences: they are about an axis that it does not judge"
            )
        if told:
            rows += by_judge(ratings, clusters, config, judge, told, known)
    caveats = {claim["claim"]: about(parts, examined or {}, config) for claim, parts in claims}
    return [{**row, "caveat": caveats[row["claim"]]} for row in rows]


def about(parts: list[Part], examined: Examined, config: dict) -> str | None:
    """What stands against the policies that a sentence speaks of; None where nothing does."""
    named = {policy for part in parts for policy in part[:2]}
    return in_short(examined, config, [policy for policy in config["order"] if policy in named])


def claims_of_the_study(config: dict) -> list[tuple[dict, list[Part]]]:
    """The sentences with their parts, but for those about policies that the study does not have."""
    claims = []
    for claim in config["claims"]:
        names = {name for part in claim["parts"] for name in [part["higher"], *(part["than"] if part["than"] != "others" else [])]}
        if missing := sorted(names - set(config["order"])):
            say(f'"{claim["claim"]}" is left out: the study has no {", ".join(missing)}')
        else:
            claims.append((claim, parts_of(claim, config["order"])))
    return claims


def differences(
    ratings: Ratings, clusters: dict[str, np.ndarray], config: dict, judge: str, pairs: list[tuple[str, str]]
) -> dict[Part, dict]:
    """Part -> difference, interval and p of every metric of these pairs: of the one seed, or for new seeds where there are several."""
    seeds = config["seeds"]
    estimand = NEW_SEEDS if len(seeds) > 1 else THESE_CHECKPOINTS
    contrasts = contrasts_of(ratings, clusters, config, judge, pairs, seeds, wins_only=False)
    rows = [row for row in contrasts if row.get("estimand", THESE_CHECKPOINTS) == estimand]
    parts = {(row["policy_b"], row["policy_a"], row["metric"]): row for row in rows}
    for policy, against in pairs:
        for axis in judged_axes(config["judges"][judge]):
            both = (rewards_of(ratings, config, judge, name, axis) for name in (against, policy))
            parts[policy, against, SPREADS[axis]] = compare_spreads(*both, config["bootstrap"])
    return parts


def by_judge(
    ratings: Ratings,
    clusters: dict[str, np.ndarray],
    config: dict,
    judge: str,
    claims: list[tuple[dict, list[Part]]],
    reliable: dict[str, bool | None],
) -> list[dict]:
    """The rows of one judge, of sentences that it can tell something of."""
    seeds, rows = config["seeds"], []
    by_part = differences(ratings, clusters, config, judge, list(dict.fromkeys(part[:2] for _, parts in claims for part in parts)))
    metrics = {(name, part[2]) for _, parts in claims for part in parts for name in part[:2]}
    levels = {(name, metric): level(ratings, config, judge, name, metric) for name, metric in sorted(metrics)}
    for claim, parts in claims:
        verdicts = [judged(part, by_part[part], reliable) for part in parts]
        verdict = conclude(verdicts)
        telling = [part for part, each in zip(parts, verdicts, strict=True) if each == verdict]
        telling.sort(key=lambda part: 1 if by_part[part]["p"] is None else by_part[part]["p"])
        words = list(dict.fromkeys(in_words(part, by_part[part], levels, reliable) for part in telling))
        reason = "; ".join(words[:SHOWN]) + (f"; and {len(words) - SHOWN} more" if len(words) > SHOWN else "")
        whose = {"judge": judge, "seed": seeds[0] if len(seeds) == 1 else None, "claim": claim["claim"], "source": claim["source"]}
        for part, each in zip(parts, verdicts, strict=True):
            result = by_part[part]
            numbers = {"value": result["difference"], **{key: result.get(key) for key in ("ci_low", "ci_high", "p")}}
            name = {"part": f"{part[2]}: {part[0]} - {part[1]}", "statistic": result["test"]}
            rows.append({**whose, **name, **numbers, "part_verdict": each, "verdict": verdict, "reason": reason})
    return rows


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", judge="path?", text="path?", output="path")
    rated = read_ratings(args.ratings)
    rows = check(rated.ratings, rated.clusters, args.config, read_reliability(args.judge), read_text(args.text))
    for judge, claim, verdict, caveat, reason in dict.fromkeys(
        tuple(map(row.get, ("judge", "claim", "verdict", "caveat", "reason"))) for row in rows
    ):
        say(f'{judge}: "{claim}": {verdict} ({"; ".join(filter(None, (caveat, reason)))})')
    inputs = [args.ratings, *(path for path in (args.judge, args.text) if path)]
    write_table(args.output, rows, CLAIMS, provenance(args.config, inputs))


if __name__ == "__main__":
    run(main)

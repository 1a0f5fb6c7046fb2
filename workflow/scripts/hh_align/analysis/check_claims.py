"""Published sentences against the study's own numbers: supported, contradicted or undecided by one rule, and what the numbers literally say.

A sentence says that differences are above 0, its parts. Supported: every part is, each with p < 0.05 (an intersection-union test, Berger
1982, Technometrics 24:295, needs no correction). Contradicted: a part is below 0 with p < 0.05 after Holm over the sentence's parts. Else
undecided; and so is a part on which the judge is not above chance. As stated: whether every difference is above 0, however surely.
"""

import numpy as np
import pyarrow as pa
from scipy.stats import pearsonr

from hh_align.analysis.contrasts import contrasts_of
from hh_align.analysis.ratings import Ratings, judged_axes, read_ratings, seed_of
from hh_align.analysis.reliability import read_reliability
from hh_align.analysis.statistics import CONFIDENCE, NEW_SEEDS, THESE_CHECKPOINTS, bootstrap_means, holm, percentiles
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
        ("part_as_stated", pa.string()),
        ("verdict", pa.string()),
        ("as_stated", pa.string()),
        ("reason", pa.string()),
        ("caveat", pa.string()),
    ]
)
SHOWN = 3
ALPHA = 1 - CONFIDENCE
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
    return float(rewards.mean()) if metric == MEANS[axis] else float(rewards.std(0, ddof=1).mean() if len(rewards) > 1 else 0.0)


def compare_spreads(a: np.ndarray, b: np.ndarray, bootstrap: dict) -> dict:
    """Standard deviation of b minus that of a, rewards of shape (prompts, seeds), mean over the seeds; percentile bootstrap over prompts.

    p by Pitman's and Morgan's test (Biometrika 31:9 and 31:13, 1939) for one seed, the correlation of sum and difference, null where
    these do not vary; for several the share of resamples on the other side of 0, twice (Davison and Hinkley 1997, section 4.4).
    """
    difference = float((b.std(0, ddof=1) - a.std(0, ddof=1)).mean()) if len(a) > 1 else 0.0
    both = np.hstack([b, a])
    means = bootstrap_means(np.hstack([both, both**2]), **bootstrap)
    half = both.shape[1]
    spreads = np.sqrt(np.maximum(means[:, half:] - means[:, :half] ** 2, 0) * len(a) / max(len(a) - 1, 1))
    resampled = (spreads[:, : half // 2] - spreads[:, half // 2 :]).mean(1)
    low, high = percentiles(resampled[:, None])[0]
    if a.shape[1] > 1:
        beyond = min((resampled <= 0).sum(), (resampled >= 0).sum())
        p, test = min(1.0, 2 * float(beyond + 1) / (len(resampled) + 1)), "percentile bootstrap"
    else:
        varies = len(a) > 2 and (a - b).any() and (a - b).std() > 0 and (a + b).std() > 0
        p, test = float(pearsonr((a + b)[:, 0], (b - a)[:, 0]).pvalue) if varies else None, "Pitman-Morgan, percentile bootstrap"
    return {"difference": difference, "ci_low": low, "ci_high": high, "p": p, "test": test}


def judged(parts: list[Part], by_part: dict[Part, dict], reliable: dict[str, bool | None]) -> list[str]:
    """Verdict of each part of a sentence; Holm's correction, for what denies it, is over all its parts."""
    p = [1.0 if by_part[part]["p"] is None else by_part[part]["p"] for part in parts]
    verdicts = []
    for part, own, adjusted in zip(parts, p, holm(p), strict=True):
        difference = by_part[part]["difference"]
        if any(reliable.get(axis) is False for axis in METRIC_AXES[part[2]]):
            verdicts.append("undecided")
        elif difference > 0 and own < ALPHA:
            verdicts.append("supported")
        else:
            verdicts.append("contradicted" if difference < 0 and adjusted < ALPHA else "undecided")
    return verdicts


def literally(differences: list[float]) -> str:
    """yes where all that a sentence says is above 0 is so in the numbers, else no."""
    return "yes" if all(difference > 0 for difference in differences) else "no"


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
    """The sentence's verdict from its parts': one that is contradicted denies it, all that are supported make it."""
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
    contrasts = contrasts_of(ratings, clusters, config | {"primary": []}, judge, pairs, seeds, wins_only=False)
    rows = [row for row in contrasts if row.get("estimand", THESE_CHECKPOINTS) == estimand]
    parts = {(row["policy_b"], row["policy_a"], row["metric"]): row for row in rows}
    for policy, against in pairs:
        for axis in judged_axes(config["judges"][judge]):
            both = (rewards_of(ratings, config, judge, name, axis) for name in (against, policy))
            parts[policy, against, SPREADS[axis]] = compare_spreads(*both, config["bootstrap"])
    return parts


def reason_of(telling: list[Part], by_part: dict[Part, dict], levels: dict, reliable: dict[str, bool | None]) -> str:
    """The first of the parts that decide, in numbers: those that deny the sentence, then by p."""
    in_order = sorted(telling, key=lambda part: (by_part[part]["difference"] > 0, 1 if by_part[part]["p"] is None else by_part[part]["p"]))
    words = list(dict.fromkeys(in_words(part, by_part[part], levels, reliable) for part in in_order))
    return "; ".join(words[:SHOWN]) + (f"; and {len(words) - SHOWN} more" if len(words) > SHOWN else "")


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
        verdicts = judged(parts, by_part, reliable)
        values = [by_part[part]["difference"] for part in parts]
        whose = {"judge": judge, "seed": seeds[0] if len(seeds) == 1 else None, "claim": claim["claim"], "source": claim["source"]}
        whole = {"verdict": conclude(verdicts), "as_stated": literally(values)}
        telling = [part for part, each in zip(parts, verdicts, strict=True) if each == whole["verdict"]]
        reason = reason_of(telling, by_part, levels, reliable)
        for part, each, value in zip(parts, verdicts, values, strict=True):
            result = by_part[part]
            numbers = {"value": value, **{key: result.get(key) for key in ("ci_low", "ci_high", "p")}}
            name = {"part": f"{part[2]}: {part[0]} - {part[1]}", "statistic": result["test"]}
            own = {"part_verdict": each, "part_as_stated": literally([value])}
            rows.append({**whose, **name, **numbers, **own, **whole, "reason": reason})
    return rows


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", judge="path?", text="path?", output="path")
    rated = read_ratings(args.ratings)
    rows = check(rated.ratings, rated.clusters, args.config, read_reliability(args.judge), read_text(args.text))
    for judge, claim, verdict, stated, caveat, reason in dict.fromkeys(
        tuple(map(row.get, ("judge", "claim", "verdict", "as_stated", "caveat", "reason"))) for row in rows
    ):
        say(f'{judge}: "{claim}": {verdict}, as stated: {stated} ({"; ".join(filter(None, (caveat, reason)))})')
    inputs = [args.ratings, *(path for path in (args.judge, args.text) if path)]
    write_table(args.output, rows, CLAIMS, provenance(args.config, inputs))


if __name__ == "__main__":
    run(main)

"""Published sentences against the study's own numbers: supported, contradicted or undecided by one rule, and what the numbers literally say.

A sentence says that differences are above 0, its parts. Supported: every part is, each with p < 0.05 (an intersection-union test, Berger
1982, Technometrics 24:295, needs no correction). Contradicted: a part is below 0 with p < 0.05 after Holm over the sentence's parts. Else
undecided; and so is a part on which the judge is not above chance. As stated: whether every difference is above 0, however surely.
"""

import numpy as np
import pyarrow as pa

from hh_align.analysis.contrasts import contrasts_of
from hh_align.analysis.ratings import Ratings, by_seed, judged_axes, read_ratings
from hh_align.analysis.reliability import read_reliability
from hh_align.analysis.spreads import compare_spreads
from hh_align.analysis.statistics import CONFIDENCE, NEW_SEEDS, THESE_CHECKPOINTS, holm
from hh_align.analysis.text_gate import Examined, in_short, read_text
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.axes import AXES, CAS, MEANS, METRIC_AXES, RATES, SPREADS
from hh_align.core.command import parse, run
from hh_align.core.numbers import digits

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


def level(ratings: Ratings, config: dict, judge: str, policy: str, metric: str) -> float:
    """The metric's value, mean over the seeds; rates and CAS in percent."""
    if metric == CAS:
        return float(np.mean([level(ratings, config, judge, policy, RATES[axis]) for axis in AXES]))
    (axis,) = METRIC_AXES[metric]
    if metric == RATES[axis]:
        return 100 * float(by_seed(ratings, config, config["seeds"], (judge, policy, axis), "label").mean())
    rewards = by_seed(ratings, config, config["seeds"], (judge, policy, axis), "reward")
    return float(rewards.mean()) if metric == MEANS[axis] else float(rewards.std(0, ddof=1).mean() if len(rewards) > 1 else 0.0)


def judged(parts: list[Part], by_part: dict[Part, dict], reliable: dict[str, bool | None]) -> list[str]:
    """Verdict of each part of a sentence; Holm's correction, for what denies it, is over all its parts."""
    p = [1.0 if by_part[part]["p"] is None else by_part[part]["p"] for part in parts]
    verdicts = []
    for part, own, adjusted in zip(parts, p, holm(p), strict=True):
        difference = by_part[part]["difference"]
        if lost_axes(part, by_part[part], reliable):
            verdicts.append("undecided")
        elif difference > 0 and own < ALPHA:
            verdicts.append("supported")
        else:
            verdicts.append("contradicted" if difference < 0 and adjusted < ALPHA else "undecided")
    return verdicts


def lost_axes(part: Part, difference: dict, reliable: dict[str, bool | None]) -> list[str]:
    """The axes of a part on which the judge is not above chance; none where labels correct the judge."""
    return [] if "levels" in difference else [axis for axis in METRIC_AXES[part[2]] if reliable.get(axis) is False]


def literally(differences: list[float]) -> str:
    """yes where all that a sentence says is above 0 is so in the numbers, else no."""
    return "yes" if all(difference > 0 for difference in differences) else "no"


def can_tell(thresholds: dict, parts: list[Part]) -> bool:
    """Whether a judge with these thresholds speaks about every axis of a sentence's parts."""
    return {axis for part in parts for axis in METRIC_AXES[part[2]]} <= set(judged_axes(thresholds))


def in_words(part: Part, difference: dict, levels: dict, reliable: dict[str, bool | None]) -> str:
    """`HmR of sft_dpo 44 < sft 48 (p 0.79)`"""
    policy, against, metric = part
    if lost := lost_axes(part, difference, reliable):
        return f"the judge is not above chance on {' and '.join(lost)}"
    at, against_at = difference.get("levels") or (levels[policy, metric], levels[against, metric])
    sign = ">" if difference["difference"] > 0 else "<" if difference["difference"] < 0 else "="
    p = "" if difference["p"] is None else f"p {difference['p']:.2g}"
    beside = ", ".join(filter(None, (p, "by labels" if "levels" in difference else "")))
    return f"{metric} of {policy} {digits(at, '.4g')} {sign} {against} {digits(against_at, '.4g')}" + (f" ({beside})" if beside else "")


def conclude(verdicts: list[str]) -> str:
    """The sentence's verdict from its parts': one that is contradicted denies it, all that are supported make it."""
    if "contradicted" in verdicts:
        return "contradicted"
    return "supported" if set(verdicts) == {"supported"} else "undecided"


def corrected(gold: list[dict], judge: str, seed: int | None) -> dict[Part, dict]:
    """Part -> what labels make of it, with the corrected levels of both policies; seed None: over several seeds. gold: rows of gold.parquet."""
    rows = [row for row in gold if row["judge"] == judge and row["corrected"] is not None]
    levels = {(row["policy_b"], row["metric"]): row["corrected"] for row in rows if row["policy_a"] is None and row["seed"] in (seed, 0)}
    return {
        (row["policy_b"], row["policy_a"], row["metric"]): {
            **{"difference": row["corrected"], "test": row["method"], "ci_low": row["ci_low"], "ci_high": row["ci_high"], "p": row["p"]},
            "levels": tuple(levels[row[side], row["metric"]] for side in ("policy_b", "policy_a")),
        }
        for row in rows
        if row["policy_a"] is not None and row["seed"] == seed
    }


def check(
    ratings: Ratings,
    clusters: dict[str, np.ndarray],
    config: dict,
    reliable: dict[tuple[str, str], bool | None] | None = None,
    examined: Examined | None = None,
    gold: list[dict] | None = None,
) -> list[dict]:
    """Rows of claims.parquet, one per part; a sentence about policies that the study does not have is left out.

    reliable and examined are as compare_policies takes them; gold: rows of gold.parquet, which speak instead of the judge where they are.
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
            of_labels = corrected(gold or [], judge, config["seeds"][0] if len(config["seeds"]) == 1 else None)
            rows += by_judge(ratings, clusters, config, judge, told, known, of_labels)
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
            both = (by_seed(ratings, config, seeds, (judge, name, axis), "reward") for name in (against, policy))
            parts[policy, against, SPREADS[axis]] = compare_spreads(*both, clusters[axis], config["bootstrap"])
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
    of_labels: dict[Part, dict],
) -> list[dict]:
    """The rows of one judge, of sentences that it can tell something of; by labels where they correct the part."""
    seeds, rows = config["seeds"], []
    by_part = (
        differences(ratings, clusters, config, judge, list(dict.fromkeys(part[:2] for _, parts in claims for part in parts))) | of_labels
    )
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
    args = parse(__doc__, config="config", ratings="path", judge="path?", text="path?", gold="path?", output="path")
    gold = read_table(args.gold).to_pylist() if args.gold else []
    rated = read_ratings(args.ratings)
    rows = check(rated.ratings, rated.clusters, args.config, read_reliability(args.judge), read_text(args.text), gold)
    for judge, claim, verdict, stated, caveat, reason in dict.fromkeys(
        tuple(map(row.get, ("judge", "claim", "verdict", "as_stated", "caveat", "reason"))) for row in rows
    ):
        say(f'{judge}: "{claim}": {verdict}, as stated: {stated} ({"; ".join(filter(None, (caveat, reason)))})')
    inputs = [args.ratings, *(path for path in (args.judge, args.text, args.gold) if path)]
    write_table(args.output, rows, CLAIMS, provenance(args.config, inputs))


if __name__ == "__main__":
    run(main)

"""Checks of a config's claims: what each holds, and the form of a fact that is held against an artifact."""

import re

from hh_align.config.keys import nth
from hh_align.core.errors import StudyError
from hh_align.core.meant import did_you_mean

NAME = r"[^/]+"
TABLES = (
    *("ratings", "metrics", "text", "comparisons", "length", "mixed_model", "sweep", "snapshots", "retention", "changed_prompts"),
    *(
        "tradeoff",
        "thresholds",
        "threshold_leads",
        "threshold_flips",
        "power",
        "judge",
        "judge_calibration",
        "judge_roc",
        "judge_agreement",
        "pairwise",
        "overrefusal",
        "suites",
        "capability",
        "displacement",
    ),
    *("claims", "agreement", "drift", "gold", "label_agreement", "reproduction", "reproduction_summary", "rescoring", "oracle", "noise"),
)
ARTIFACTS = {
    "prompts/prompts.parquet": r"prompts/prompts\.parquet",
    "data/DATASET/preferences.parquet": rf"data/{NAME}/preferences\.parquet",
    "responses/POLICY/seed-SEED.parquet": rf"responses/{NAME}/seed-{NAME}\.parquet",
    "rewards/JUDGE/POLICY/seed-SEED.parquet": rf"rewards/{NAME}/{NAME}/seed-{NAME}\.parquet",
    "models/base/provenance.json": r"models/base/provenance\.json",
    "models/judges/JUDGE/provenance.json": rf"models/judges/{NAME}/provenance\.json",
    "policies/POLICY/seed-SEED/provenance.json": rf"policies/{NAME}/seed-{NAME}/provenance\.json",
    "analysis/TABLE.parquet": rf"analysis/({'|'.join(TABLES)})\.parquet",
}
"""What a fact may be held against, as a person writes it -> a regular expression of its paths below results/<study>/."""
LOOKS = ("column", "count", "setting", "made_of")
BOUNDS = ("above", "at_least", "below", "at_most")


def check_claims(claims: list[dict], where: str = "config: claims") -> None:
    """Raise StudyError for the first claim that is of two kinds or holds a fact of no readable form; where: what the message begins with."""
    for number, claim in enumerate(claims):
        key = f"{where}[{nth(number)}]"
        if others := [kind for kind in ("facts", "not_measured") if kind in claim and "parts" in claim]:
            raise StudyError(f"{key} has both parts and {others[0]}: it compares policies or states a fact. Write two claims.")
        for place, fact in enumerate(claim.get("facts", [])):
            _check_fact(f"{key}.facts[{nth(place)}]", fact)


def of_study(claims: list[dict], study: str) -> list[dict]:
    """The claims about this study: those that name no studies, and those that name it; without that key."""
    own = [claim for claim in claims if study in claim.get("studies", [study])]
    return [{key: value for key, value in claim.items() if key != "studies"} for claim in own]


def comparing(claims: list[dict]) -> list[dict]:
    """The claims that compare policies."""
    return [claim for claim in claims if "parts" in claim]


def stating(claims: list[dict]) -> list[dict]:
    """The claims of fact."""
    return [claim for claim in claims if "parts" not in claim]


def _check_fact(key: str, fact: dict) -> None:
    looks = [look for look in LOOKS if look in fact]
    if len(looks) != 1:
        raise StudyError(f"{key} needs one of {', '.join(LOOKS)}; it has {' and '.join(looks) or 'none of them'}.")
    _check_artifact(f"{key}.artifact", fact["artifact"], looks[0])
    for name, meant in (("where", ("column", "count")), ("each", ("count",)), ("interval", ("column",)), ("some", ("column",))):
        if name in fact and looks[0] not in meant:
            raise StudyError(f"{key}.{name} has no meaning with {looks[0]}: it belongs to {' or '.join(meant)}.")
    _check_bounds(key, fact, looks[0])


def _check_artifact(key: str, artifact: str, look: str) -> None:
    if not any(re.fullmatch(shape, artifact) for shape in ARTIFACTS.values()):
        known = [*ARTIFACTS, *(f"analysis/{table}.parquet" for table in TABLES)]
        raise StudyError(
            f"{key} is {artifact}, which is no artifact that a fact can be held against.{did_you_mean(artifact, known)} Allowed: {', '.join(ARTIFACTS)}; "
            "* stands for any name."
        )
    if artifact.endswith(".json") and look in ("column", "count"):
        raise StudyError(f"{key} is {artifact}, which is no table: it has settings and what it is made of, no {look}.")


def _check_bounds(key: str, fact: dict, look: str) -> None:
    bounds = [bound for bound in BOUNDS if bound in fact]
    if look == "made_of":
        if stray := [*bounds, *(["is"] if "is" in fact else [])]:
            raise StudyError(f"{key}.{stray[0]} has no meaning with made_of, which lists the files itself.")
        return
    if ("is" in fact) == bool(bounds):
        has = f"both is and {bounds[0]}" if bounds else "neither"
        raise StudyError(f"{key} needs is, or bounds ({', '.join(BOUNDS)}); it has {has}.")
    if {"above", "at_least"} <= set(fact) or {"below", "at_most"} <= set(fact):
        raise StudyError(f"{key} has {' and '.join(bounds)}: one bound from below and one from above are enough.")
    if "some" in fact and ("interval" in fact or isinstance(fact.get("is"), list)):
        raise StudyError(f"{key}.some has no meaning with {'interval' if 'interval' in fact else 'a list in is'}: it asks one value.")
    if look == "count":
        for name in ("is", *bounds):
            value = fact.get(name)
            if name in fact and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                raise StudyError(f"{key}.{name} is {value!r}: a count is a whole number of at least 0.")
    low, high = ([fact[name] for name in pair if name in fact] for pair in (BOUNDS[:2], BOUNDS[2:]))
    if low and high and (low > high or (low == high and bounds != ["at_least", "at_most"])):
        raise StudyError(f"{key}: no number is {bounds[0]} {low[0]:g} and {bounds[1]} {high[0]:g}.")
    if "interval" in fact and not bounds:
        raise StudyError(f"{key}.interval belongs to bounds ({', '.join(BOUNDS)}), not to is.")

"""The config of a verdict on ratings: root, parents, seeds, thresholds and contrasts, from what the file holds and the settings say."""

import pandas as pd

from hh_align.core.errors import StudyError
from hh_align.core.meant import did_you_mean
from hh_align.tools.verdict_settings import ANALYSIS, joined
from hh_align.tools.verdict_thresholds import Threshold, thresholds_of


def study_of(
    frame: pd.DataFrame,
    settings: dict,
    path: str,
    defaults: dict,
    own: dict | None = None,
    flags: dict[str, Threshold] | None = None,
) -> dict:
    """The config of the analysis: who descends from whom, seeds, judges' thresholds, contrasts (each policy against root and parent).

    own: root, parents and judges of the study that made the file; flags: thresholds of the command line. `thresholds` of the config says
    who gave each. Raises StudyError where the settings name what the file does not hold, or policies have different seeds, or a judge
    lacks a threshold.
    """
    own = own or {}
    thresholds = thresholds_of(frame, settings.get("judges", {}), own.get("judges", {}), flags or {}, path)
    settings = joined(own, settings)
    policies = list(dict.fromkeys(frame["policy"]))
    root = settings.get("root", "base" if "base" in policies else policies[0])
    named_parents = dict(frame.dropna(subset="parent")[["policy", "parent"]].to_numpy()) if "parent" in frame else {}
    parents = {policy: (named_parents | settings.get("parents", {})).get(policy, root) for policy in policies if policy != root}
    pairs = [settings.get("primary", [])[:2], *settings.get("contrasts", [])]
    named = {root, *parents, *parents.values(), *(name for pair in pairs for name in pair)}
    require_known(path, "policy", named, policies)
    seeds = {policy: sorted(set(frame[frame["policy"] == policy]["seed"])) for policy in policies}
    others = {tuple(own_seeds) for policy, own_seeds in seeds.items() if policy != root}
    if len(others) > 1 or len(seeds[root]) > 1:
        listed = "; ".join(f"{policy}: {', '.join(map(str, own_seeds))}" for policy, own_seeds in seeds.items())
        raise StudyError(f"{path}: every trained policy needs the same seeds, and {root} one set of responses. Found {listed}.")
    analysis = {**defaults["analysis"], "contrasts": contrasts_of(root, parents), "primary": [], "all_pairs": True, "claims": []}
    chosen = {key: value for key, value in settings.items() if key in (*ANALYSIS, "claims")}
    contrasts = [list(pair) for pair in (analysis | chosen)["contrasts"]]
    if (primary := list(settings.get("primary", [])[:2])) and primary not in contrasts:
        listed = ", ".join(f"[{policy}, {against}]" for policy, against in contrasts)
        raise StudyError(f"{path}: primary is [{', '.join(primary)}], which is none of the contrasts. Allowed: {listed or 'none'}.")
    return {
        **analysis,
        **chosen,
        **{key: analysis[key] | settings.get(key, {}) for key in ("text", "bootstrap")},
        "policies": {policy: {"parent": parents.get(policy)} for policy in policies},
        "order": by_depth(root, parents),
        "seeds": [int(seed) for seed in (min(others) if others else [0])],
        "judges": {judge: {key: value for key, (value, _) in given.items()} for judge, given in thresholds.items()},
        "thresholds": thresholds,
    }


def require_known(path: str, what: str, named: set[str], there: list[str]) -> None:
    """Raise StudyError where the settings name a policy or judge that the file does not hold."""
    if unknown := sorted(named - set(there)):
        raise StudyError(
            f"{path}: {what} {', '.join(unknown)} is not in the file. It holds {', '.join(there)}.{did_you_mean(unknown[0], there)}"
        )


def contrasts_of(root: str, parents: dict[str, str]) -> list[list[str]]:
    return [[policy, against] for policy, parent in parents.items() for against in dict.fromkeys([root, parent])]


def by_depth(root: str, parents: dict[str, str]) -> list[str]:
    """The root, its children, their children. Raises StudyError for policies that do not descend from the root."""
    order, left = [root], dict(parents)
    while ready := [policy for policy, parent in left.items() if parent in order]:
        order += ready
        left = {policy: parent for policy, parent in left.items() if policy not in ready}
    if left:
        raise StudyError(f"parents: {', '.join(sorted(left))} do not descend from {root}.")
    return order

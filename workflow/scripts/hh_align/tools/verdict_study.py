"""The config of a verdict on ratings: root, parents, seeds, thresholds and contrasts, from what the file holds and the settings say."""

from collections.abc import Iterable, Mapping

import pandas as pd

from hh_align.analysis.verdict import listed
from hh_align.config.check_facts import comparing
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
    source: str = "the settings",
) -> dict:
    """The config of the analysis: who descends from whom, seeds, judges' thresholds, contrasts (each policy against root and parent).

    own: root, parents and judges of the study that made the file; flags: thresholds of the command line; source: where the settings stand.
    `thresholds` of the config says who gave each. Raises StudyError where the settings name what the file does not hold, or policies have
    different seeds, or a judge lacks a threshold.
    """
    own, policies = own or {}, list(dict.fromkeys(frame["policy"]))
    require_known(f"{source}: judges", settings.get("judges", {}), path, list(dict.fromkeys(frame["judge"])))
    for key, names in named_policies(settings).items():
        require_known(f"{source}: {key}", names, path, policies)
    thresholds = thresholds_of(frame, settings.get("judges", {}), own.get("judges", {}), flags or {}, path)
    by_settings, settings = settings.get("parents", {}), joined(own, settings)
    root = settings.get("root", "base" if "base" in policies else policies[0])
    named_parents = dict(frame.dropna(subset="parent")[["policy", "parent"]].to_numpy()) if "parent" in frame else {}
    parents = {policy: (named_parents | settings.get("parents", {})).get(policy, root) for policy in policies if policy != root}
    require_known(f"{path}: column parent", [name for name in parents.values() if name in named_parents.values()], path, policies)
    require_known(f"{path}: the study that made it", [root, *parents.values()], path, policies)
    seeds = {policy: sorted(set(frame[frame["policy"] == policy]["seed"])) for policy in policies}
    others = {tuple(own_seeds) for policy, own_seeds in seeds.items() if policy != root}
    if len(others) > 1 or len(seeds[root]) > 1:
        found = "; ".join(f"{policy}: {', '.join(map(str, own_seeds))}" for policy, own_seeds in seeds.items())
        raise StudyError(f"{path}: every trained policy needs the same seeds, and {root} one set of responses. Found {found}.")
    analysis = {**defaults["analysis"], "contrasts": contrasts_of(root, parents), "primary": [], "all_pairs": True, "claims": []}
    chosen = {key: value for key, value in settings.items() if key in (*ANALYSIS, "claims")}
    contrasts = [list(pair) for pair in (analysis | chosen)["contrasts"]]
    if (primary := list(settings.get("primary", [])[:2])) and primary not in contrasts:
        allowed = ", ".join(f"[{policy}, {against}]" for policy, against in contrasts)
        raise StudyError(f"{source}: primary is [{', '.join(primary)}], which is none of the contrasts. Allowed: {allowed or 'none'}.")
    return {
        **analysis,
        **chosen,
        **{key: analysis[key] | settings.get(key, {}) for key in ("text", "bootstrap")},
        "policies": {policy: {"parent": parents.get(policy)} for policy in policies},
        "order": by_depth(
            root, parents, {policy: f"{source}: parents" if policy in by_settings else f"{path}: column parent" for policy in parents}
        ),
        "seeds": [int(seed) for seed in (min(others) if others else [0])],
        "judges": {judge: {key: value for key, (value, _) in given.items()} for judge, given in thresholds.items()},
        "thresholds": thresholds,
    }


def named_policies(settings: Mapping) -> dict[str, list[str]]:
    """Key -> the policies that the settings name there."""
    parents = settings.get("parents", {})
    parts = [part for claim in comparing(settings.get("claims", [])) for part in claim["parts"]]
    return {
        "root": [settings["root"]] if "root" in settings else [],
        "parents": [*parents, *parents.values()],
        "contrasts": [name for pair in settings.get("contrasts", []) for name in pair],
        "primary": settings.get("primary", [])[:2],
        "claims": [name for part in parts for name in (part["higher"], *(part["than"] if part["than"] != "others" else []))],
    }


def require_known(where: str, named: Iterable[str], path: str, there: list[str]) -> None:
    """Raise StudyError where a place names a policy or a judge that the file does not hold."""
    if unknown := [name for name in dict.fromkeys(named) if name not in there]:
        raise StudyError(
            f"{where} names {listed(unknown)}, which {path} does not have (it has {', '.join(there)}).{did_you_mean(unknown[0], there)}"
        )


def contrasts_of(root: str, parents: dict[str, str]) -> list[list[str]]:
    return [[policy, against] for policy, parent in parents.items() for against in dict.fromkeys([root, parent])]


def by_depth(root: str, parents: dict[str, str], where: dict[str, str]) -> list[str]:
    """The root, its children, their children. Raises StudyError for policies that do not descend from the root; where: policy -> what says its
    parent."""
    order, left = [root], dict(parents)
    while ready := [policy for policy, parent in left.items() if parent in order]:
        order += ready
        left = {policy: parent for policy, parent in left.items() if policy not in ready}
    if left:
        cycle = cycle_of(left)
        said = " and ".join(dict.fromkeys(where[policy] for policy in cycle))
        raise StudyError(f"{said} has a cycle ({' -> '.join(cycle)}). One of them must descend from {root}.")
    return order


def cycle_of(parents: dict[str, str]) -> list[str]:
    """A policy, its parent and so on, to the same policy; each parent is itself a key."""
    line = [next(iter(parents))]
    while parents[line[-1]] not in line:
        line.append(parents[line[-1]])
    return [*line[line.index(parents[line[-1]]) :], parents[line[-1]]]

"""The names of a config: what refers to what, and the policies in the order of their graph."""

from collections.abc import Collection

from hh_align.core.errors import StudyError
from hh_align.core.meant import choices

TRAINERS = ("sft", "dpo", "kto")
JUDGES_MADE_HERE = ("scratch", "trained")
JUDGES_WITH_WEIGHTS = ("hub", "local", *JUDGES_MADE_HERE)
"""Sources of judges."""


def require_known(key: str, name: str | None, allowed: Collection[str]) -> None:
    """Raise StudyError where the config refers, at `key`, to a name that is not among those allowed; None refers to nothing."""
    if name is not None and name not in allowed:
        raise StudyError(f"config: {key} is {name}, which does not exist. Allowed: {choices(name, allowed)}")


def require_reply_room(key: str, settings: dict) -> None:
    """Raise StudyError where the prompts that `settings`, at `key`, allow leave no token for a reply."""
    if settings["max_prompt_length"] >= settings["max_length"]:
        raise StudyError(f"config: {key}.max_prompt_length leaves no room for a reply within max_length ({settings['max_length']}).")


def graph(config: dict) -> dict:
    """Policy -> its entry, with those of `responses` that nothing here trains: their parent, if not named, is the root."""
    policies = config["policies"]
    root = next((name for name, policy in policies.items() if "parent" not in policy), None)
    imported = {name: {"parent": entry.get("parent", root)} for name, entry in config.get("responses", {}).items() if name not in policies}
    return {**policies, **imported}


def ancestors(name: str, policies: dict, section: str = "policies") -> list[str]:
    """The policies from the root's child down to `name`'s parent, nearest first. Raises StudyError on a cycle."""
    lineage, policy = [], name
    while policy := policies[policy].get("parent"):
        if policy in lineage or policy == name:
            root = next((other for other, entry in policies.items() if "parent" not in entry), None)
            raise StudyError(
                f"config: {section}.{name}.parent leads back to {policy}: the graph has a cycle ({' -> '.join([name, *lineage, policy])}). "
                f"Give one of them another parent{f', such as {root}' if root else ''}."
            )
        if policy not in policies:
            raise StudyError(
                f"config: policies.{lineage[-1] if lineage else name}.parent is {policy}, which does not exist. Allowed: {choices(policy, policies)}"
            )
        lineage.append(policy)
    return lineage


def uncompared(config: dict) -> list[str]:
    """The policies of which no contrast says anything, in their order. Snapshots count as compared: they stand along their training."""
    if config["analysis"]["all_pairs"]:
        return []
    named = {policy for contrast in config["analysis"]["contrasts"] for policy in contrast}
    return [policy for policy in policy_order(config) if policy not in named and policy not in config.get("snapshots", {})]


def policy_order(config: dict) -> list[str]:
    """Policies by depth in the graph, then by trainer (SFT, DPO, KTO), then by name, and behind them those of `responses` alone.

    The order of the config file is of no account.
    """
    policies = graph(config)

    def rank(name: str) -> tuple:
        method = config["methods"].get(policies[name].get("method"), {})
        return name not in config["policies"], len(ancestors(name, policies)), TRAINERS.index(method.get("trainer", "sft")), name

    return sorted(policies, key=rank)

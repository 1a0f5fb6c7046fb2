"""Checks of the policies whose weights exist already: a model of their own (`source`), or an adapter on their parent's (`adapter`)."""

from hh_align.core.errors import StudyError


def has_weights(policy: dict) -> bool:
    """Whether a policy's weights are given, not trained here."""
    return "source" in policy or "adapter" in policy


def roots_of(policies: dict) -> list[str]:
    """The policies that come from no other one, and have no weights of their own but those of models.base."""
    return [name for name, policy in policies.items() if not {"parent", "source"} & set(policy)]


def write_parents(config: dict) -> None:
    """Give every policy that is a model of its own, and names no parent, the root: it is what the policy is compared with."""
    policies = config["policies"]
    roots = roots_of(policies)
    for policy in policies.values():
        if "source" in policy and len(roots) == 1:
            policy.setdefault("parent", roots[0])


def model_of(config: dict, name: str) -> tuple[str, dict]:
    """(key, entry) of the model that a policy's weights come from: one of its own or of a policy that it descends from, else models.base."""
    policies = config["policies"]
    while "source" not in policies[name] and "parent" in policies[name]:
        name = policies[name]["parent"]
    return (f"policies.{name}", policies[name]) if "source" in policies[name] else ("models.base", config["models"]["base"])


def template_key(config: dict, name: str) -> str | None:
    """The key by which a policy reads by a chat template, that of the model that its weights come from; None where it reads transcripts."""
    key, model = model_of(config, name)
    return f"{key}.chat_template" if model.get("chat_template") else None


def check_weights(config: dict) -> None:
    """Raise StudyError where a policy's weights are given and trained as well, where an adapter has no one set of weights to lie on, and where
    a release, which has none, stands beside them."""
    policies = config["policies"]
    for name, policy in policies.items():
        key = f"policies.{name}"
        if not has_weights(policy):
            continue
        if "release" in config:
            raise StudyError(f"config: {key} has weights, but a study of a release reads none. Take it out.")
        if "adapter" in policy:
            _check_adapter(key, policy, policies)


def _check_adapter(key: str, policy: dict, policies: dict) -> None:
    if beside := sorted({"method", "data", "generation", "controls"} & set(policy)):
        raise StudyError(
            f"config: {key}.{beside[0]} stands beside an adapter, which is merged as it is. Take one of the two out, or name a policy of its own "
            f"with parent {key.removeprefix('policies.')}."
        )
    parent = policy["parent"]
    if "method" in policies[parent]:
        raise StudyError(
            f"config: {key}.adapter lies on {parent}, which is trained here and has other weights with each seed. Its parent must be the root or a "
            "policy whose weights are given."
        )

"""Checks of the policies that train nothing: their parent's weights, asked otherwise than `generation` says."""

from hh_align.config.check_weights import template_key
from hh_align.core.errors import StudyError


def check_asked(config: dict) -> None:
    """Raise StudyError where `generation` of a policy stands beside a training, where its parent has no weights of its own, where it changes
    nothing or has no meaning, and where something descends from such a policy."""
    policies = config["policies"]
    for name, policy in policies.items():
        parent = policies.get(policy.get("parent"), {})
        if "generation" in parent:
            raise StudyError(
                f"config: policies.{name}.parent is {policy['parent']}, whose weights are those of {parent['parent']}: name that one."
            )
        if "generation" in policy:
            _check_generation(f"policies.{name}.generation", name, config)


def _check_generation(key: str, name: str, config: dict) -> None:
    policy, own = config["policies"][name], config["policies"][name]["generation"]
    if "method" in policy:
        raise StudyError(f"config: {key} asks the weights of {policy['parent']} otherwise and trains nothing: take method and data out.")
    if "release" in config:
        raise StudyError(f"config: {key} has a policy answer prompts, but a release has no weights. Take it out.")
    if name in config.get("responses", {}):
        raise StudyError(f"config: {key} says how {name} is asked, but responses.{name} brings its responses. Take one of the two out.")
    if (template := template_key(config, name)) and (idle := sorted({"lead", "cue"} & set(own))):
        raise StudyError(f"config: {key}.{idle[0]} has no meaning with {template}, which says how a prompt begins and ends.")
    if all(config["generation"][setting] == value for setting, value in own.items()):
        raise StudyError(
            f"config: {key} is what `generation` says: nothing would differ from {policy['parent']}. Change it, or take {name} out."
        )

"""What a config's schema cannot say: every name that it refers to exists, and what stands together belongs together."""

import re

from hh_align.config.check_asked import check_asked
from hh_align.config.check_capability import check_capability
from hh_align.config.check_data import check_datasets, check_needed_datasets, check_prompts
from hh_align.config.check_facts import check_claims
from hh_align.config.check_judges import check_judges, check_overrefusal
from hh_align.config.check_release import check_release
from hh_align.config.check_texts import check_texts
from hh_align.config.check_training import (
    check_base,
    check_chat,
    check_methods,
    check_positions,
    check_scratch,
    check_tied,
    check_train_splits,
)
from hh_align.config.check_weights import check_weights, has_weights, roots_of
from hh_align.config.graph import ancestors, graph, require_known
from hh_align.config.keys import nth
from hh_align.config.subsets import check_judged_axes
from hh_align.config.suites import check_suites
from hh_align.core.errors import StudyError

RESPONSE_FILES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".eval")


def check_references(config: dict) -> None:
    """Check that every name that the config refers to exists. Raises StudyError for the first fault, section by section."""
    check_sections(config)
    check_texts(config)
    check_policies(config)
    check_weights(config)
    check_asked(config)
    check_datasets(config)
    check_judges(config)
    check_overrefusal(config)
    check_suites(config)
    check_capability(config)
    check_contrasts(config)
    check_reproduction(config)
    check_labels(config)
    check_claims(config["claims"])
    check_responses(config)
    if "release" in config:
        check_release(config)
    else:
        check_prompts(config)
        check_base(config)
        check_needed_datasets(config)
        check_methods(config)
        check_tied(config)
        check_chat(config)
        check_scratch(config)
        check_judged_axes(config)
        check_positions(config)
        check_train_splits(config)


def check_sections(config: dict) -> None:
    """Raise StudyError where a section is missing that this kind of study needs."""
    for section in ("datasets", "models", "judges") if "release" not in config else ("judges",):
        if section not in config:
            raise StudyError(f"config: the config lacks the key {section}.")


def check_policies(config: dict) -> None:
    """Raise StudyError unless the policies form one tree whose methods and datasets exist."""
    policies = config["policies"]
    roots = roots_of(policies)
    if len(roots) != 1:
        raise StudyError(
            f"config: policies needs exactly one root (an entry without parent, method and source, whose weights are models.base); found "
            f"{', '.join(roots) or 'none'}."
        )
    for name, policy in policies.items():
        require_known(f"policies.{name}.parent", policy.get("parent"), policies)
        ancestors(name, policies)
        if "release" not in config:
            require_known(f"policies.{name}.method", policy.get("method"), config["methods"])
            require_known(f"policies.{name}.data", policy.get("data"), config["datasets"])


def check_contrasts(config: dict) -> None:
    """Raise StudyError where a contrast names a policy that does not exist, or the primary is none of the contrasts."""
    analysis = config["analysis"]
    primary = analysis.get("primary", [])[:2]
    policies = {**config["policies"], **config.get("responses", {})}
    for number, contrast in enumerate([primary, *analysis["contrasts"]]):
        key = f"analysis.contrasts[{nth(number - 1)}]" if number else "analysis.primary"
        for policy in contrast:
            require_known(key, policy, policies)
    if primary and primary not in analysis["contrasts"]:
        pair = f"[{', '.join(primary)}]"
        raise StudyError(
            f"config: analysis.primary is {pair}, which is none of analysis.contrasts. Add {pair} there, or set primary to null."
        )


def check_reproduction(config: dict) -> None:
    """Raise StudyError where the comparison with another run names a judge or policy that does not exist."""
    policies = {**config["policies"], **config.get("responses", {})}
    for kind, allowed in (("judges", config["judges"]), ("policies", policies)):
        for name in config.get("reproduction", {}).get(kind, []):
            require_known(f"reproduction.{kind}", name, allowed)


def check_labels(config: dict) -> None:
    """Raise StudyError where the labels are those that another study makes of its own prompts, as config/demo.yaml names the demo's."""
    path, study = config["analysis"].get("labels", {}).get("path", ""), config["study"]
    made = re.fullmatch(r"results/([^/]+)/analysis/oracle_labels\.parquet", path)
    if made and made[1] != study:
        raise StudyError(
            f"config: study is {study}, and analysis.labels.path is {path}, which study {made[1]} makes. Write here analysis: {{labels: {{path: "
            f"results/{study}/analysis/oracle_labels.parquet}}}}, or analysis: {{labels: null}}."
        )


def check_responses(config: dict) -> None:
    """Raise StudyError where responses of a file have no readable kind, no parent, or not a file for each seed."""
    policies, everyone = config["policies"], graph(config)
    for name, entry in config.get("responses", {}).items():
        key = f"responses.{name}"
        if "release" in config:
            raise StudyError(
                f"config: {key} cannot stand beside a release, whose responses come with their ratings. Take one of the two out."
            )
        if not entry["path"].lower().removesuffix(".gz").endswith(RESPONSE_FILES):
            raise StudyError(
                f"config: {key}.path is {entry['path']}, no known kind of file. Allowed: {', '.join(RESPONSE_FILES)}, and .gz behind it."
            )
        if name in policies and "parent" in entry:
            raise StudyError(f"config: {key}.parent is given, but {name} is one of `policies` and has its parent there. Take it out.")
        trained = "parent" in policies.get(name, {}) and not has_weights(policies[name])
        if trained and len(config["seeds"]) > 1 and "{seed}" not in entry["path"]:
            raise StudyError(
                f"config: {key}.path needs {{seed}} in it: {name} has {len(config['seeds'])} seeds, each with a file of its own."
            )
        if name in policies and not trained and "{seed}" in entry["path"]:
            what = "has weights that are given, the same" if has_weights(policies[name]) else "is the root, which is the same"
            raise StudyError(f"config: {key}.path has {{seed}} in it, but {name} {what} for every seed.")
        require_known(f"{key}.parent", entry.get("parent"), everyone)
        ancestors(name, everyone, section="responses")

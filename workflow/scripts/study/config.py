"""The study's config: nulls removed, checked against the schema, defaults filled in, the policy graph checked and ordered."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from study.command import StudyError

TRAINERS = ("sft", "dpo")


def resolve(config: dict, schema: Path) -> dict:
    """The config that the workflow reads. Raises StudyError with one message that names the key and shows what is allowed."""
    config = without_nulls(config)
    validator = _DefaultsValidator(yaml.safe_load(Path(schema).read_text()))
    errors = sorted(validator.iter_errors(config), key=lambda error: (-len(error.absolute_path), str(error.path)))
    if errors:
        raise StudyError(f"config: {explain(errors[0])}")
    check_references(config)
    return config


def without_nulls(value: object) -> object:
    """The same without dict entries that are None, at any depth: `null` in a config means absent (a text on Snakemake's command line)."""
    if isinstance(value, dict):
        return {key: without_nulls(entry) for key, entry in value.items() if entry not in (None, "null")}
    return [without_nulls(entry) for entry in value] if isinstance(value, list) else value


def _fill_defaults(validator, properties, instance, schema) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for key, subschema in properties.items():
            target = validator._resolver.lookup(subschema["$ref"]).contents if "$ref" in subschema else subschema
            default = subschema.get("default", target.get("default"))
            if default is not None:
                instance.setdefault(key, default.copy() if isinstance(default, dict | list) else default)
            if key in instance:
                instance[key] = _typed(instance[key], target)
    yield from Draft202012Validator.VALIDATORS["properties"](validator, properties, instance, schema)


def _typed_items(validator, items, instance, schema) -> Iterator[ValidationError]:
    if isinstance(instance, list):
        instance[:] = [_typed(entry, items) for entry in instance]
    yield from Draft202012Validator.VALIDATORS["items"](validator, items, instance, schema)


def _typed(value: object, schema: dict) -> object:
    """Snakemake's `--config key={nested: 1}` yields texts: read as YAML where the schema wants a number or a boolean."""
    if isinstance(value, str) and (
        schema.get("type") in ("integer", "number", "boolean") or (value == "true" and True in schema.get("enum", []))
    ):
        read = yaml.safe_load(value)
        return read if isinstance(read, int | float) else value
    return value


_DefaultsValidator = extend(Draft202012Validator, {"properties": _fill_defaults, "items": _typed_items})


def explain(error: ValidationError, whole: str = "the config") -> str:
    """One sentence or two: the key's path, what is wrong, what is allowed."""
    where = ".".join(str(part) for part in error.absolute_path) or whole
    value, allowed = error.instance, error.validator_value
    meaning = f" ({error.schema['description'].rstrip('.')})" if "description" in error.schema else ""
    if error.validator == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        unknown = sorted(set(value) - set(known))
        return f"{where} has no key {', '.join(unknown)}. Allowed: {', '.join(known)}."
    if error.validator == "required":
        return f"{where} lacks the key {', '.join(sorted(set(allowed) - set(value)))}."
    if error.validator == "dependentRequired":
        return f"{where} is {value}: a trained policy needs both parent and method, the root neither."
    if error.validator == "type" and isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return f"{where} is the text '{value}', not a number{meaning}: YAML wants a dot, write {_dotted(value)}."
    if error.validator == "enum":
        return f"{where} is {value!r}{meaning}. Allowed: {', '.join(str(entry).lower() if entry is True else str(entry) for entry in allowed)}."
    if error.validator == "type":
        return f"{where} is {value!r}{meaning}. Allowed: {allowed}."
    return f"{where} is {value!r}{meaning}: {_rule(error)}."


def _dotted(number: str) -> str:
    mantissa, exponent = re.split("[eE]", number)
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent if exponent[0] in '+-' else '+' + exponent}"


def _rule(error: ValidationError) -> str:
    rules = {
        "minimum": "at least {}",
        "maximum": "at most {}",
        "exclusiveMinimum": "more than {}",
        "exclusiveMaximum": "less than {}",
        "pattern": "it must match {}",
        "minItems": "at least {} entries",
        "maxItems": "at most {} entries",
        "minProperties": "at least {} entries",
        "uniqueItems": "an entry stands twice",
        "maxLength": "at most {} characters",
        "minLength": "at least {} characters",
    }
    return rules.get(str(error.validator), error.message).format(error.validator_value)


def check_references(config: dict) -> None:
    """Check that every name that the config refers to exists. Raises StudyError."""
    policies, methods, datasets = config["policies"], config["methods"], config.get("datasets", {})
    roots = [name for name, policy in policies.items() if "parent" not in policy]
    if len(roots) != 1:
        raise StudyError(
            f"config: policies needs exactly one root (an entry without parent and method); found {', '.join(roots) or 'none'}."
        )
    for name, policy in policies.items():
        _known(f"policies.{name}.parent", policy.get("parent"), policies)
        ancestors(name, policies)
        if "release" not in config:
            _known(f"policies.{name}.method", policy.get("method"), methods)
            _known(f"policies.{name}.data", policy.get("data"), datasets)
    for name, dataset in datasets.items():
        _known(f"datasets.{name}.from", dataset.get("from"), datasets)
        if "from" in datasets.get(dataset.get("from"), {}):
            raise StudyError(f"config: datasets.{name}.from is {dataset['from']}, itself derived. Derive from a dataset with a source.")
    for name, judge in config.get("judges", {}).items():
        _known(f"judges.{name}.data", judge.get("data"), datasets)
        if judge["source"] == "released" and "release" not in config:
            raise StudyError(f"config: judges.{name}.source is released, but there is no `release:` to take its ratings from.")
    for number, contrast in enumerate([config["analysis"].get("primary", []), *config["analysis"]["contrasts"]]):
        key = f"analysis.contrasts.{number - 1}" if number else "analysis.primary"
        for policy in contrast:
            _known(key, policy, policies)
    for kind, allowed in (("judges", config.get("judges", {})), ("policies", policies)):
        for name in config.get("reproduction", {}).get(kind, []):
            _known(f"reproduction.{kind}", name, allowed)
    if "release" in config:
        release = config["release"]
        _known("release.judge", release["judge"], config.get("judges", {}))
        for policy in release["policies"]:
            _known("release.policies", policy, policies)
        if missing := sorted(set(policies) - set(release["policies"])):
            raise StudyError(f"config: release.policies lacks {', '.join(missing)}. Every policy needs the beginning of its file names.")
        for name, judge in config["judges"].items():
            if judge["source"] == "scratch":
                raise StudyError(
                    f"config: judges.{name}.source is scratch, but a release has no pairs to train it on. Allowed: hub, local, released."
                )
            if judge["source"] == "released" and name != release["judge"]:
                raise StudyError(f"config: judges.{name}.source is released, but the release's ratings are those of {release['judge']}.")
        if "path" not in release and not {"repo", "revision"} <= set(release):
            raise StudyError("config: release needs either path (a folder) or repo and revision (a download).")
        return
    for section in ("datasets", "models", "judges"):
        if section not in config:
            raise StudyError(f"config: the config lacks the key {section}.")
    _known("prompts.dataset", config["prompts"]["dataset"], datasets)
    prompts, dataset = config["prompts"], datasets[config["prompts"]["dataset"]]
    for axis in ("harmlessness", "helpfulness"):
        for key in ("subset", "split"):
            _known(f"prompts.{axis}.{key}", prompts[axis][key], dataset.get(f"{key}s", [prompts[axis][key]]))
    _known("models.base.data", config["models"]["base"].get("data"), datasets)
    for name, method in methods.items():
        if method["batch_size"] % method["micro_batch"]:
            raise StudyError(
                f"config: methods.{name}.batch_size ({method['batch_size']}) is no multiple of micro_batch ({method['micro_batch']})."
            )
        if method["trainer"] == "dpo" and method["max_prompt_length"] >= method["max_length"]:
            raise StudyError(
                f"config: methods.{name}.max_prompt_length leaves no room for a reply within max_length ({method['max_length']})."
            )


def _known(key: str, name: str | None, allowed) -> None:
    if name is not None and name not in allowed:
        raise StudyError(
            f"config: {key} is {name}, which does not exist. Allowed: {', '.join(sorted(allowed)) or 'nothing is defined there'}."
        )


def ancestors(name: str, policies: dict) -> list[str]:
    """The policies from the root's child down to `name`'s parent, nearest first. Raises StudyError on a cycle."""
    found, policy = [], name
    while policy := policies[policy].get("parent"):
        if policy in found or policy == name:
            raise StudyError(
                f"config: policies.{name}.parent leads back to {policy}: the graph has a cycle ({' -> '.join([name, *found, policy])})."
            )
        if policy not in policies:
            raise StudyError(
                f"config: policies.{found[-1] if found else name}.parent is {policy}, which does not exist. Allowed: {', '.join(sorted(policies))}."
            )
        found.append(policy)
    return found


def policy_order(config: dict) -> list[str]:
    """Policies by depth in the graph, then by trainer (SFT before DPO), then by name: the order of the config file is of no account."""

    def place(name: str) -> tuple:
        method = config["methods"].get(config["policies"][name].get("method"), {})
        return len(ancestors(name, config["policies"])), TRAINERS.index(method.get("trainer", "sft")), name

    return sorted(config["policies"], key=place)


def download_folder(root: str, kind: str, repo: str, revision: str) -> str:
    """Where the files of one repository at one commit lie."""
    return f"{root}/{kind}/{repo.replace('/', '--')}/{revision}"

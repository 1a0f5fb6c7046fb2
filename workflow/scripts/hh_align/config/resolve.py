"""The study's config: nulls removed, checked against the schema, defaults filled in, the policy graph checked and ordered."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from hh_align.config.check_capability import write_capability
from hh_align.config.check_facts import of_study
from hh_align.config.check_judges import take_pairwise
from hh_align.config.check_weights import write_parents
from hh_align.config.checks import check_references
from hh_align.config.keys import path_of, written
from hh_align.config.layers import leave_behind, sources_with
from hh_align.config.short_forms import write_controls, write_likes, write_snapshots, write_sweeps
from hh_align.config.suites import write_suites
from hh_align.core.errors import StudyError
from hh_align.core.meant import choices

SCHEMA = Path(__file__).with_name("config.schema.yaml")  # a link to workflow/schemas, so that it is installed with the package
SHOWN = 200  # characters of a wrong value
ENTRY = 2  # steps of the path to an entry of a section
RULES = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "pattern": "it must match {}",
    "minItems": "{} or more entries",
    "maxItems": "{} or fewer entries",
    "minProperties": "{} or more entries",
    "uniqueItems": "an entry stands twice",
    "maxLength": "{} or fewer characters",
    "minLength": "{} or more characters",
}
NUMBERS = {"number": "0.5 or 2.0e-5", "integer": "42"}
"""How a number is written, by its type."""
PLAIN = r"[-+]?\d+(\.\d+)?"
"""A number that stands as a text only because of its quotes."""
TYPES = {"object": "mapping", "array": "list", "string": "text", "integer": "whole number", "boolean": "true or false"}


def resolve(config: dict, schema: Path, layers: Sequence[Mapping] = ()) -> dict:
    """The config that the workflow reads: methods like others, controls, sweeps, snapshots and known suites written out, `sweeps` and `snapshots` say
    what has become of them; judges that are asked for preferences stand in `pairwise`.

    layers: the files that `config` was merged of, the first one first: an entry does not inherit what belongs to another source. Raises
    StudyError with one message that names the key and shows what is allowed.
    """
    leave_behind(config, layers, read_schema(Path(schema)))
    write_likes(config)  # before the nulls go: one takes a key of the other method away
    config = without_nulls(config)
    write_suites(config)
    write_capability(config)
    write_controls(config)
    written_out = {"sweeps": write_sweeps(config, _list_keys(Path(schema))), "snapshots": write_snapshots(config)}
    errors = sorted(_validator(Path(schema)).iter_errors(config), key=lambda error: (-len(error.absolute_path), str(error.path)))
    if errors:
        raise StudyError(f"config: {explain(errors[0], config)}")
    write_parents(config)
    take_pairwise(config)
    check_references(config)
    config["claims"] = of_study(config["claims"], config["study"])
    for holder in (config, *config["policies"].values(), *config["methods"].values()):
        for key in ("controls", "snapshots"):
            holder.pop(key, None)
    return {**config, **{section: arms for section, arms in written_out.items() if arms}}


def without_nulls(value: object) -> object:
    """The same without dict entries that are None, at any depth: `null` in a config means absent (a text on Snakemake's command line)."""
    if isinstance(value, dict):
        return {key: without_nulls(entry) for key, entry in value.items() if entry not in (None, "null")}
    return [without_nulls(entry) for entry in value] if isinstance(value, list) else value


def _follow(parts: Mapping[str, dict], subschema: dict) -> dict:
    """What a subschema refers to, one of the schema's `$defs`; itself where it does not refer."""
    return parts[subschema["$ref"].removeprefix("#/$defs/")] if "$ref" in subschema else subschema


def _filling(parts: Mapping[str, dict]) -> Callable[..., Iterator[ValidationError]]:
    def fill_defaults(validator, properties, instance, schema) -> Iterator[ValidationError]:
        if isinstance(instance, dict):
            for key, subschema in properties.items():
                target = _follow(parts, subschema)
                default = subschema.get("default", target.get("default"))
                if default is not None:
                    instance.setdefault(key, default.copy() if isinstance(default, dict | list) else default)
                if key in instance:
                    instance[key] = _typed(instance[key], target)
                    yield from validator.descend(instance[key], subschema, key, key, validator._resolver)

    return fill_defaults


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


def _is_number(checker, value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(checker, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


Validator = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many({"number": _is_number, "integer": _is_integer}),
)
"""A number is finite, and true and false are none."""


@cache
def read_schema(schema: Path) -> dict:
    """The schema, by libyaml where PyYAML was built with it: in Python alone it costs every call of Snakemake 0.2 seconds."""
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)(schema.read_text()).get_single_data()


@cache
def _validator(schema: Path) -> Draft202012Validator:
    """It follows a reference to one of the `$defs` by its name: to look each of them up by its address takes a third of the time."""
    whole = read_schema(schema)
    parts = whole["$defs"]

    def follow(validator, reference, instance, schema) -> Iterator[ValidationError]:
        yield from validator.descend(instance, _follow(parts, schema), resolver=validator._resolver)

    return extend(Validator, {"properties": _filling(parts), "items": _typed_items, "$ref": follow})(whole)


@cache
def _list_keys(schema: Path) -> set[str]:
    """Keys whose value the schema wants as a list: a list there is no sweep."""
    parts = read_schema(schema)["$defs"].values()
    nested = [part for outer in parts for part in (outer, *outer.get("properties", {}).values())]
    return {key for part in nested for key, value in part.get("properties", {}).items() if "array" in value.get("type", ())}


def explain(error: ValidationError, config: object, whole: str = "the config") -> str:
    """One sentence or two: the key's path, what is wrong, what is allowed; config: what was read, called `whole`."""
    where = path_of(error.absolute_path, config) or whole
    value, allowed = error.instance, error.validator_value
    shown = text if len(text := _written(value)) <= SHOWN else f"{text[:SHOWN]}…"
    meaning = f" ({error.schema['description'].rstrip('.')})" if "description" in error.schema else ""
    if error.validator == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        unknown = sorted(map(written, set(value) - set(known)))
        section = str(error.absolute_path[0]) if len(error.absolute_path) == ENTRY else ""
        others = sources_with(section, unknown[0], read_schema(SCHEMA))
        if others and value.get("source") not in others:
            own = f"its source is {value['source']}" if "source" in value else "it has none"
            return (
                f"{where} has {unknown[0]}, which belongs to source: {' or '.join(others)}, but {own}. Write source: {others[-1]} beside it, or "
                f"take {unknown[0]} out."
            )
        return f"{where} has no key {', '.join(unknown)}. Allowed: {choices(unknown[0], known)}"
    if error.validator == "required":
        return f"{where} lacks the key {', '.join(sorted(set(allowed) - set(value)))}."
    if error.validator == "anyOf":
        return f"{where} lacks the key {' or '.join(key for choice in allowed for key in choice['required'])}."
    if error.validator == "dependentRequired":
        return (
            f"{where} is {shown}: a trained policy needs both parent and method, one asked otherwise parent and generation, one with an adapter "
            "parent and adapter, one with weights of its own source, the root none."
        )
    if error.validator == "type" and isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return f"{where} is the text '{value}', not a number{meaning}: YAML wants a dot, write {_dotted(value)}."
    if error.validator == "enum":
        return (
            f"{where} is {shown}{meaning}. Allowed: {', '.join(str(entry).lower() if entry is True else str(entry) for entry in allowed)}."
        )
    if error.validator == "type":
        kinds = allowed if isinstance(allowed, list) else [allowed]
        if isinstance(value, str) and (number := next((kind for kind in kinds if kind in NUMBERS), None)):
            how = "leave out the quotes" if re.fullmatch(PLAIN, value) else f"write it in digits, as {NUMBERS[number]}"
            return f"{where} is the text {shown}, not a {TYPES.get(number, number)}{meaning}: {how}."
        return f"{where} is {shown}{meaning}. Allowed: {' or '.join(TYPES.get(kind, kind) for kind in kinds)}."
    if error.validator in RULES:
        return f"{where} is {shown}{meaning}: {RULES[error.validator].format(allowed)}."
    return f"{where} is {shown}{meaning}."


def _written(value: object, depth: int = 4) -> str:
    """A value as it is written in YAML; what is nested deeper (YAML may hold itself) is `…`."""
    if isinstance(value, dict | list) and not depth:
        return "…"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{written(key)}: {_written(entry, depth - 1)}' for key, entry in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(_written(entry, depth - 1) for entry in value)}]"
    return repr(value) if isinstance(value, str) else "null" if value is None else str(value).lower()


def _dotted(number: str) -> str:
    mantissa, exponent = re.split("[eE]", number)
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent if exponent[0] in '+-' else '+' + exponent}"


def download_folder(root: str, kind: str, repo: str, revision: str) -> str:
    """Where the files of one repository at one commit lie."""
    return f"{root}/{kind}/{repo.replace('/', '--')}/{revision}"

"""The study's config: nulls removed, checked against the schema, defaults filled in, the policy graph checked and ordered."""

import math
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from hh_align.config.short_forms import write_controls, write_snapshots, write_sweeps
from hh_align.core.axes import LIMITS
from hh_align.core.errors import StudyError

TRAINERS = ("sft", "dpo", "kto")
SMOOTHED = ("sigmoid", "robust")  # losses that take label_smoothing
RESPONSE_FILES = (".json", ".jsonl", ".csv", ".parquet")
SHOWN = 200  # characters of a wrong value
RULES = {
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


def resolve(config: dict, schema: Path) -> dict:
    """The config that the workflow reads: controls, sweeps and snapshots written out, `sweeps` and `snapshots` say what has become of them.

    Raises StudyError with one message that names the key and shows what is allowed.
    """
    config = without_nulls(config)
    write_controls(config)
    made = {"sweeps": write_sweeps(config, _list_keys(Path(schema))), "snapshots": write_snapshots(config)}
    errors = sorted(_validator(Path(schema)).iter_errors(config), key=lambda error: (-len(error.absolute_path), str(error.path)))
    if errors:
        raise StudyError(f"config: {explain(errors[0])}")
    check_references(config)
    for holder in (config, *config["policies"].values(), *config["methods"].values()):
        for key in ("controls", "snapshots"):
            holder.pop(key, None)
    return {**config, **{name: arms for name, arms in made.items() if arms}}


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


def _is_number(checker, value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(checker, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_DefaultsValidator = extend(
    Draft202012Validator,
    {"properties": _fill_defaults, "items": _typed_items},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many({"number": _is_number, "integer": _is_integer}),
)


@cache
def _validator(schema: Path) -> Draft202012Validator:
    return _DefaultsValidator(yaml.safe_load(schema.read_text()))


@cache
def _list_keys(schema: Path) -> set[str]:
    """Keys whose value is a list by right: none of them is swept."""
    parts = yaml.safe_load(schema.read_text())["$defs"].values()
    nested = [part for outer in parts for part in (outer, *outer.get("properties", {}).values())]
    return {key for part in nested for key, value in part.get("properties", {}).items() if "array" in value.get("type", ())}


def explain(error: ValidationError, whole: str = "the config") -> str:
    """One sentence or two: the key's path, what is wrong, what is allowed."""
    where = ".".join(map(_key, error.absolute_path)) or whole
    value, allowed = error.instance, error.validator_value
    shown = repr(value) if len(repr(value)) <= SHOWN else f"{repr(value)[:SHOWN]}…"
    meaning = f" ({error.schema['description'].rstrip('.')})" if "description" in error.schema else ""
    if error.validator == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        unknown = sorted(map(_key, set(value) - set(known)))
        return f"{where} has no key {', '.join(unknown)}. Allowed: {', '.join(known)}."
    if error.validator == "required":
        return f"{where} lacks the key {', '.join(sorted(set(allowed) - set(value)))}."
    if error.validator == "anyOf":
        return f"{where} lacks the key {' or '.join(key for choice in allowed for key in choice['required'])}."
    if error.validator == "dependentRequired":
        return f"{where} is {shown}: a trained policy needs both parent and method, the root neither."
    if error.validator == "type" and isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return f"{where} is the text '{value}', not a number{meaning}: YAML wants a dot, write {_dotted(value)}."
    if error.validator == "enum":
        return (
            f"{where} is {shown}{meaning}. Allowed: {', '.join(str(entry).lower() if entry is True else str(entry) for entry in allowed)}."
        )
    if error.validator == "type":
        allowed = " or ".join(allowed) if isinstance(allowed, list) else allowed
        return f"{where} is {shown}{meaning}. Allowed: {allowed}."
    if error.validator in RULES:
        return f"{where} is {shown}{meaning}: {RULES[error.validator].format(allowed)}."
    return f"{where} is {shown}{meaning}."


def _key(key: object) -> str:
    return str(key) if re.fullmatch(r"[\w./-]+", str(key)) else repr(key)


def _dotted(number: str) -> str:
    mantissa, exponent = re.split("[eE]", number)
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent if exponent[0] in '+-' else '+' + exponent}"


def check_references(config: dict) -> None:
    """Check that every name that the config refers to exists. Raises StudyError."""
    for section in ("datasets", "models", "judges") if "release" not in config else ("judges",):
        if section not in config:
            raise StudyError(f"config: the config lacks the key {section}.")
    policies, methods, datasets = config["policies"], config["methods"], config.get("datasets", {})
    everyone = {**policies, **config.get("responses", {})}
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
        for key in ("subsets", "training_half") if "from" in dataset else ():
            for subset in dataset.get(key, []):
                _known(f"datasets.{name}.{key}", subset, datasets[dataset["from"]]["subsets"])
        for key, other, wanted in (("near", "deduplicate", "near"), ("balance_seed", "balance_length", True)):
            if key in dataset and dataset.get(other) != wanted:
                raise StudyError(f"config: datasets.{name}.{key} needs {other}: {str(wanted).lower()} beside it.")
        if ("noise" in dataset) != (dataset.get("labels") == "noisy"):
            raise StudyError(f"config: datasets.{name}: labels: noisy and noise, a share below 0.5, go together.")
        if "judge_margin" in dataset:
            weights = [judge for judge, what in config["judges"].items() if what["source"] in ("hub", "local", "scratch")]
            _known(f"datasets.{name}.judge_margin.judge", dataset["judge_margin"]["judge"], weights)
    for name, judge in config["judges"].items():
        _known(f"judges.{name}.data", judge.get("data"), datasets)
        _check_judge(f"judges.{name}", judge)
        if judge["source"] == "released" and "release" not in config:
            raise StudyError(f"config: judges.{name}.source is released, but there is no `release:` to take its ratings from.")
    if "overrefusal" in config:
        judge = config["overrefusal"].get("judge")
        _known("overrefusal.judge", judge, config["judges"])
        if judge is not None and config["judges"][judge].get("output") != "label":
            raise StudyError(f"config: overrefusal.judge is {judge}, which has no label: its output must be label.")
        if "release" in config:
            raise StudyError("config: overrefusal has policies answer questions, but a release has no weights. Set it to null.")
    for number, contrast in enumerate([config["analysis"].get("primary", []), *config["analysis"]["contrasts"]]):
        key = f"analysis.contrasts.{number - 1}" if number else "analysis.primary"
        for policy in contrast:
            _known(key, policy, everyone)
    for kind, allowed in (("judges", config["judges"]), ("policies", everyone)):
        for name in config.get("reproduction", {}).get(kind, []):
            _known(f"reproduction.{kind}", name, allowed)
    _check_responses(config)
    if "release" in config:
        release = config["release"]
        _known("release.judge", release["judge"], config["judges"])
        for policy in release["policies"]:
            _known("release.policies", policy, policies)
        if missing := sorted(set(policies) - set(release["policies"])):
            raise StudyError(f"config: release.policies lacks {', '.join(missing)}. Every policy needs the beginning of its file names.")
        if config["judges"][release["judge"]]["source"] != "released":
            raise StudyError(
                f"config: release.judge is {release['judge']}, whose ratings come with the release: set judges.{release['judge']}.source to "
                "released, and give a judge with weights another name."
            )
        for name, judge in config["judges"].items():
            if judge["source"] == "scratch":
                raise StudyError(
                    f"config: judges.{name}.source is scratch, but a release has no pairs to train it on. "
                    "Allowed: hub, local, released, imported, endpoint."
                )
            if judge["source"] == "released" and name != release["judge"]:
                raise StudyError(f"config: judges.{name}.source is released, but the release's ratings are those of {release['judge']}.")
        if "path" not in release and not {"repo", "revision"} <= set(release):
            raise StudyError("config: release needs either path (a folder) or repo and revision (a download).")
        files = [f"responses/{beginning}_{axis}.json" for beginning in release["policies"].values() for axis in ("harmful", "helpful")]
        if missing := sorted({"prompts/harmful_prompts.json", "prompts/helpful_prompts.json", *files} - set(release["sums"])):
            raise StudyError(f"config: release.sums lacks {', '.join(missing)}. Every file that is read needs its sha256.")
        return
    _known("prompts.dataset", config["prompts"]["dataset"], datasets)
    prompts, dataset = config["prompts"], datasets[config["prompts"]["dataset"]]
    for axis in ("harmlessness", "helpfulness"):
        for key in ("subset", "split"):
            _known(f"prompts.{axis}.{key}", prompts[axis][key], dataset.get(f"{key}s", [prompts[axis][key]]))
    _known("models.base.data", config["models"]["base"].get("data"), datasets)
    for name in datasets:
        _check_dataset_graph(name, config)
    for name, method in methods.items():
        _check_batches(f"methods.{name}", method, config["compute"]["processes"])
        if method["trainer"] != "sft":
            _check_prompt_length(f"methods.{name}", method)
        if "snapshots" in method and "lora" not in method:
            raise StudyError(f"config: methods.{name}.snapshots needs methods.{name}.lora: what is kept is the adapter.")
        if method["trainer"] == "dpo":
            _check_dpo(f"methods.{name}", method)
    _check_chat(config)
    models = {"models.base": config["models"]["base"], **{f"judges.{name}": judge for name, judge in config["judges"].items()}}
    scratch = {key: model for key, model in models.items() if model["source"] == "scratch"}
    for key, model in scratch.items():
        _check_scratch(key, model)
    if "models.base" in scratch:
        _check_positions(config)
    trained = {f"policies.{name}": policy for name, policy in policies.items() if "parent" in policy} | scratch
    for key, what in trained.items():
        name = what.get("data", prompts["dataset"])
        splits = datasets[datasets[name].get("from", name)]["splits"]
        if datasets[name]["train_split"] not in splits:
            raise StudyError(
                f"config: datasets.{name}.train_split is {datasets[name]['train_split']}, which is not read, and {key} trains on it. "
                f"Allowed: {', '.join(splits)}."
            )


def _check_dataset_graph(start: str, config: dict) -> None:
    """Raise StudyError where a dataset needs itself: by the prompts that it is held against, or by what the judge of its margins reads."""
    datasets, judges, home = config["datasets"], config["judges"], config["prompts"]["dataset"]

    def needed(name: str) -> Iterator[tuple[str, str]]:
        dataset = datasets[name]
        judge = dataset.get("judge_margin", {}).get("judge")
        if judge and judges[judge]["source"] == "scratch":
            yield f"judge {judge}", judges[judge].get("data", home)
        if dataset.get("exclude_prompts") or "decontaminate" in dataset:
            yield "the evaluation prompts", home

    ahead: list[tuple[str, list[str]]] = [(start, [start])]
    while ahead:
        name, path = ahead.pop()
        for by, other in needed(name):
            if other == start:
                raise StudyError(
                    f"config: datasets.{start} needs itself: {' -> '.join([*path, by, start])}. Let the judge (judges.*.data) or the prompts "
                    "(prompts.dataset) read a dataset with a source."
                )
            if other not in path:
                ahead.append((other, [*path, by, other]))


def _check_judge(key: str, judge: dict) -> None:
    """Raise StudyError where thresholds and axis, or the keys of an output, do not belong together."""
    for axis, threshold in LIMITS.items():
        if judge["axis"] in (axis, "both") and threshold not in judge:
            raise StudyError(f"config: {key} lacks the key {threshold}.")
        if judge["axis"] not in (axis, "both") and threshold in judge:
            raise StudyError(f"config: {key}.{threshold} belongs to {axis}, but the judge's axis is {judge['axis']}.")
    needed = {"reward": (), "label": ("label", "higher_is"), "attribute": ("attribute", "higher_is")}[judge.get("output", "reward")]
    for name in ("label", "attribute", "higher_is"):
        if name in needed and name not in judge:
            raise StudyError(f"config: {key} lacks the key {name}, which output: {judge['output']} needs.")
        if name in judge and name not in needed:
            raise StudyError(f"config: {key}.{name} has no meaning with output: {judge['output']}.")
    if judge.get("scale") == "logit" and judge["output"] != "label":
        raise StudyError(f"config: {key}.scale has no meaning with output: {judge['output']}.")
    if judge["source"] == "endpoint":
        if judge["lowest"] >= judge["highest"]:
            raise StudyError(f"config: {key}.lowest ({judge['lowest']}) is not below highest ({judge['highest']}).")
        if "key_env" in judge and re.match(r"http://(?!127\.0\.0\.1[:/]|localhost[:/])", judge["url"]):
            raise StudyError(f"config: {key}.url is {judge['url']}: a key goes over https only (or to this machine).")
        if ("price_in" in judge) != ("price_out" in judge):
            raise StudyError(f"config: {key} needs both price_in and price_out, or neither.")


def _check_responses(config: dict) -> None:
    policies, everyone = config["policies"], graph(config)
    for name, entry in config.get("responses", {}).items():
        key = f"responses.{name}"
        if "release" in config:
            raise StudyError(
                f"config: {key} cannot stand beside a release, whose responses come with their ratings. Take one of the two out."
            )
        if not entry["path"].endswith(RESPONSE_FILES):
            raise StudyError(f"config: {key}.path is {entry['path']}, no known kind of file. Allowed: {', '.join(RESPONSE_FILES)}.")
        if name in policies and "parent" in entry:
            raise StudyError(f"config: {key}.parent is given, but {name} is one of `policies` and has its parent there. Take it out.")
        if "parent" in policies.get(name, {}) and len(config["seeds"]) > 1 and "{seed}" not in entry["path"]:
            raise StudyError(
                f"config: {key}.path needs {{seed}} in it: {name} has {len(config['seeds'])} seeds, each with a file of its own."
            )
        if "parent" not in policies.get(name, {"parent": 1}) and "{seed}" in entry["path"]:
            raise StudyError(f"config: {key}.path has {{seed}} in it, but {name} is the root, which is the same for every seed.")
        _known(f"{key}.parent", entry.get("parent"), everyone)
        ancestors(name, everyone, section="responses")


def _check_batches(key: str, settings: dict, processes: int = 1) -> None:
    batch_size, micro_batch = settings["batch_size"], settings["micro_batch"]
    if batch_size % micro_batch:
        raise StudyError(f"config: {key}.batch_size ({batch_size}) is no multiple of micro_batch ({micro_batch}).")
    if batch_size // micro_batch % processes:
        raise StudyError(
            f"config: {key}.micro_batch ({micro_batch}) makes {batch_size // micro_batch} parts of a step, which compute.processes "
            f"({processes}) cannot share. Lower one of the two."
        )


def _check_prompt_length(key: str, method: dict) -> None:
    if method["max_prompt_length"] >= method["max_length"]:
        raise StudyError(f"config: {key}.max_prompt_length leaves no room for a reply within max_length ({method['max_length']}).")


def _check_dpo(key: str, method: dict) -> None:
    noise = method.get("label_smoothing", 0)
    if noise and method["loss"] not in SMOOTHED:
        raise StudyError(
            f"config: {key}.label_smoothing is {noise}, but loss {method['loss']} has none. Allowed: loss {', '.join(SMOOTHED)}."
        )
    if not noise and method["loss"] == "robust":
        raise StudyError(
            f"config: {key}.label_smoothing is {noise}, but loss robust needs the share of wrong labels: more than 0, less than 0.5."
        )
    if method["dropout"] == "as_published":
        if "lora" not in method:
            raise StudyError(
                f"config: {key}.dropout is as_published, which needs {key}.lora: the reference is the policy without its adapter."
            )
        if method.get("sft_weight"):
            raise StudyError(
                f"config: {key}.sft_weight is {method['sft_weight']}, but dropout as_published has no SFT term. Allowed: disabled."
            )


def _check_chat(config: dict) -> None:
    """Raise StudyError where a setting speaks of transcripts, but the model reads by its chat template."""
    if not config["models"]["base"].get("chat_template"):
        return
    if not config["generation"]["cue"]:
        raise StudyError("config: models.base.chat_template ends every prompt where the reply begins: set generation.cue to true.")
    for name, method in config["methods"].items():
        if method.get("dropout") == "as_published":
            raise StudyError(f"config: methods.{name}.dropout as_published reads transcripts: set models.base.chat_template to false.")


def _check_scratch(key: str, model: dict) -> None:
    part = "pretraining" if "pretraining" in model else "training"
    _check_batches(f"{key}.{part}", model[part])
    architecture = model["architecture"]
    if architecture["hidden_size"] % architecture["heads"]:
        raise StudyError(
            f"config: {key}.architecture.hidden_size ({architecture['hidden_size']}) is no multiple of heads ({architecture['heads']})."
        )


def _check_positions(config: dict) -> None:
    base = config["models"]["base"]
    positions = base["architecture"]["max_positions"]
    used = sorted({policy["method"] for policy in config["policies"].values() if "method" in policy})
    lengths = {"models.base.pretraining": base["pretraining"], **{f"methods.{name}": config["methods"][name] for name in used}}
    for key, settings in lengths.items():
        if settings["max_length"] > positions:
            raise StudyError(
                f"config: {key}.max_length ({settings['max_length']}) is more than models.base.architecture.max_positions ({positions})."
            )
    if config["generation"]["max_new_tokens"] >= positions:
        raise StudyError(
            f"config: generation.max_new_tokens ({config['generation']['max_new_tokens']}) leaves no room for a prompt within "
            f"models.base.architecture.max_positions ({positions})."
        )


def _known(key: str, name: str | None, allowed) -> None:
    if name is not None and name not in allowed:
        raise StudyError(
            f"config: {key} is {name}, which does not exist. Allowed: {', '.join(sorted(allowed)) or 'nothing is defined there'}."
        )


def graph(config: dict) -> dict:
    """Policy -> its entry, with those of `responses` that nothing here trains: their parent, if not named, is the root."""
    policies = config["policies"]
    root = next((name for name, policy in policies.items() if "parent" not in policy), None)
    brought = {name: {"parent": entry.get("parent", root)} for name, entry in config.get("responses", {}).items() if name not in policies}
    return {**policies, **brought}


def ancestors(name: str, policies: dict, section: str = "policies") -> list[str]:
    """The policies from the root's child down to `name`'s parent, nearest first. Raises StudyError on a cycle."""
    found, policy = [], name
    while policy := policies[policy].get("parent"):
        if policy in found or policy == name:
            raise StudyError(
                f"config: {section}.{name}.parent leads back to {policy}: the graph has a cycle ({' -> '.join([name, *found, policy])})."
            )
        if policy not in policies:
            raise StudyError(
                f"config: policies.{found[-1] if found else name}.parent is {policy}, which does not exist. Allowed: {', '.join(sorted(policies))}."
            )
        found.append(policy)
    return found


def policy_order(config: dict) -> list[str]:
    """Policies by depth in the graph, then by trainer (SFT, DPO, KTO), then by name, and behind them those of `responses` alone.

    The order of the config file is of no account.
    """
    policies = graph(config)

    def place(name: str) -> tuple:
        method = config["methods"].get(policies[name].get("method"), {})
        return name not in config["policies"], len(ancestors(name, policies)), TRAINERS.index(method.get("trainer", "sft")), name

    return sorted(policies, key=place)


def download_folder(root: str, kind: str, repo: str, revision: str) -> str:
    """Where the files of one repository at one commit lie."""
    return f"{root}/{kind}/{repo.replace('/', '--')}/{revision}"

"""What the short forms of a config stand for: methods like others, controls, sweeps and snapshots, written out as datasets, methods and policies before
the config is checked.

Where an entry is not what the schema wants, it is left as it is: the check that follows names it.
"""

import re
from copy import deepcopy
from itertools import product

import yaml

from hh_align.config.graph import require_known
from hh_align.core.errors import StudyError

LABELS = ("coin", "reversed")


def entries(config: dict, section: str) -> dict[str, dict]:
    """The entries of a section that are mappings."""
    content = config.get(section)
    return {name: entry for name, entry in content.items() if isinstance(entry, dict)} if isinstance(content, dict) else {}


def write_likes(config: dict) -> None:
    """Write out in `config` every method that is `like` another one: all keys of the other, refined by its own, null where it takes one away.

    Raises StudyError where the other does not exist, leads back to the method, or has another trainer.
    """
    methods = entries(config, "methods")
    for name in methods:
        config["methods"][name] = _written_out(name, methods)


def _written_out(name: str, methods: dict[str, dict], behind: tuple[str, ...] = ()) -> dict:
    like = methods[name].get("like")
    if not isinstance(like, str) or like == "null":
        return methods[name]
    require_known(f"methods.{name}.like", like, methods)
    if like in (name, *behind):
        raise StudyError(
            f"config: methods.{name}.like leads back to {like}: one of these must be written out ({' -> '.join([*behind, name, like])})."
        )
    other = _written_out(like, methods, (*behind, name))
    own = {key: value for key, value in methods[name].items() if key != "like"}
    if own.get("trainer", other.get("trainer")) != other.get("trainer"):
        raise StudyError(
            f"config: methods.{name} is like {like}, whose trainer is {other.get('trainer')}, but its own is {own['trainer']}. A method of another "
            "trainer is written out without like."
        )
    return _refined(other, own)


def _refined(method: dict, own: dict) -> dict:
    """A copy of `method` with `own` laid over it, as a config file is laid over another: mappings key by key, all else replaced."""
    refined = deepcopy(method)
    for key, value in own.items():
        refined[key] = _refined(refined[key], value) if isinstance(value, dict) and isinstance(refined.get(key), dict) else deepcopy(value)
    return refined


def write_controls(config: dict) -> None:
    """Add to `config`, for each label of `controls`, an arm <policy>_<label> of every policy that trains on preferences.

    A policy's own `controls` wins over the study's. The arm trains on <label>, derived from prompts.dataset, or on <data>_<label> where
    the policy has data of its own. Raises StudyError where a policy that has no preferences, or is a control itself, asks for one, and
    where a name is taken.
    """
    policies, methods, datasets = (entries(config, section) for section in ("policies", "methods", "datasets"))
    prompts = config.get("prompts")
    default = prompts.get("dataset") if isinstance(prompts, dict) else None
    for name, policy in policies.items():
        labels = policy.get("controls", config.get("controls"))
        data = policy.get("data", default)
        if not isinstance(labels, list) or not all(label in LABELS for label in labels) or not isinstance(data, str):
            continue
        source = datasets.get(data, {})
        has_pairs = methods.get(str(policy.get("method")), {}).get("trainer", "sft") != "sft"
        if not has_pairs or source.get("labels") in LABELS:
            if policy.get("controls"):
                raise StudyError(
                    f"config: policies.{name}.controls: only a policy that trains on preferences as labelled has controls. Take the key out."
                )
            continue
        for label in labels:
            derived = source if "from" in source else {"from": data, **{key: source[key] for key in ("train_split",) if key in source}}
            dataset = label if data == default else f"{data}_{label}"
            arm = {key: value for key, value in policy.items() if key != "controls"} | {"data": dataset}
            _add_control(config["datasets"], "datasets", dataset, {**deepcopy(derived), "labels": label})
            _add_control(config["policies"], "policies", f"{name}_{label}", arm)


def _add_control(section: dict, key: str, name: str, entry: dict) -> None:
    if section.setdefault(name, entry) != entry:
        raise StudyError(f"config: {key}.{name} is taken: controls make an entry of that name. Rename yours.")


def write_sweeps(config: dict, lists: set[str]) -> dict:
    """Write out in `config` every method that has a list for a scalar key, and the policies that it trains.

    Method m with key k = v becomes m_kv; keys in alphabetical order, a nested one as lora_r8. So do the policies of m and what descends
    from them, with the settings of their lineage, the root's first. Contrasts and claims are written out for each arm; two policies
    with a swept method in common meet at the same setting of it.

    lists: keys of a method whose value is a list without a sweep. Returns {} without a sweep, else `methods`: arm -> the swept method, and
    `policies`: arm -> {of: policy, settings: {method.key: value}}. Raises StudyError for a value that stands twice, a name that is taken,
    and a primary contrast that is swept.
    """
    methods, policies = entries(config, "methods"), entries(config, "policies")
    sweeps = {name: arms for name, method in methods.items() if (arms := _arms(name, method, lists))}
    if not sweeps:
        return {}
    swept = {name: [method for method in _lineage(name, policies) if method in sweeps] for name in policies}
    arms_of = {"methods": {}, "policies": {}}
    for name, arms in sweeps.items():
        del config["methods"][name]
        for suffix, (method, _) in arms.items():
            _add_arm(config["methods"], "methods", f"{name}_{suffix}", method)
            arms_of["methods"][f"{name}_{suffix}"] = name
    for name in [name for name in policies if swept[name]]:
        policy = config["policies"].pop(name)
        for chosen in _choices([name], swept, sweeps):
            arm = _arm(name, chosen, swept)
            entry = {**policy, **({"parent": _arm(policy["parent"], chosen, swept)} if policy.get("parent") in policies else {})}
            if entry.get("method") in sweeps:
                entry["method"] = f"{entry['method']}_{chosen[entry['method']]}"
            _add_arm(config["policies"], "policies", arm, entry)
            settings = {f"{method}.{key}": value for method in swept[name] for key, value in sweeps[method][chosen[method]][1].items()}
            arms_of["policies"][arm] = {"of": name, "settings": settings}
    _write_references(config, swept, sweeps)
    return arms_of


def write_snapshots(config: dict) -> dict[str, dict]:
    """Add to `config`, for each step of a method's `snapshots`, an arm <policy>_step<step> of every policy that it trains.

    Returns arm -> {of: policy, step}. Raises StudyError where a name is taken.
    """
    methods, snapshots = entries(config, "methods"), {}
    for name, policy in entries(config, "policies").items():
        steps = methods.get(str(policy.get("method")), {}).get("snapshots")
        for step in map(_read, steps) if isinstance(steps, list) else ():
            if type(step) is int:
                entry = {key: policy[key] for key in ("parent", "method", "data") if key in policy}
                _add_arm(config["policies"], "policies", f"{name}_step{step}", entry, "a snapshot")
                snapshots[f"{name}_step{step}"] = {"of": name, "step": step}
    return snapshots


def in_a_name(value: object) -> str:
    """A value as it stands in a name: 0.05, 2e-05, true."""
    return str(_read(value)).lower()


def _read(value: object) -> object:
    """Snakemake's command line gives nested numbers as texts."""
    return yaml.safe_load(value) if isinstance(value, str) else value


def _arms(name: str, method: dict, lists: set[str]) -> dict[str, tuple[dict, dict]]:
    """Suffix -> (method with one value for each swept key, {key: value}); empty where nothing is swept."""
    flat = {(key,): value for key, value in method.items() if key not in ("trainer", "like")}
    flat |= {(key, inner): value for (key,), part in flat.items() if isinstance(part, dict) for inner, value in part.items()}
    swept = {path: values for path, values in flat.items() if path[-1] not in lists and _is_sweep(values)}
    for path, values in swept.items():
        if len({in_a_name(value) for value in values}) < len(values):
            raise StudyError(f"config: methods.{name}.{'.'.join(path)} is {values}: a value of a sweep stands twice.")
        if wrong := [value for value in values if not re.fullmatch(r"[a-z0-9_.-]+", in_a_name(value))]:
            raise StudyError(f"config: methods.{name}.{'.'.join(path)} sweeps {wrong[0]!r}, which cannot be part of an arm's name.")
    arms, paths = {}, sorted(swept)
    for values in product(*(swept[path] for path in paths)) if swept else ():
        arm = deepcopy(method)
        for (*outer, key), value in zip(paths, values, strict=True):
            (arm[outer[0]] if outer else arm)[key] = value
        suffix = "_".join("_".join(path) + in_a_name(value) for path, value in zip(paths, values, strict=True))
        arms[suffix] = arm, {".".join(path): _read(value) for path, value in zip(paths, values, strict=True)}
    return arms


def _is_sweep(values: object) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(value, str | int | float) for value in values)


def _lineage(name: str, policies: dict) -> list[str]:
    """The methods that lead to a policy, the root's child's first, each once."""
    methods, seen = [], set()
    while name in policies and name not in seen:
        seen.add(name)
        methods.insert(0, str(policies[name].get("method")))
        name = str(policies[name].get("parent"))
    return list(dict.fromkeys(methods))


def _choices(names: list[str], swept: dict, sweeps: dict) -> list[dict[str, str]]:
    """Every way to set the swept methods of these policies: method -> suffix."""
    methods = list(dict.fromkeys(method for name in names for method in swept.get(name, [])))
    return [dict(zip(methods, suffixes, strict=True)) for suffixes in product(*(sweeps[method] for method in methods))]


def _arm(name: str, chosen: dict[str, str], swept: dict) -> str:
    return "_".join([name, *(chosen[method] for method in swept.get(name, []))])


def _add_arm(section: dict, key: str, name: str, entry: dict, by: str = "the sweep") -> None:
    if name in section:
        raise StudyError(f"config: {key}.{name} is taken: {by} makes an entry of that name. Rename yours.")
    section[name] = deepcopy(entry)


def _write_references(config: dict, swept: dict, sweeps: dict) -> None:
    """Contrasts and claims name policies that the sweep has made into several."""
    analysis = config.get("analysis")
    if isinstance(analysis, dict) and _are_names(analysis.get("primary")):
        for name in [name for name in analysis["primary"][:2] if swept.get(name)]:
            arms = ", ".join(_arm(name, chosen, swept) for chosen in _choices([name], swept, sweeps))
            raise StudyError(
                f"config: analysis.primary names {name}, which a sweep makes into several: name one of {arms}, or set it to null."
            )
    if isinstance(analysis, dict) and isinstance(analysis.get("contrasts"), list):
        analysis["contrasts"] = [
            [_arm(name, chosen, swept) for name in contrast] if _are_names(contrast) else contrast
            for contrast in analysis["contrasts"]
            for chosen in (_choices(contrast, swept, sweeps) if _are_names(contrast) else [{}])
        ]
    if isinstance(config.get("claims"), list):
        config["claims"] = [arm for claim in config["claims"] for arm in _claim_arms(claim, swept, sweeps)]


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _claim_arms(claim: dict, swept: dict, sweeps: dict) -> list:
    """A claim for each setting of the policies that it names; the sentence names them."""
    parts = claim.get("parts") if isinstance(claim, dict) else None
    if not isinstance(parts, list) or not all(isinstance(part, dict) and isinstance(part.get("higher"), str) for part in parts):
        return [claim]
    named = [name for part in parts for name in [part["higher"], *(part["than"] if _are_names(part.get("than")) else [])]]
    claims = []
    for chosen in _choices(named, swept, sweeps):
        written = [{**part, "higher": _arm(part["higher"], chosen, swept)} for part in parts]
        for part in written:
            if _are_names(part.get("than")):
                part["than"] = [_arm(name, chosen, swept) for name in part["than"]]
        arms = [_arm(name, chosen, swept) for name in dict.fromkeys(named) if swept.get(name)]
        claims.append({**claim, "parts": written, **({"claim": f"{claim.get('claim')} ({', '.join(arms)})"} if arms else {})})
    return claims

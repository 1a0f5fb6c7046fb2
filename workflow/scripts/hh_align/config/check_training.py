"""Checks of a config's methods and of the models that are trained from nothing."""

import json
from pathlib import Path

from hh_align.config.check_weights import template_key
from hh_align.config.graph import JUDGES_MADE_HERE, require_known, require_reply_room
from hh_align.core.errors import StudyError

SMOOTHED = ("sigmoid", "robust")  # losses that take label_smoothing


def check_base(config: dict) -> None:
    """Raise StudyError where the data that the base model is trained on do not exist."""
    require_known("models.base.data", config["models"]["base"].get("data"), config["datasets"])


def check_methods(config: dict) -> None:
    """Raise StudyError where a method's settings do not belong together."""
    for name, method in config["methods"].items():
        key = f"methods.{name}"
        _check_batches(key, method, config["compute"]["processes"])
        if method["trainer"] != "sft":
            require_reply_room(key, method)
        if "snapshots" in method and "lora" not in method:
            raise StudyError(f"config: {key}.snapshots needs {key}.lora: what is kept is the adapter.")
        if method["trainer"] == "dpo":
            _check_label_smoothing(key, method)
            _check_dropout(key, method)


def _check_batches(key: str, settings: dict, processes: int = 1) -> None:
    batch_size, micro_batch = settings["batch_size"], settings["micro_batch"]
    if batch_size % micro_batch:
        raise StudyError(f"config: {key}.batch_size ({batch_size}) is no multiple of micro_batch ({micro_batch}).")
    if batch_size // micro_batch % processes:
        raise StudyError(
            f"config: {key}.micro_batch ({micro_batch}) makes {batch_size // micro_batch} parts of a step, which compute.processes "
            f"({processes}) cannot share. Lower one of the two."
        )


def _check_label_smoothing(key: str, method: dict) -> None:
    noise = method.get("label_smoothing", 0)
    if noise and method["loss"] not in SMOOTHED:
        raise StudyError(
            f"config: {key}.label_smoothing is {noise}, but loss {method['loss']} has none. Allowed: loss {', '.join(SMOOTHED)}."
        )
    if not noise and method["loss"] == "robust":
        raise StudyError(
            f"config: {key}.label_smoothing is {noise}, but loss robust needs the share of wrong labels: more than 0, less than 0.5."
        )


def _check_dropout(key: str, method: dict) -> None:
    if method["dropout"] != "as_published":
        return
    if "lora" not in method:
        raise StudyError(f"config: {key}.dropout is as_published, which needs {key}.lora: the reference is the policy without its adapter.")
    if method.get("sft_weight"):
        raise StudyError(
            f"config: {key}.sft_weight is {method['sft_weight']}, but dropout as_published has no SFT term. Allowed: disabled."
        )


def check_tied(config: dict) -> None:
    """Raise StudyError where a method puts an adapter on one of two layers of the base model that share their weights, for a model whose
    config says so: merged, it would change both. For a model that is still to be downloaded, the training checks it before its first step."""
    if not _ties(config["models"]["base"]):
        return
    for name, method in config["methods"].items():
        targets = method.get("lora", {}).get("targets", [])
        if found := sorted({"lm_head", "embed_tokens", "wte"} & set(targets if isinstance(targets, list) else [])):
            raise StudyError(
                f"config: methods.{name}.lora.targets names {', '.join(found)}, but the embedding and the output layer of models.base share their "
                "weights (tie_word_embeddings): an adapter on one of them cannot be merged. Take it out."
            )


def _ties(base: dict) -> bool:
    """Whether a base model is known to have one matrix for its embedding and its output: an OPT made here, or a folder that says so."""
    if base["source"] == "scratch":
        return True
    try:
        return json.loads(Path(base.get("path", ""), "config.json").read_text(encoding="utf-8")).get("tie_word_embeddings") is True
    except (OSError, ValueError, AttributeError):
        return False  # not there, or to be looked at by the import


def check_chat(config: dict) -> None:
    """Raise StudyError where a setting speaks of transcripts, but the model, or one that a policy is trained from, reads by its chat template."""
    if config["models"]["base"].get("chat_template") and not config["generation"]["cue"]:
        raise StudyError("config: models.base.chat_template ends every prompt where the reply begins: set generation.cue to true.")
    for name, policy in config["policies"].items():
        method, template = policy.get("method"), template_key(config, name)
        if template and method and config["methods"][method].get("dropout") == "as_published":
            raise StudyError(
                f"config: methods.{method}.dropout as_published reads transcripts, and trains {name}: set {template} to false."
            )


def scratch_models(config: dict) -> dict[str, dict]:
    """The entries of the base model and the judges that are trained from nothing, by their key in the config."""
    models = {"models.base": config["models"]["base"], **{f"judges.{name}": judge for name, judge in config["judges"].items()}}
    return {key: model for key, model in models.items() if model["source"] == "scratch"}


def check_scratch(config: dict) -> None:
    """Raise StudyError where a model that is trained from nothing has batches or heads that do not divide."""
    for key, model in scratch_models(config).items():
        part = "pretraining" if "pretraining" in model else "training"
        _check_batches(f"{key}.{part}", model[part])
        architecture = model["architecture"]
        if architecture["hidden_size"] % architecture["heads"]:
            raise StudyError(
                f"config: {key}.architecture.hidden_size ({architecture['hidden_size']}) is no multiple of heads ({architecture['heads']})."
            )


def check_positions(config: dict) -> None:
    """Raise StudyError where something is longer than the positions of a base model that is trained from nothing."""
    base = config["models"]["base"]
    if base["source"] != "scratch":
        return
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


def check_train_splits(config: dict) -> None:
    """Raise StudyError where something trains on a split that its dataset does not read."""
    datasets = config["datasets"]
    policies = {f"policies.{name}": policy for name, policy in config["policies"].items() if "method" in policy}
    judges = {f"judges.{name}": judge for name, judge in config["judges"].items() if judge["source"] in JUDGES_MADE_HERE}
    for key, entry in {**policies, **judges, **scratch_models(config)}.items():
        name = entry.get("data", config["prompts"]["dataset"])
        splits = datasets[datasets[name].get("from", name)]["splits"]
        if datasets[name]["train_split"] not in splits:
            raise StudyError(
                f"config: datasets.{name}.train_split is {datasets[name]['train_split']}, which is not read, and {key} trains on it. "
                f"Allowed: {', '.join(splits)}."
            )

"""A policy of a LoRA adapter that somebody else trained: the weights of its parent with the adapter merged."""

from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

from hh_align.core.artifacts import provenance, say
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.models.folders import first_line, load_policy, save_model
from hh_align.models.licences import licence_texts
from hh_align.models.weights import check_numbers, kept_as_float32, locate, read_json, read_weights
from hh_align.training.adapters import check_tied, merge

MERGE_IT = "Merge it with the library that made it, and give the folder of the merged model: {source: local, path: …}."
OTHER_KINDS = (
    "modules_to_save", "trainable_token_indices", "layer_replication", "alora_invocation_tokens", "target_parameters", "use_qalora", "use_bdlora",
    "arrow_config", "kasa_config", "velora_config", "monteclora_config", "lora_bias", "megatron_config",
)  # fmt: skip
"""Settings of a LoRA that the merged weights would not have, or whose merging is not checked here."""
PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
"""Ways to begin an adapter that leave the weights below it as they are."""


def read_settings(folder: Path) -> dict:
    """adapter_config.json of a LoRA adapter. Raises StudyError where there is none, and for another kind of adapter."""
    path = folder / "adapter_config.json"
    if not path.is_file():
        raise StudyError(
            f"{folder}: no adapter_config.json: no adapter as peft writes it. A whole model is given as {{source: local, path: …}}."
        )
    settings = read_json(path)
    kind, task = settings.get("peft_type"), settings.get("task_type")
    if kind != "LORA":
        raise StudyError(f"{path}: an adapter of kind {kind}. Allowed: LORA. {MERGE_IT}")
    if task not in (None, "CAUSAL_LM"):
        raise StudyError(f"{path}: an adapter for task {task}. Allowed: CAUSAL_LM, of a model that writes text.")
    unknown = {key: value for key, value in settings.items() if key not in LoraConfig.__dataclass_fields__ and value}
    if found := [key for key in (*OTHER_KINDS, *unknown) if settings.get(key)]:
        raise StudyError(f"{path}: it has {', '.join(found)}, which is more than an adapter of linear layers. {MERGE_IT}")
    if settings.get("bias", "none") != "none":
        raise StudyError(f"{path}: it has trained biases (bias: {settings['bias']}). {MERGE_IT}")
    if settings.get("init_lora_weights") not in PLAIN_STARTS:
        raise StudyError(
            f"{path}: it was begun by {settings['init_lora_weights']}, which changes the weights below the adapter. {MERGE_IT}"
        )
    return settings


def check_vocabulary(folder: Path, tokenizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise StudyError where an adapter brings tokens of its own, or an embedding or output layer as a whole."""
    whole = sorted(name for name in tensors if "lora_" not in name)
    if whole:
        raise StudyError(
            f"{folder}: beside its adapter it holds whole layers ({', '.join(whole[:3])}), as one with added tokens does. {MERGE_IT}"
        )
    if not (folder / "tokenizer.json").is_file():
        return
    model = read_json(folder / "tokenizer.json")
    theirs = {token.get("content") for token in model.get("added_tokens", [])} - set(tokenizer.get_vocab())
    if theirs:
        raise StudyError(
            f"{folder}/tokenizer.json: it adds tokens that the parent has not: {', '.join(sorted(map(repr, theirs)))}. {MERGE_IT}"
        )


def adapted(model, folder: Path, settings: dict, tensors: Mapping[str, torch.Tensor]):
    """The parent with the adapter on it. Raises StudyError where the adapter does not fit: other modules, layers or shapes."""
    check_tied(model, settings.get("target_modules") or [], f"{folder}/adapter_config.json: target_modules")
    try:
        config = LoraConfig.from_pretrained(str(folder), local_files_only=True)
        config.init_lora_weights, config.inference_mode = True, True
        on_it = get_peft_model(model, config)
    except Exception as error:  # what peft raises has no class of its own
        raise StudyError(f"{folder}: the adapter does not fit the parent ({first_line(error)}). {OTHER_BASE}") from error
    expected = {name: tuple(tensor.shape) for name, tensor in get_peft_model_state_dict(on_it, save_embedding_layers=False).items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if lost := sorted(set(given) - set(expected)):
        raise StudyError(f"{folder}: the parent has no place for {lost[0]} ({len(lost)} of {len(given)} tensors). {OTHER_BASE}")
    if lacking := sorted(set(expected) - set(given)):
        raise StudyError(f"{folder}: the adapter lacks {lacking[0]} ({len(lacking)} of {len(expected)} tensors). {OTHER_BASE}")
    if other := sorted(name for name in given if given[name] != expected[name]):
        raise StudyError(f"{folder}: {other[0]} has shape {given[other[0]]}, the parent needs {expected[other[0]]}. {OTHER_BASE}")
    set_peft_model_state_dict(on_it, dict(tensors))
    return on_it


OTHER_BASE = "It was trained on another model: let `parent` have the weights that adapter_config.json names (base_model_name_or_path)."


def described(settings: dict, source: str | None) -> list[str]:
    """What is to be said of the policy: which model the adapter was trained on by its own word, and whether that is the parent's source."""
    named = settings.get("base_model_name_or_path")
    if not named:
        return ["an adapter was merged that does not say which model it was trained on"]
    other = "" if source is None or Path(named).name == Path(source).name else f"; the weights below it here are those of {source}"
    return [f"an adapter was merged that was trained on {named} by its own word{other}"]


def other_template(folder: Path, tokenizer) -> list[str]:
    """What is to be said where the parent is asked by a chat template and the adapter's folder has another one, by which it may be trained."""
    jinja, settings = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    theirs = jinja.read_text(encoding="utf-8") if jinja.is_file() else None
    if theirs is None and settings.is_file():
        theirs = read_json(settings).get("chat_template")
    if tokenizer.chat_template is None or not isinstance(theirs, str) or theirs.strip() == tokenizer.chat_template.strip():
        return []
    return ["the adapter's folder has another chat template than its parent, by whose it is asked"]


def main() -> None:
    args = parse(__doc__, config="config", parent="path", source="path", manifest="path")
    folder, covered, _ = locate(args.source)
    settings = read_settings(folder)
    tensors = read_weights(folder, covered, "adapter_model", "adapter_model.bin")
    check_numbers(tensors, folder)
    model, tokenizer = load_policy(args.parent)
    check_vocabulary(folder, tokenizer, tensors)
    merged = merge(adapted(model, folder, settings, tensors), list(range(min(len(tokenizer), 32))), "cpu")
    notes = [*described(settings, args.config.get("source")), *other_template(folder, tokenizer), *kept_as_float32(tensors)]
    read = [args.source] if covered else sorted(folder.glob("adapter_*"))
    made_by = provenance(args.config, [args.parent, *read], notes=notes)
    made_by |= {"licences": licence_texts(folder.iterdir())} if covered else {}
    save_model(args.manifest, merged, tokenizer, made_by)
    for note in notes:
        say(f"{folder.name}: {note}")
    size = sum(tensor.numel() for tensor in tensors.values())
    say(f"{args.manifest.parent}: {len(tensors)} tensors, {size:,} parameters, r {settings.get('r')}, alpha {settings.get('lora_alpha')}")


if __name__ == "__main__":
    run(main)

"""Turn a downloaded or local model folder into the one artifact shape: fp32 safetensors, tokenizer.json, manifest."""

import re
from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from hh_align.core.artifacts import provenance, say
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.models.chat import check_template, choose_template
from hh_align.models.folders import first_line, load_tokenizer, prepare, save_model
from hh_align.models.gguf import quantisation, read_gguf_model, read_gguf_tokenizer, reader
from hh_align.models.licences import is_licence, licence_texts
from hh_align.models.outputs import OFFSET, output_index
from hh_align.models.reading import check_chat, reading_of
from hh_align.models.weights import check_kind, check_numbers, kept_as_float32, locate, read_json, read_weights

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

CLASSES = {"policy": "MODEL_FOR_CAUSAL_LM_MAPPING", "judge": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING"}
OPT_TOKENS = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}


def read_model(
    folder: Path, covered: Collection[str] | None, kind: str, reading: dict | None = None
) -> tuple["PreTrainedModel", list[str]]:
    """The model in fp32, every weight from the file, and what is to be said of these.

    reading: which output of a judge is its reward. Raises StudyError where the config is unusable, a weight is missing or has another
    shape, or a judge has not that output.
    """
    import torch
    import transformers

    check_kind(folder)
    try:
        weights = read_weights(folder, covered)
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if kind == "judge":
            output_index(config, reading or {}, f"{folder}/config.json")
        classes = getattr(transformers, CLASSES[kind])
        if type(config) not in classes:
            raise StudyError(f"{folder}/config.json: a model of type {config.model_type} cannot be a {kind}.")
        model, loaded = classes[type(config)].from_pretrained(
            None,
            config=config,
            state_dict=weights,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except StudyError:
        raise
    except Exception as error:  # what transformers raises at a broken file has no class of its own
        raise StudyError(f"{folder}: not a usable {kind} ({first_line(error)}).") from error
    check_numbers(weights_of(model, weights, loaded["unexpected_keys"]), folder)
    wrong = sorted(loaded["missing_keys"]) + sorted(key for key, *_ in loaded["mismatched_keys"])
    if wrong:
        raise StudyError(f"{folder}: weights missing or of another shape than config.json says: {', '.join(wrong)}.")
    if loaded["unexpected_keys"]:
        say(f"{folder.name}: not part of a {type(model).__name__}, left out: {', '.join(sorted(loaded['unexpected_keys']))}")
    if kind == "policy" and (folder / "generation_config.json").is_file():
        model.generation_config = read_generation(folder)
    return model, kept_as_float32(weights)


def weights_of(model: "PreTrainedModel", tensors: Mapping[str, "Tensor"], unexpected: Collection[str]) -> dict[str, "Tensor"]:
    """Those of a file's tensors that become weights of the model: not what it has no use for, nor its buffers (masks, positions)."""
    ignored = [*(model._keys_to_ignore_on_load_unexpected or []), *(f"{re.escape(name)}$" for name, _ in model.named_buffers())]
    left_out = re.compile("|".join(ignored) or "(?!)")
    return {name: tensor for name, tensor in tensors.items() if name not in unexpected and not left_out.search(name)}


def read_generation(folder: Path) -> "GenerationConfig":
    """The settings of generation_config.json. Raises StudyError where they are none."""
    from transformers import GenerationConfig

    path = folder / "generation_config.json"
    read_json(path)
    try:
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # what transformers raises at a broken file has no class of its own
        raise StudyError(f"{path}: no settings of a generation ({first_line(error)}). Mend the file, or take it out.") from error


def read_tokenizer(folder: Path, model_type: str) -> "PreTrainedTokenizerFast":
    """The tokenizer of tokenizer.json, else of OPT's vocab.json and merges.txt: GPT-2's split, a leading </s>, its own <pad>.

    Raises StudyError where there is neither, or where they cannot be read.
    """
    for path in (folder / "tokenizer_config.json", folder / "special_tokens_map.json"):
        if path.is_file():
            read_json(path)
    try:
        if (folder / "tokenizer.json").is_file():
            return load_tokenizer(folder)
        if model_type == "opt" and (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            from transformers import GPT2Tokenizer

            return GPT2Tokenizer.from_pretrained(folder, local_files_only=True, add_bos_token=True, **OPT_TOKENS)
    except Exception as error:  # what the tokenizers library raises has no class of its own
        raise StudyError(f"{folder}: not a usable tokenizer ({first_line(error)}).") from error
    raise StudyError(f"{folder}: no tokenizer.json (and, for OPT, no vocab.json with merges.txt).")


def settle_tokens(tokenizer: "PreTrainedTokenizerFast", model: "PreTrainedModel", where: Path, template: str) -> None:
    """Make explicit what a causal model's tokenizer leaves open: which token ends a text, which one begins it, and which one fills up a batch.

    eos_token is the model's where the tokenizer names none (GPT-2's files do not). bos_token stays only where the tokenizer itself puts it
    before a text. Padding, which no loss and no attention sees, is a token that neither ends a text nor stands in the chat template: its
    own, else one of padding_names, and the end token where there is none of these. Raises StudyError without an end token, and where more
    than one token stands before a text.
    """
    if tokenizer.eos_token is None and isinstance(model.config.eos_token_id, int):
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(model.config.eos_token_id)
    if tokenizer.eos_token is None:
        raise StudyError(f"{where}: the tokenizer has no end token, so no reply could end. Set eos_token in tokenizer_config.json.")
    core = tokenizer.backend_tokenizer
    whole, text = (core.encode("a", add_special_tokens=special).ids for special in (True, False))
    first = whole[: whole.index(text[0])]
    if len(first) > 1:
        raise StudyError(f"{where}: the tokenizer puts {len(first)} tokens before a text. Allowed: one or none.")
    tokenizer.bos_token = tokenizer.convert_ids_to_tokens(first[0]) if first else None
    used = {token.content for token in tokenizer.added_tokens_decoder.values() if token.content in template}
    taken = {None, tokenizer.eos_token, tokenizer.bos_token, *used}
    if tokenizer.pad_token in taken:
        names = padding_names(tokenizer, model, taken)
        tokenizer.add_special_tokens({"pad_token": [*names, tokenizer.eos_token][0]})
        say(f"{where.name}: padding is {tokenizer.pad_token} ({tokenizer.pad_token_id})")


def padding_names(tokenizer: "PreTrainedTokenizerFast", model: "PreTrainedModel", taken: Collection[str | None]) -> list[str]:
    """Tokens that may be padding, the best first: named like it, the unknown token, a new one where the embedding has a row to spare,
    another special one."""
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special and token.content not in taken]
    padding = [name for name in special if "pad" in name.lower()]
    unknown = [tokenizer.unk_token] if tokenizer.unk_token not in taken else []
    new = ["<pad>"] if max(tokenizer.get_vocab().values()) + 1 < model.get_input_embeddings().num_embeddings else []
    return [*padding, *unknown, *new, *special]


def settle_padding(tokenizer: "PreTrainedTokenizerFast", model: "PreTrainedModel", where: Path) -> None:
    """Make a judge's model and tokenizer agree on the padding: a decoder rates the last token that is none, by the id in its config.

    Padding is a special token that neither ends nor begins a text, nor stands for an unknown sign in one: the config's where it names such a
    one, else the tokenizer's, else one named like it, else a new one, whose row of the embedding is zero. Raises StudyError where config.json
    would have to name another one than before, and the judge's positions begin behind it.
    """
    config, rows = model.config, model.get_input_embeddings().num_embeddings
    unknown = {tokenizer.unk_token, getattr(tokenizer.backend_tokenizer.model, "unk_token", None)}
    taken = {None, tokenizer.eos_token, tokenizer.bos_token, *unknown}
    special = {number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    named = [name for name in special.values() if "pad" in name.lower()]
    names = [special.get(config.pad_token_id), tokenizer.pad_token, *named, "<pad>", "<padding>"]
    pad = next(name for name in names if name not in taken)
    new = pad not in tokenizer.get_vocab()
    if pad != tokenizer.pad_token:
        tokenizer.add_special_tokens({"pad_token": pad})
        say(f"{where.name}: padding is {pad} ({tokenizer.pad_token_id})")
    if new and tokenizer.pad_token_id == rows:
        model.resize_token_embeddings(rows + 1, mean_resizing=False)
        model.get_input_embeddings().weight.data[rows] = 0
    if config.pad_token_id != tokenizer.pad_token_id:
        if config.model_type in OFFSET:
            raise StudyError(
                f"{where}: the positions of a judge of type {config.model_type} begin behind its padding, and the one in config.json (pad_token_id "
                f"{config.pad_token_id}) is no special token of its own. Set pad_token_id to the padding that it was trained with."
            )
        say(f"{where.name}: padding is {pad} in config.json, too (there it was {config.pad_token_id})")
        config.pad_token_id = tokenizer.pad_token_id


def prepare_policy(tokenizer: "PreTrainedTokenizerFast", model: "PreTrainedModel", where: Path, chat: bool) -> None:
    """Settle the tokens of a causal model, and keep its chat template where it is read by it. Raises StudyError as choose_template,
    settle_tokens and check_template do."""
    if chat:
        choose_template(tokenizer, where)
    else:
        tokenizer.chat_template = None
    settle_tokens(tokenizer, model, where, tokenizer.chat_template or "")
    if chat:
        check_template(tokenizer, where)


def prepare_judge(tokenizer: "PreTrainedTokenizerFast", model: "PreTrainedModel", where: Path, reads: str | None) -> str:
    """How a judge reads, with its padding settled, and its chat template kept where it reads by it. Raises StudyError as choose_template,
    settle_padding, reading_of and check_chat do."""
    choose_template(tokenizer, where)
    settle_padding(tokenizer, model, where)
    reads = reading_of(tokenizer, reads, where)
    if reads == "chat":
        check_chat(tokenizer, where)
    else:
        tokenizer.chat_template = None
    return reads


def read_source(
    folder: Path, covered: Collection[str] | None, gguf: str | None, config: dict
) -> tuple["PreTrainedModel", "PreTrainedTokenizerFast", list[str]]:
    """Model and tokenizer of a folder, or of the GGUF file of that name in it, and what is to be said of the weights.

    Raises StudyError as the readers of both do, and for a judge of a GGUF file.
    """
    if gguf is None:
        model, notes = read_model(folder, covered, config["kind"], config)
        return model, read_tokenizer(folder, model.config.model_type), notes
    if config["kind"] != "policy":
        raise StudyError(f"{folder / gguf}: a judge is read from a folder of safetensors, not from a GGUF file.")
    notes = quantisation(reader(folder / gguf))
    return read_gguf_model(folder, gguf), read_gguf_tokenizer(folder, gguf), notes


def main() -> None:
    args = parse(__doc__, config="config", source="path", manifest="path")
    folder, covered, gguf = locate(args.source, args.config.get("file"))
    prepare()
    model, tokenizer, notes = read_source(folder, covered, gguf, args.config)
    # by its name: no byte of the artifact depends on that code, so its edits make no model anew
    trial = import_module("hh_align.models.trial")
    if args.config["kind"] == "policy":
        prepare_policy(tokenizer, model, folder, args.config.get("chat_template", False))
        trial.check_base(model, tokenizer, folder)
    else:
        trial.check_judge(model, tokenizer, prepare_judge(tokenizer, model, folder, args.config.get("reads")), folder)
    suffixes = (".json", ".txt", ".jinja", *([] if gguf else [".safetensors"]))
    read = sorted(path for path in folder.iterdir() if (path.suffix in suffixes and not is_licence(path)) or path.name == gguf)
    made_by = provenance(args.config, [args.source] if covered else read, dtype="float32")
    downloaded = {"downloaded": covered, "licences": licence_texts(folder.iterdir())} if covered else {}
    made_by |= downloaded | ({"notes": notes} if notes else {})
    save_model(args.manifest, model, tokenizer, made_by)
    for note in notes:
        say(f"{folder.name}: {note}")
    say(f"{args.manifest.parent}: {type(model).__name__}, {model.num_parameters():,} parameters, {len(tokenizer):,} tokens, float32")


if __name__ == "__main__":
    run(main)

"""Turn a downloaded or local model folder into the one artifact shape: fp32 safetensors, tokenizer.json, notice, manifest."""

import json
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from hh_align.core.artifacts import provenance, say, verify_manifest
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.models.chat import check_template, default_template
from hh_align.models.folders import first_line, load_tokenizer, prepare, save_model
from hh_align.models.outputs import OFFSET, output_index
from hh_align.models.reading import check_chat, reading_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

CLASSES = {"policy": "MODEL_FOR_CAUSAL_LM_MAPPING", "judge": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING"}
INDEX = "model.safetensors.index.json"
OPT_TOKENS = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}


def locate(source: Path) -> tuple[Path, dict[str, str] | None]:
    """The folder to read, and the sha256 of each file that the manifest of a download vouches for.

    None for a local folder: a manifest in it is checked, but who made the folder made the manifest, too. Raises StudyError where there
    is no such folder or a file is not what the manifest says.
    """
    if source.name == "manifest.json":
        return verify_manifest(source), json.loads(source.read_text(encoding="utf-8"))
    if not source.is_dir():
        raise StudyError(f"{source}: no such model folder. Check the path of the model in the config.")
    if (source / "manifest.json").is_file():
        verify_manifest(source / "manifest.json")
    return source, None


def read_tensors(path: Path) -> dict[str, "Tensor"]:
    """The tensors of a safetensors file. Raises StudyError where it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, FileNotFoundError) as error:
        raise StudyError(f"{path}: not a readable safetensors file ({error}).") from error


def shards_of(index: Path, there: Collection[str]) -> list[Path]:
    """The files that an index of sharded weights names, beside it. Raises StudyError for another index, and for a file that is not there."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(f"{index}: no index of weights ({first_line(error)}).") from None
    if missing := [str(name) for name in names if name not in there]:
        raise StudyError(f"{index}: it names {', '.join(missing)}, which is not beside it. Copy the whole folder.")
    return [index.with_name(name) for name in names]


def check_whole(folder: Path) -> None:
    """Raise StudyError for the folder of an adapter, which has neither the config nor the weights of a model."""
    if (folder / "adapter_config.json").is_file() and not any(
        (folder / name).is_file() for name in ("model.safetensors", INDEX, "pytorch_model.bin")
    ):
        raise StudyError(
            f"{folder}: an adapter, which has no weights of its own to start from. Merge it into its base model (peft: merge_and_unload)."
        )


def read_weights(folder: Path, covered: Collection[str] | None) -> dict[str, "Tensor"]:
    """The tensors of model.safetensors, of the shards that its index names, or of pytorch_model.bin where a manifest vouches for that file.

    A .bin is a pickle: it is read with weights_only, which builds tensors and calls nothing else.
    Raises StudyError where there are no weights, or only a pickle that nobody vouches for, or one that holds more than tensors.
    """
    there = {path.name for path in folder.iterdir()} if covered is None else covered
    if "model.safetensors" in there:
        return read_tensors(folder / "model.safetensors")
    if INDEX in there:
        return {name: tensor for path in shards_of(folder / INDEX, there) for name, tensor in read_tensors(path).items()}
    if "pytorch_model.bin" not in there:
        raise StudyError(f"{folder}: neither model.safetensors (or its shards with {INDEX}) nor pytorch_model.bin is there.")
    if covered is None:
        raise StudyError(
            f"{folder}/pytorch_model.bin is a pickle, which can run code, and no checksum vouches for it. "
            "Convert it to model.safetensors, or take the model from the hub at a pinned revision."
        )
    import pickle

    import torch

    try:
        return torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise StudyError(
            f"{folder}/pytorch_model.bin: not a file of plain weights; nothing of it was run ({type(error).__name__})."
        ) from error


def read_model(folder: Path, covered: Collection[str] | None, kind: str, reading: dict | None = None) -> "PreTrainedModel":
    """The model in fp32, every weight from the file.

    reading: which output of a judge is its reward. Raises StudyError where the config is unusable, a weight is missing or has another
    shape, or a judge has not that output.
    """
    import torch
    import transformers

    check_whole(folder)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if kind == "judge":
            output_index(config, reading or {}, f"{folder}/config.json")
        classes = getattr(transformers, CLASSES[kind])
        if type(config) not in classes:
            raise StudyError(f"{folder}/config.json: a model of type {config.model_type} cannot be a {kind}.")
        model, loaded = classes[type(config)].from_pretrained(
            None,
            config=config,
            state_dict=read_weights(folder, covered),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except StudyError:
        raise
    except Exception as error:  # what transformers raises at a broken file has no class of its own
        raise StudyError(f"{folder}: not a usable {kind} ({first_line(error)}).") from error
    wrong = sorted(loaded["missing_keys"]) + sorted(key for key, *_ in loaded["mismatched_keys"])
    if wrong:
        raise StudyError(f"{folder}: weights missing or of another shape than config.json says: {', '.join(wrong)}.")
    if loaded["unexpected_keys"]:
        say(f"{folder.name}: not part of a {type(model).__name__}, left out: {', '.join(sorted(loaded['unexpected_keys']))}")
    if kind == "policy" and (folder / "generation_config.json").is_file():
        model.generation_config = transformers.GenerationConfig.from_pretrained(folder, local_files_only=True)
    return model


def read_tokenizer(folder: Path, model_type: str) -> "PreTrainedTokenizerFast":
    """The tokenizer of tokenizer.json, else of OPT's vocab.json and merges.txt: GPT-2's split, a leading </s>, its own <pad>.

    Raises StudyError where there is neither, or where they cannot be read.
    """
    try:
        if (folder / "tokenizer.json").is_file():
            return load_tokenizer(folder)
        if model_type == "opt" and (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            from transformers import GPT2Tokenizer

            return GPT2Tokenizer.from_pretrained(folder, local_files_only=True, add_bos_token=True, **OPT_TOKENS)
    except Exception as error:  # what the tokenizers library raises has no class of its own
        raise StudyError(f"{folder}: not a usable tokenizer ({error}).") from error
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
    """Settle the tokens of a causal model, and keep its chat template where it is read by it. Raises StudyError as settle_tokens and
    check_template do."""
    if not chat:
        tokenizer.chat_template = None
    settle_tokens(tokenizer, model, where, tokenizer.chat_template or "")
    if chat:
        check_template(tokenizer, where)


def prepare_judge(tokenizer: "PreTrainedTokenizerFast", model: "PreTrainedModel", where: Path, reads: str | None) -> str:
    """How a judge reads, with its padding settled, and its chat template kept where it reads by it. Raises StudyError as settle_padding,
    reading_of and check_chat do."""
    settle_padding(tokenizer, model, where)
    reads = reading_of(tokenizer, reads, where)
    if reads == "chat":
        check_chat(tokenizer, where)
    else:
        tokenizer.chat_template = None
    return reads


def compose_notice(folder: Path, notice: str) -> str:
    """The notice, then the licence files of the source, each under its name."""
    files = [path for path in sorted(folder.iterdir()) if path.name.startswith(("LICENSE", "NOTICE"))]
    texts = [notice.strip(), *(f"--- {path.name} ---\n{path.read_text(encoding='utf-8', errors='replace').strip()}" for path in files)]
    return "\n\n".join(text for text in texts if text) + "\n"


def main() -> None:
    args = parse(__doc__, config="config", source="path", manifest="path")
    folder, covered = locate(args.source)
    prepare()
    model = read_model(folder, covered, args.config["kind"], args.config)
    tokenizer = read_tokenizer(folder, model.config.model_type)
    default_template(tokenizer, folder)
    # by its name: no byte of the artifact depends on that code, so its edits make no model anew
    trial = import_module("hh_align.models.trial")
    if args.config["kind"] == "policy":
        prepare_policy(tokenizer, model, folder, args.config.get("chat_template", False))
        trial.check_base(model, tokenizer, folder)
    else:
        trial.check_judge(model, tokenizer, prepare_judge(tokenizer, model, folder, args.config.get("reads")), folder)
    read = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".txt", ".safetensors", ".jinja"))
    made_by = provenance(args.config, [folder / "manifest.json"] if covered else read, dtype="float32")
    made_by |= {"downloaded": covered} if covered else {}
    save_model(args.manifest, model, tokenizer, made_by, compose_notice(folder, args.config["notice"]))
    say(f"{args.manifest.parent}: {type(model).__name__}, {model.num_parameters():,} parameters, {len(tokenizer):,} tokens, float32")


if __name__ == "__main__":
    run(main)

"""One artifact shape for every model: a folder of plain files, fp32, complete when its manifest is there."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hh_align.core.artifacts import NO_DISK, cannot_write, temporary_name, verify_manifest, write_json, write_manifest, write_text
from hh_align.core.errors import StudyError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DISABLE_SAFETENSORS_CONVERSION": "1", "TQDM_DISABLE": "1"}
JUDGE_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "provenance.json")
POLICY_FILES = ("config.json", "generation_config.json", *JUDGE_FILES[1:])
TORCH_WRITER = ("inline_container", "basic_ios")
"""Words in the errors of torch's writer of files."""
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "cls_token", "sep_token", "mask_token")


def prepare() -> None:
    """Before transformers is used: nothing asks the hub (a model is a folder), no progress bars, no load reports."""
    os.environ |= OFFLINE
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerFast":
    """The tokenizer exactly as tokenizer.json describes it.

    A model's own tokenizer class would take only the vocabulary from that file and rebuild the rest (normalizer,
    pre-tokenizer), which for DeBERTa-v2 is not what the file says.
    """
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def first_line(error: Exception) -> str:
    """What an error of a library says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def check_tokenizer(tokenizer: "PreTrainedTokenizerFast", model: "PreTrainedModel", where: Path) -> None:
    """Raise StudyError where a token id has no row in the embedding, or padding is missing or, of a judge, shared with the end token.

    A judge finds the end of a text by its padding. A policy's rows have none.
    """
    last, rows = max(tokenizer.get_vocab().values()), model.get_input_embeddings().num_embeddings
    if last >= rows:
        raise StudyError(
            f"{where}: the tokenizer goes up to id {last}, the model's embedding has {rows} rows. They do not belong together."
        )
    shared = tokenizer.pad_token_id == tokenizer.eos_token_id and not model.can_generate()
    if tokenizer.pad_token_id is None or shared:
        raise StudyError(f"{where}: the tokenizer needs a pad token of its own (pad {tokenizer.pad_token}, end {tokenizer.eos_token}).")


def positions_of(config) -> int:
    """Tokens of the longest row that a causal model reads: its positions or, where that is shorter, the reach of its attention (a window, a
    chunk) or the length up to which rotary frequencies do not depend on the longest row (longrope).

    Raises StudyError where the config names no such limit.
    """
    config = config.get_text_config()
    layers = getattr(config, "layer_types", None)
    ropes = getattr(config, "rope_parameters", None) or {}
    ropes = [part for part in ropes.values() if isinstance(part, dict)] or [ropes]  # one for each type of layer, or one for all
    limits = [getattr(config, "max_position_embeddings", None)]
    if "sliding_attention" in (layers or ["sliding_attention"]):
        limits.append(getattr(config, "sliding_window", None))
    if "chunked_attention" in (layers or []):
        limits.append(getattr(config, "attention_chunk_size", None))
    limits += [rope.get("original_max_position_embeddings") for rope in ropes if rope.get("rope_type") == "longrope"]
    if not any(limits):
        raise StudyError("config.json does not say how long a row the model reads. Set max_position_embeddings in it.")
    return min(filter(None, limits))


def check_length(config, longest: int, key: str = "the method") -> None:
    """Raise StudyError where the longest sequence has more tokens than the model has positions. key: whose max_length is too long."""
    if longest > positions_of(config):
        raise StudyError(f"a row has {longest} tokens, the model reads at most {positions_of(config)}: lower max_length of {key}.")


def _load(manifest: Path, auto_class: str, attention: str, dtype: str, device: str) -> tuple:
    folder = verify_manifest(manifest)
    prepare()
    import torch
    import transformers

    try:
        model = getattr(transformers, auto_class).from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
        tokenizer = load_tokenizer(folder)
    except Exception as error:  # what these libraries raise at a broken file has no class in common
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            raise StudyError(f"{folder}: not enough memory to load it. Take a machine with more, or run fewer jobs side by side.") from None
        raise StudyError(f"{folder}: not a usable model ({first_line(error)}). Delete the folder; the next run rebuilds it.") from error
    check_tokenizer(tokenizer, model, folder)
    return model.to(device).eval(), tokenizer


def load_policy(manifest: Path, dtype: str = "float32", device: str = "cpu") -> tuple["PreTrainedModel", "PreTrainedTokenizerFast"]:
    """A causal language model (SDPA attention, eval mode) and its tokenizer. Every token of the vocabulary is learnt, the padding's too:
    a template may use it, and whether the config names it changes from parent to child.

    Raises StudyError where a file is not what the manifest says, or tokenizer and model do not belong together.
    """
    model, tokenizer = _load(manifest, "AutoModelForCausalLM", "sdpa", dtype, device)
    model.get_input_embeddings().padding_idx = None
    return model, tokenizer


def load_judge(manifest: Path, dtype: str = "float32", device: str = "cpu") -> tuple["PreTrainedModel", "PreTrainedTokenizerFast"]:
    """A sequence classifier with one logit (eager attention: DeBERTa-v2 has no other; eval mode) and its tokenizer.

    Raises StudyError as load_policy does.
    """
    return _load(manifest, "AutoModelForSequenceClassification", "eager", dtype, device)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Within, a library writes weights or a checkpoint to `folder`. Raises StudyError where the disk does not take them: safetensors and
    torch have errors of their own for that, which name no file."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, RuntimeError, OSError) as error:
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in TORCH_WRITER):
            raise
        if isinstance(error, OSError) and error.errno not in NO_DISK:
            raise
        raise cannot_write(folder, first_line(error)) from None


def save_model(manifest: Path, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", made_by: dict) -> None:
    """Write a model folder: POLICY_FILES for a model that can generate, else JUDGE_FILES, and the manifest last.

    Weights are written as one fp32 safetensors file; a model of another dtype is converted in place. What a run has set on
    the tokenizer (padding, truncation, sides) is not part of the artifact. Equal inputs give equal bytes.
    """
    prepare()
    folder = Path(manifest).parent
    check_tokenizer(tokenizer, model, folder)
    for left_by_a_kill in folder.glob(".draft.*.tmp"):
        shutil.rmtree(left_by_a_kill)
    draft = folder / temporary_name("draft")

    with writing(folder):
        draft.mkdir(parents=True)
        model.float().save_pretrained(draft, max_shard_size="1TB")
    shutil.copymode(draft / "config.json", draft / "model.safetensors")  # safetensors writes for the owner only
    described = json.loads(tokenizer.backend_tokenizer.to_str()) | {"padding": None, "truncation": None}
    write_text(draft / "tokenizer.json", json.dumps(described, ensure_ascii=False) + "\n")
    write_json(draft / "tokenizer_config.json", tokenizer_settings(tokenizer, segments=not model.can_generate()))
    write_json(draft / "provenance.json", made_by)

    names = POLICY_FILES if model.can_generate() else JUDGE_FILES
    Path(manifest).unlink(missing_ok=True)
    for name in names:
        os.replace(draft / name, folder / name)
    shutil.rmtree(draft)
    write_manifest(folder, list(names))


def tokenizer_settings(tokenizer: "PreTrainedTokenizerFast", segments: bool) -> dict:
    """The content of tokenizer_config.json: special tokens, model inputs with `token_type_ids` where there are segments, and the chat
    template by which the model reads, if there is one.

    The class is the generic one, in every version of transformers the one that takes tokenizer.json as it is.
    """
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"],
        "clean_up_tokenization_spaces": False,
    } | {name: str(value) for name in (*SPECIAL_TOKENS, "chat_template") if (value := getattr(tokenizer, name))}

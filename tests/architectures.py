"""Small random causal models that are no OPT, in the files of a repository, and their import."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from training_study import call, preference

from hh_align.models import import_model
from hh_align.models.bpe import train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ROWS = [preference(number) for number in range(16)]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128, "initializer_range": 0.2}
GATED = SIZES | {"intermediate_size": 64, "num_key_value_heads": 2}
ARCHITECTURES = {  # class of the config, its settings, LoRA targets, what the tokenizer puts before a text, spare rows of the embedding
    "gpt_neox": ("GPTNeoXConfig", SIZES | {"intermediate_size": 64}, ["query_key_value"], "$A", 5),
    "llama": ("LlamaConfig", GATED | {"tie_word_embeddings": True}, ["q_proj", "v_proj"], "<s> $A", 0),
    "qwen2": ("Qwen2Config", GATED | {"tie_word_embeddings": True}, ["q_proj", "v_proj"], "$A", 5),
    "qwen3": ("Qwen3Config", GATED | {"head_dim": 8}, ["q_proj", "v_proj"], "$A", 0),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "initializer_range": 0.2}, ["c_attn"], "$A", 5),
}


PREPENDING = ("normalizer", "pre-tokenizer")


def prepending_tokenizer(texts: list[str], form: str) -> "PreTrainedTokenizerFast":
    """A tokenizer that puts a "▁" before a text, by what PREPENDING names: as Llama-2's, TinyLlama's and Mistral-v0.1's files do, or later ones."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    signs = [*map(chr, range(32, 127)), "\n", "▁"]
    core.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=signs, show_progress=False),
    )
    if form == "normalizer":
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        core.pre_tokenizer = None
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def write_source(folder: Path, kind: str, tokenizer: "PreTrainedTokenizerFast | None" = None, **more: object) -> Path:
    """A repository of a small random model of this kind; its tokenizer, unless one is given, names no token for padding, and a bos that it
    may not use."""
    import transformers

    name, settings, _, template, spare = ARCHITECTURES.get(kind, (kind, {}, [], "$A", 5))
    tokenizer = tokenizer or train_tokenizer([row["prompt"] + row["chosen"] for row in ROWS], 300, template)
    settings = settings | more | {"vocab_size": len(tokenizer) + spare, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": None}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, name)(**settings))
    model.save_pretrained(folder)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens))
    return folder


def import_policy(source: Path, manifest: Path, **more: object) -> Path:
    """The manifest of the imported model."""
    call(import_model, {"kind": "policy", **more}, source=source, manifest=manifest)
    return manifest

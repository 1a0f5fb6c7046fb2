"""Scaled-down repositories in the true file layouts: OPT-350M, the DeBERTa-v3 reward model, HH-RLHF. Random weights, fixed seed."""

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

OPT_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
LICENCE = "A licence text that has to travel with the weights.\n"


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), encoding="utf-8")


def read_merges(path: Path, count: int | None = None) -> list[str]:
    """The first `count` merges of a GPT-2 merges.txt."""
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line and not line.startswith("#version")][:count]


def gpt2_tokenizer(**special: str):
    """GPT-2's own BPE, by which OPT cuts texts, with these special tokens. Skips the test where ../shared/gpt2-bpe is not there."""
    import pytest
    from study_folder import SHARED
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = SHARED / "gpt2-bpe"
    if not folder.is_dir():
        pytest.skip("needs GPT-2's BPE in ../shared/gpt2-bpe")
    core = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, **special)


def write_bpe(folder: Path, merges: Iterable[str] = ()) -> int:
    """vocab.json and merges.txt with OPT's special ids 0-3, the 256 byte symbols, and one token per merge; returns the vocabulary's size."""
    from tokenizers.pre_tokenizers import ByteLevel

    merges = list(merges)
    tokens = dict.fromkeys([*OPT_SPECIALS, *sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in merges)])
    write(folder / "vocab.json", {token: number for number, token in enumerate(tokens)})
    write(folder / "merges.txt", "\n".join(["#version: 0.2", *merges]) + "\n")
    return len(tokens)


def write_opt(
    folder: Path, weights: str = "bin", prefix: str = "model.decoder.", merges: Iterable[str] = (), hidden: int = 16, **shape: int
) -> None:
    """A repository laid out as facebook/opt-350m: post-norm, projections around a narrower embedding, fp16 weights, no tokenizer.json.

    `weights` is bin or safetensors; `prefix` is how the decoder's keys begin (`model.decoder.` or `decoder.`); `shape` replaces entries
    of config.json.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import OPTConfig, OPTForCausalLM

    vocabulary = write_bpe(folder, merges)
    settings = {
        "vocab_size": vocabulary + 7,  # the real one, too, has more rows than tokens
        "hidden_size": hidden,
        "word_embed_proj_dim": hidden // 2,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 2 * hidden,
        "max_position_embeddings": 2048,
        "do_layer_norm_before": False,
        "dropout": 0.1,
        "bos_token_id": 2,
        "eos_token_id": 2,
        "pad_token_id": 1,
    } | shape
    extra = {"model_type": "opt", "architectures": ["OPTForCausalLM"], "prefix": "</s>", "torch_dtype": "float16"}
    write(folder / "config.json", settings | extra)
    write(folder / "generation_config.json", {"_from_model_config": True, "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1})
    token = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "__type": "AddedToken"}
    end, pad = token | {"content": "</s>"}, token | {"content": "<pad>"}
    tokens = {"bos_token": end, "eos_token": end, "unk_token": end, "pad_token": pad}
    write(folder / "tokenizer_config.json", tokens | {"add_bos_token": True, "add_prefix_space": False, "tokenizer_class": "GPT2Tokenizer"})
    write(folder / "special_tokens_map.json", tokens)
    write(folder / "LICENSE.md", LICENCE)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = OPTForCausalLM(OPTConfig(**settings, init_std=0.3)).half()
    tensors = {key.replace("model.decoder.", prefix, 1): value for key, value in model.state_dict().items()}
    if weights == "bin":
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        del tensors["lm_head.weight"]
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def write_judge_tokenizer(folder: Path, texts: Iterable[str], words: int) -> int:
    """The tokenizer of write_judge; returns the size of its vocabulary."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram

    frequent = Counter("▁" + word for text in texts for word in text.split())
    known = dict.fromkeys(["▁", *(chr(code) for code in range(33, 127)), *(word for word, _ in frequent.most_common(words))])
    specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    pieces = [*((name, 0.0) for name in specials), *((piece, -10.0 + 8.0 * (len(piece) > 1)) for piece in known), ("[MASK]", 0.0)]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in [*specials, "[MASK]"]])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    write(folder / "tokenizer.json", tokenizer.to_str())
    tokens = {"cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
    tokens |= {"bos_token": "[CLS]", "eos_token": "[SEP]"}
    write(folder / "special_tokens_map.json", tokens)
    write(folder / "tokenizer_config.json", tokens | {"do_lower_case": False, "tokenizer_class": "DebertaV2Tokenizer", "vocab_type": "spm"})
    return tokenizer.get_vocab_size()


def write_judge(
    folder: Path,
    texts: Iterable[str] = (),
    words: int = 500,
    hidden: int = 16,
    labels: tuple[str, ...] = ("LABEL_0",),
    problem: str | None = None,
) -> None:
    """A repository laid out as OpenAssistant/reward-model-deberta-v3-large-v2: one label or these, a fp32 .bin, tokenizer.json.

    The vocabulary is printable ASCII and the most frequent words of `texts`. The .bin holds the index buffer that
    transformers used to store.
    """
    import torch
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

    settings = {
        "vocab_size": write_judge_tokenizer(folder, texts, words) + 9,
        "hidden_size": hidden,
        "pooler_hidden_size": hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 2 * hidden,
        "max_position_embeddings": 512,
        "position_buckets": 256,
        "relative_attention": True,
        "position_biased_input": False,
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "type_vocab_size": 0,
        "num_labels": len(labels),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DebertaV2ForSequenceClassification(DebertaV2Config(**settings, initializer_range=0.3))
    numbered = {"id2label": {str(number): name for number, name in enumerate(labels)}, "problem_type": problem}
    settings |= numbered | {"label2id": {name: number for number, name in enumerate(labels)}, "_name_or_path": "microsoft/deberta-v3-large"}
    del settings["num_labels"]
    write(
        folder / "config.json", settings | {"model_type": "deberta-v2", "architectures": [type(model).__name__], "torch_dtype": "float32"}
    )
    torch.save(
        model.state_dict() | {"deberta.embeddings.position_ids": torch.arange(512).expand((1, -1))},
        folder / "pytorch_model.bin",
    )


def write_dataset(folder: Path, rows: Mapping[str, Mapping[str, list[dict]]]) -> None:
    """A repository laid out as Anthropic/hh-rlhf: rows[subset][split] -> <subset>/<split>.jsonl.gz."""
    for subset, splits in rows.items():
        for split, lines in splits.items():
            path = folder / subset / f"{split}.jsonl.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            path.write_bytes(gzip.compress(text.encode(), mtime=0))

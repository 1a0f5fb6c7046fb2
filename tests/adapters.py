"""LoRA adapters in the files that peft writes, and models of GGUF files: small and random, for the tests of what exists already."""

from pathlib import Path

import torch

from hh_align.models.folders import load_policy


def write_adapter(folder: Path, parent: Path, dtype: torch.dtype = torch.float32, scale: float = 0.05, **settings: object) -> Path:
    """A random adapter on the policy of this manifest, saved by peft itself."""
    from peft import LoraConfig, get_peft_model

    model, _ = load_policy(parent)
    chosen = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"} | settings
    with torch.random.fork_rng():
        torch.manual_seed(1)
        adapted = get_peft_model(model, LoraConfig(**chosen))
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=scale)
    adapted.peft_config["default"].base_model_name_or_path = "someone/a-model"
    adapted.to(dtype).save_pretrained(folder)
    return folder


def write_gguf(path: Path, kind: str = "Q8_0", pre: str = "gpt-2", **more: object) -> dict[str, torch.Tensor]:
    """A random Llama of one layer in a GGUF file, with the bytes as its vocabulary; returns its weights as dequantised.

    kind: how its matrices are quantised; pre: how it says that texts are cut; more: further fields, as texts.
    """
    import gguf
    import numpy as np
    from tokenizers.pre_tokenizers import ByteLevel

    kinds, drawn = gguf.GGMLQuantizationType, np.random.default_rng(0)
    tokens = ["<|end|>", "<|pad|>", *sorted(ByteLevel.alphabet()), "ab"]
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(256)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(16)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, *[1] * 257])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(1)
    writer.add_add_bos_token(False)
    for key, value in more.items():
        writer.add_string(key.replace("__", "."), value)
    shapes = {
        "token_embd": (len(tokens), 64), "blk.0.attn_q": (64, 64), "blk.0.attn_k": (32, 64), "blk.0.attn_v": (32, 64), "blk.0.attn_output": (64, 64),
        "blk.0.ffn_gate": (96, 64), "blk.0.ffn_up": (96, 64), "blk.0.ffn_down": (64, 96), "blk.0.attn_norm": (64,), "blk.0.ffn_norm": (64,),
        "output_norm": (64,), "output": (len(tokens), 64),
    }  # fmt: skip
    weights = {}
    for name, shape in shapes.items():
        plain = drawn.normal(1.0 if len(shape) == 1 else 0.0, 0.1 if len(shape) == 1 else 0.3, shape).astype(np.float32)
        if len(shape) == 1 or kind == "F32":
            writer.add_tensor(f"{name}.weight", plain)
        else:
            packed = gguf.quantize(plain, kinds[kind])
            writer.add_tensor(f"{name}.weight", packed, raw_dtype=kinds[kind])
            plain = gguf.dequantize(packed, kinds[kind])
        weights[name] = torch.from_numpy(np.array(plain, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights

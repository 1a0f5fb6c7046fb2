"""Tiny random models of many kinds, and docs/architectures.md, the page that says which of them can be a base model.

PYTHONPATH=workflow/scripts python tests/model_kinds.py writes the page anew.
"""

from pathlib import Path

import torch

from hh_align.models.folders import positions_of, prepare
from hh_align.models.trial import outcomes

PAGE = Path(__file__).resolve().parent.parent / "docs/architectures.md"
HEAD = """# Base models

This page says which kinds of model can be a study's base, by the `model_type` of their `config.json`. `tests/model_kinds.py` makes the table with tiny random models of each kind, and
a test compares it with what the import finds. Every dropout that a kind's config knows is on, except DiffLlama's of attention. An import tries the same with your model's own weights. A kind
that is not in the table is accepted where it passes.

- **packed**: sequences side by side in one row have the same log-probabilities as each alone. References and trainings read rows in this way. Attention of another kind
  (soft caps, sinks, sparse keys, a bias of positions) is refused, and so are layers that mix tokens by other means.
- **padded**: the same holds in padded batches, by PyTorch's own attention. Every step loads a policy with it, and drift is measured in such batches.
- **decoded**: the same holds for one token after another, with the memory of what came before. Generation writes in this way.
- **trained**: in training mode, with all dropout and jitter off, two passes are the same, and every gradient is finite.
- **rows up to**: how long a row may be, of the 128 positions of these models. Their windows and chunks are 16 tokens. Where rotary positions are stretched (longrope), their original length is
  32. A longer row would be read otherwise than the model was made for, or change its neighbours. Trainings refuse it. Generation refuses it too, or cuts it with `long_prompts: cut`.

| kind | packed | padded | decoded | trained | rows up to | why refused |
|---|---|---|---|---|---|---|
"""
SMALL = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": 128, "initializer_range": 0.2, "init_std": 0.2, "ffn_dim": 64, "word_embed_proj_dim": 32, "sliding_window": 16,
    "attention_chunk_size": 16, "n_inner": 64, "rotary_dim": 8, "is_decoder": True, "d_model": 32, "decoder_ffn_dim": 64, "decoder_layers": 2,
    "decoder_attention_heads": 4, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "moe_intermediate_size": 32, "intermediate_size_mlp": 64,
    "shared_expert_intermediate_size": 32, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1,
    "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}  # fmt: skip
"""Settings of a tiny model, as configs name them."""
LATENT = {"num_key_value_heads": 4, "head_dim": None}
LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
LLAMA4 = {"num_hidden_layers": 4, "num_experts_per_tok": 1}
KINDS = {  # how the page calls it: its model_type where that is another, settings that SMALL does not have
    **dict.fromkeys(
        [
            "opt",
            "gpt2",
            "gpt_neox",
            "llama",
            "qwen2",
            "qwen2_moe",
            "qwen3",
            "qwen3_moe",
            "gemma",
            "gemma3_text",
            "mistral",
            "mixtral",
            "ministral3",
            "phi",
            "phi3",
            "starcoder2",
            "olmo",
            "olmo2",
            "olmo3",
            "olmoe",
            "granite",
            "granitemoe",
            "cohere",
            "cohere2",
            "glm",
            "glm4",
            "glm4_moe",
            "smollm3",
            "seed_oss",
            "exaone4",
            "ernie4_5",
            "hunyuan_v1_dense",
            "helium",
            "arcee",
            "apertus",
            "bitnet",
            "biogpt",
            "ctrl",
            "gpt_bigcode",
            "nanochat",
            "minimax_m2",
            "dots1",
            "modernbert-decoder",
        ],
        (None, {}),
    ),
    **dict.fromkeys(["deepseek_v2", "deepseek_v3", "deepseek_v32", "minicpm3"], (None, LATENT)),
    "llama, dynamic": ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}}),
    "llama, yarn": (
        "llama",
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}},
    ),
    "mistral, no window": ("mistral", {"sliding_window": None}),
    "phi3, longrope": ("phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 32, "sliding_window": None}),
    "qwen2, use_sliding_window": ("qwen2", {"use_sliding_window": True, "max_window_layers": 1}),
    "llama4_text": (None, LLAMA4),
    "llama4_text, no attn_temperature_tuning": ("llama4_text", LLAMA4 | {"attn_temperature_tuning": False}),
    "lfm2": (None, {"layer_types": ["conv", "full_attention"]}),
    "diffllama": (None, {"attention_dropout": 0.0}),
    "gpt_neo": (None, {"num_layers": 2, "attention_types": [[["global", "local"], 1]]}),
    **dict.fromkeys(
        [
            "gemma2",
            "vaultgemma",
            "gpt_oss",
            "phimoe",
            "persimmon",
            "gptj",
            "codegen",
            "falcon",
            "stablelm",
            "nemotron",
            "xglm",
            "bloom",
            "mpt",
            "mamba",
            "rwkv",
            "jamba",
            "qwen3_next",
            "minimax",
            "jetmoe",
            "doge",
            "bart",
            "roberta",
        ],
        (None, {}),
    ),
}


def tiny_config(kind: str):
    """The config of a tiny model of a kind, with each probability of dropout and jitter that it knows at 0.1."""
    from transformers import CONFIG_MAPPING

    model_type, more = KINDS[kind]
    config = CONFIG_MAPPING[model_type or kind]
    known = config()
    settings = {
        name: value for name, value in SMALL.items() if hasattr(known, name) and not isinstance(getattr(config, name, None), property)
    }
    settings |= {name: 0.1 for name, value in vars(known).items() if isinstance(value, float) and ("drop" in name or "jitter" in name)}
    return config(**{name: value for name, value in (settings | more).items() if value is not None or name not in LATENT})


def tiny_model(kind: str):
    """A tiny random model of a kind."""
    import transformers

    prepare()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.AutoModelForCausalLM.from_config(tiny_config(kind))


def row_of(kind: str, model) -> str:
    """The page's line about a kind, of what its model can."""
    found: dict[str, str] = {}
    for what, _, why in outcomes(model):
        found[what] = found.get(what) or why
    said = ["–" if what not in found else "no" if found[what] else "yes" for what in ("packed", "padded", "decoded", "trained")]
    refused = next(filter(None, found.values()), "").replace("|", "\\|")
    return f"| {kind} | {' | '.join(said)} | {'–' if refused else positions_of(model.config)} | {refused} |"


if __name__ == "__main__":
    PAGE.write_text(HEAD + "".join(f"{row_of(kind, tiny_model(kind))}\n" for kind in KINDS), encoding="utf-8")

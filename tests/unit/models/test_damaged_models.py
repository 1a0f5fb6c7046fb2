"""Damaged, broken and unusable models: one error that names them."""

import json
import math

import pytest
import torch
from command_line import assert_refused, call
from safetensors.torch import load_file, save_file
from sound_artifacts import edit_json, garble, seal, steps
from tinymodels import write_opt
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from hh_align.models import import_model

DEEP = "[" * 100_000
MODEL_DAMAGE = {
    "weights cut": (lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]), "model.safetensors is damaged"),
    "weights garbled": (lambda folder: garble(folder / "model.safetensors"), "model.safetensors is damaged"),
    "weights missing": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
    "settings edited": (lambda folder: edit_json(folder / "config.json", vocab_size=5), "config.json is damaged"),
    "tokenizer edited": (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer.json is damaged"),
    "manifest cut": (lambda folder: (folder / "manifest.json").write_text('{"config.json": '), "not a readable manifest"),
    "manifest a list": (lambda folder: (folder / "manifest.json").write_text('["config.json"]'), "not a readable manifest"),
    "manifest empty": (lambda folder: (folder / "manifest.json").write_text(""), "not a readable manifest"),
    "manifest not UTF-8": (lambda folder: (folder / "manifest.json").write_bytes(b"\xff"), "not a readable manifest"),
    "manifest missing": (lambda folder: (folder / "manifest.json").unlink(), "No such file"),
    "manifest leads out": (lambda folder: (folder / "manifest.json").write_text('{"../preferences.parquet": "0"}'), "which lies outside its folder"),
}  # fmt: skip


@pytest.mark.parametrize("damage", MODEL_DAMAGE)
@pytest.mark.parametrize(("kind", "name"), [("policy", "generate_responses"), ("judge", "score_responses")])
def test_a_damaged_model_is_one_error_that_names_it(artifacts, kind, name, damage):
    change, said = MODEL_DAMAGE[damage]
    change(artifacts / kind)
    module, options, _ = steps(artifacts)[name]
    assert_refused(call(module, **options), said, where=artifacts / kind)
    assert (artifacts / "preferences.parquet").exists()


def mark_nan(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({name: torch.full_like(value, float("nan")) if "layer_norm" in name or "LayerNorm" in name else value for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name", "change", "said"),
    [
        ("policy", "generate_responses", mark_nan, "the logits are not finite numbers"),
        ("judge", "score_responses", mark_nan, "the judge's reward is nan"),
        ("policy", "generate_responses", lambda folder: edit_json(folder / "config.json", model_type="nothing"), "not a usable model"),
        ("policy", "generate_responses", lambda folder: edit_json(folder / "config.json", hidden_size=32), "not a usable model"),
        ("policy", "generate_responses", lambda folder: (folder / "config.json").write_text("{"), "not a usable model"),
        ("policy", "generate_responses", lambda folder: (folder / "tokenizer.json").write_text("{}"), "not a usable model"),
        ("judge", "score_responses", lambda folder: edit_json(folder / "config.json", id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1}), "not a usable model"),
        ("judge", "score_responses", lambda folder: (folder / "tokenizer.json").write_bytes((folder.parent / "policy/tokenizer.json").read_bytes()), "needs a pad token of its own|do not belong together"),
    ],
)  # fmt: skip
def test_a_model_that_its_manifest_vouches_for_but_that_is_broken(artifacts, kind, name, change, said):
    change(artifacts / kind)
    seal(artifacts / kind)
    module, options, _ = steps(artifacts)[name]
    assert_refused(call(module, **options), said)


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    save_file({name: change(value) for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def gguf_alone(folder):
    nothing(folder)
    (folder / "a.gguf").write_bytes(b"GGUF")


def nothing(folder):
    for path in folder.iterdir():
        path.unlink()


def indexed(folder, names):
    """An index of sharded weights that names these files, in the place of the weights."""
    (folder / "model.safetensors").unlink()
    index = [] if names is None else {"weight_map": {f"tensor {number}": name for number, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def adapter(folder):
    """What peft writes: neither a model's config nor its weights."""
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "config.json").rename(folder / "adapter_config.json")


SOURCE_DAMAGE = {
    "nothing in it": (nothing, "not a usable policy|neither model.safetensors"),
    "no settings": (lambda folder: (folder / "config.json").unlink(), "not a usable policy"),
    "settings no JSON": (lambda folder: (folder / "config.json").write_text("{"), "config.json: not readable as JSON"),
    "settings a list": (lambda folder: (folder / "config.json").write_text("[]"), "config.json: not a JSON object"),
    "settings with NaN": (lambda folder: edit_json(folder / "config.json", dropout=math.nan), "config.json: .*a value is NaN"),
    "settings too deep": (lambda folder: (folder / "config.json").write_text(DEEP), "config.json: not readable as JSON"),
    "unknown architecture": (lambda folder: edit_json(folder / "config.json", model_type="nothing"), "not a usable policy"),
    "settings of wrong type": (lambda folder: edit_json(folder / "config.json", hidden_size="wide"), "not a usable policy"),
    "settings that do not divide": (lambda folder: edit_json(folder / "config.json", num_attention_heads=3), "not a usable policy"),
    "more layers than weights": (lambda folder: edit_json(folder / "config.json", num_hidden_layers=3), "weights missing or of another shape"),
    "another vocabulary": (lambda folder: edit_json(folder / "config.json", vocab_size=100), "weights missing or of another shape"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "neither model.safetensors .* nor pytorch_model.bin is there"),
    "an adapter": (adapter, r"an adapter, which has no weights of its own .* policies: \{theirs: \{parent: base, adapter"),
    "an index without its files": (lambda folder: indexed(folder, ["model-00001-of-00001.safetensors"]), "index.json: it names model-00001-of-00001.safetensors, which is not beside it"),
    "an index that leads elsewhere": (lambda folder: indexed(folder, ["../model.safetensors"]), "it names ../model.safetensors, which is not beside it"),
    "an index that is a list": (lambda folder: indexed(folder, None), "index.json: not a JSON object"),
    "weights cut": (lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]), "not a readable safetensors file"),
    "weights empty": (lambda folder: (folder / "model.safetensors").write_bytes(b""), "not a readable safetensors file"),
    "weights HTML": (lambda folder: (folder / "model.safetensors").write_text("<html>" * 99), "not a readable safetensors file"),
    "weights that are no numbers": (mark_nan, r"no finite numbers \(NaN or infinite\), in .*layer_norm.* and \d+ other tensors: .* Take an earlier checkpoint"),
    "infinite weights": (lambda folder: edit_weights(folder, lambda value: value.clone().fill_(float("inf"))), "no finite numbers"),
    "quantised by bitsandbytes": (lambda folder: edit_json(folder / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}), "config.json: the weights are quantised by bitsandbytes .* Take the model that they were made of"),
    "quantised by GPTQ": (lambda folder: edit_json(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4}), "quantised by gptq"),
    "quantised by AWQ": (lambda folder: edit_json(folder / "config.json", quantization_config={"quant_method": "awq"}), "quantised by awq"),
    "quantised to fp8": (lambda folder: edit_json(folder / "config.json", quantization_config={"quant_method": "fp8"}), "quantised by fp8"),
    "weights of eight bits": (lambda folder: edit_weights(folder, lambda value: value.to(torch.int8)), r"the weights are quantised \(.* is int8\)"),
    "weights of fp8": (lambda folder: edit_weights(folder, lambda value: value.to(torch.float8_e4m3fn)), r"the weights are quantised \(.* is float8_e4m3fn\)"),
    "weights of fp8 as exponents": (lambda folder: edit_weights(folder, lambda value: value.to(torch.float8_e8m0fnu)), r"quantised \(.* is float8_e8m0fnu\)"),
    "weights that are whole numbers": (lambda folder: edit_weights(folder, lambda value: value.to(torch.int32)), r"quantised \(.* is int32\)"),
    "complex weights": (lambda folder: edit_weights(folder, lambda value: value.to(torch.complex64)), "is complex64: weights are real numbers"),
    "GGUF files alone": (gguf_alone, "GGUF files and no config.json. Say which one is meant: file: a.gguf"),
    "no tokenizer": (lambda folder: (folder / "vocab.json").unlink(), "no tokenizer.json"),
    "vocabulary no JSON": (lambda folder: (folder / "vocab.json").write_text("{"), "not a usable tokenizer"),
    "vocabulary a list": (lambda folder: (folder / "vocab.json").write_text("[]"), "not a usable tokenizer"),
    "merges of unknown tokens": (lambda folder: (folder / "merges.txt").write_text("#version: 0.2\nno such\n"), "not a usable tokenizer"),
    "vocabulary of another model": (lambda folder: edit_json(folder / "vocab.json", beyond=9999), "do not belong together"),
    "generation settings no JSON": (lambda folder: (folder / "generation_config.json").write_text("{"), "generation_config.json: not readable as JSON"),
    "generation settings a list": (lambda folder: (folder / "generation_config.json").write_text("[]"), "generation_config.json: not a JSON object"),
    "generation settings of wrong type": (lambda folder: (folder / "generation_config.json").write_text('{"max_new_tokens": "many"}'), "generation_config.json: no settings of a generation"),
    "tokenizer settings a list": (lambda folder: (folder / "tokenizer_config.json").write_text("[]"), "tokenizer_config.json: not a JSON object"),
    "a manifest that names NUL": (lambda folder: (folder / "manifest.json").write_text(json.dumps({"a\0": "0" * 64})), "which is no file's name"),
    "a manifest with too long a name": (lambda folder: (folder / "manifest.json").write_text(json.dumps({"a" * 300: "0" * 64})), "which is no file's name"),
    "a manifest with half a character": (lambda folder: (folder / "manifest.json").write_text('{"\\ud800": "' + "0" * 64 + '"}'), "not a readable manifest"),
}  # fmt: skip


@pytest.mark.parametrize("damage", SOURCE_DAMAGE)
def test_a_local_model_that_is_not_usable_is_one_error(tmp_path, damage):
    change, said = SOURCE_DAMAGE[damage]
    write_opt(tmp_path / "source", weights="safetensors")
    change(tmp_path / "source")
    result = call(import_model, config={"kind": "policy"}, source=tmp_path / "source", manifest=tmp_path / "base/manifest.json")
    assert_refused(result, said, where=tmp_path)
    assert not (tmp_path / "base/manifest.json").exists()


def test_masks_of_older_checkpoints_are_no_weights(tmp_path):
    # GPT-NeoX's and GPT-2's files hold the causal mask as whole numbers, and the number for what it hides, infinite in float16
    config = GPTNeoXConfig(vocab_size=260, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_position_embeddings=32)  # fmt: skip
    GPTNeoXForCausalLM(config).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    layer = "gpt_neox.layers.0.attention"
    weights |= {f"{layer}.bias": torch.ones(1, 1, 32, 32, dtype=torch.uint8), f"{layer}.masked_bias": torch.tensor(-math.inf)}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    model, _ = import_model.read_model(tmp_path, None, "policy")
    assert torch.equal(model.gpt_neox.embed_in.weight, weights["gpt_neox.embed_in.weight"])

"""Models of GGUF files: dequantised to what the library that wrote them says, cut into tokens as the file asks, or refused."""

import json
from pathlib import Path

import pytest
import torch
from adapters import write_gguf
from command_line import assert_refused, call

from hh_align.models import import_model
from hh_align.models.folders import load_policy


def imported(source, folder, **more):
    """(status, output) of an import of a policy into the folder."""
    return call(import_model, config={"kind": "policy", **more}, source=source, manifest=folder / "manifest.json")


def rotated(weight, heads):
    """Rows of a query or key matrix in the order in which llama.cpp keeps them, brought into that of transformers."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1"])
def test_its_logits_are_those_of_the_dequantised_weights(tmp_path, kind):
    from transformers import LlamaConfig, LlamaForCausalLM

    given = write_gguf(tmp_path / "source/tiny.gguf", kind)
    status, said = imported(tmp_path / "source/tiny.gguf", tmp_path / "base")
    assert status == 0, said
    model, _ = load_policy(tmp_path / "base/manifest.json")
    settings = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2}
    plain = LlamaForCausalLM(LlamaConfig(vocab_size=259, **settings, rms_norm_eps=1e-5, tie_word_embeddings=False)).eval()
    names = {
        "model.embed_tokens": "token_embd", "lm_head": "output", "model.norm": "output_norm", "model.layers.0.input_layernorm": "blk.0.attn_norm",
        "model.layers.0.post_attention_layernorm": "blk.0.ffn_norm", "model.layers.0.self_attn.o_proj": "blk.0.attn_output",
        "model.layers.0.self_attn.v_proj": "blk.0.attn_v", **{f"model.layers.0.mlp.{name}_proj": f"blk.0.ffn_{name}" for name in ("gate", "up", "down")},
    }  # fmt: skip
    state = {f"{name}.weight": given[key] for name, key in names.items()}
    state |= {
        f"model.layers.0.self_attn.{name}_proj.weight": rotated(given[f"blk.0.attn_{name}"], heads) for name, heads in (("q", 4), ("k", 2))
    }
    plain.load_state_dict(state)
    ids = torch.tensor([[5, 90, 31, 200, 7, 66]])
    with torch.no_grad():
        assert (model(ids).logits - plain(ids).logits).abs().max() < 1e-4
    assert json.loads((tmp_path / "base/provenance.json").read_text())["notes"] == [
        f"weights were quantised as {kind}, and dequantised at import"
    ]
    config = json.loads((tmp_path / "base/config.json").read_text())
    assert "quantization_config" not in config and config["dtype"] == "float32"


def test_one_of_several_files_in_a_folder_is_taken_by_its_name(tmp_path):
    write_gguf(tmp_path / "source/a.gguf", "F32")
    write_gguf(tmp_path / "source/b.gguf", "Q8_0")
    assert imported(tmp_path / "source", tmp_path / "base", file="b.gguf")[0] == 0
    made_by = json.loads((tmp_path / "base/provenance.json").read_text())
    assert [Path(name).name for name in made_by["inputs"]] == ["b.gguf"] and "Q8_0" in made_by["notes"][0]
    assert imported(tmp_path / "source/a.gguf", tmp_path / "plain")[0] == 0
    assert "notes" not in json.loads((tmp_path / "plain/provenance.json").read_text())
    assert_refused(
        imported(tmp_path / "source/a.gguf", tmp_path / "both", file="b.gguf"), "path names this file, file names b.gguf", where="a.gguf"
    )


def test_its_chat_template_is_the_models(tmp_path):
    template = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    write_gguf(tmp_path / "tiny.gguf", tokenizer__chat_template=template)
    assert imported(tmp_path / "tiny.gguf", tmp_path / "base", chat_template=True)[0] == 0
    assert json.loads((tmp_path / "base/tokenizer_config.json").read_text())["chat_template"] == template


def test_digits_are_cut_as_the_file_asks(tmp_path):
    # of SmolLM's own tokenizer each digit is a token; GPT-2's split, which transformers falls back to, would join them
    for pre, pieces in (("gpt-2", ["Ġ123"]), ("smollm", ["Ġ", "1", "2", "3"])):
        write_gguf(tmp_path / f"{pre}.gguf", pre=pre)
        assert imported(tmp_path / f"{pre}.gguf", tmp_path / pre)[0] == 0
        _, tokenizer = load_policy(tmp_path / pre / "manifest.json")
        assert [piece for piece, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(" 123")] == pieces
    write_gguf(tmp_path / "other.gguf", pre="exotic")
    assert_refused(
        imported(tmp_path / "other.gguf", tmp_path / "other"), r"cuts texts in a way named exotic .* tokenizer.json", where=tmp_path
    )


REFUSED = {
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-3000]), "tiny.gguf: not a"),
    "HTML": (lambda path: path.write_text("<html>" * 99), "tiny.gguf: not a readable GGUF file"),
    "another kind of model": (lambda path: write_gguf(path, general__architecture="nothing"), "tiny.gguf: not a"),
    "gone": (lambda path: path.unlink(), "tiny.gguf: no such file"),
}


@pytest.mark.parametrize("damage", REFUSED)
def test_a_file_that_is_not_usable_is_one_error(tmp_path, damage):
    change, said = REFUSED[damage]
    write_gguf(tmp_path / "source/tiny.gguf")
    change(tmp_path / "source/tiny.gguf")
    assert_refused(imported(tmp_path / "source/tiny.gguf", tmp_path / "base"), said, where=tmp_path)


def test_weights_that_are_no_numbers_and_a_judge_are_refused(tmp_path):
    path = tmp_path / "source/tiny.gguf"
    write_gguf(path, "F32")
    content = bytearray(path.read_bytes())
    content[-16:] = b"\xff" * 16  # float32: NaN
    path.write_bytes(content)
    assert_refused(imported(path, tmp_path / "base"), "weights that are no finite numbers", where=tmp_path)
    result = call(import_model, config={"kind": "judge"}, source=path, manifest=tmp_path / "judge/manifest.json")
    assert_refused(result, "a judge is read from a folder of safetensors", where=tmp_path)

"""Adapters that somebody else trained: merged they are what peft makes of them, and what does not fit is refused in one line."""

import json

import pytest
import torch
from adapters import write_adapter
from command_line import assert_refused, call
from safetensors.torch import load_file, save_file
from sound_artifacts import edit_json
from training_study import make_study

from hh_align.models.folders import load_policy
from hh_align.training import merge_adapter

IDS = torch.tensor([[2, 9, 14, 33, 60, 7]])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The manifest of a small random base policy."""
    return make_study(tmp_path_factory.mktemp("adapter"), 4) / "base/manifest.json"


def merged(base, adapter, folder, **config):
    """(status, output) of a merge into the folder."""
    return call(merge_adapter, config=config, parent=base, source=adapter, manifest=folder / "manifest.json")


def notes(folder):
    return json.loads((folder / "provenance.json").read_text())["notes"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"target_modules": "all-linear"},
        {"use_rslora": True},
        {"use_dora": True},
        {"rank_pattern": {"v_proj": 2}},
        {"dtype": torch.bfloat16},
    ],
    ids=str,
)
def test_the_merged_policy_is_the_parent_with_the_adapter_on_it(base, tmp_path, settings):
    from peft import PeftModel

    adapter = write_adapter(tmp_path / "adapter", base, **settings)
    status, said = merged(base, adapter, tmp_path / "theirs", source="someone/a-model")
    assert status == 0, said
    plain, tokenizer = load_policy(base)
    with torch.no_grad():
        before = plain(IDS).logits
        on_it = PeftModel.from_pretrained(plain, adapter).eval()(IDS).logits
        policy, its_own = load_policy(tmp_path / "theirs/manifest.json")
        after = policy(IDS).logits
    assert (after - on_it).abs().max() < 1e-4 * on_it.abs().max() and (after - before).abs().max() > 0.01
    assert its_own.get_vocab() == tokenizer.get_vocab()
    assert notes(tmp_path / "theirs")[0] == "an adapter was merged that was trained on someone/a-model by its own word"
    assert ("weights were bfloat16, and are kept as float32" in notes(tmp_path / "theirs")) == ("dtype" in settings)


def test_an_adapter_of_another_model_by_its_own_word_is_said(base, tmp_path):
    adapter = write_adapter(tmp_path / "adapter", base)
    assert merged(base, adapter, tmp_path / "theirs", source="facebook/opt-350m")[0] == 0
    assert notes(tmp_path / "theirs") == [
        "an adapter was merged that was trained on someone/a-model by its own word; the weights below it here are those of facebook/opt-350m"
    ]
    edit_json(adapter / "adapter_config.json", base_model_name_or_path=None)
    assert merged(base, adapter, tmp_path / "again")[0] == 0
    assert notes(tmp_path / "again") == ["an adapter was merged that does not say which model it was trained on"]


def change_tensors(change):
    def on(folder):
        path = folder / "adapter_model.safetensors"
        save_file(change(load_file(path)), path, {"format": "pt"})

    return on


def settings(**more):
    return lambda folder: edit_json(folder / "adapter_config.json", **more)


def one_shorter(tensors):
    return dict(sorted(tensors.items())[1:])


def pickled(folder):
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()


def with_a_token(folder):
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": [{"id": 9999, "content": "<|new|>"}]}))


REFUSED = {
    "NaN": (change_tensors(lambda tensors: {name: value * float("nan") for name, value in tensors.items()}), "no finite numbers .NaN or infinite., in .* and 7 other tensors"),
    "a tensor less": (change_tensors(one_shorter), "the adapter lacks .*lora_A.weight .1 of 8 tensors.. It was trained on another model"),
    "layers that the parent has not": (change_tensors(lambda tensors: {name.replace("layers.1", "layers.7"): value for name, value in tensors.items()}), "the parent has no place for .*layers.7"),
    "another width": (change_tensors(lambda tensors: {name: value[:, :9].contiguous() if "lora_A" in name else value for name, value in tensors.items()}), r"has shape \(4, 9\), the parent needs \(4, \d+\). It was trained on another model"),
    "other modules": (settings(target_modules=["query_key_value"]), "the adapter does not fit the parent"),
    "a whole layer": (change_tensors(lambda tensors: tensors | {"base_model.model.lm_head.weight": torch.ones(3, 3)}), "it holds whole layers .base_model.model.lm_head.weight"),
    "tokens of its own": (with_a_token, "tokenizer.json: it adds tokens that the parent has not: '<.new.>'"),
    "tied layers": (settings(target_modules=["lm_head"]), r"target_modules names lm_head, but .* share their weights"),
    "another kind": (settings(peft_type="IA3"), r"an adapter of kind IA3. Allowed: LORA. Merge it with the library that made it"),
    "another task": (settings(task_type="SEQ_CLS"), "an adapter for task SEQ_CLS"),
    "saved modules": (settings(modules_to_save=["lm_head"]), "it has modules_to_save"),
    "biases": (settings(bias="all"), "it has trained biases"),
    "a changed base": (settings(init_lora_weights="pissa"), "it was begun by pissa, which changes the weights below"),
    "an unknown setting": (settings(use_something_new={"a": 1}), "it has use_something_new"),
    "settings no JSON": (lambda folder: (folder / "adapter_config.json").write_text("{"), "adapter_config.json: not readable as JSON"),
    "settings a list": (lambda folder: (folder / "adapter_config.json").write_text("[]"), "adapter_config.json: not a JSON object"),
    "no settings": (lambda folder: (folder / "adapter_config.json").unlink(), r"no adapter_config.json: .* \{source: local, path"),
    "a pickle": (pickled, "adapter_model.bin is a pickle, which can run code, and no checksum vouches for it. Convert it to adapter_model.safetensors"),
    "no weights": (lambda folder: (folder / "adapter_model.safetensors").unlink(), "neither adapter_model.safetensors nor adapter_model.bin"),
    "weights cut": (lambda folder: (folder / "adapter_model.safetensors").write_bytes((folder / "adapter_model.safetensors").read_bytes()[:-9]), "not a readable safetensors file"),
}  # fmt: skip


@pytest.mark.parametrize("damage", REFUSED)
def test_what_does_not_fit_is_one_error(base, tmp_path, damage):
    change, said = REFUSED[damage]
    adapter = write_adapter(tmp_path / "adapter", base)
    change(adapter)
    assert_refused(merged(base, adapter, tmp_path / "theirs"), said, where=tmp_path)
    assert not (tmp_path / "theirs/manifest.json").exists()


def test_a_pickle_that_a_download_vouches_for_is_read_as_plain_weights(base, tmp_path):
    from hh_align.core.artifacts import write_manifest

    adapter = write_adapter(tmp_path / "adapter", base)
    assert merged(base, adapter, tmp_path / "plain")[0] == 0
    pickled(adapter)
    (adapter / "LICENSE").write_text("Of the adapter.\n")
    write_manifest(adapter, ["adapter_config.json", "adapter_model.bin", "LICENSE"])
    assert merged(base, adapter / "manifest.json", tmp_path / "theirs")[0] == 0
    assert (tmp_path / "theirs/model.safetensors").read_bytes() == (tmp_path / "plain/model.safetensors").read_bytes()
    said = [json.loads((tmp_path / name / "provenance.json").read_text()) for name in ("theirs", "plain")]
    assert said[0]["licences"] == {"LICENSE": "Of the adapter."} and "licences" not in said[1]  # of a folder here its notice reads the file


def test_a_chat_template_that_is_not_the_parents_is_said(tmp_path):
    class Tokenizer:
        chat_template = None

    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "theirs"}))
    assert merge_adapter.other_template(tmp_path, Tokenizer) == []  # of a parent that reads transcripts
    Tokenizer.chat_template = "theirs\n"
    assert merge_adapter.other_template(tmp_path, Tokenizer) == []
    (tmp_path / "chat_template.jinja").write_text("newer")
    assert merge_adapter.other_template(tmp_path, Tokenizer) == [
        "the adapter's folder has another chat template than its parent, by whose it is asked"
    ]

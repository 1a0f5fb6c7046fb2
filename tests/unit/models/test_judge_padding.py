"""What an import makes of a judge's padding: the rewards stay those of the files as they came."""

import json

import pytest
import torch
from command_line import assert_refused, call
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from hh_align.core.artifacts import sha256
from hh_align.models import import_model
from hh_align.models.folders import load_judge
from hh_align.models.judging import pair_ids

SMALL = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "num_labels": 1,
    "initializer_range": 0.3, "max_position_embeddings": 64, "d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "encoder_layers": 2,
    "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "init_std": 0.3,
}  # fmt: skip
REPLIES = ["Yes", "Yes ☃", "Yes and again", "no"]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def save(folder, kind, special=SPECIAL, config_pad=None, **tokens):
    """A judge that reads words, with these special tokens, and this pad id in its config; the model and the rewards of REPLIES, each alone."""
    words = [*special, "Well", "Yes", "and", "again", "no"]
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens(special)
    end = kind in ("roberta", "bart")
    core.post_processor = processors.TemplateProcessing(
        single="$A </s>" if end else "$A", pair="$A </s> $B </s>" if end else "$A $B", special_tokens=[("</s>", words.index("</s>"))]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>", **tokens)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model(kind, **SMALL, vocab_size=len(words), pad_token_id=config_pad)
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return rewards_alone(model.eval(), tokenizer)


def rewards_alone(model, tokenizer):
    ids, _ = pair_ids(tokenizer, ["Well"] * len(REPLIES), REPLIES, None)
    with torch.no_grad():
        return [model(input_ids=torch.tensor([row])).logits.item() for row in ids]


def imported(source, folder):
    return call(import_model, config={"kind": "judge", "reads": "pair"}, source=source, manifest=folder / "manifest.json")


@pytest.mark.parametrize(
    ("kind", "config_pad", "tokens"),
    [
        ("roberta", 1, {"pad_token": "<unk>"}),
        ("roberta", 1, {}),
        ("roberta", 1, {"pad_token": "</s>"}),
        ("llama", None, {"pad_token": "<unk>"}),
        ("llama", None, {}),
        ("llama", 1, {"pad_token": "<unk>"}),
    ],
)
def test_rewards_stay_what_they_were(tmp_path, kind, config_pad, tokens):
    # neither positions that begin behind the padding move, nor is a reply that ends in an unknown sign rated one token earlier
    before = save(tmp_path / "source", kind, config_pad=config_pad, **tokens)
    status, printed = imported(tmp_path / "source", tmp_path / "judge")
    assert status == 0, printed
    model, tokenizer = load_judge(tmp_path / "judge/manifest.json")
    assert rewards_alone(model, tokenizer) == pytest.approx(before, abs=1e-6) and len(set(before)) == len(before)
    assert model.config.pad_token_id == tokenizer.pad_token_id == 1


def test_positions_that_would_move_are_refused(tmp_path):
    source = tmp_path / "source"
    save(source, "roberta", config_pad=1, pad_token="<pad>")
    settings = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(settings | {"pad_token_id": 2}))
    said = r"the positions of a judge of type roberta begin behind its padding, and the one in config.json \(pad_token_id 2\)"
    assert_refused(imported(source, tmp_path / "judge"), said, where=source)


def test_a_new_row_of_padding_is_the_same_in_every_import(tmp_path):
    # it is zero, and lies behind the last id of all
    before = save(tmp_path / "source", "llama", ["<s>", "</s>", "<unk>"], pad_token="<unk>")
    for name in ("one", "two"):
        status, printed = imported(tmp_path / "source", tmp_path / name)
        assert status == 0, printed
    assert sha256(tmp_path / "one/manifest.json") == sha256(tmp_path / "two/manifest.json")
    model, tokenizer = load_judge(tmp_path / "one/manifest.json")
    rows = model.get_input_embeddings().weight
    assert tokenizer.pad_token_id == len(rows) - 1 == 8 and not rows[-1].any()
    assert rewards_alone(model, tokenizer) == pytest.approx(before, abs=1e-6)


def test_a_judge_that_reads_at_the_last_end_token_is_imported(tmp_path):
    # every text that the import tries on it has one
    before = save(tmp_path / "source", "bart", config_pad=1, pad_token="<pad>")
    status, printed = imported(tmp_path / "source", tmp_path / "judge")
    assert status == 0, printed
    assert rewards_alone(*load_judge(tmp_path / "judge/manifest.json")) == pytest.approx(before, abs=1e-6)
    read, written = (load_file(tmp_path / name / "model.safetensors") for name in ("source", "judge"))
    assert read.keys() == written.keys() and all(torch.equal(read[name], written[name]) for name in read)  # the trial leaves them alone

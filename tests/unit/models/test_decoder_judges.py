"""Decoders that rate the last token which is no padding: their rewards do not depend on the texts beside, whatever the files say of padding."""

import pytest
import torch
from command_line import assert_refused, call
from transformers import AutoConfig, AutoModelForSequenceClassification

from hh_align.core.progress import Progress
from hh_align.models import import_model
from hh_align.models.bpe import train_tokenizer
from hh_align.models.folders import load_judge
from hh_align.models.judging import pair_ids, rewards

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "num_labels": 1, "initializer_range": 0.3}  # fmt: skip
REPLIES = ["Yes" + ", and again" * number for number in range(12)]


def save(folder, kind, pad, config_pad, spare):
    """A decoder with one output, a tokenizer with this pad token, a config with this pad id, and spare rows in its embedding."""
    tokenizer = train_tokenizer(REPLIES, 300, "$A </s>", "$A $B </s>")
    tokenizer.pad_token = pad
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer) + spare, pad_token_id=0, **SMALL)
    model = AutoModelForSequenceClassification.from_config(config)
    model.config.pad_token_id = config_pad
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def imported(folder, source):
    return call(import_model, config={"kind": "judge", "reads": "text"}, source=source, manifest=folder / "manifest.json")


CASES = {
    "the config names the end token": ("<pad>", 2, 0),
    "the config names none": ("<pad>", None, 0),
    "the tokenizer names the end token": ("</s>", 2, 0),
    "the tokenizer names none": (None, None, 0),
    "the tokenizer names none, rows to spare": (None, None, 3),
}


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("case", CASES)
def test_a_decoders_rewards_do_not_depend_on_the_batch(tmp_path, kind, case):
    status, printed = imported(tmp_path / "judge", save(tmp_path / "source", kind, *CASES[case]))
    assert status == 0, printed
    model, tokenizer = load_judge(tmp_path / "judge/manifest.json")
    assert model.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    ids, _ = pair_ids(tokenizer, ["Well?"] * len(REPLIES), REPLIES, None)
    small, large = (rewards(model, ids, tokenizer.pad_token_id, size, Progress(len(ids), "reply")) for size in (64, 4096))
    alone = [model(input_ids=torch.tensor([row])).logits.item() for row in ids]
    assert small == pytest.approx(alone, abs=1e-5) and large == pytest.approx(alone, abs=1e-5)
    assert max(alone) - min(alone) > 0.01


def test_a_judge_that_reads_its_padding_is_refused(tmp_path, monkeypatch):
    source = save(tmp_path / "source", "llama", "<pad>", 0, 0)
    monkeypatch.setattr(import_model, "settle_padding", lambda tokenizer, model, where: setattr(model.config, "pad_token_id", 2))
    result = imported(tmp_path / "judge", source)
    assert_refused(result, "a judge of type llama gives a text other rewards beside longer ones", where=source)
    assert not (tmp_path / "judge/manifest.json").exists()

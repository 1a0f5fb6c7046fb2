"""How judges read: rewards do not depend on the batch, each kind of output is read as it is, and what cannot be read is named."""

import random

import pytest
import torch
from small_evaluation import PAD, save_judge, texts
from transformers import AutoModelForSequenceClassification, DebertaConfig, DebertaV2Config, RobertaConfig

from hh_align.core.errors import StudyError
from hh_align.models import deberta
from hh_align.models.deberta import without_padding
from hh_align.models.folders import load_judge
from hh_align.models.judging import check_lengths, checked_rewards, reward_batch

SMALL = {
    "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64, "num_labels": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return save_judge(tmp_path_factory.mktemp("judge"))


@pytest.mark.parametrize("cells", [2**18, 2000, 100])
def test_rewards_depend_neither_on_the_batch_nor_on_the_pieces_of_attention(manifest, monkeypatch, cells):
    monkeypatch.setattr(deberta, "CELLS", cells)
    model, tokenizer = load_judge(manifest)
    ids = [tokenizer(text)["input_ids"] for text in texts(64)]
    stock = [model(input_ids=torch.tensor([row])).logits[0, 0].item() for row in ids]
    without_padding(model)
    alone = [reward_batch(model, [row], tokenizer.pad_token_id)[0] for row in ids]
    order = random.Random(1).sample(range(64), 64)
    for size in (7, 64):
        rewards = [
            reward for start in range(0, 64, size) for reward in reward_batch(model, [ids[row] for row in order[start : start + size]], PAD)
        ]
        assert rewards == pytest.approx([alone[row] for row in order], abs=1e-5)
    assert alone == pytest.approx(stock, abs=1e-5) and torch.tensor(alone).std() > 0.1


@pytest.mark.parametrize(
    "config",
    [
        DebertaConfig(**SMALL, relative_attention=True, pos_att_type=["c2p", "p2c"]),
        DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["c2p", "p2c"], share_att_key=True, conv_kernel_size=3),
        DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["c2p", "p2c"]),
        DebertaV2Config(**SMALL, pos_att_type=None),
    ],
    ids=["deberta", "with a convolution", "keys of its own", "absolute positions"],
)
def test_judges_of_another_make_are_read_as_they_are(config):
    model = AutoModelForSequenceClassification.from_config(config).eval()
    ids = [[1, *range(5, 5 + length), 2] for length in (9, 4, 30)]
    stock = [model(input_ids=torch.tensor([row])).logits[0, 0].item() for row in ids]
    without_padding(model)
    assert reward_batch(model, ids, 0) == pytest.approx(stock, abs=1e-5)


def test_a_judge_whose_reward_is_no_number_is_named_with_the_prompt(manifest):
    model, tokenizer = load_judge(manifest)
    without_padding(model)
    short, long = tokenizer("a bell")["input_ids"], tokenizer("never at noon")["input_ids"]
    (token,) = set(long[-2:-1]) - set(short)
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = float("nan")
    assert len(checked_rewards(model, [short], ["short"], PAD)) == 1
    with pytest.raises(StudyError, match=r"^long: the judge's reward is nan: its weights are damaged\. Delete the judge's folder"):
        checked_rewards(model, [short, long], ["short", "long"], PAD)


def test_an_input_beyond_the_learned_positions_is_named():
    class Model:
        config = RobertaConfig(max_position_embeddings=12, pad_token_id=1)

    check_lengths(Model, [[0] * 10], ["a"])
    with pytest.raises(StudyError, match=r"b: 11 tokens; the judge reads at most 10. Set judges.<name>.max_length to 10"):
        check_lengths(Model, [[0] * 10, [0] * 11], ["a", "b"])

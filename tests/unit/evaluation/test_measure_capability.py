"""Capability: likelihoods are those of a plain loop, whatever the batch, and an item is right where the right option is the likeliest."""

import numpy as np
import pytest
import torch

from hh_align.core.errors import StudyError
from hh_align.core.state import State
from hh_align.evaluation.measure_capability import Question, Reading, readings, score, score_rows
from hh_align.models.batches import Parts
from hh_align.models.bpe import train_tokenizer
from hh_align.models.packing import Tree, use_packing
from hh_align.training.pretrain_base import build_model

ARCHITECTURE = {
    "hidden_size": 16, "layers": 2, "heads": 2, "ffn_dim": 32, "word_embed_proj_dim": 8, "max_positions": 48, "init_std": 0.3, "dropout": 0.1,
}  # fmt: skip
ITEMS = [
    {"task": "t", "item": f"t-{row}", "context": context, "options": options, "answer": row % 2}
    for row, (context, options) in enumerate(
        [
            ("The key near the door", ["is old", "are"]),
            ("", ["is", "a much longer option"]),
            ("Q: who?\nA:", ["the cat", "I", "nobody at all"]),
        ]
    )
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(
        ["The key near the door is old and nobody is at the door. Who are the cats? A much longer option."] * 4, 300, "</s> $A"
    )


@pytest.fixture
def model(tokenizer):
    return build_model(ARCHITECTURE, len(tokenizer), 1).eval()


def plain_logps(model, tokenizer, item):
    """Of each option, by itself: no batch, no packing, the library's own loss of the option's tokens."""
    sums = []
    for option in item["options"]:
        context = tokenizer(item["context"], add_special_tokens=False)["input_ids"]
        reply = tokenizer(f" {option}" if item["context"] else option, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[tokenizer.bos_token_id, *context, *reply]])
        labels = ids.clone()
        labels[0, : len(context) + 1] = -100
        with torch.no_grad():
            sums.append(-float(model(input_ids=ids, labels=labels).loss) * len(reply))
    return sums


@pytest.mark.parametrize("batch_tokens", [1, 4096])
def test_likelihoods_are_those_of_a_plain_loop(model, tokenizer, tmp_path, batch_tokens):
    expected = [plain_logps(model, tokenizer, item) for item in ITEMS]
    read = readings(ITEMS, tokenizer, 48)
    use_packing(model)
    scored = score(model, [question for (question,), _ in read], batch_tokens, Parts(State(tmp_path, 0.0)))
    for sums, plain in zip(scored, expected, strict=True):
        assert sums == pytest.approx(plain, rel=1e-4)
    rows = score_rows(ITEMS, read, scored)
    assert [row["right"] for row in rows] == [int(np.argmax(sums)) == item["answer"] for item, sums in zip(ITEMS, expected, strict=True)]


def test_the_sum_and_the_sum_per_byte_may_say_different_things():
    item = {"task": "t", "item": "t-0", "options": ["no", "not at all é"], "answer": 1}
    read = Reading([Question(Tree([1], [[1], [2, 3]]), 0)], [(0, 0), (0, 1)])
    (row,) = score_rows([item], [read], [[-3.0, -6.0]])
    assert row["bytes"] == [2, 13] and (row["right"], row["right_norm"]) == (False, True)
    with pytest.raises(StudyError, match="t-0: a log-likelihood is no finite number"):
        score_rows([item], [read], [[float("nan"), -6.0]])


def test_a_long_context_loses_its_beginning_and_a_long_option_is_refused(tokenizer):
    long = ITEMS[0] | {"context": "The key near the door is old. " * 9}
    (whole,), (cut,) = (readings([long], tokenizer, positions)[0].questions for positions in (10_000, 48))
    assert cut.tree.replies == whole.tree.replies and cut.tree.prompt[0] == tokenizer.bos_token_id
    assert cut.tree.prompt[1:] == whole.tree.prompt[cut.cut + 1 :] and len(cut.tree.prompt) + max(map(len, cut.tree.replies)) == 48
    with pytest.raises(StudyError, match=r"t-0: an option of \d+ tokens, but the policy reads 48"):
        readings([ITEMS[0] | {"options": ["is", "old " * 60]}], tokenizer, 48)

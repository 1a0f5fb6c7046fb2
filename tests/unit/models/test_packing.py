"""Packed rows give what the sequences give one by one, and the trainers on them what TRL's own give."""

import numpy as np
import pytest
import torch
from accelerate.utils import send_to_device

from hh_align.core.errors import StudyError
from hh_align.core.plan import micro_batches
from hh_align.models.packing import Tree, idle_tree, pack, reply_logps, token_logps, use_packing
from hh_align.models.tokens import check_boundaries
from hh_align.training.pretrain_base import build_model
from hh_align.training.train_dpo import pair_losses

ARCHITECTURE = {
    "hidden_size": 32, "layers": 2, "heads": 4, "ffn_dim": 64, "word_embed_proj_dim": 16, "max_positions": 64, "init_std": 0.3, "dropout": 0.0,
}  # fmt: skip
TREES = [
    Tree([2, 5, 6], [[7, 8, 2], [9, 2]]), Tree([2, 9], [[4, 4, 4, 2]]), Tree([2, 3, 3, 3, 3], [[1, 2], [], [8, 8]]), Tree([2], [[5, 6, 7, 8, 2]]),
]  # fmt: skip


def sequences(trees):
    return [(prompt, reply) for prompt, replies in trees for reply in replies]


def alone(model, prompt, reply):
    """Sum of log p of the reply's tokens, in a pass of its own."""
    logits = model(input_ids=torch.tensor([prompt + reply])).logits[0].log_softmax(1)
    return sum((logits[len(prompt) - 1 + number, token] for number, token in enumerate(reply)), torch.zeros(()))


def grown(model):
    return {name: tensor.grad.clone() for name, tensor in model.named_parameters()}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_packed_row_gives_each_replys_log_probability_and_gradient(seed):
    # the prompt is read once, and no reply sees another
    model, weights = build_model(ARCHITECTURE, 50, seed), torch.tensor([1.0, -2.0, 0.5, 3.0, 1.0, -1.0, 0.7])
    expected = torch.stack([alone(model, *sequence) for sequence in sequences(TREES)])
    (weights * expected).sum().backward()
    gradient = grown(model)
    model.zero_grad()
    use_packing(model)
    logps = reply_logps(model, pack(TREES))
    assert torch.allclose(logps, expected, atol=1e-4) and logps[4] == 0.0
    (weights * logps).sum().backward()
    assert all(torch.allclose(tensor, gradient[name], atol=2e-3) for name, tensor in grown(model).items())


def test_filling_up_changes_no_result():
    model = build_model(ARCHITECTURE, 50, 1)
    use_packing(model)
    plain, filled = pack(TREES), pack(TREES, 16)
    assert (plain.input_ids.shape[1], filled.input_ids.shape[1], len(filled.score)) == (29, 32, 32)
    assert reply_logps(model, filled).tolist() == pytest.approx(reply_logps(model, plain).tolist(), abs=1e-4)
    assert token_logps(model, filled)[len(plain.score) :].abs().sum() == 0


def test_exchanged_replies_exchange_their_log_probabilities():
    # so every margin changes its sign, which swapped labels must show
    model = build_model(ARCHITECTURE, 50, 1)
    use_packing(model)
    (chosen, rejected), (second, first) = (
        reply_logps(model, pack([Tree([2, 5, 6], replies)])).tolist() for replies in ([[7, 8, 2], [9, 2]], [[9, 2], [7, 8, 2]])
    )
    assert (chosen, rejected) == pytest.approx((first, second), abs=1e-4) and chosen != rejected


def test_only_replies_are_scored_and_each_token_once():
    batch = pack(TREES)
    assert batch.labels.tolist() == [token for _, reply in sequences(TREES) for token in reply]
    assert batch.owner.tolist() == [number for number, (_, reply) in enumerate(sequences(TREES)) for _ in reply]
    assert batch.reply_tokens.tolist() == [len(reply) for _, reply in sequences(TREES)]
    assert batch.lengths == [8, 6, 9, 6] and batch.input_ids.shape == batch.position_ids.shape == (1, 29)
    assert batch.position_ids[0, :8].tolist() == [0, 1, 2, 3, 4, 5, 3, 4]
    with pytest.raises(ValueError, match="at least one token"):
        pack([Tree([], [[1, 2]])])


def test_a_batch_moves_with_all_its_tensors():
    # a mask that stayed behind would fail on a GPU only
    batch = pack(TREES)
    moved = send_to_device({"others": [{"packed": batch}], "share": None}, "meta")["others"][0]["packed"]
    tensors = [value for value in [*vars(moved).values(), *moved.masks] if isinstance(value, torch.Tensor)]
    assert len(tensors) == 8 and {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.lengths == batch.lengths and moved.masks[1] is None


def test_an_empty_micro_batch_has_no_loss_and_a_gradient_of_zero():
    # of two processes that share a last, short step the second may have nothing to do, and still has to take part
    model = build_model(ARCHITECTURE, 50, 1)
    use_packing(model)
    loss = token_logps(model, pack([idle_tree(2)])).sum()
    loss.backward()
    assert loss.item() == 0 and all(float(tensor.abs().sum()) == 0 for tensor in grown(model).values())


def test_the_dpo_loss_is_the_papers_equation():
    # arXiv 2305.18290, equation 7, written out
    stream = np.random.default_rng(0)
    policy, reference, beta = stream.normal(size=(50, 2)) * 20, stream.normal(size=(50, 2)) * 20, 0.1
    inner = beta * (policy[:, 0] - reference[:, 0]) - beta * (policy[:, 1] - reference[:, 1])
    expected = -np.log(1 / (1 + np.exp(-inner)))
    assert losses(policy - reference, loss="sigmoid", beta=beta) == pytest.approx(expected, abs=1e-12)


def losses(ratios, tokens=None, **method):
    return pair_losses(torch.tensor(ratios), torch.tensor(np.ones_like(ratios) if tokens is None else tokens), method).numpy()


def sigma(x):
    return 1 / (1 + np.exp(-x))


FORMULAS = {
    "conservative": (
        {"loss": "sigmoid", "label_smoothing": 0.1},
        lambda d, c, r, nc, nr: -0.9 * np.log(sigma(d)) - 0.1 * np.log(1 - sigma(d)),
        np.log(2),
    ),
    "robust": (
        {"loss": "robust", "label_smoothing": 0.2},
        lambda d, c, r, nc, nr: (0.8 * -np.log(sigma(d)) - 0.2 * -np.log(1 - sigma(d))) / 0.6,
        np.log(2),
    ),
    "hinge": ({"loss": "hinge"}, lambda d, c, r, nc, nr: np.maximum(0, 1 - d), 1.0),
    "ipo": ({"loss": "ipo"}, lambda d, c, r, nc, nr: (d / 0.1 - 5) ** 2, 25.0),
    "apo_zero": ({"loss": "apo_zero"}, lambda d, c, r, nc, nr: -sigma(0.1 * c) + sigma(0.1 * r) + 1, 1.0),
    "sigmoid_norm": ({"loss": "sigmoid_norm"}, lambda d, c, r, nc, nr: -np.log(sigma(0.1 * (c / nc - r / nr))), np.log(2)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_each_loss_is_its_papers_formula(name):
    # written out in NumPy, and what it is before the first update
    method, formula, start = FORMULAS[name]
    stream = np.random.default_rng(1)
    ratios, tokens = stream.normal(size=(50, 2)) * 20, stream.integers(1, 40, (50, 2)).astype(float)
    expected = formula(0.1 * (ratios[:, 0] - ratios[:, 1]), *ratios.T, *tokens.T)
    assert losses(ratios, tokens, beta=0.1, **method) == pytest.approx(expected, abs=1e-9)
    assert losses(np.zeros((1, 2)), np.ones((1, 2)), beta=0.1, **method) == pytest.approx([start])


def test_the_robust_loss_is_unbiased_under_flipped_labels():
    # what it is for (arXiv 2403.00409): averaged over flips with probability e it is the clean sigmoid loss
    ratios, e = np.random.default_rng(2).normal(size=(30, 2)) * 10, 0.2
    robust = {"loss": "robust", "label_smoothing": e, "beta": 0.1}
    averaged = (1 - e) * losses(ratios, **robust) + e * losses(ratios[:, ::-1].copy(), **robust)
    assert averaged == pytest.approx(losses(ratios, loss="sigmoid", beta=0.1), abs=1e-9)


def test_micro_batches_cut_steps_and_never_mix_them():
    order = list(range(20))
    assert micro_batches(order, 8, 4) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15], [16, 17, 18, 19]]
    shared = micro_batches(order, 8, 4, processes=2)
    assert shared[:5] == micro_batches(order, 8, 4) and shared[5:] == [[]]
    assert micro_batches(order, 20, 20) == [order]


def test_a_tokenizer_that_joins_prompt_and_reply_is_refused():
    rows = [{"prompt": "\n\nAssistant:", "chosen": " yes"}] * 40

    def joins(texts):
        return [[1] if ": " in text else [2] for text in texts]

    def letters(texts):
        return [[ord(character) for character in text] for text in texts]

    check_boundaries(rows, letters)
    with pytest.raises(StudyError, match="in 40 of 40 rows"):
        check_boundaries(rows, joins)

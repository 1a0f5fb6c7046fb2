"""Sequences side by side in one row: no token of padding is computed, and a prompt is read once for all its replies."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

Tree = tuple[list[int], list[list[int]]]
"""A prompt (ids, at least one) and its replies."""


def tree_size(tree: Tree) -> int:
    """Tokens that are computed for a prompt and its replies."""
    prompt, replies = tree
    return len(prompt) + sum(map(len, replies))


MULTIPLE = {"float32": 1, "bfloat16": 64}
"""What a packed row is filled up to: a CPU makes a new kernel for every bfloat16 shape that it has not seen yet, in float32 it does not."""


def pack(trees: Sequence[Tree], multiple: int = 1) -> dict:
    """One row of all trees: what a model needs to read it, and what its replies are scored on.

    input_ids, position_ids: shape (1, tokens); every reply's positions follow its prompt's. lengths: tokens of each tree; masks: per
    tree None where a token sees all before it, else which token (row) sees which (column), as replies do not see each other.
    score: the places, shape (scored,), whose logits predict the reply tokens `labels`; owner: the number of each one's reply, counted
    over all trees. `shift_labels` is for the trainer, which counts them. Tokens and places are filled up to a `multiple` with tokens
    that nothing sees, and labels (-100) that count nowhere.
    """
    ids, positions, score, labels, owner, masks, replies_before = [], [], [], [], [], [], 0
    for prompt, replies in trees:
        if not prompt:
            raise ValueError("a reply needs a prompt of at least one token")
        start = len(ids)
        ids += prompt
        positions += range(len(prompt))
        for number, reply in enumerate(replies):
            here = len(ids)
            score += [start + len(prompt) - 1, *range(here, here + len(reply) - 1)] if reply else []
            labels += reply
            owner += [replies_before + number] * len(reply)
            ids += reply
            positions += range(len(prompt), len(prompt) + len(reply))
        replies_before += len(replies)
        masks.append(_sees(len(prompt), [len(reply) for reply in replies]) if len(replies) > 1 else None)
    lengths = [tree_size(tree) for tree in trees]
    if fill := -len(ids) % multiple:
        ids += [0] * fill
        positions += range(fill)
        lengths.append(fill)
        masks.append(None)
    idle = -len(score) % multiple
    score, labels, owner = score + [0] * idle, labels + [-100] * idle, owner + [0] * idle
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([positions]),
        "lengths": lengths,
        "masks": masks,
        "score": torch.tensor(score, dtype=torch.long),
        "labels": torch.tensor(labels, dtype=torch.long),
        "shift_labels": torch.tensor(labels, dtype=torch.long),
        "owner": torch.tensor(owner, dtype=torch.long),
        "replies": replies_before,
    }


def _sees(prompt: int, replies: list[int]) -> torch.Tensor:
    """Shape (tokens, tokens): a token sees its prompt and what stands before it in its own reply."""
    size = prompt + sum(replies)
    mask = torch.ones(size, size, dtype=torch.bool).tril()
    start = prompt
    for reply in replies:
        mask[start + reply :, start : start + reply] = False
        start += reply
    return mask


def _attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, lengths=None, masks=None, **kwargs):
    """Attention within each tree; shapes (1, heads, tokens, head size). On a CPU in float32: its bfloat16 backward pass is slow."""
    device, grouped = query.device.type, query.shape[1] != key.shape[1]
    lengths, masks = (lengths, masks) if lengths else ([query.shape[2]], [None])
    with torch.autocast(device, enabled=False):
        if device == "cpu":
            query, key, value = query.float(), key.float(), value.float()
        parts = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), masks, strict=True)
        found = [
            F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=mask is None, dropout_p=dropout, scale=scaling, enable_gqa=grouped
            )
            for q, k, v, mask in parts
        ]
    return torch.cat(found, dim=2).transpose(1, 2), None


AttentionInterface.register("packed", _attention)
ALL_MASK_ATTENTION_FUNCTIONS.register("packed", lambda *args, **kwargs: None)


def use_packing(model) -> None:
    """From now on the model reads rows made by pack (and single sequences without padding)."""
    model.set_attn_implementation("packed")


def token_logps(model, batch: dict) -> torch.Tensor:
    """log p(token | its prompt and reply so far) of each scored token of a packed batch, shape (scored,), float32; 0 where it was filled up."""
    output = model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        logits_to_keep=batch["score"],
        lengths=batch["lengths"],
        masks=batch["masks"],
        use_cache=False,
    )
    return -F.cross_entropy(output.logits[0].float(), batch["labels"], reduction="none")


def reply_logps(model, batch: dict) -> torch.Tensor:
    """Sum of log p over each reply's tokens, shape (replies,), float32: log pi(y | x) of arXiv 2305.18290, equation 7."""
    logps = token_logps(model, batch)
    return logps.new_zeros(batch["replies"]).index_add(0, batch["owner"], logps)


def to_device(batch: dict, device: str) -> dict:
    """The batch with its tensors on a device."""

    def move(value):
        return (
            value.to(device) if isinstance(value, torch.Tensor) else [move(entry) for entry in value] if isinstance(value, list) else value
        )

    return {name: move(value) for name, value in batch.items()}

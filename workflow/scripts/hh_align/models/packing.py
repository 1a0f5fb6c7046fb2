"""Sequences side by side in one row: no token of padding is computed, and a prompt is read once for all its replies."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from hh_align.models.attention import repeated


class Tree(NamedTuple):
    """A prompt (ids, at least one) and its replies (ids each): what a model reads together."""

    prompt: list[int]
    replies: list[list[int]]


def tree_size(tree: Tree) -> int:
    """Tokens that are computed for a prompt and its replies."""
    prompt, replies = tree
    return len(prompt) + sum(map(len, replies))


def idle_tree(token: int) -> Tree:
    """A tree without a reply: what a process reads that has nothing to do in a last, short step, and still has to take part."""
    return Tree([token], [])


MULTIPLE = {"float32": 1, "bfloat16": 64}
"""What a packed row is filled up to: a CPU makes a new kernel for every bfloat16 shape that it has not seen yet, in float32 it does not."""


@dataclass
class Batch:
    """Trees packed into one row: what a model needs to read them, and what their replies are scored on.

    input_ids, position_ids: shape (1, tokens); every reply's positions follow its prompt's. lengths: tokens of each tree; masks: per
    tree None where a token sees all before it, else shape (tokens of the tree, the same), which token (row) sees which (column), as
    replies do not see each other. score: the places, shape (scored,), whose logits predict the reply tokens `labels`, shape (scored,);
    owner: shape (scored,), the number of each one's reply, counted over all trees; reply_tokens: shape (replies,). Tokens and places
    may be filled up with tokens that nothing sees, and labels (-100) that count nowhere.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    lengths: list[int]
    masks: list[torch.Tensor | None]
    score: torch.Tensor
    labels: torch.Tensor
    owner: torch.Tensor
    reply_tokens: torch.Tensor

    def to(self, device: torch.device | str, **options: bool) -> "Batch":
        """The batch with its tensors on a device; accelerate moves it by this, too."""
        tensors = {field.name: value for field in fields(self) if isinstance(value := getattr(self, field.name), torch.Tensor)}
        masks = [None if mask is None else mask.to(device, **options) for mask in self.masks]
        return replace(self, masks=masks, **{name: tensor.to(device, **options) for name, tensor in tensors.items()})


def pack(trees: Sequence[Tree], multiple: int = 1) -> Batch:
    """One row of all trees, its tokens and its scored places filled up to a `multiple`."""
    ids, positions, score, labels, owner, masks, reply_tokens = [], [], [], [], [], [], []
    for prompt, replies in trees:
        if not prompt:
            raise ValueError("a reply needs a prompt of at least one token")
        start = len(ids)
        ids += prompt
        positions += range(len(prompt))
        for reply in replies:
            here = len(ids)
            score += [start + len(prompt) - 1, *range(here, here + len(reply) - 1)] if reply else []
            labels += reply
            owner += [len(reply_tokens)] * len(reply)
            ids += reply
            positions += range(len(prompt), len(prompt) + len(reply))
            reply_tokens.append(len(reply))
        masks.append(_sees(len(prompt), [len(reply) for reply in replies]) if len(replies) > 1 else None)
    lengths = [tree_size(tree) for tree in trees]
    if fill := -len(ids) % multiple:
        ids += [0] * fill
        positions += range(fill)
        lengths.append(fill)
        masks.append(None)
    idle = -len(score) % multiple
    score, labels, owner = score + [0] * idle, labels + [-100] * idle, owner + [0] * idle
    rows = (torch.tensor([numbers]) for numbers in (ids, positions))
    scored = (torch.tensor(numbers, dtype=torch.long) for numbers in (score, labels, owner, reply_tokens))
    return Batch(*rows, lengths, masks, *scored)


def _sees(prompt: int, replies: list[int]) -> torch.Tensor:
    """Shape (tokens, tokens): a token sees its prompt and what stands before it in its own reply."""
    size = prompt + sum(replies)
    mask = torch.ones(size, size, dtype=torch.bool).tril()
    start = prompt
    for reply in replies:
        mask[start + reply :, start : start + reply] = False
        start += reply
    return mask


def attention_type(value: torch.Tensor) -> torch.dtype:
    """The type that attention is computed in: float32 on a CPU, whose bfloat16 backward pass is slow, elsewhere that of the values. Under
    autocast rotary positions leave queries and keys in float32, and values in bfloat16."""
    return torch.float32 if value.device.type == "cpu" else value.dtype


def attend_within_trees(module, query, key, value, attention_mask, **options):
    """Attention within each tree; shapes (1, heads, tokens, head size) -> (1, tokens, heads, head size).

    options: transformers' `dropout` and `scaling`, and a Batch's `lengths` and `masks`, without which all is one sequence.
    """
    lengths, masks = (options["lengths"], options["masks"]) if options.get("lengths") else ([query.shape[2]], [None])
    dropout, scale, dtype = options.get("dropout", 0.0), options.get("scaling"), attention_type(value)
    with torch.autocast(query.device.type, enabled=False):
        states = (repeated(states.to(dtype), query.shape[1]) for states in (query, key, value))
        parts = zip(*(tensor.split(lengths, dim=2) for tensor in states), masks, strict=True)
        read = [
            F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, dropout_p=dropout, scale=scale)
            for q, k, v, mask in parts
        ]
    return torch.cat(read, dim=2).transpose(1, 2), None


AttentionInterface.register("packed", attend_within_trees)
ALL_MASK_ATTENTION_FUNCTIONS.register("packed", lambda *args, **kwargs: None)


def use_packing(model) -> None:
    """From now on the model reads rows made by pack (and single sequences without padding)."""
    model.set_attn_implementation("packed")


def token_logps(model, batch: Batch) -> torch.Tensor:
    """log p(token | its prompt and reply so far) of each scored token of a packed batch, shape (scored,), float32; 0 where it was filled up."""
    output = model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        logits_to_keep=batch.score,
        lengths=batch.lengths,
        masks=batch.masks,
        use_cache=False,
    )
    return -F.cross_entropy(output.logits[0].float(), batch.labels, reduction="none")


def reply_logps(model, batch: Batch) -> torch.Tensor:
    """Sum of log p over each reply's tokens, shape (replies,), float32: log pi(y | x) of arXiv 2305.18290, equation 7.

    Summed in float64: a GPU adds in no fixed order, which moves a float32 sum of 500 tokens by more than 1e-3.
    """
    logps = token_logps(model, batch).double()
    return logps.new_zeros(len(batch.reply_tokens)).index_add(0, batch.owner, logps).float()


def reply_states(model, batch: Batch) -> torch.Tensor:
    """Sum of the states behind the last layer (and norm) from which each reply's tokens are predicted, shape (replies, width), float64."""
    output = model.base_model(
        input_ids=batch.input_ids, position_ids=batch.position_ids, lengths=batch.lengths, masks=batch.masks, use_cache=False
    )
    counted = batch.labels >= 0
    states = output.last_hidden_state[0, batch.score[counted]].double()
    return states.new_zeros(len(batch.reply_tokens), states.shape[1]).index_add(0, batch.owner[counted], states)

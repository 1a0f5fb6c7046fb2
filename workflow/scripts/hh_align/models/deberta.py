"""A DeBERTa-v2 that only reads: the same rewards without padding and without what training needs."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

CELLS = 2**16
"""Places of the attention matrix (of each head) that are worked on at once: memory grows neither with the batch nor with a text's square."""


class Run(NamedTuple):
    """Texts of one length that lie one behind the other from token `first` on."""

    first: int
    texts: int
    tokens: int


def runs(lengths: Sequence[int]) -> Iterator[Run]:
    """The batch's neighbours of the same length, as many at once as CELLS allows."""
    first = 0
    for tokens, same in groupby(lengths):
        left, most = len(list(same)), max(CELLS // tokens**2, 1)
        for texts in (min(most, left - done) for done in range(0, left, most)):
            yield Run(first, texts, tokens)
            first += texts * tokens


def skewed(table: torch.Tensor) -> torch.Tensor:
    """Shape (..., rows, n) -> (..., rows, n - rows + 1), a view: each row begins one place before the row above it, the last at 0."""
    rows, columns = table.shape[-2:]
    shape, strides = (*table.shape[:-1], columns - rows + 1), (*table.stride()[:-2], columns - 1, 1)
    return table.as_strided(shape, strides, table.storage_offset() + rows - 1)


def look(states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Products of each token's state with the positions that it sees, which begin one later for the token before it.

    Shapes (heads, texts, tokens, size), (heads, n, size) -> (heads, texts, tokens, n - tokens + 1).
    """
    return skewed((states.flatten(1, 2) @ positions.mT).unflatten(1, states.shape[1:3]))


def attend(query, key, value, position_keys, position_queries, scale: float) -> torch.Tensor:
    """What each token of some texts of one length reads from its text: disentangled attention (arXiv 2006.03654, equation 4).

    query, key, value: shape (heads, texts, tokens, size), as is the result. position_keys and position_queries: shape (heads, 2m + 1,
    size), of a query's distances from its key, the keys from m down to -m, the queries from -m up to m.
    """
    tokens, middle = query.shape[2], position_keys.shape[1] // 2
    blocks = range(0, tokens, max(CELLS // tokens, 1))
    read = []
    for start, asks in zip(blocks, query.split(blocks.step, 2), strict=True):
        end = start + asks.shape[2]
        by_query = look(asks, position_keys[:, middle + 1 - end : middle + tokens - start])
        by_key = [
            look(seen, position_queries[:, middle + 1 + start - other - seen.shape[2] : middle + end - other]).mT
            for other, seen in zip(blocks, key.split(blocks.step, 2), strict=True)
        ]
        scores = (by_query + torch.cat(by_key, 3)).flatten(0, 1)
        scores.baddbmm_(asks.flatten(0, 1), key.flatten(0, 1).mT, alpha=scale)
        read.append((scores.softmax(2) @ value.flatten(0, 1)).unflatten(0, query.shape[:2]))
    return torch.cat(read, 2)


class ReadingAttention(torch.nn.Module):
    """What a layer makes of the relative positions is computed once, not for every batch: at 24 layers of 1,024 that costs as much as 85 tokens."""

    def __init__(self, attention: torch.nn.Module, positions: torch.Tensor) -> None:
        super().__init__()
        self.query, self.key, self.value = attention.query_proj, attention.key_proj, attention.value_proj
        self.heads = attention.num_attention_heads
        self.scale = (3 * attention.attention_head_size) ** -0.5
        self.position_keys, self.position_queries = (self.split(part(positions)) * self.scale for part in (self.key, self.query))

    def split(self, states: torch.Tensor) -> torch.Tensor:
        """Shape (tokens, heads x size) -> (heads, tokens, size)."""
        return states.unflatten(1, (self.heads, -1)).transpose(0, 1).contiguous()

    def forward(self, hidden_states, attention_mask, output_attentions=False, query_states=None, relative_pos=None, rel_embeddings=None):
        """hidden_states: shape (tokens of all texts, hidden); attention_mask: their runs; relative_pos: the row of the position table for
        each distance from 1 - longest to longest - 1."""
        query, key, value = (self.split(projection(hidden_states)) for projection in (self.query, self.key, self.value))
        positions = self.position_keys[:, relative_pos.flip(0)], self.position_queries[:, relative_pos]
        read = torch.empty_like(hidden_states)
        for first, texts, tokens in attention_mask:
            run = slice(first, first + texts * tokens)
            parts = (states[:, run].unflatten(1, (texts, tokens)) for states in (query, key, value))
            read[run] = attend(*parts, *positions, self.scale).flatten(1, 2).transpose(0, 1).flatten(1)
        return read, None


class ReadingEncoder(torch.nn.Module):
    """The encoder's layers over the tokens of all texts without their padding; it keeps the first token of each, which the reward is made of."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.layer, self.buckets, self.farthest = encoder.layer, encoder.position_buckets, encoder.max_relative_positions
        positions = encoder.get_rel_embedding()
        self.span = len(positions) // 2
        for layer in self.layer:
            layer.attention.self = ReadingAttention(layer.attention.self, positions)

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor, **_) -> BaseModelOutput:
        """hidden_states: shape (texts, tokens, hidden); attention_mask: shape (texts, tokens) -> shape (texts, 1, hidden)."""
        lengths = attention_mask.sum(1)
        longest = hidden_states[:, : int(lengths.max())]
        ahead = build_relative_position(longest, longest[:, :1], self.buckets, self.farthest).flatten()
        rows = (torch.cat([-ahead[1:].flip(0), ahead]) + self.span).clamp(0, 2 * self.span - 1)
        states, alike = hidden_states[attention_mask.bool()], list(runs(lengths.tolist()))
        for layer in self.layer:
            states, _ = layer(states, alike, relative_pos=rows)
        first = states[lengths.cumsum(0) - lengths][:, None]
        return BaseModelOutput(last_hidden_state=first, hidden_states=(first,))


@torch.inference_mode()
def without_padding(model) -> None:
    """From now on a judge of DeBERTa-v2's kind, which is only read, computes no padding (a ReadingEncoder); other models stay as they are."""
    config = model.config
    if config.model_type != "deberta-v2" or not getattr(config, "share_att_key", False) or sorted(config.pos_att_type) != ["c2p", "p2c"]:
        return
    if model.deberta.encoder.relative_attention and model.deberta.encoder.conv is None:
        model.deberta.encoder = ReadingEncoder(model.deberta.encoder)

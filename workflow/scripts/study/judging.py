"""How a judge reads: (prompt, response) as a pair, the prompt cut from its beginning, one reward per pair."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from tokenizers import Encoding, Tokenizer

from study.command import StudyError
from study.compute import release_memory
from study.outputs import output_index
from study.plan import token_batches
from study.progress import Progress


def encodings(core: Tokenizer, texts: Sequence[str]) -> Iterator[Encoding]:
    """The texts' encodings without special tokens, made for some texts at a time: one takes a hundred times the memory of its ids."""
    for start in range(0, len(texts), 100):
        yield from core.encode_batch(list(texts[start : start + 100]), add_special_tokens=False)


def pair_ids(
    tokenizer, prompts: Sequence[str] | None, responses: Sequence[str], max_length: int | None, reply_tokens: int | None = None
) -> tuple[list[list[int]], list[int]]:
    """(ids, cut): the ids of each pair in the tokenizer's own pair template (without prompts: of each response alone), and the tokens lost.

    A response longer than reply_tokens loses its end. A pair longer than max_length loses the beginning of its prompt; where the
    response alone is longer, also its end.
    """
    core = tokenizer.backend_tokenizer
    core.no_truncation()
    core.no_padding()
    special = core.num_special_tokens_to_add(prompts is not None)
    ids, cut = [], []
    if prompts is None:
        for response in encodings(core, responses):
            full, room = len(response), math.inf if max_length is None else max_length - special
            response.truncate(min(full, room, math.inf if reply_tokens is None else reply_tokens))
            ids.append(core.post_process(response, None, add_special_tokens=True).ids)
            cut.append(full + special - len(ids[-1]))
        return ids, cut
    for prompt, response in zip(encodings(core, prompts), encodings(core, responses), strict=True):
        full = len(prompt) + len(response) + special
        if reply_tokens is not None:
            response.truncate(min(len(response), reply_tokens))
        if max_length is not None and len(prompt) + len(response) + special > max_length:
            response.truncate(min(len(response), max_length - special))
            prompt.truncate(max_length - special - len(response), direction="left")
        ids.append(core.post_process(prompt, response, add_special_tokens=True).ids)
        cut.append(full - len(ids[-1]))
    return ids, cut


PADDING = 0.1
"""The largest share of a judge's batch that may be padding: its time is products, which a few sequences fill already."""


def rewards(model, ids: Sequence[Sequence[int]], pad: int, batch_tokens: int, progress: Progress) -> list[float]:
    """The judge's one logit for each row of ids, in planned batches with right padding; `progress` counts rows and tokens."""
    found = [math.nan] * len(ids)
    for batch in token_batches([len(row) for row in ids], batch_tokens, PADDING):
        for row, value in zip(batch, reward_batch(model, [ids[row] for row in batch], pad), strict=True):
            found[row] = value
        progress.add(len(batch), sum(len(ids[row]) for row in batch))
    return found


OFFSET = ("roberta", "xlm-roberta", "camembert")
"""Their positions begin behind the padding's id."""

CELLS = 2**16
"""Places of the attention matrix (of each head) that are worked on at once: memory grows neither with the batch nor with a text's square."""


class ReadingAttention(torch.nn.Module):
    """DeBERTa-v2's disentangled attention (arXiv 2006.03654, equation 4) of a model that only reads.

    What a layer makes of the relative positions is computed once and not for every batch (at 24 layers of 1,024 that is as much as 85
    tokens cost), only the positions that a batch has are looked at, and softmax and values are one fused operation.
    """

    def __init__(self, attention: torch.nn.Module, positions: torch.Tensor) -> None:
        super().__init__()
        self.query, self.key, self.value = attention.query_proj, attention.key_proj, attention.value_proj
        self.heads, self.span = attention.num_attention_heads, attention.pos_ebd_size
        self.scale = (3 * attention.attention_head_size) ** -0.5
        rows = positions[None, : 2 * self.span]
        self.position_keys, self.position_queries = (self.split(part(rows))[0] * self.scale for part in (self.key, self.query))

    def split(self, states: torch.Tensor) -> torch.Tensor:
        """Shape (batch, tokens, heads x size) -> (batch, heads, tokens, size)."""
        return states.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(self, hidden_states, attention_mask, output_attentions=False, query_states=None, relative_pos=None, rel_embeddings=None):
        """Shape (batch, tokens, hidden); attention_mask: shape (batch, 1, 1, tokens), of the keys; relative_pos: distance_buckets."""
        query, key, value = (self.split(projection(hidden_states)) for projection in (self.query, self.key, self.value))
        tokens = torch.arange(hidden_states.shape[1], device=hidden_states.device)
        places = (relative_pos + self.span).clamp(0, 2 * self.span - 1)
        low, high = int(places[0]), int(places[-1]) + 1
        keys, queries = self.position_keys[:, low:high].mT, self.position_queries[:, low:high].mT

        @lru_cache(1)
        def places_of(some: int) -> torch.Tensor:
            """Shape (places, tokens): where the distances of some queries' block to every token stand among the buckets."""
            return places[tokens.split(step)[some][:, None] - tokens + len(tokens) - 1] - low

        def read(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            seen, found = k @ queries, []
            for number, part in enumerate(q.split(step, 2)):
                at = places_of(number).expand(*q.shape[:2], -1, -1)
                bias = seen.gather(3, at.mT).mT
                bias += (part @ keys).gather(3, at)
                bias.masked_fill_(~mask, torch.finfo(q.dtype).min)
                found.append(F.scaled_dot_product_attention(part, k, v, attn_mask=bias, scale=self.scale))
            return torch.cat(found, 2)

        rows, step = max(CELLS // len(tokens) ** 2, 1), max(CELLS // len(tokens), 1)
        parts = zip(*(tensor.split(rows) for tensor in (query, key, value, attention_mask)), strict=True)
        return torch.cat([read(*part) for part in parts]).transpose(1, 2).flatten(2), None


@torch.inference_mode()
def read_only(model) -> None:
    """Give a DeBERTa-v2 that is only read from now on ReadingAttention; other models stay as they are."""
    encoder = getattr(getattr(model, "deberta", None), "encoder", None)
    if (
        not getattr(encoder, "relative_attention", False)
        or not model.config.share_att_key
        or sorted(model.config.pos_att_type) != ["c2p", "p2c"]
    ):
        return
    from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

    positions = encoder.get_rel_embedding()

    def distance_buckets(hidden_states, query_states=None, relative_pos=None) -> torch.Tensor:
        """Shape (2 x tokens - 1): the bucket of each distance from 1 - tokens to tokens - 1."""
        ahead = build_relative_position(
            hidden_states, hidden_states[:, :1], encoder.position_buckets, encoder.max_relative_positions
        ).flatten()
        return torch.cat([-ahead[1:].flip(0), ahead])

    encoder.get_rel_pos, encoder.get_attention_mask = distance_buckets, lambda mask: mask[:, None, None].bool()
    for layer in encoder.layer:
        layer.attention.self = ReadingAttention(layer.attention.self, positions)


def first(logits: torch.Tensor) -> torch.Tensor:
    """The one logit of a reward model, shape (n, 1) -> (n,)."""
    return logits[:, 0]


def reward_of(model, reading: dict) -> Callable[[torch.Tensor], torch.Tensor]:
    """What makes rewards, shape (n,), of a judge's logits, shape (n, outputs), as `reading` says: higher is better.

    A label's probability is a softmax over the labels, or a sigmoid of its own where the classifier's labels do not exclude each other
    (problem_type multi_label_classification, or one output); its logit is the log-odds of that. Raises StudyError as output_index does.
    """
    output, config = reading.get("output", "reward"), model.config
    if output == "reward":
        return first
    place, better = output_index(config, reading, "the judge's config.json"), reading["higher_is"] == "better"
    alone = config.num_labels == 1 or config.problem_type == "multi_label_classification" or output == "attribute"
    probability = output == "label" and reading["scale"] == "probability"

    def reward(logits: torch.Tensor) -> torch.Tensor:
        others = [number for number in range(logits.shape[1]) if number != place]
        odds = logits[:, place] if alone else logits[:, place] - logits[:, others].logsumexp(1)
        odds = odds if better else -odds
        return odds.sigmoid() if probability else odds

    return reward


def check_lengths(model, ids: Sequence[Sequence[int]], names: Sequence[str]) -> None:
    """Raise StudyError for an input that is longer than the positions that the judge has learned."""
    config = model.config
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None or not getattr(config, "position_biased_input", True):
        return
    limit -= config.pad_token_id + 1 if config.model_type in OFFSET else 0
    for row, name in zip(ids, names, strict=True):
        if len(row) > limit:
            raise StudyError(f"{name}: {len(row)} tokens; the judge reads at most {limit}. Set judges.<name>.max_length to {limit}.")


@torch.inference_mode()
def reward_batch(model, ids: Sequence[Sequence[int]], pad: int, reward: Callable[[torch.Tensor], torch.Tensor] = first) -> list[float]:
    """The judge's reward for each row of ids, with right padding; `reward` makes it of the logits."""
    width = max(map(len, ids))
    tensor = torch.tensor([[*row, *[pad] * (width - len(row))] for row in ids], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids], device=model.device)
    return reward(model(input_ids=tensor, attention_mask=mask).logits.float()).tolist()


def checked_rewards(
    model, ids: Sequence[Sequence[int]], names: Sequence[str], pad: int, reward: Callable[[torch.Tensor], torch.Tensor] = first
) -> list[float]:
    """As reward_batch. Raises StudyError with the input's name as check_lengths does, and for a reward that is no finite number."""
    release_memory()  # the batch before had another size
    check_lengths(model, ids, names)
    found = reward_batch(model, ids, pad, reward)
    for name, value in zip(names, found, strict=True):
        if not math.isfinite(value):
            raise StudyError(
                f"{name}: the judge's reward is {value}: its weights are damaged. Delete the judge's folder; the next run makes it again."
            )
    return found

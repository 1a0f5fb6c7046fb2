"""How a policy writes: new tokens for a batch of prompts, one position at a time, by whatever rule chooses them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from hh_align.core.errors import StudyError
from hh_align.data.transcripts import ASSISTANT, LEAD
from hh_align.models.attention import repeated
from hh_align.models.chat import prompt_text, takes_system
from hh_align.models.tokens import start


@dataclass
class Continuation:
    """New tokens (without the end token) and why they end: `eos`, `stop` or `length`."""

    ids: list[int]
    finish: str


class Memory:
    """Keys and values of every token so far, in tensors allocated once: a new token writes its column, nothing else is copied.

    One pair of tensors per layer, shape (prompts, groups of heads that share them, columns, head size of keys or values). All prompts end
    in the same column; `seen`, shape (prompts, 1, 1, columns), says which columns a prompt has.
    """

    def __init__(self, lengths: Sequence[int], new: int, device: torch.device) -> None:
        self.lengths, self.width = list(lengths), max(lengths)
        self.columns, self.used = self.width + new, self.width
        starts = torch.tensor([self.width - length for length in lengths], device=device)
        self.seen = (torch.arange(self.columns, device=device) >= starts[:, None])[:, None, None]
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def read_prompts(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        """Attention within each prompt of one packed row, shape (1, heads, tokens, head size), and the next layer's keys and values."""
        groups = key.shape[1]
        columns = tuple(states.new_zeros(len(self.lengths), groups, self.columns, states.shape[3]) for states in (key, value))
        for memory, states in zip(columns, (key, value), strict=True):
            for row, part in enumerate(states.split(self.lengths, dim=2)):
                memory[row, :, self.width - part.shape[2] : self.width] = part[0]
        self.layers.append(columns)
        whole = (repeated(states, query.shape[1]).split(self.lengths, dim=2) for states in (query, key, value))
        read = [F.scaled_dot_product_attention(*part, is_causal=True, scale=scale) for part in zip(*whole, strict=True)]
        return torch.cat(read, dim=2)

    def read_token(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        """Attention of one new token per prompt, shape (prompts, heads, 1, head size), to what its prompt has seen."""
        keys, values = self.layers[layer]
        keys[:, :, self.used - 1], values[:, :, self.used - 1] = key[:, :, 0], value[:, :, 0]
        seen = [tensor[..., : self.used, :] for tensor in (keys, values)]
        asks = query.reshape(len(query), key.shape[1], -1, query.shape[3])  # the heads that share their keys, as queries of one head
        read = F.scaled_dot_product_attention(asks, *seen, attn_mask=self.seen[..., : self.used], scale=scale)
        return read.reshape(*query.shape[:3], read.shape[3])

    def keep(self, rows: torch.Tensor) -> None:
        """Forget all prompts but these."""
        self.seen = self.seen[rows]
        self.layers = [(keys[rows], values[rows]) for keys, values in self.layers]


def attend_to_memory(module, query, key, value, attention_mask, **options):
    """Attention of whole prompts, or of one new token each, shapes as Memory has them -> (…, tokens, heads, head size).

    options: transformers' `scaling`, and the `memory`.
    """
    memory, scale, layer = options["memory"], options.get("scaling"), module.layer_idx
    query, key = query.to(value.dtype), key.to(value.dtype)  # rotary positions may leave them in float32
    first = len(memory.layers) == layer
    read = memory.read_prompts(query, key, value, scale) if first else memory.read_token(layer, query, key, value, scale)
    return read.transpose(1, 2), None


AttentionInterface.register("memory", attend_to_memory)
ALL_MASK_ATTENTION_FUNCTIONS.register("memory", lambda *args, **kwargs: None)


@contextmanager
def use_memory(model) -> Iterator[None]:
    """Within, the model's attention reads and writes a Memory."""
    before = model.config._attn_implementation
    model.set_attn_implementation("memory")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def prompt_ids(tokenizer, prompts: Sequence[dict], config: dict, positions: int) -> tuple[list[list[int]], list[int]]:
    """(ids, cut) of the evaluation prompts as a policy reads them: one leading bos where there is one, and by the tokenizer's chat
    template, else behind the blank line that begins a transcript where `lead` says so, and with the cue where `cue` does: with both a
    prompt is the one of training.

    A prompt that leaves no room for `max_new_tokens` within the policy's positions loses its beginning where `long_prompts` is `cut`;
    cut counts the tokens. Raises StudyError for it otherwise, and for a prompt without text.
    """
    for prompt in prompts:
        if not prompt["prompt"].strip():
            raise StudyError(f"{prompt['prompt_id']}: the prompt is empty. A policy has nothing to continue.")
    first = start(tokenizer.bos_token_id)
    limit, ids, cut = positions - config["max_new_tokens"], [], []
    if limit < 2:
        raise StudyError(f"generation.max_new_tokens is {config['max_new_tokens']}, and the policy has {positions} positions: lower it.")
    system = bool(tokenizer.chat_template) and takes_system(tokenizer, (prompt["prompt"] for prompt in prompts))
    for prompt in prompts:  # one by one: the encodings of many would hold memory that nothing else needs
        text = LEAD * config["lead"] + prompt["prompt"] + ASSISTANT * config["cue"]
        if tokenizer.chat_template:
            text = prompt_text(tokenizer, prompt["prompt"], prompt["prompt_id"], system)
        encoded = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        over = max(len(first) + len(encoded) - limit, 0)
        if over and config["long_prompts"] == "error":
            raise StudyError(
                f"{prompt['prompt_id']}: {len(first) + len(encoded)} tokens; the policy reads at most {limit} before {config['max_new_tokens']} new "
                "ones. Set generation.long_prompts to cut (the beginning is lost, and counted), or generation.max_new_tokens lower."
            )
        ids.append([*first, *encoded[over:]])
        cut.append(over)
    return ids, cut


@torch.inference_mode()
def decode(
    model,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    eos: int,
    choose: Callable[[torch.Tensor, list[int]], torch.Tensor],
    stops: Callable[[list[int]], bool] = lambda ids: False,
    names: Sequence[str] = (),
) -> list[Continuation]:
    """Continuations of a batch of prompts (ids). No padding is computed, and a prompt that has ended leaves the batch in time.

    choose: float32 logits of the next token, shape (running, vocabulary), and the numbers of the prompts that they belong to -> one
    id each. stops: whether new ids end a response, asked after every token. Raises StudyError, naming the prompt by `names`, where
    logits are no finite numbers.
    """
    device, lengths = model.device, [len(prompt) for prompt in prompts]
    written = [Continuation([], "length") for _ in prompts]
    memory, rows = Memory(lengths, max_new_tokens, device), list(range(len(prompts)))
    last = torch.tensor(lengths, device=device)
    inputs = {
        "input_ids": torch.tensor([[token for prompt in prompts for token in prompt]], device=device),
        "position_ids": torch.tensor([[position for length in lengths for position in range(length)]], device=device),
        "logits_to_keep": last.cumsum(0) - 1,
    }
    with use_memory(model):
        for step in range(max_new_tokens):
            logits = model(**inputs, memory=memory, use_cache=False).logits.float()
            logits = logits[0] if step == 0 else logits[:, 0]
            if (broken := ~logits.isfinite().all(1)).any():
                name = [*names, *map(str, range(len(prompts)))][rows[int(broken.nonzero()[0])]]
                raise StudyError(f"{name}: the logits are not finite numbers: the policy's weights are damaged, or its training diverged.")
            chosen = choose(logits, rows)
            for row, token in zip(rows, chosen.tolist(), strict=True):
                if token == eos:
                    written[row].finish = "eos"
                else:
                    written[row].ids.append(token)
                    if stops(written[row].ids):
                        written[row].finish = "stop"
            running = [index for index, row in enumerate(rows) if written[row].finish == "length"]
            if not running or step == max_new_tokens - 1:
                break
            if len(running) < len(rows):
                left = torch.tensor(running, device=device)
                rows, chosen, last = [rows[index] for index in running], chosen[left], last[left]
                memory.keep(left)
            memory.used += 1
            inputs = {"input_ids": chosen[:, None], "position_ids": (last + step)[:, None]}
    return written

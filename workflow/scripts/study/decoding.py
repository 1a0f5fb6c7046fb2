"""How a policy writes: new tokens for a batch of prompts, one position at a time, by whatever rule chooses them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from study.command import StudyError
from study.transcripts import ASSISTANT


@dataclass
class Continuation:
    """New tokens (without </s>) and why they end: `eos` or `length`."""

    ids: list[int]
    finish: str


def prompt_ids(tokenizer, prompts: Sequence[dict], config: dict, positions: int) -> list[list[int]]:
    """Ids of the evaluation prompts as every policy reads them: one leading </s>, the cue where `cue` says so.

    Raises StudyError for a prompt that leaves no room for `max_new_tokens` within the policy's positions.
    """
    texts = [prompt["prompt"] + (ASSISTANT if config["cue"] else "") for prompt in prompts]
    ids = [[tokenizer.bos_token_id, *encoded] for encoded in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    limit = positions - config["max_new_tokens"]
    for prompt, row in zip(prompts, ids, strict=True):
        if len(row) > limit:
            raise StudyError(
                f"{prompt['prompt_id']}: {len(row)} tokens; the policy reads at most {limit} before {config['max_new_tokens']} new ones."
            )
    return ids


@torch.no_grad()
def decode(
    model, prompts: Sequence[list[int]], max_new_tokens: int, pad: int, eos: int, choose: Callable[[torch.Tensor], torch.Tensor]
) -> list[Continuation]:
    """Continuations of a batch of prompts (ids). Left padding; OPT's positions count the attended tokens only.

    choose: float32 logits of the next token, shape (prompts, vocabulary), -> one id per prompt; called once per position, for
    prompts that have ended, too. Raises StudyError where logits are not numbers.
    """
    device, width = model.device, max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    found = [Continuation([], "length") for _ in prompts]
    cache, running = None, torch.ones(len(prompts), dtype=torch.bool, device=device)
    for _ in range(max_new_tokens):
        output = model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache, logits = output.past_key_values, output.logits[:, -1].float()
        if logits.isnan().any():
            raise StudyError("the logits are not numbers (NaN): the policy's weights are damaged, or its training diverged.")
        token = choose(logits)
        for row in running.nonzero()[:, 0].tolist():
            if token[row] == eos:
                found[row].finish = "eos"
            else:
                found[row].ids.append(int(token[row]))
        running &= token != eos
        if not running.any():
            break
        ids = torch.where(running, token, pad)[:, None]
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    return found

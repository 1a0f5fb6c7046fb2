"""How a judge reads: (prompt, response) as a pair, the prompt cut from its beginning, one reward per pair."""

import math
from collections.abc import Sequence

import torch

from study.plan import token_batches
from study.progress import Progress


def pair_ids(
    tokenizer, prompts: Sequence[str], responses: Sequence[str], max_length: int | None, reply_tokens: int | None = None
) -> tuple[list[list[int]], list[int]]:
    """(ids, cut): the ids of each pair in the tokenizer's own pair template, and the tokens lost.

    A response longer than reply_tokens loses its end. A pair longer than max_length loses the beginning of its prompt; where the
    response alone is longer, also its end.
    """
    core = tokenizer.backend_tokenizer
    core.no_truncation()
    core.no_padding()
    special = core.num_special_tokens_to_add(True)
    ids, cut = [], []
    for prompt, response in zip(*(core.encode_batch(list(texts), add_special_tokens=False) for texts in (prompts, responses)), strict=True):
        full = len(prompt) + len(response) + special
        if reply_tokens is not None:
            response.truncate(min(len(response), reply_tokens))
        if max_length is not None and len(prompt) + len(response) + special > max_length:
            response.truncate(min(len(response), max_length - special))
            prompt.truncate(max_length - special - len(response), direction="left")
        ids.append(core.post_process(prompt, response, add_special_tokens=True).ids)
        cut.append(full - len(ids[-1]))
    return ids, cut


def rewards(model, ids: Sequence[Sequence[int]], pad: int, batch_tokens: int, progress: Progress) -> list[float]:
    """The judge's one logit for each row of ids, in planned batches with right padding; `progress` counts rows and tokens."""
    found = [math.nan] * len(ids)
    for batch in token_batches([len(row) for row in ids], batch_tokens):
        for row, value in zip(batch, reward_batch(model, [ids[row] for row in batch], pad), strict=True):
            found[row] = value
        progress.add(len(batch), sum(len(ids[row]) for row in batch))
    return found


@torch.inference_mode()
def reward_batch(model, ids: Sequence[Sequence[int]], pad: int) -> list[float]:
    """The judge's one logit for each row of ids, with right padding."""
    width = max(map(len, ids))
    tensor = torch.tensor([[*row, *[pad] * (width - len(row))] for row in ids], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids], device=model.device)
    return model(input_ids=tensor, attention_mask=mask).logits[:, 0].float().tolist()

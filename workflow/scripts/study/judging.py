"""How a judge reads: (prompt, response) as a pair, the prompt cut from its beginning, one reward per pair."""

from collections.abc import Iterator, Sequence

import torch

from study.plan import token_batches


def pair_ids(tokenizer, prompts: Sequence[str], responses: Sequence[str], max_length: int | None) -> tuple[list[list[int]], list[int]]:
    """(ids, cut): the ids of each pair in the tokenizer's own pair template, and the tokens lost.

    A pair longer than max_length loses the beginning of its prompt; where the response alone is longer, also its end.
    """
    core = tokenizer.backend_tokenizer
    core.no_truncation()
    core.no_padding()
    special = core.num_special_tokens_to_add(True)
    ids, cut = [], []
    for prompt, response in zip(*(core.encode_batch(list(texts), add_special_tokens=False) for texts in (prompts, responses)), strict=True):
        full = len(prompt) + len(response) + special
        if max_length is not None and full > max_length:
            response.truncate(min(len(response), max_length - special))
            prompt.truncate(max_length - special - len(response), direction="left")
        ids.append(core.post_process(prompt, response, add_special_tokens=True).ids)
        cut.append(full - len(ids[-1]))
    return ids, cut


def rewards(model, ids: Sequence[Sequence[int]], pad: int, batch_tokens: int, device: str) -> Iterator[tuple[list[int], list[float]]]:
    """For each planned batch its rows and their rewards (the judge's one logit). Right padding, no gradient."""
    for batch in token_batches([len(row) for row in ids], batch_tokens):
        width = max(len(ids[row]) for row in batch)
        tensor = torch.tensor([[*ids[row], *[pad] * (width - len(ids[row]))] for row in batch], device=device)
        mask = torch.tensor([[1] * len(ids[row]) + [0] * (width - len(ids[row])) for row in batch], device=device)
        with torch.no_grad():
            logits = model(input_ids=tensor, attention_mask=mask).logits
        yield batch, logits[:, 0].float().tolist()

"""What the DPO step and its reference log-probabilities share: the rows, the token view, the log-probability of a reply."""

import torch

from study.preferences import training_rows
from study.tokens import encoder, pair_view, published_pair_view


def pairs(table: list[dict], tokenizer, method: dict, train_split: str) -> tuple[list[dict], list[dict]]:
    """(rows, examples) that a DPO method trains on, in file order; `dropout: as_published` takes every row and the author's view."""
    published = method["dropout"] == "as_published"
    rows = training_rows(table, train_split, None if published else "use_dpo", method.get("max_rows"))
    limits = method["max_length"], method["max_prompt_length"]
    encode, bos, eos = encoder(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id
    examples = published_pair_view(rows, encode, eos, *limits) if published else pair_view(rows, encode, bos, eos, *limits)
    return rows, examples


def pair_length(example: dict) -> int:
    """Tokens of the longer of the two sequences of a pair."""
    return len(example["prompt_ids"]) + max(len(example["chosen_ids"]), len(example["rejected_ids"]))


def reply_logps(model, sequences: list[tuple[list[int], list[int]]], pad: int, device: str) -> torch.Tensor:
    """Sum of log p(token | before) over the reply's tokens, one per (prompt ids, reply ids), shape (n,), float32.

    arXiv 2305.18290, equation 7: log pi(y | x). Right padding; the sequences form one batch.
    """
    width = max(len(prompt) + len(reply) for prompt, reply in sequences)
    ids = torch.full((len(sequences), width), pad)
    mask, in_reply = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for row, (prompt, reply) in enumerate(sequences):
        end = len(prompt) + len(reply)
        ids[row, :end] = torch.tensor(prompt + reply)
        mask[row, :end] = 1
        in_reply[row, len(prompt) : end] = True
    ids, mask, in_reply = ids.to(device), mask.to(device), in_reply.to(device)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
    target = ids[:, 1:]
    logps = logits.gather(2, target[:, :, None])[:, :, 0] - logits.logsumexp(2)
    return (logps * in_reply[:, 1:]).sum(1)

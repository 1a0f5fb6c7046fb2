"""What a judge reads and says: (prompt, response) in its tokenizer's pair template, the prompt cut from its beginning; one reward per input."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from tokenizers import Encoding, Tokenizer

from hh_align.core.errors import StudyError
from hh_align.core.plan import token_batches
from hh_align.core.progress import Progress
from hh_align.models.compute import release_memory
from hh_align.models.outputs import OFFSET, output_index


def encodings(core: Tokenizer, texts: Sequence[str], special: bool = False) -> Iterator[Encoding]:
    """The texts' encodings, with special tokens or without, made for some texts at a time: one takes a hundred times the memory of its ids."""
    for start in range(0, len(texts), 100):
        yield from core.encode_batch(list(texts[start : start + 100]), add_special_tokens=special)


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
    reward_of_row = [math.nan] * len(ids)
    for batch in token_batches([len(row) for row in ids], batch_tokens, PADDING):
        for row, value in zip(batch, reward_batch(model, [ids[row] for row in batch], pad), strict=True):
            reward_of_row[row] = value
        progress.add(len(batch), sum(len(ids[row]) for row in batch))
    return reward_of_row


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
    index, better = output_index(config, reading, "the judge's config.json"), reading["higher_is"] == "better"
    alone = config.num_labels == 1 or config.problem_type == "multi_label_classification" or output == "attribute"
    probability = output == "label" and reading["scale"] == "probability"

    def reward(logits: torch.Tensor) -> torch.Tensor:
        others = [number for number in range(logits.shape[1]) if number != index]
        odds = logits[:, index] if alone else logits[:, index] - logits[:, others].logsumexp(1)
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
    values = reward_batch(model, ids, pad, reward)
    for name, value in zip(names, values, strict=True):
        if not math.isfinite(value):
            raise StudyError(
                f"{name}: the judge's reward is {value}: its weights are damaged. Delete the judge's folder; the next run makes it again."
            )
    return values

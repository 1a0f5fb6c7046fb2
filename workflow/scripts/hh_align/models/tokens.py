"""Token views: how transcripts and preference pairs become ids. Pure functions; `encode` maps texts to ids without special tokens."""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hh_align.core.errors import StudyError

Encode = Callable[[list[str]], list[list[int]]]
"""Texts -> ids of each, without special tokens."""

ENCODED = 1000
"""Texts that are encoded at once."""

GOING_ON = [("a", " a"), ("a\n", "a")]
"""A text's beginning and the rest, which have the ids of the whole where a tokenizer does nothing of its own at the beginning."""


class Transcript(NamedTuple):
    """A prompt with its chosen reply, as SFT reads it: ids, labels (the ids, or -100 where they are not in the loss; equally many), and
    the tokens lost at its end."""

    input_ids: list[int]
    labels: list[int]
    cut: int


class Pair(NamedTuple):
    """A preference pair, as DPO and KTO read it: ids of the prompt and of both replies, and the tokens lost of the prompt and of both
    replies together."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    cut_prompt: int
    cut_reply: int


def encoder(tokenizer) -> Encode:
    """Texts -> ids without special tokens, in parallel over the texts; some texts at a time, as for judging.encodings."""

    def encode(texts: list[str]) -> list[list[int]]:
        windows = (texts[start : start + ENCODED] for start in range(0, len(texts), ENCODED))
        return [ids for window in windows for ids in tokenizer(window, add_special_tokens=False)["input_ids"]]

    return encode


def replies_behind(prompts: Sequence[list[int]], rows: Sequence[dict], side: str, encode: Encode) -> list[list[int]]:
    """The ids of each row's reply (`side`) as it stands behind its prompt, whose ids are `prompts`.

    A tokenizer may begin a text otherwise than it goes on, as Llama-2's, which puts a "▁" before it: of such a one they are what follows
    the prompt's ids in those of the text of both. Where that does not begin with them, the reply is encoded apart all the same.
    """
    if all(encode([one + other]) == [first + more] for one, other in GOING_ON for first, more in [encode([one, other])]):
        return encode([row[side] for row in rows])
    whole = encode([row["prompt"] + row[side] for row in rows])
    behind = [ids[len(prompt) :] if ids[: len(prompt)] == prompt else None for prompt, ids in zip(prompts, whole, strict=True)]
    alone = iter(encode([row[side] for row, ids in zip(rows, behind, strict=True) if ids is None]))
    return [next(alone) if ids is None else ids for ids in behind]


def check_boundaries(rows: Sequence[dict], encode: Encode, sample: int = 500) -> None:
    """Raise StudyError where a tokenizer joins prompt and reply: then training would read other tokens of a prompt than generation.

    rows: `prompt` ends with the cue, `chosen` begins with its space; the first `sample` rows are looked at, and one in twenty may
    be joined (a reply that begins with a sign of its own).
    """
    looked = rows[:sample]
    prompts = encode([row["prompt"] for row in looked])
    parts = zip(prompts, replies_behind(prompts, looked, "chosen", encode), strict=True)
    whole = encode([row["prompt"] + row["chosen"] for row in looked])
    joined = sum(prompt + reply != ids for (prompt, reply), ids in zip(parts, whole, strict=True))
    if 20 * joined > len(looked):
        raise StudyError(
            f"the tokenizer joins prompt and reply in {joined} of {len(looked)} rows: training would read other tokens of a prompt than "
            "generation. Take a model whose tokenizer begins a token at each word, as those of OPT, GPT-2, Llama and Qwen do."
        )


def start(bos: int | None) -> list[int]:
    """The ids that stand before every text: one, or none where the tokenizer puts none there."""
    return [] if bos is None else [bos]


def transcript_view(rows: Sequence[dict], encode: Encode, bos: int | None, eos: int, max_length: int, loss_on: str) -> list[Transcript]:
    """One transcript per row, in the rows' order; rows: prompt and chosen, as the model reads them.

    loss_on = `transcript`: every token counts (the paper); `reply`: only those of the reply, as replies_behind has them.
    One leading bos where there is one; one trailing eos, unless the row is cut.
    """
    if loss_on == "transcript":
        prompts = [[] for _ in rows]
        replies = encode([row["prompt"] + row["chosen"] for row in rows])
    else:
        prompts = encode([row["prompt"] for row in rows])
        replies = replies_behind(prompts, rows, "chosen", encode)
    transcripts = []
    for prompt, reply in zip(prompts, replies, strict=True):
        ids = [*start(bos), *prompt, *reply, eos]
        masked = len(start(bos)) + len(prompt) if loss_on == "reply" else 0
        labels = [-100] * masked + ids[masked:]
        transcripts.append(Transcript(ids[:max_length], labels[:max_length], max(0, len(ids) - max_length)))
    return transcripts


def pair_view(rows: Sequence[dict], encode: Encode, bos: int | None, eos: int, max_length: int, max_prompt_length: int) -> list[Pair]:
    """One pair per row, in the rows' order; rows: prompt, chosen and rejected, as the model reads them; replies as replies_behind has them.

    The prompt ends with the cue and keeps its last tokens behind one leading bos where there is one, as in generation; a reply
    begins with its space and ends with eos unless it is cut at max_length.
    """
    prompts = encode([row["prompt"] for row in rows])
    views = zip(prompts, *(replies_behind(prompts, rows, side, encode) for side in ("chosen", "rejected")), strict=True)
    return [_pair(start(bos), prompt, good, bad, eos, max_length, max_prompt_length) for prompt, good, bad in views]


def published_pair_view(rows: Sequence[dict], encode: Encode, eos: int, max_length: int, max_prompt_length: int) -> list[Pair]:
    """As pair_view, but as the paper's trainer cut pairs: the prompt is the longest common beginning of the two transcripts in
    characters (a space at its end goes to the replies), and there is no leading </s>."""
    split = [_common_beginning(row) for row in rows]
    prompts, chosen, rejected = (encode([pair[part] for pair in split]) for part in range(3))
    views = zip(prompts, chosen, rejected, strict=True)
    return [_pair([], prompt, good, bad, eos, max_length, max_prompt_length) for prompt, good, bad in views]


def _common_beginning(row: dict) -> tuple[str, str, str]:
    chosen = row["prompt"] + row["chosen"]
    rejected = (row["rejected_prompt"] or row["prompt"]) + row["rejected"]
    length = len(os.path.commonprefix([chosen, rejected]))  # noqa: RUF071 - characters are meant
    if 0 < length < min(len(chosen), len(rejected)) and chosen[length - 1] == " ":
        length -= 1
    return chosen[:length], chosen[length:], rejected[length:]


def _pair(start: list[int], prompt: list[int], chosen: list[int], rejected: list[int], eos: int, max_length: int, max_prompt: int) -> Pair:
    room = max_prompt - len(start)
    prompt_ids = start + prompt[-room:]
    replies = [[*reply, eos] for reply in (chosen, rejected)]
    limit = max_length - len(prompt_ids)
    cut_reply = sum(max(0, len(reply) - limit) for reply in replies)
    return Pair(prompt_ids, *(reply[:limit] for reply in replies), max(0, len(prompt) - room), cut_reply)

"""The tokens of a judge's input: prompt and reply as it reads them, and what a limit leaves of them."""

import math
from collections.abc import Sequence

from tokenizers import Encoding

from hh_align.data.transcripts import ASSISTANT, LEAD
from hh_align.models.chat import messages, takes_system
from hh_align.models.judging import encodings, pair_ids
from hh_align.models.reading import begun, chat_text

NO_REPLY = "\ue000"
"""A reply of one sign that no text has, to find where in an input the reply stands."""


def plain_text(prompt: str, reply: str) -> str:
    """The transcript that prompt and reply are, as HH-RLHF has it; a prompt that ends within a reply goes on in it."""
    return f"{LEAD}{prompt}\n\n{reply}" if begun(messages(prompt)) else f"{LEAD}{prompt}{ASSISTANT} {reply}"


def judge_ids(
    tokenizer,
    reads: str,
    prompts: Sequence[str],
    replies: Sequence[str],
    names: Sequence[str],
    max_length: int | None,
    reply_tokens: int | None = None,
) -> tuple[list[list[int]], list[int]]:
    """(ids, cut): what the judge reads of each prompt and reply, as `reads` (one of READINGS) says, and how many tokens were cut.

    A reply longer than reply_tokens loses its end. An input longer than max_length loses the beginning of its prompt, but for the token that
    begins every text; where the reply alone is longer, also its end, but for what follows it (end tokens). names: what an error calls them.
    """
    if reads in ("pair", "response"):
        return pair_ids(tokenizer, None if reads == "response" else prompts, replies, max_length, reply_tokens)
    core = tokenizer.backend_tokenizer
    core.no_truncation()
    core.no_padding()

    system = reads == "chat" and takes_system(tokenizer, prompts)

    def text_of(number: int, reply: str) -> str:
        prompt = prompts[number]
        return plain_text(prompt, reply) if reads == "text" else chat_text(tokenizer, prompt, reply, names[number], system)

    texts, ids, cut = [text_of(number, reply) for number, reply in enumerate(replies)], [], []
    for number, whole in enumerate(encodings(core, texts, special=reads == "text")):
        kept = whole.ids
        if reply_tokens is not None or len(kept) > (max_length or math.inf):
            other = text_of(number, NO_REPLY)
            kept = shortened(whole, reply_span(texts[number], other), tokenizer.bos_token_id, max_length, reply_tokens)
        ids.append(kept)
        cut.append(len(whole.ids) - len(kept))
    return ids, cut


def reply_span(text: str, other: str) -> tuple[int, int]:
    """Where in an input's text the reply begins and ends: `other` is the same input with another reply."""
    begin = alike(text, other)
    return begin, len(text) - alike(text[begin:][::-1], other[begin:][::-1])


def alike(a: str, b: str) -> int:
    """How many characters both texts begin with."""
    return next((number for number, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b)))


def shortened(whole: Encoding, reply: tuple[int, int], bos: int | None, max_length: int | None, reply_tokens: int | None) -> list[int]:
    """The ids of an input that is cut as judge_ids says; reply: where it begins and ends in the text."""
    tokens = list(zip(whole.ids, whole.offsets, whole.special_tokens_mask, strict=True))
    first = next((n for n, (token, _, special) in enumerate(tokens) if not special and token != bos), len(tokens))
    last = next((n for n in range(len(tokens), first, -1) if not tokens[n - 1][2] and tokens[n - 1][1][0] < reply[1]), first)
    start = next((n for n in range(first, last) if tokens[n][1][1] > reply[0]), last)
    room = math.inf if max_length is None else max(max_length - first - (len(tokens) - last), 0)
    said = min(last - start, room, math.inf if reply_tokens is None else reply_tokens)
    asked = min(start - first, room - said)
    return [*whole.ids[:first], *whole.ids[start - asked : start + said], *whole.ids[last:]]

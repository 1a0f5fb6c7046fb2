"""How prompt and reply become the tokens of a judge: a pair, the turns of a chat, a plain transcript, or the reply alone."""

import math
from collections.abc import Sequence
from pathlib import Path

from jinja2 import TemplateError
from tokenizers import Encoding

from hh_align.core.errors import StudyError
from hh_align.data.transcripts import ASSISTANT, LEAD
from hh_align.models.chat import messages
from hh_align.models.judging import encodings, pair_ids

READINGS = {
    "pair": "its tokenizer's join of two texts",
    "chat": "its chat template",
    "text": "a plain transcript",
    "response": "the reply alone",
}
NO_REPLY = "\ue000"
"""A reply of one sign that no text has, to find where in an input the reply stands."""


def joins_pairs(tokenizer) -> bool:
    """Whether the tokenizer puts a separator between two texts: a special token that is not the one which begins every text (all that
    Llama's and Gemma's put there)."""
    core = tokenizer.backend_tokenizer
    core.no_truncation()
    core.no_padding()
    joined = core.encode("a", "b", add_special_tokens=True)
    sides = joined.sequence_ids
    if 0 not in sides or 1 not in sides:
        return False
    between = joined.ids[len(sides) - sides[::-1].index(0) : sides.index(1)]
    return any(token != joined.ids[0] or sides[0] == 0 for token in between)


def reading_of(tokenizer, reads: str | None, where: Path | str) -> str:
    """Which of READINGS: `reads`, else the one of pair and chat that the judge's files say. Raises StudyError where they say neither or both."""
    if reads is not None:
        return reads
    said = [name for name, there in (("pair", joins_pairs(tokenizer)), ("chat", tokenizer.chat_template is not None)) if there]
    if len(said) == 1:
        return said[0]
    why = (
        "has both a separator between two texts and a chat template"
        if said
        else "has neither a separator between two texts nor a chat template"
    )
    choices = ", ".join(f"{name} ({meaning})" for name, meaning in READINGS.items() if said or name != "chat")
    raise StudyError(
        f"{where}: how does the judge read prompt and reply? Its tokenizer {why}. Set judges.<name>.reads to one of: {choices}."
    )


def chat_text(tokenizer, prompt: str, reply: str, name: str) -> str:
    """The prompt's turns and the reply as the assistant's last one, by the tokenizer's chat template; a prompt that ends within a reply goes
    on in it. Raises StudyError, naming the input, where the template refuses it."""
    turns = messages(prompt)
    if begun(turns):
        turns[-1]["content"] += f"\n\n{reply}"
    else:
        turns.append({"role": "assistant", "content": reply})
    try:
        return tokenizer.apply_chat_template(turns, tokenize=False)
    except (TemplateError, ValueError, TypeError) as error:
        raise StudyError(
            f"{name}: the judge's chat template refuses this input ({error}). Set judges.<name>.reads to text or pair."
        ) from None


def plain_text(prompt: str, reply: str) -> str:
    """The transcript that prompt and reply are, as HH-RLHF has it; a prompt that ends within a reply goes on in it."""
    return f"{LEAD}{prompt}\n\n{reply}" if begun(messages(prompt)) else f"{LEAD}{prompt}{ASSISTANT} {reply}"


def begun(turns: list[dict[str, str]]) -> bool:
    """Whether the assistant has the last word in a prompt's turns."""
    return bool(turns) and turns[-1]["role"] == "assistant"


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

    def text_of(number: int, reply: str) -> str:
        prompt = prompts[number]
        return plain_text(prompt, reply) if reads == "text" else chat_text(tokenizer, prompt, reply, names[number])

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


def check_chat(tokenizer, where: Path | str) -> None:
    """Raise StudyError for a judge without a chat template, or with one that leaves out prompt or reply, or tells the date."""
    if tokenizer.chat_template is None:
        raise StudyError(f"{where}: the judge has no chat template to read by. Set judges.<name>.reads to pair, text or response.")
    if "strftime_now" in tokenizer.chat_template:
        raise StudyError(
            f"{where}: the judge's chat template writes the date: other days would give other rewards. Take that part out of it."
        )
    texts = {chat_text(tokenizer, f"Human: {prompt}", reply, str(where)) for prompt in ("one", "two") for reply in ("three", "four")}
    if len(texts) < 4:
        raise StudyError(f"{where}: the judge's chat template leaves out prompt or reply. Set judges.<name>.reads to pair or text.")

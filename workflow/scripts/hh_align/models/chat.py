"""Transcripts through a tokenizer's own chat template: a model whose tokenizer carries one reads every prompt by it."""

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import TemplateError

from hh_align.core.errors import StudyError
from hh_align.data.preferences import row_name

ROLES = {"Human": "user", "Assistant": "assistant"}


def messages(prompt: str) -> list[dict[str, str]]:
    """The turns of a prompt as messages; turns of one speaker in a row are joined, an empty one at the end (the cue) is left out."""
    before, *parts = re.split(r"(?:^|\n\n)(Human|Assistant):", prompt)
    turns = [("Human", before), *zip(parts[::2], parts[1::2], strict=True)]
    merged: list[dict[str, str]] = []
    for speaker, text in turns:
        if not text.strip():
            continue
        if merged and merged[-1]["role"] == ROLES[speaker]:
            merged[-1]["content"] += f"\n\n{text.strip()}"
        else:
            merged.append({"role": ROLES[speaker], "content": text.strip()})
    return merged


def default_template(tokenizer, where: Path) -> None:
    """Let the tokenizer have the one template, of several named ones `default`. Raises StudyError where none of them is named so."""
    if not isinstance(tokenizer.chat_template, dict):
        return
    if "default" not in tokenizer.chat_template:
        names = ", ".join(sorted(tokenizer.chat_template))
        raise StudyError(f"{where}: the model has several chat templates ({names}), none of them named default. Name the right one so.")
    tokenizer.chat_template = tokenizer.chat_template["default"]


def prompt_text(tokenizer, prompt: str, name: str) -> str:
    """The prompt as the template has it, up to where the reply begins, without the leading bos that every text gets.

    A prompt that ends within a reply is left open there. Raises StudyError, naming the prompt, where the template refuses it.
    """
    turns = messages(prompt)
    begun = bool(turns) and turns[-1]["role"] == "assistant"
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=not begun, continue_final_message=begun)
    except (TemplateError, ValueError) as error:
        raise StudyError(
            f"{name}: the model's chat template refuses this prompt ({error}). Set models.base.chat_template to false."
        ) from None
    return text.removeprefix(tokenizer.bos_token or "")


def as_read(rows: Sequence[dict], tokenizer) -> Sequence[dict]:
    """Preference rows with the texts that the model reads: as they are, or by the tokenizer's template, replies without outer white space."""
    if not tokenizer.chat_template:
        return rows
    return [
        {
            **row,
            "prompt": prompt_text(tokenizer, row["prompt"], row_name(row)),
            **{side: row[side].strip() for side in ("chosen", "rejected")},
        }
        for row in rows
    ]


def check_template(tokenizer, where: Path) -> None:
    """Raise StudyError where the model has no chat template, or one by which a reply does not end with the end token, or that tells the date."""
    template = tokenizer.chat_template
    if not isinstance(template, str):
        raise StudyError(
            f"{where}: the model has no chat template. Set models.base.chat_template to false, or take a model made for chats."
        )
    if "strftime_now" in template:
        raise StudyError(
            f"{where}: the model's chat template writes the date: other days would give other bytes. Take that part out of it."
        )
    prompt = prompt_text(tokenizer, "Human: a", str(where))
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    whole = tokenizer.apply_chat_template(said, tokenize=False).removeprefix(tokenizer.bos_token or "")
    if whole.rstrip() != f"{prompt}b{tokenizer.eos_token}":
        raise StudyError(
            f"{where}: by the model's chat template a reply does not follow the prompt and end with {tokenizer.eos_token}. "
            "Set models.base.chat_template to false."
        )

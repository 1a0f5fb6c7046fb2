"""Transcripts through a tokenizer's own chat template: a model whose tokenizer carries one reads every prompt by it."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import TemplateError

from hh_align.core.artifacts import say
from hh_align.core.errors import StudyError
from hh_align.data.preferences import row_name

ROLES = {"Human": "user", "Assistant": "assistant"}
WITHOUT = "Set its chat_template (of models.base, or of the policy with a source of its own) to false."


def messages(prompt: str, system: bool = True) -> list[dict[str, str]]:
    """The turns of a prompt as messages; turns of one speaker in a row are joined, an empty one at the end (the cue) is left out.

    system: whether what stands before the human's first turn is a message of its own, by the system; else it begins that turn.
    """
    before, *parts = re.split(r"(?:^|\n\n)(Human|Assistant):", prompt)
    first = "system" if system and parts[:1] == ["Human"] else "user"
    turns = [(first, before), *((ROLES[speaker], text) for speaker, text in zip(parts[::2], parts[1::2], strict=True))]
    merged: list[dict[str, str]] = []
    for role, text in turns:
        if not text.strip():
            continue
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"] += f"\n\n{text.strip()}"
        else:
            merged.append({"role": role, "content": text.strip()})
    return merged


def takes_system(tokenizer, prompts: Iterable[str]) -> bool:
    """Whether the chat template writes a system message, neither refuses nor drops it. Where it does not, say how many of the prompts have one."""
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a"}]
    try:
        takes = "Be brief." in tokenizer.apply_chat_template(turns, tokenize=False)
    except (TemplateError, ValueError):
        takes = False
    if not takes and (number := sum(turns[0]["role"] == "system" for turns in map(messages, prompts) if turns)):
        say(f"the chat template takes no system message: in {number:,} prompts it begins the user's first turn")
    return takes


def prompt_text(tokenizer, prompt: str, name: str, system: bool) -> str:
    """The prompt as the template has it, up to where the reply begins, without the leading bos that every text gets.

    system: whether the template takes a system message. A prompt that ends within a reply is left open there. Raises StudyError, naming
    the prompt, where the template refuses it.
    """
    turns = messages(prompt, system)
    begun = bool(turns) and turns[-1]["role"] == "assistant"
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=not begun, continue_final_message=begun)
    except (TemplateError, ValueError) as error:
        raise StudyError(f"{name}: the model's chat template refuses this prompt ({error}). {WITHOUT}") from None
    return text.removeprefix(tokenizer.bos_token or "")


def as_read(rows: Sequence[dict], tokenizer) -> Sequence[dict]:
    """Preference rows with the texts that the model reads: as they are, or by the tokenizer's template, replies without outer white space."""
    if not tokenizer.chat_template:
        return rows
    system = takes_system(tokenizer, (row["prompt"] for row in rows))
    return [
        {
            **row,
            "prompt": prompt_text(tokenizer, row["prompt"], row_name(row), system),
            **{side: row[side].strip() for side in ("chosen", "rejected")},
        }
        for row in rows
    ]


def choose_template(tokenizer, where: Path) -> None:
    """Of several named chat templates, make the tokenizer's the one named default. Raises StudyError where none has that name."""
    templates = tokenizer.chat_template
    if not isinstance(templates, dict):
        return
    if "default" not in templates:
        raise StudyError(
            f"{where}: several chat templates and none named default: {', '.join(sorted(templates))}. Put the one that is meant into the model's "
            "folder as chat_template.jinja."
        )
    tokenizer.chat_template = templates["default"]


def check_template(tokenizer, where: Path) -> None:
    """Raise StudyError where the model has no chat template, or one by which a reply does not end with the end token, or that tells the date."""
    template = tokenizer.chat_template
    if not isinstance(template, str):
        raise StudyError(f"{where}: the model has no chat template. {WITHOUT.rstrip('.')}, or take a model made for chats.")
    if "strftime_now" in template:
        raise StudyError(
            f"{where}: the model's chat template writes the date: other days would give other bytes. Take that part out of it."
        )
    prompt = prompt_text(tokenizer, "Human: a", str(where), system=False)
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    whole = tokenizer.apply_chat_template(said, tokenize=False).removeprefix(tokenizer.bos_token or "")
    if whole.rstrip() != f"{prompt}b{tokenizer.eos_token}":
        raise StudyError(
            f"{where}: by the model's chat template a reply does not follow the prompt and end with {tokenizer.eos_token}. {WITHOUT}"
        )

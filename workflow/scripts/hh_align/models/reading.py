"""How a judge reads prompt and reply: as a pair, the turns of a chat, a plain transcript, or the reply alone; and what its files say of it."""

from pathlib import Path

from jinja2 import TemplateError

from hh_align.core.errors import StudyError
from hh_align.models.chat import messages

READINGS = {
    "pair": "its tokenizer's join of two texts",
    "chat": "its chat template",
    "text": "a plain transcript",
    "response": "the reply alone",
}


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


def chat_text(tokenizer, prompt: str, reply: str, name: str, system: bool = True) -> str:
    """The prompt's turns and the reply as the assistant's last one, by the tokenizer's chat template; a prompt that ends within a reply goes
    on in it. system: whether the template takes a system message. Raises StudyError, naming the input, where the template refuses it."""
    turns = messages(prompt, system)
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


def begun(turns: list[dict[str, str]]) -> bool:
    """Whether the assistant has the last word in a prompt's turns."""
    return bool(turns) and turns[-1]["role"] == "assistant"


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

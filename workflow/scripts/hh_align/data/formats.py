"""Preference pairs in the forms that the field has, as transcripts: HH-RLHF's, TRL's with and without a prompt, message lists, prompt with two outputs."""

from collections.abc import Mapping
from typing import NamedTuple

from hh_align.core.records import look_up
from hh_align.data.transcripts import ASSISTANT, HUMAN, LEAD, split_transcript

FORMS = (
    {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
    {"prompt": "conversations", "chosen": "chosen", "rejected": "rejected"},
    {"prompt": "input", "chosen": "output.0", "rejected": "output.1"},
)
"""Where the parts of a pair stand; the first form that has a prompt is meant, and without any the replies are whole transcripts."""
SPEAKERS = {"user": HUMAN, "human": HUMAN, "assistant": ASSISTANT, "gpt": ASSISTANT}


class Sides(NamedTuple):
    """Prompt and reply of both sides; a prompt ends with the assistant's cue, and prompt + reply is a transcript.

    lead_restored: whether a transcript lacked the blank line before its first turn.
    """

    prompt: str
    chosen: str
    rejected_prompt: str
    rejected: str
    lead_restored: bool


def sides_of(record: object, columns: Mapping[str, str] | None = None) -> Sides:
    """The two sides of a record. Raises ValueError with the reason where it is no pair.

    columns: dotted paths of prompt, chosen and rejected, where they have other names than the forms.
    """
    if not isinstance(record, dict):
        raise ValueError(f"not a JSON object but {type(record).__name__}")
    names = form_of(record) | columns if columns else form_of(record)
    prompt, chosen, rejected = look_up(record, names["prompt"]), look_up(record, names["chosen"]), look_up(record, names["rejected"])
    for side, reply in (("chosen", chosen), ("rejected", rejected)):
        if reply is None and names[side].partition(".")[0] not in record:
            raise ValueError(f"no key {names[side]}")
        check_text(reply, names[side])
    if prompt == "":
        prompt = None
    if prompt is not None:
        check_text(prompt, names["prompt"])
    return Sides(*side_of(prompt, chosen), *side_of(prompt, rejected), is_stripped(chosen) or is_stripped(rejected))


def form_of(record: Mapping) -> dict[str, str]:
    """The form whose prompt the record has; the first one where it has none."""
    for form in FORMS:
        if form["prompt"] in record and look_up(record, form["chosen"]) is not None:
            return form
    return FORMS[0]


def check_text(value: object, name: str) -> None:
    """Raise ValueError unless a value is a text or messages, every text of it one that can be written."""
    try:
        for text in [value] if isinstance(value, str) else [text for _, text in messages_of(value, name)]:
            text.isascii() or text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} holds half a surrogate pair") from None


def messages_of(value: object, name: str) -> list[tuple[str, str]]:
    """(role, content) of a list of messages, or of one. Raises ValueError for anything else."""
    entries = [value] if isinstance(value, dict) else value
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{name} is {type(value).__name__}, not text")
    messages = [(entry.get("role", entry.get("from")), entry.get("content", entry.get("value"))) for entry in entries]
    for role, content in messages:
        if role not in (*SPEAKERS, "system") or not isinstance(content, str):
            raise ValueError(f"{name} is {type(value).__name__}, not text, nor messages of user, assistant and system")
    return messages


def side_of(prompt: object, reply: object) -> tuple[str, str]:
    """(prompt, reply) of one side. Raises ValueError where there is no reply, or one that holds turns of its own."""
    if isinstance(reply, str):
        if reply.startswith("[{") and "content" in reply:
            raise ValueError("messages written as one text, not a list: take JSON lines or Parquet")
        if prompt is None:
            return split_transcript(with_lead(reply))
        if isinstance(prompt, str) and HUMAN in with_lead(prompt) and reply.startswith(prompt):  # a whole transcript beside its prompt
            reply = reply.removeprefix(prompt)
        if reply.lstrip().startswith(ASSISTANT.lstrip()):  # the cue stands before the reply, not behind the prompt
            reply = reply.lstrip().removeprefix(ASSISTANT.lstrip())
        if ASSISTANT in reply:
            raise ValueError("the reply beside a prompt holds turns of its own")
        return asked_by(prompt), reply if reply[:1].isspace() or not reply else f" {reply}"
    messages = messages_of(reply, "reply")
    if SPEAKERS.get(messages[-1][0]) != ASSISTANT:
        raise ValueError("no assistant turn")
    before = messages_of(prompt, "prompt") if isinstance(prompt, list) else []
    if len(messages) == 1 and prompt is not None:
        asked = asked_by(prompt)
    else:  # the dialogue as far as it goes, perhaps with the prompt in it
        asked = dialogue(messages[:-1] if messages[: len(before)] == before else [*before, *messages[:-1]])
    return asked, f" {messages[-1][1]}"


def asked_by(prompt: object) -> str:
    """A prompt as a transcript up to the assistant's cue: a transcript, an instruction, or messages."""
    if isinstance(prompt, str):
        text = with_lead(prompt)
        if HUMAN not in text:
            return f"{HUMAN} {prompt.strip()}{ASSISTANT}"
        text = text.rstrip()
        return text if text.endswith(ASSISTANT) else text + ASSISTANT
    return dialogue(messages_of(prompt, "prompt"))


def dialogue(messages: list[tuple[str, str]]) -> str:
    """Messages as a transcript up to the assistant's cue. Raises ValueError for a system message that is not the first, and for one that
    holds turns of its own: the transcript would have other turns."""
    if any(role == "system" for role, _ in messages[1:]):
        raise ValueError("a system message behind the first turn")
    if any(cue in f"{LEAD * (role == 'system')}{content}" for role, content in messages for cue in (HUMAN, ASSISTANT)):
        raise ValueError("a message holds turns of its own")
    return "".join(content if role == "system" else f"{SPEAKERS[role]} {content}" for role, content in messages) + ASSISTANT


def is_stripped(text: object) -> bool:
    """Whether a text is a transcript without the blank line before its first turn."""
    return isinstance(text, str) and not text.startswith(HUMAN) and text.lstrip().startswith("Human:")


def with_lead(transcript: str) -> str:
    """The transcript as HH-RLHF writes it, from a blank line on; one that was stripped gets its blank line back."""
    return f"\n\n{transcript.lstrip()}" if is_stripped(transcript) else transcript

"""HH-RLHF transcripts: '\\n\\nHuman: …\\n\\nAssistant: …', split into prompt and reply."""

import hashlib

LEAD = "\n\n"
"""What every transcript begins with; a prompt of the evaluation, cut as the paper's author cut it, has lost it."""
HUMAN = "\n\nHuman:"
ASSISTANT = "\n\nAssistant:"


def split_transcript(transcript: str) -> tuple[str, str]:
    """(prompt, reply): the prompt ends with the last assistant cue, the space after it belongs to the reply.

    prompt + reply is the transcript byte for byte. Raises ValueError where there is no assistant turn.
    """
    head, cue, reply = transcript.rpartition(ASSISTANT)
    if not cue:
        raise ValueError("no assistant turn")
    return head + cue, reply


def published_prompt(transcript: str) -> str:
    """The prompt as the paper's author cut it: the last block dropped if it starts with the cue, no trailing cue.

    A reply with a blank line inside keeps its first part in the prompt (4 of the author's 100 prompts do).
    """
    blocks = transcript.strip().split("\n\n")
    if blocks[-1].startswith("Assistant:"):
        blocks.pop()
    return "\n\n".join(blocks)


def cluster_of(transcript: str) -> str:
    """Hash (16 hex digits) of the first human turn, whatever a system says before it: prompts that share it are not independent."""
    text = transcript.strip()
    system, cue, asked = text.partition(HUMAN)
    if cue and not text.startswith(("Human:", "Assistant:")) and ASSISTANT not in system:
        text = asked
    first = text.removeprefix("Human:").split(ASSISTANT)[0].strip()
    return hashlib.sha256(first.encode()).hexdigest()[:16]


def judged_prompt(prompt: str) -> str:
    """A preference row's prompt as evaluation shows it to a judge: without the blank line at its beginning and the cue at its end."""
    return prompt.lstrip().removesuffix(ASSISTANT)


def messages_in(value: object) -> list[dict]:
    """The messages of a list of them; none where it is none."""
    messages = value if isinstance(value, list) else []
    return messages if all(isinstance(entry, dict) and isinstance(entry.get("content"), str) for entry in messages) else []


def prompt_text(value: object) -> object:
    """A list of messages as the text that a study has of a prompt, `Human: …\\n\\nAssistant: …`; anything else as it is."""
    speakers = {"user": "Human: ", "assistant": "Assistant: "}
    return "\n\n".join(speakers.get(entry.get("role"), "") + entry["content"] for entry in messages_in(value)) or value


def reply_text(value: object) -> object:
    """The assistant's last words in a list of messages that ends with them; anything else as it is."""
    messages = messages_in(value)
    return messages[-1]["content"] if messages and messages[-1].get("role") == "assistant" else value

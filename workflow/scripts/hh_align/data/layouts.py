"""How other engines lay out the responses that they write: where each part stands, and when a generation failed."""

import re
from collections.abc import Callable, Mapping

from hh_align.core.records import look_up

LAYOUTS = {
    "table": {"prompt_id": "prompt_id", "prompt": "prompt", "response": "response", "axis": "axis", "finish": "finish"},
    "vllm": {
        "prompt_id": "prompt_id",
        "prompt": "prompt",
        "response": "outputs.0.text",
        "axis": "axis",
        "finish": "outputs.0.finish_reason",
    },
    "lm_eval": {
        "prompt_id": "doc.prompt_id",
        "prompt": "doc.prompt",
        "response": "filtered_resps.0",
        "axis": "doc.axis",
        "finish": "finish_reason",
    },
    "inspect_ai": {
        "prompt_id": "id",
        "prompt": "input",
        "response": "output.completion",
        "axis": "metadata.axis",
        "finish": "output.choices.0.stop_reason",
    },
    "openai": {
        "prompt_id": "custom_id",
        "prompt": "prompt",
        "response": "response.body.choices.0.message.content",
        "axis": "axis",
        "finish": "response.body.choices.0.finish_reason",
    },
    "anthropic": {
        "prompt_id": "custom_id",
        "prompt": "prompt",
        "response": "result.message.content.0.text",
        "axis": "axis",
        "finish": "result.message.stop_reason",
    },
    "alpaca_eval": {"prompt_id": "prompt_id", "prompt": "instruction", "response": "output", "axis": "axis", "finish": "finish_reason"},
    "mt_bench": {"prompt_id": "question_id", "prompt": "prompt", "response": "choices.0.turns.0", "axis": "axis", "finish": "finish"},
    "promptfoo": {
        "prompt_id": "vars.prompt_id",
        "prompt": "vars.prompt",
        "response": "response.output",
        "axis": "vars.axis",
        "finish": "response.finishReason",
    },
}
"""Layout -> column -> the dotted path of it in a record."""
SECOND = {"lm_eval": "filtered_resps", "openai": "response.body.choices.0.text"}
"""Where else the response may stand: a filter's only reply, a completion that is no chat."""
RECORDS = {"inspect_ai": "samples", "promptfoo": "results.results"}
"""Where in a JSON file the records stand."""


def _status(record: Mapping) -> str | None:
    status, error = look_up(record, "response.status_code"), record.get("error")
    return f"status {status}" if status not in (None, 200) else f"error {look_up(error, 'code')}" if error else None


def _sample(record: Mapping) -> str | None:
    return "error" if record.get("error") else "stopped by a limit" if record.get("limit") else None


def _result(record: Mapping) -> str | None:
    kind = look_up(record, "result.type")
    return None if kind in (None, "succeeded") else kind


FAILED: dict[str, Callable[[Mapping], str | None]] = {
    "vllm": lambda record: "not finished" if record.get("finished") is False else None,
    "lm_eval": lambda record: "no match of the filter" if look_up(record, "filtered_resps.0") in ("[invalid]", "None") else None,
    "inspect_ai": _sample,
    "openai": _status,
    "anthropic": _result,
    "promptfoo": lambda record: "error" if record.get("error") and look_up(record, "response.output") is None else None,
}
"""Layout -> why the record's generation failed; None where it did not."""

CLEAN = {"think": r"\A\s*<think>.*?</think>\s*", "end_token": r"(\s*(</s>|<eos>|<\|(im_end|endoftext|eot_id|end)\|>|<end_of_turn>))+\s*\Z"}
"""What is no part of a reply and may stand in its text."""


def clean(text: str, prompt: str, take: list[str]) -> tuple[str, list[str]]:
    """(the text without what `take` names, what of `echo`, `think` and `end_token` it holds).

    echo: the prompt at the reply's beginning, with or without the cue behind it.
    """
    held = []
    for part in ("echo", *CLEAN):
        pattern = rf"\A\s*{re.escape(prompt.strip())}(\s*Assistant:)?\s*" if part == "echo" else CLEAN[part]
        if re.search(pattern, text, re.DOTALL):
            held.append(part)
            text = re.sub(pattern, "", text, flags=re.DOTALL) if part in take else text
    return text, held


def several(record: object, path: str) -> tuple[str, int] | None:
    """(path of a list, how many entries) where a path takes the first of several; None where it takes the only one."""
    parts = path.split(".")
    for number, part in enumerate(parts):
        above = look_up(record, ".".join(parts[:number])) if number else record
        if part == "0" and isinstance(above, list) and len(above) > 1:
            return ".".join(parts[:number]), len(above)
    return None


def in_same_entry(path: str, own: str, chosen: str) -> str:
    """A layout's path in the entry of a list that `chosen` takes where the layout's `own` takes the first: outputs.1.finish_reason beside outputs.1.text."""
    parts = path.split(".")
    for number, (first, other) in enumerate(zip(own.split("."), chosen.split("."), strict=False)):
        if number >= len(parts) or parts[number] != first or not (first == other or (first.isdigit() and other.isdigit())):
            break
        parts[number] = other
    return ".".join(parts)

"""Prompts with one policy's responses to them: two tables that hold the same prompts in the same order."""

from collections.abc import Iterator
from pathlib import Path

from hh_align.core.artifacts import REBUILD, WINDOW, read_table, read_windows
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, RESPONSES, columns_of

PROMPT_KEY = ["axis", "prompt_id"]


def answered_windows(prompts: Path, responses: Path) -> Iterator[list[dict]]:
    """Rows with axis, prompt_id, prompt and response, in the order of the prompts, a window at a time.

    Raises StudyError where nothing is answered, or the tables hold different prompts: at once where their numbers differ.
    """
    answered = read_table(responses, ["prompt_id"]).num_rows
    if not answered:
        raise StudyError(f"{responses}: no prompt is answered. {REBUILD}")
    if answered != read_table(prompts, ["prompt_id"]).num_rows:
        raise different_prompts(prompts, responses)

    def joined(asked: list[dict], replies: list[dict]) -> list[dict]:
        if [[row[name] for name in PROMPT_KEY] for row in asked] != [[row[name] for name in PROMPT_KEY] for row in replies]:
            raise different_prompts(prompts, responses)
        return [row | {"response": reply["response"]} for row, reply in zip(asked, replies, strict=True)]

    columns = columns_of(PROMPTS, *PROMPT_KEY, "prompt"), columns_of(RESPONSES, *PROMPT_KEY, "response")
    return map(joined, read_windows(prompts, columns[0], WINDOW), read_windows(responses, columns[1], WINDOW))


def different_prompts(prompts: Path, responses: Path) -> StudyError:
    """The error to raise where the responses answer other prompts than these."""
    return StudyError(f"{responses} and {prompts} hold different prompts. Delete the responses; the next run rebuilds them.")

"""Why a reply ended, in the words of other engines."""

COLUMNS = ("finish", "finish_reason", "stop_reason")
"""What tables call the column; where there are several, the first with a word in it is read."""
FINISHES = {
    "eos": "eos",
    "end_turn": "eos",
    "stop": "stop",
    "stop_sequence": "stop",
    "refusal": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
}
"""Their word, in small letters -> ours: the end token, the point where a reply is told to end, or the most tokens that it may have."""
FAILURES = {"content_filter", "abort", "error", "cancelled", "unknown", "tool_use", "tool_calls", "function_call", "pause_turn"}
"""Words of a generation that failed, or is not at its end: what is there is no reply."""


class FailedGeneration(ValueError):
    """A reply that was never finished, or never written."""


def finish(word: object) -> str | None:
    """`eos`, `stop` or `length`; None where nothing is said. Raises FailedGeneration, or ValueError for an unknown word."""
    if word is None or word == "" or word != word:
        return None
    known = str(word).lower()
    if known in FAILURES:
        raise FailedGeneration(f"a generation that failed ({word}): there is no reply to rate")
    if known not in FINISHES:
        raise ValueError(f"not a known reason for a reply's end. Known: {', '.join(FINISHES)}")
    return FINISHES[known]

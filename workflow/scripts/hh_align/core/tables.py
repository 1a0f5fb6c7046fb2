"""Arrow schemas of the hand-overs between steps: prompts, responses, rewards, a pairwise judge's choices, and the ratings that the whole analysis reads."""

import pyarrow as pa

PROMPTS = pa.schema(
    [
        ("axis", pa.string()),
        ("prompt_id", pa.string()),
        ("subset", pa.string()),
        ("row", pa.int64()),
        ("cluster", pa.string()),
        ("prompt", pa.string()),
        ("keywords", pa.list_(pa.string())),
    ]
)
RESPONSES = pa.schema(
    [
        ("axis", pa.string()),
        ("prompt_id", pa.string()),
        ("response", pa.string()),
        ("response_tokens", pa.int64()),
        ("finish", pa.string()),
        ("top2_gap_min", pa.float32()),
        ("cut_tokens", pa.int64()),
    ]
)
REWARDS = pa.schema(
    [("axis", pa.string()), ("prompt_id", pa.string()), ("reward", pa.float64()), ("input_tokens", pa.int64()), ("cut_tokens", pa.int64())]
)
CHOICES = pa.schema(
    [
        ("axis", pa.string()),
        ("prompt_id", pa.string()),
        ("policy_first", pa.string()),
        ("against_first", pa.string()),
        ("outcome", pa.string()),
    ]
)
RATINGS = pa.schema(
    [
        ("judge", pa.string()),
        ("policy", pa.string()),
        ("seed", pa.int64()),
        ("axis", pa.string()),
        ("prompt_id", pa.string()),
        ("cluster", pa.string()),
        ("subset", pa.string()),
        ("row", pa.int64()),
        ("reward", pa.float64()),
        ("label", pa.bool_()),
        ("unrated", pa.bool_()),
        ("finish", pa.string()),
        ("tokens", pa.int64()),
        ("words", pa.int64()),
        ("empty", pa.bool_()),
        ("run_on", pa.bool_()),
    ]
)


def columns_of(schema: pa.Schema, *names: str) -> pa.Schema:
    """These columns of a schema, in this order."""
    return pa.schema([schema.field(name) for name in names])

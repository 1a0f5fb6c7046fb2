"""Arrow schemas of the hand-overs between evaluation steps: prompts, responses, rewards."""

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


def columns_of(schema: pa.Schema, *names: str) -> pa.Schema:
    """These columns of a schema, in this order."""
    return pa.schema([schema.field(name) for name in names])

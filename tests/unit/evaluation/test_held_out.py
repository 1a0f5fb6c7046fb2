"""Held-out pairs: nothing that was trained on, and an error where nothing is left."""

import pytest
from preference_rows import asked, made_row

from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.data.preferences import SCHEMA
from hh_align.evaluation.held_out import held_out, keys_of


def pair(number, split="test", subset="helpful-base"):
    return made_row(number, asked(f"What is {number}?"), f"It is {number}.", "No.", subset, split)


def test_a_row_that_was_trained_on_is_not_held_out(tmp_path):
    rows = [pair(number) for number in range(6)] + [pair(9, split="train")]
    write_table(tmp_path / "seen.parquet", [rows[1], rows[3]], SCHEMA, {})
    seen, helpful = keys_of([tmp_path / "seen.parquet"]), {"helpful-base": {"axis": "helpfulness", "split": "test"}}
    assert [row["row"] for row in held_out(rows, helpful, None, seen)["helpful-base"]] == [0, 2, 4, 5]
    harmless = {"harmless-base": {"axis": "harmlessness", "split": "test"}}
    with pytest.raises(StudyError, match="no pair of harmless-base/test"):
        held_out(rows, helpful | harmless, None, seen)
    more = [*rows, pair(7, subset="harmless-base")]
    assert set(held_out(more, helpful | harmless, None, seen | {("test", "harmless-base", 7)})) == {"helpful-base"}
    with pytest.raises(StudyError, match="nothing is held out"):
        held_out(rows[1:2], helpful, None, seen)

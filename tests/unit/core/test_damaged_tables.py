"""Damaged tables at the door of every kind of step: one error that names the file, never other numbers."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import assert_refused, call
from sound_artifacts import garble, steps

from hh_align.core.artifacts import read_table
from hh_align.core.errors import StudyError
from hh_align.core.tabular import read_any


def wrong_type(path):
    table = pq.read_table(path)
    columns = {
        name: [str(value) for value in table[name].to_pylist()] if name == "reward" else [1] * len(table) for name in table.column_names
    }
    pq.write_table(pa.table(columns), path)


def without_columns(path):
    pq.write_table(pa.table({"other": [1, 2]}), path)


DAMAGE = {
    "cut at its end": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "not a readable Parquet file"),
    "cut in half": (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "not a readable Parquet file"),
    "empty": (lambda path: path.write_bytes(b""), "not a readable Parquet file"),
    "zeros": (lambda path: path.write_bytes(bytes(path.stat().st_size)), "not a readable Parquet file"),
    "CSV": (lambda path: path.write_text("axis,prompt_id\n"), "not a readable Parquet file"),
    "garbled": (garble, "not a readable Parquet file"),
    "of another type": (wrong_type, r"column \w+ is (int64|string), not (string|double)"),
    "without its columns": (without_columns, "column .* is missing; it has"),
    "missing": (lambda path: path.unlink(), "No such file"),
}


def cases():
    for name, (_, _, tables) in steps(Path("x")).items():
        for number, table in enumerate(tables):
            for damage in DAMAGE:
                if name in ("export_csv", "gather_shards") and damage in ("of another type", "without its columns"):
                    continue  # they take any table
                yield pytest.param(name, number, damage, id=f"{name}-{table.parent.name}/{table.name}-{damage}")


@pytest.mark.parametrize(("name", "number", "damage"), list(cases()))
def test_a_damaged_table_is_one_error_that_names_it(artifacts, name, number, damage):
    module, options, tables = steps(artifacts)[name]
    change, said = DAMAGE[damage]
    change(tables[number])
    assert_refused(call(module, **options), said, where=tables[number])
    assert not (artifacts / "out.parquet").exists() and not (artifacts / "out.csv").exists()


@pytest.mark.parametrize(
    "name",
    ["select_prompts", "derive_dataset", "generate_responses", "score_responses", "gather_ratings", "compute_metrics", "compare_runs"],
)
def test_the_same_steps_run_on_sound_tables(artifacts, name):
    module, options, _ = steps(artifacts)[name]
    status, output = call(module, **options)
    assert status == 0, output


def test_a_damaged_parquet_file_of_the_users_is_named_or_read(tmp_path):
    # some flips meet a column's name, which pyarrow then cannot decode
    path = tmp_path / "rated.parquet"
    pq.write_table(pa.table({"policy": ["base", "sft"] * 20, "reply": ["é"] * 40, "reward": [0.5] * 40}), path)
    content = path.read_bytes()
    for at in range(4, len(content), 3):
        for flip in (0x01, 0x80):
            path.write_bytes(content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :])
            try:
                read_any(path, ["policy"])
            except StudyError as error:
                assert str(path) in str(error), at


def test_no_flipped_byte_of_a_table_changes_a_number(sound, tmp_path):
    # without checksums half of the flips in a table like this are read as other rewards
    table = sound / "rewards/j/sft/seed-1.parquet"
    content, rows = table.read_bytes(), read_table(table)
    footer = content.rindex(b"PAR1") - int.from_bytes(content[-8:-4], "little")
    copy = tmp_path / "copy.parquet"
    for at in range(4, footer - 4, 3):
        copy.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        try:
            assert read_table(copy).equals(rows), at
        except StudyError as error:
            assert "not a readable Parquet file" in str(error)

"""Margins of training pairs: what the examination of the judge reads, reward for reward."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command_line import call
from preference_rows import asked, made_row
from tinymodels import write_judge

from hh_align.core.artifacts import read_table, write_manifest, write_table
from hh_align.data.preferences import SCHEMA
from hh_align.data.selection import MARGINS
from hh_align.evaluation import score_pairs, score_training_pairs
from hh_align.models import import_model

READING = {"device": "cpu", "dtype": "float32", "batch_tokens": 2000}


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    write_judge(folder / "source")
    write_manifest(folder / "source", [path.name for path in (folder / "source").iterdir()])
    options = {
        "config": {"kind": "judge"},
        "source": folder / "source/manifest.json",
        "manifest": folder / "made/manifest.json",
    }
    status, output = call(import_model, **options)
    assert status == 0, output
    return folder / "made/manifest.json"


def score(module, folder: Path, judge: Path, config: dict):
    job = {"threads": 1, "state": folder / "state", "output": folder / "scored.parquet", "timing": folder / "timing.json"}
    status, output = call(module, config=READING | config, judge=judge, preferences=folder / "preferences.parquet", **job)
    assert status == 0, output
    return read_table(folder / "scored.parquet").to_pylist()


def test_margins_are_what_the_examination_of_the_judge_reads(tmp_path, judge):
    # another way to read a pair would filter by another judge than the one that was examined
    rows = [made_row(n, asked(f"question {n}"), f"good {n}", "bad", "s" if n < 900 else "t") for n in range(1100)]
    rows += [made_row(5000, asked("x"), "same", "same"), made_row(1, asked("x"), "a", "b", split="test")]
    write_table(tmp_path / "preferences.parquet", rows, SCHEMA, {})
    margins = score(score_training_pairs, tmp_path, judge, {"training_half": [], "train_split": "train", "subsets": ["s"]})
    assert pq.read_schema(tmp_path / "scored.parquet").remove_metadata() == MARGINS
    assert [(line["subset"], line["row"]) for line in margins] == [("s", n) for n in range(900)]
    examined = score(
        score_pairs, tmp_path, judge, {"subsets": {"s": {"axis": "helpfulness", "split": "train"}}, "reply_tokens": 5, "format_pairs": 10}
    )
    as_evaluated = {line["row"]: line for line in examined if line["format"] == score_pairs.AS_EVALUATED}
    for line in margins:
        for side in ("chosen_reward", "rejected_reward"):
            assert line[side] == pytest.approx(as_evaluated[line["row"]][side], abs=1e-5)

"""Tuning: every precision and micro-batch of a method is really trained for a few steps."""

import json
import os
import subprocess
import tempfile

import pytest
from fork_server import ask, start
from training_study import DPO, KTO, VIEW_KEYS, call, make_study

from hh_align.tools import tune_training


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with 17 preferences and a random base policy."""
    return make_study(tmp_path_factory.mktemp("tuning"))


def config(method):
    return {"method": method, "view_keys": VIEW_KEYS, "train_split": "train", "batch_tokens": 512, "device": "cpu"}


def in_a_fork(command, **_):
    """What subprocess.run captures of a step, run in a fork."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        status = ask(start("step"), command[1:], os.getcwd(), dict(os.environ), (0, output.fileno(), errors.fileno()))
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(command, status, output.read().decode(), errors.read().decode())


def test_tuning_measures_every_setting(study, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tune_training.subprocess, "run", in_a_fork)
    method = DPO | {"batch_size": 1, "micro_batch": 1}
    inputs = {"parent": study / "base/manifest.json", "preferences": study / "preferences.parquet"}
    monkeypatch.setattr(tune_training, "is_emulated", lambda precision, device: False)
    call(tune_training, config(method), **inputs, threads=1, output=tmp_path / "tuned.json")
    measured = json.loads((tmp_path / "tuned.json").read_text())
    assert [(row["precision"], row["micro_batch"]) for row in measured] == [("float32", 1), ("bfloat16", 1)]
    assert all(row["examples_per_second"] > 0 for row in measured)
    assert capsys.readouterr().out.count("fastest: {precision:") == 2


def test_tuning_leaves_out_a_precision_that_the_machine_emulates(study, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tune_training.subprocess, "run", in_a_fork)
    monkeypatch.setattr(tune_training, "is_emulated", lambda precision, device: precision == "bfloat16")
    method = DPO | {"batch_size": 1, "micro_batch": 1}
    inputs = {"parent": study / "base/manifest.json", "preferences": study / "preferences.parquet"}
    call(tune_training, config(method), **inputs, threads=1, output=tmp_path / "tuned.json")
    assert [row["precision"] for row in json.loads((tmp_path / "tuned.json").read_text())] == ["float32"]
    assert "bfloat16 is left out." in capsys.readouterr().out


@pytest.mark.long
def test_tuning_measures_kto(study, tmp_path):
    method = KTO | {"batch_size": 2, "micro_batch": 1}
    measured = tune_training.measure(
        method | {"max_rows": 4, "epochs": 1}, config(method), study / "base/manifest.json", study / "preferences.parquet", 1, tmp_path
    )
    assert measured["examples_per_second"] > 0

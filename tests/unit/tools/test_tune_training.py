"""Tuning: every precision and micro-batch of a method is really trained for a few steps."""

import json
import os
import subprocess
import tempfile
from types import SimpleNamespace

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


@pytest.mark.parametrize(
    ("threads", "free", "said"),
    [
        (2, 10**9, "2 jobs side by side (compute.threads: 1): 14.0 examples/s together, 1.40 times as many as one job on 2 threads"),
        (2, 10**6, "2 jobs side by side (compute.threads: 1): not measured: they take 0.1 GB together, and 0.0 GB are free."),
        (1, 10**9, None),
    ],
)
def test_tuning_says_what_jobs_of_one_thread_do_side_by_side(tmp_path, capsys, monkeypatch, threads, free, said):
    used = []

    def measured(method, config, parent, preferences, threads, folder):
        used.append((method["precision"], threads, folder))
        return {"examples_per_second": {1: 7.0, 2: 10.0}[threads], "share_of_peak": 0.1, "peak_memory_mb": 50}

    monkeypatch.setattr(tune_training, "measure", measured)
    monkeypatch.setattr(tune_training, "is_emulated", lambda precision, device: precision == "bfloat16")
    monkeypatch.setattr(tune_training.psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    method = DPO | {"batch_size": 1, "micro_batch": 1}
    call(tune_training, config(method), parent=tmp_path, preferences=tmp_path, threads=threads, output=tmp_path / "tuned.json")
    lines = [line for line in capsys.readouterr().out.splitlines() if "side by side" in line]
    assert lines == ([said] if said else [])
    assert len({folder for *_, folder in used}) == len(used) == (3 if said and "together, 1" in said else 1)


@pytest.mark.long
def test_tuning_measures_kto(study, tmp_path):
    method = KTO | {"batch_size": 2, "micro_batch": 1}
    measured = tune_training.measure(
        method | {"max_rows": 4, "epochs": 1}, config(method), study / "base/manifest.json", study / "preferences.parquet", 1, tmp_path
    )
    assert measured["examples_per_second"] > 0

"""`make check-gpu` on a CPU in the GPU's place: the command works, and finds what it is there to find."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import check_gpu
import gpu_checks
import gpu_study
import pytest
from command_line import call
from gpu_checks import Trial, differing
from gpu_study import Run, make_inputs

from hh_align.core.artifacts import write_text
from hh_align.models import packing


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Of four steps."""
    return make_inputs(tmp_path_factory.mktemp("gpu"), 4, 4)


@pytest.fixture
def trial(inputs, tmp_path):
    """Of a Llama in float32, with the CPU for the device."""
    runs = {name: Run(inputs, tmp_path / name, "cpu") for name in ("cpu", "first", "second")}
    return Trial("llama", "float32", inputs, **runs)


def check(monkeypatch, output: Path, *words: str) -> tuple[int, dict]:
    """(exit status, what was written) of the command."""
    monkeypatch.setattr(sys, "argv", ["check_gpu", "--device", "cpu", "--quick", "--output", str(output), *words])
    with pytest.raises(SystemExit) as ended:
        check_gpu.main()
    return ended.value.code, json.loads(output.read_text())


def test_the_command_runs_every_check_and_ends_with_a_table(monkeypatch, tmp_path, capsys):
    # twenty seconds, for it is what a user of a new machine runs first, and no other test of it has a device
    status, result = check(monkeypatch, tmp_path / "check.json")
    assert status == 0 and result["ok"] and result["machine"]["device"] == "cpu"
    assert {row["check"] for row in result["checks"]} == set(gpu_checks.CHECKS)
    assert all(row["ok"] and row["measured"] == 0 for row in result["checks"])  # one device, twice
    assert [(row["method"], row["deterministic"]) for row in result["speed"]] == [("dpo", False), ("dpo", True)]
    assert all(row["examples"] > 0 and row["tokens"] > row["examples"] for row in result["speed"])
    assert list(result["deterministic_cost"]) == ["dpo bfloat16"]
    said = capsys.readouterr().out
    assert "every check holds" in said and "deterministic mode is slower by: dpo bfloat16" in said


def test_a_device_that_reckons_otherwise_is_found(trial, monkeypatch):
    # keys and values a hundredth larger, on the device's side only
    original, repeated = Run.train, packing.repeated

    def train(run, *args, **more):
        with monkeypatch.context() as patch:
            if run.folder.name != "cpu":
                patch.setattr(packing, "repeated", lambda states, heads: 1.01 * repeated(states, heads))
            original(run, *args, **more)

    monkeypatch.setattr(Run, "train", train)
    rows = {row["check"]: row for row in gpu_checks.sft(replace(trial, second=trial.cpu))}
    assert not rows["sft loss"]["ok"] and rows["sft loss"]["measured"] > rows["sft loss"]["limit"]
    assert not rows["bytes"]["ok"] and rows["bytes"]["measured"] == 2


def test_files_that_differ_are_counted(trial):
    for run, texts in ((trial.first, ("a", "b")), (trial.second, ("a", "c"))):
        for name, text in zip(("same", "other"), texts, strict=True):
            write_text(run.path(name), text)
    assert differing(trial.first, trial.second, "same", "other") == 1
    row = trial.same_bytes("same", "other")
    assert row == {"model": "llama", "precision": "float32", "check": "bytes", "measured": 1, "limit": 0, "ok": False}


def test_a_training_that_begins_anew_after_a_kill_is_not_one_that_went_on(trial, monkeypatch):
    trial.first.train("sft", gpu_study.SFT | {"precision": "float32"}, trial.inputs.model("llama"))
    monkeypatch.setattr("hh_align.training.loop.seal_checkpoint", lambda checkpoint: None)
    with pytest.raises(RuntimeError, match="killed at step 2 has left no checkpoint"):
        gpu_checks.resumed(
            trial,
            "sft",
            lambda run: run.train("sft", gpu_study.SFT | {"precision": "float32"}, trial.inputs.model("llama"), checkpoint_seconds=0),
        )


def test_a_part_that_breaks_fails_the_command_and_stops_no_other(monkeypatch, tmp_path, capsys):
    def breaks(trial):
        raise RuntimeError("expected scalar type Float but found BFloat16")

    def holds(trial):
        yield trial.row("sft loss", 0.0)

    monkeypatch.setattr(check_gpu, "PARTS", {"model": (breaks, holds), "dropout": (holds,), "judge": (holds,)})
    monkeypatch.setattr(check_gpu, "measured", lambda *args: [])
    status, result = check(monkeypatch, tmp_path / "check.json")
    assert status == 1 and not result["ok"] and len(result["checks"]) == 4
    assert "llama bfloat16 breaks: RuntimeError: expected scalar type Float" in capsys.readouterr().out


def test_without_a_gpu_the_command_says_so():
    status, said = call(check_gpu)
    assert status == 1 and "torch sees no GPU" in said


def test_no_speed_is_measured_when_the_time_is_up():
    rows = check_gpu.measured("cpu", check_gpu.QUICK, until=0.0)
    assert {row["failed"] for row in rows} == {"no time left"} and check_gpu.cost(rows) == {}

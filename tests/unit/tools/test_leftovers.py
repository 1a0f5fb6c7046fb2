"""After a kill: who is still at work is found, and only what nobody works on is removed."""

import os
import shutil
import socket
import subprocess
import sys
import time

from command_line import call
from tinymodels import write_opt

from hh_align.core.state import state_folder
from hh_align.models import import_model
from hh_align.tools import check_idle, clean_state


def test_an_orphan_is_found_and_named(tmp_path):
    step = tmp_path / "package/hh_align/training/train_sft.py"
    step.parent.mkdir(parents=True)
    step.write_text("import time\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "hh_align.training.train_sft"]
    orphan = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path / "package")})
    elsewhere = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd=tmp_path)
    try:
        until = time.monotonic() + 20
        while not check_idle.at_work(tmp_path) and time.monotonic() < until:
            time.sleep(0.05)
        assert check_idle.at_work(tmp_path) == [(orphan.pid, "hh_align.training.train_sft", None)]
        assert check_idle.at_work(tmp_path.parent) == []
    finally:
        for process in (orphan, elsewhere):
            process.kill()
            process.wait()
    assert check_idle.at_work(tmp_path) == []


def test_leftovers_go_and_what_is_at_work_stays(tmp_path, capsys):
    study = tmp_path / "results/demo"
    with state_folder(study / "state/train_sft/sft-seed-42", "m", 0.0) as state:
        shutil.copytree(state.folder, study / "state/train_sft/dead-seed-42")  # as a kill leaves it
        (study / "state/train_sft/dead-seed-42.lock").touch()
        (study / "state/train_sft/dead-seed-42.replaced").mkdir()  # of another config
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        here, there = socket.gethostname(), "another.node"
        for writer in (f"{ended.pid}@{here}", f"{os.getpid()}@{here}", f"{ended.pid}@{there}"):
            (study / f".prompts.parquet.{writer}.tmp").touch()
            (study / f".draft.{writer}.tmp").mkdir()
            (study / f".draft.{writer}.tmp/model.safetensors").touch()
        (study / "prompts.parquet").touch()
        assert clean_state.clean(study) == (2, 2)
        remaining = sorted(path.relative_to(study).as_posix() for path in study.rglob("*") if path.is_file())
    living = (f"{os.getpid()}@{here}", f"{ended.pid}@{there}")
    assert remaining == sorted([
        *(f".draft.{writer}.tmp/model.safetensors" for writer in living), *(f".prompts.parquet.{writer}.tmp" for writer in living),
        "prompts.parquet", *(f"state/train_sft/{name}" for name in ("sft-seed-42.lock", "sft-seed-42/fingerprint.json", "sft-seed-42/spent.json")),
    ])  # fmt: skip
    said = capsys.readouterr().out
    assert "at work, kept" in said and "written on another.node, kept" in said


def test_a_draft_that_a_kill_left_goes_with_the_next_save(tmp_path):
    write_opt(tmp_path / "base", weights="safetensors")
    draft = tmp_path / "policy" / f".draft.1@{socket.gethostname()}.tmp"
    draft.mkdir(parents=True)
    (draft / "model.safetensors").touch()
    assert call(import_model, config={"kind": "policy"}, source=tmp_path / "base", manifest=tmp_path / "policy/manifest.json")[0] == 0
    assert not list((tmp_path / "policy").glob(".*"))

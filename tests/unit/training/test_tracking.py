"""A training that is shown while it runs: its losses reach the reporter, and its artifacts have the bytes of one that is not."""

import json
import sys

import pytest
from training_study import make_study, sft

from hh_align.core.errors import StudyError
from hh_align.training import tracking

WRITER = """
import json
from pathlib import Path

class SummaryWriter:
    def __init__(self, log_dir):
        Path(log_dir).mkdir(parents=True)
        self.file = open(Path(log_dir) / "scalars.jsonl", "w")
    def add_text(self, *words):
        pass
    def add_scalar(self, name, value, step):
        self.file.write(json.dumps([name, value, step]) + "\\n")
    def flush(self):
        self.file.flush()
    def close(self):
        self.file.close()
"""


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """TensorBoard is asked for, and a package stands in for it."""
    (tmp_path / "packages/tensorboardX").mkdir(parents=True)
    (tmp_path / "packages/tensorboardX/__init__.py").write_text(WRITER)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setenv(tracking.TRACKING, f"tensorboard:{tmp_path}/demo/tracking")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")  # what is set is taken away again
    monkeypatch.setenv("TRACKIO_DIR", "")
    yield tmp_path / "demo/tracking"
    sys.modules.pop("tensorboardX", None)


def test_a_shown_training_has_the_bytes_of_one_that_is_not(shown, tmp_path, monkeypatch):
    study = make_study(tmp_path)
    with monkeypatch.context() as plain:
        plain.delenv(tracking.TRACKING)
        hidden, log = sft(study, "hidden")
    assert not shown.exists()
    assert sft(study, "shown") == (hidden, log)
    for name in ("log.parquet", "quarantine.parquet", "provenance.json"):
        assert (study / "shown" / name).read_bytes() == (study / "hidden" / name).read_bytes()
    scalars = [json.loads(line) for line in (shown / "state/shown/scalars.jsonl").read_text().splitlines()]
    losses = {step: value for name, value, step in scalars if name == "train/loss"}
    assert losses == {row["step"]: row["loss"] for row in log}


def test_what_is_not_installed_is_one_message(monkeypatch, tmp_path):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv(tracking.TRACKING, f"trackio:{tmp_path}")
    with pytest.raises(StudyError, match=r"^tracking is trackio, .* python -m pip install trackio, or set tracking: none\.$"):
        tracking.reporters(tmp_path / "state/train_sft/sft-seed-1")


def test_trackio_is_told_the_study_and_the_training(monkeypatch, tmp_path):
    monkeypatch.setattr(tracking, "require_package", lambda kind: None)
    monkeypatch.setenv(tracking.TRACKING, "trackio:results/demo/tracking")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")
    monkeypatch.setenv("TRACKIO_DIR", "")
    said = tracking.reporters(tmp_path / "train_sft/sft-seed-1")
    assert said == {"report_to": "trackio", "project": "demo", "run_name": "train_sft/sft-seed-1"}
    assert tracking.os.environ["TRACKIO_DIR"] == "results/demo/tracking"

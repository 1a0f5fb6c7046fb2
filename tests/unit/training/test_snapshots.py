"""Snapshots of a training: they change nothing of it, outlive kills and damage, and are the policy as it was."""

import json

import pytest
import torch
from training_study import DPO, KTO, LORA, call, killed_at, lora_weights, make_study, moved, references, train, weights

from hh_align.core.artifacts import read_table
from hh_align.core.errors import StudyError
from hh_align.training import merge_snapshot

METHODS = {"dpo": DPO, "kto": KTO}
STEPS = 8  # of 16 pairs in steps of 4, twice


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with 16 preferences, a random base policy and its references."""
    folder = make_study(tmp_path_factory.mktemp("snapshots"), 16)
    references(folder)
    return folder


def trained(study, name, steps=(), trainer="dpo", **more):
    """The files of a training with snapshots at some steps: name -> bytes."""
    saving = {"snapshot_steps": json.dumps(list(steps)), "snapshots": study / name / "snapshots.parquet"}
    train(study, name, METHODS[trainer], references=study / "references-base.parquet", **saving, **more)
    return {path.name: path.read_bytes() for path in (study / name).iterdir()}


def snapshot(study, name, step):
    """The weights of the policy after a step."""
    call(
        merge_snapshot, {"step": step, "lora": LORA}, parent=study / "base/manifest.json", snapshots=study / name / "snapshots.parquet",
        manifest=study / f"{name}_step{step}/manifest.json",
    )  # fmt: skip
    return weights(study, f"{name}_step{step}")


@pytest.mark.parametrize("trainer", METHODS)
def test_snapshots_change_no_byte_of_the_policy(study, trainer):
    plain, saving = (trained(study, f"{name}_{trainer}", steps, trainer) for name, steps in (("plain", []), ("saving", [2, STEPS])))
    without, beside = ({name: content for name, content in files.items() if name != "snapshots.parquet"} for files in (plain, saving))
    assert without == beside
    assert len(read_table(study / f"plain_{trainer}/snapshots.parquet")) == 0
    early, last = (snapshot(study, f"saving_{trainer}", step) for step in (2, STEPS))
    final = weights(study, f"saving_{trainer}")
    assert all(torch.equal(last[name], tensor) for name, tensor in final.items())
    changed = moved(study, f"saving_{trainer}_step2")
    assert changed == lora_weights(study)
    assert any(not torch.equal(early[name], final[name]) for name in changed)


def killed(study, name, steps, at=6):
    with killed_at(at):
        trained(study, name, steps, checkpoint_seconds=0)


def test_a_killed_training_has_its_snapshots_too(study):
    whole = trained(study, "whole", [2, 5, 7])
    killed(study, "killed", [2, 5, 7])
    assert {path.stem for path in (study / "state/killed").glob("snapshot-*")} == {"snapshot-2", "snapshot-5"}
    assert trained(study, "killed", [2, 5, 7]) == whole


@pytest.mark.parametrize("harm", ["truncated", "gone"])
def test_a_damaged_snapshot_is_made_again_from_a_checkpoint_before_it(study, monkeypatch, capsys, harm):
    whole, name = trained(study, f"whole_{harm}", [5]), f"harmed_{harm}"
    killed(study, name, [5])
    path = study / "state" / name / "snapshot-5.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    if harm == "gone":
        path.unlink()
    assert trained(study, name, [5]) == whole
    said = capsys.readouterr().out
    assert "the snapshot of step 5 is damaged or gone: checkpoint-5 removed" in said and "continuing from step 4" in said


def test_other_snapshots_do_not_continue_old_state(study, capsys):
    # the old state lacks what is now asked for
    killed(study, "others", [5])
    assert trained(study, "others", [3]) == trained(study, "others_whole", [3])
    assert "kept as others.replaced" in capsys.readouterr().out


def test_a_step_beyond_the_last_is_refused_with_the_number_of_steps(study):
    with pytest.raises(StudyError, match=f"snapshots asks for step {STEPS + 1}, but this training has {STEPS} steps"):
        trained(study, "beyond", [2, STEPS + 1])
    assert not (study / "beyond/manifest.json").exists()


def test_an_artifact_without_the_step_is_named(study):
    trained(study, "few", [2])
    with pytest.raises(StudyError, match=r"few/snapshots.parquet: it holds no adapter of step 3"):
        snapshot(study, "few", 3)

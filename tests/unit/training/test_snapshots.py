"""Snapshots of a training: they change nothing of it, outlive kills and damage, and are the policy as it was."""

import json

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from configs import SCHEMA, load, merged
from test_kto import KTO
from test_training import DPO, LORA, call, killed_at, references, still_study

from hh_align.analysis.summarize_snapshots import ALONG, along
from hh_align.config.resolve import resolve
from hh_align.core.artifacts import read_table
from hh_align.core.errors import StudyError
from hh_align.models.folders import load_policy
from hh_align.report import plot_snapshots
from hh_align.training import merge_snapshot, train_dpo, train_kto

TRAINERS = {"dpo": (train_dpo, DPO), "kto": (train_kto, KTO)}
STEPS = 8  # of 16 pairs in steps of 4, twice


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with 16 preferences, a random base policy and its references."""
    folder = still_study(tmp_path_factory.mktemp("snapshots"), 16)
    references(folder)
    return folder


def train(place, name, steps=(), trainer="dpo", checkpoint_seconds=1000):
    """The files of a training: name -> bytes."""
    module, method = TRAINERS[trainer]
    folder = place / name
    call(
        module, {"method": method, "train_split": "train", "device": "cpu"}, seed=1, parent=place / "base/manifest.json",
        preferences=place / "preferences.parquet", references=place / "references-base.parquet", threads=1, checkpoint_seconds=checkpoint_seconds,
        state=place / "state" / name, manifest=folder / "manifest.json", train_log=folder / "log.parquet", quarantine=folder / "quarantine.parquet",
        timing=place / "timings" / name, snapshot_steps=json.dumps(list(steps)), snapshots=folder / "snapshots.parquet",
    )  # fmt: skip
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def snapshot(place, name, step):
    """The weights of the policy after a step."""
    folder = place / f"{name}_step{step}"
    call(
        merge_snapshot, {"step": step, "lora": LORA}, parent=place / "base/manifest.json", snapshots=place / name / "snapshots.parquet",
        manifest=folder / "manifest.json",
    )  # fmt: skip
    return load_policy(folder / "manifest.json")[0].state_dict()


@pytest.mark.parametrize("trainer", TRAINERS)
def test_snapshots_change_no_byte_of_the_policy(place, trainer):
    plain, saving = train(place, f"plain_{trainer}", trainer=trainer), train(place, f"saving_{trainer}", [2, STEPS], trainer)
    assert {name: content for name, content in plain.items() if name != "snapshots.parquet"} == {
        name: content for name, content in saving.items() if name != "snapshots.parquet"
    }
    assert len(read_table(place / f"plain_{trainer}/snapshots.parquet")) == 0
    base, early, last = (
        load_policy(place / "base/manifest.json")[0].state_dict(),
        *(snapshot(place, f"saving_{trainer}", n) for n in (2, STEPS)),
    )
    trained = load_policy(place / f"saving_{trainer}/manifest.json")[0].state_dict()
    assert all(torch.equal(last[name], tensor) for name, tensor in trained.items())
    moved = {name for name, tensor in base.items() if not torch.equal(tensor, early[name])}
    assert moved == {name for name in base if name.endswith(("q_proj.weight", "v_proj.weight"))}
    assert any(not torch.equal(early[name], trained[name]) for name in moved)


def killed(place, name, steps, at=6):
    with killed_at(at):
        train(place, name, steps, checkpoint_seconds=0)


def test_a_killed_training_has_its_snapshots_too(place, monkeypatch):
    whole = train(place, "whole", [2, 5, 7])
    killed(place, "killed", [2, 5, 7])
    assert {path.stem for path in (place / "state/killed").glob("snapshot-*")} == {"snapshot-2", "snapshot-5"}
    assert train(place, "killed", [2, 5, 7]) == whole


@pytest.mark.parametrize("harm", ["truncated", "gone"])
def test_a_damaged_snapshot_is_made_again_from_a_checkpoint_before_it(place, monkeypatch, capsys, harm):
    whole, name = train(place, f"whole_{harm}", [5]), f"harmed_{harm}"
    killed(place, name, [5])
    path = place / "state" / name / "snapshot-5.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    if harm == "gone":
        path.unlink()
    assert train(place, name, [5]) == whole
    said = capsys.readouterr().out
    assert "the snapshot of step 5 is damaged or gone: checkpoint-5 removed" in said and "continuing from step 4" in said


def test_other_snapshots_do_not_continue_old_state(place, monkeypatch, capsys):
    # the old state lacks what is now asked for
    killed(place, "others", [5])
    assert train(place, "others", [3]) == train(place, "others_whole", [3])
    assert "wiped" in capsys.readouterr().out


def test_a_step_beyond_the_last_is_refused_with_the_number_of_steps(place):
    with pytest.raises(StudyError, match=f"snapshots asks for step {STEPS + 1}, but this training has {STEPS} steps"):
        train(place, "beyond", [2, STEPS + 1])
    assert not (place / "beyond/manifest.json").exists()


def test_an_artifact_without_the_step_is_named(place):
    train(place, "few", [2])
    with pytest.raises(StudyError, match=r"few/snapshots.parquet: it holds no adapter of step 3"):
        snapshot(place, "few", 3)


def with_snapshots(**more):
    return merged(load("config"), {"methods": {"dpo": {"snapshots": [50, 100]}}} | more)


def test_a_method_with_snapshots_makes_arms_of_its_policies():
    resolved, plain = resolve(with_snapshots(), SCHEMA), resolve(load("config"), SCHEMA)
    assert {name: entry for name, entry in resolved["policies"].items() if name not in plain["policies"]} == {
        f"{name}_step{step}": {"parent": parent, "method": "dpo"}
        for name, parent in (("dpo", "base"), ("sft_dpo", "sft"))
        for step in (50, 100)
    }
    assert resolved["snapshots"]["sft_dpo_step100"] == {"of": "sft_dpo", "step": 100}
    assert resolved["methods"] == plain["methods"] and "snapshots" not in plain  # nothing of the training itself has changed


def test_controls_and_arms_of_a_sweep_have_snapshots_too():
    config = with_snapshots(controls=["coin"], analysis={"primary": None})
    config["methods"]["dpo"]["beta"] = [0.1, 0.5]
    resolved = resolve(config, SCHEMA)
    assert resolved["policies"]["sft_dpo_coin_beta0.5_step50"] == {"parent": "sft", "method": "dpo_beta0.5", "data": "coin"}
    assert "sft_dpo_beta0.1_step100" not in resolved["sweeps"]["policies"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"methods": {"sft": {"snapshots": [5]}}}, r"methods.sft has no key snapshots"),
        ({"methods": {"dpo": {"snapshots": [5], "lora": None}}}, r"methods.dpo.snapshots needs methods.dpo.lora"),
        ({"methods": {"dpo": {"snapshots": [0]}}}, r"methods.dpo.snapshots.0 is 0.*at least 1"),
        ({"methods": {"dpo": {"snapshots": [2.5]}}}, r"methods.dpo.snapshots.0 is 2.5"),
        ({"methods": {"dpo": {"snapshots": []}}}, r"methods.dpo.snapshots is \[\]"),
        ({"methods": {"dpo": {"snapshots": 5}}}, r"methods.dpo.snapshots is 5"),
        ({"policies": {"dpo_step50": {"parent": "sft", "method": "sft"}}, "methods": {"dpo": {"snapshots": [50]}}}, r"policies.dpo_step50 is taken: a snapshot"),
    ],
)  # fmt: skip
def test_what_is_no_snapshot_is_refused(more, said):
    with pytest.raises(StudyError, match=said) as found:
        resolve(merged(load("config"), more), SCHEMA)
    assert "\n" not in str(found.value)


def test_the_table_leads_from_the_parent_over_the_steps_to_the_policy():
    arms = {"sft": 1, "sft_dpo_step5": 2, "sft_dpo": 3}
    metrics = pd.DataFrame(
        {"judge": "j", "policy": policy, "seed": 1, "metric": metric, "value": float(value), "n": 9, "ci_low": value - 1.0, "ci_high": value + 1.0}
        for policy, value in arms.items() for metric in ("HmR", "mean_reward_harmful", "words_harmful")
    )  # fmt: skip
    drift = pd.DataFrame(
        {"policy": policy, "seed": 1, "reference": reference, "kl_per_token": kl, "kl_low": kl - 0.1, "kl_high": kl + 0.1}
        for policy, reference, kl in (("sft", "base", 1.0), ("sft_dpo_step5", "sft", 0.25), ("sft_dpo_step5", "base", 1.5), ("sft_dpo", "sft", 0.5))
    )  # fmt: skip
    config = {"root": "base", "policies": {"sft_dpo": {"parent": "sft", "arms": {"sft_dpo_step5": 5}}}}
    table = pd.DataFrame(along(metrics, drift, config, {("sft_dpo", 1): 8}))
    assert set(table) == set(ALONG.names) and set(table["metric"]) == {"HmR", "mean_reward_harmful"}
    rewards = plot_snapshots.shown(table)
    assert rewards[["arm", "step", "value", "kl_parent"]].to_numpy().tolist() == [
        ["sft", 0, 1.0, 0.0], ["sft_dpo_step5", 5, 2.0, 0.25], ["sft_dpo", 8, 3.0, 0.5],
    ]  # fmt: skip
    assert rewards["kl_root"].tolist()[:2] == [1.0, 1.5] and pd.isna(rewards["kl_root"].iloc[2])
    (panel,) = plot_snapshots.plot(rewards).axes
    assert list(panel.containers[0][0].get_ydata()) == [1.0, 2.0, 3.0] and [text.get_text() for text in panel.texts] == ["0", "5", "8"]
    plt.close("all")

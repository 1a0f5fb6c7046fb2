"""A judge from nothing: which axis a subset speaks about is the config's word, and what cannot be calibrated is not trained."""

import json

import pytest
from command_line import assert_refused, call

from hh_align.core.artifacts import write_table
from hh_align.data.preferences import SCHEMA, fit_for
from hh_align.training import train_judge
from hh_align.training.train_judge import youden

ARCHITECTURE = {"vocab_size": 300, "hidden_size": 16, "layers": 1, "heads": 2, "ffn_dim": 32, "init_std": 0.1, "position_buckets": 16}
TRAINING = {
    "epochs": 1, "learning_rate": 1e-2, "schedule": "linear", "warmup_steps": 0, "weight_decay": 0.0, "max_grad_norm": 1.0, "batch_size": 4,
    "micro_batch": 2, "precision": "float32", "max_length": 64,
}  # fmt: skip
BOTH = ["harmlessness", "helpfulness"]
SUBSETS = {"shop": "helpfulness", "safety": "harmlessness"}


def trained(folder, subsets, axes=BOTH, share=0.4):
    """(exit status, what was printed) of the training on pairs of the subsets shop and safety, in turn; subsets: name -> axis."""
    texts = {"chosen": " It is so.", "rejected": " I do not know, sorry.", "rejected_prompt": None, "flags": [], **fit_for([])}
    rows = [
        {"split": "train", "subset": ("shop", "safety")[number % 2], "row": number, "prompt": f"\n\nHuman: Why {number}?\n\nAssistant:", **texts}
        for number in range(24)
    ]  # fmt: skip
    write_table(folder / "preferences.parquet", rows, SCHEMA, {})
    config = {"architecture": ARCHITECTURE, "training": TRAINING, "seed": 1, "train_split": "train", "device": "cpu"}
    files = {name: folder / name for name in ("state", "train_log", "timing")}
    return call(
        train_judge, config=config | {"calibration_share": share, "axes": axes, "subsets": subsets}, preferences=folder / "preferences.parquet",
        threads=1, checkpoint_seconds=1000, manifest=folder / "judge/manifest.json", calibration=folder / "calibration.json", **files,
    )  # fmt: skip


def test_a_subset_counts_for_its_axis_whatever_its_name(tmp_path):
    status, printed = trained(tmp_path, SUBSETS)
    assert status == 0, printed
    calibration = json.loads((tmp_path / "calibration.json").read_text())
    held_out = [number for number in range(24) if train_judge.held_out(f"\n\nHuman: Why {number}?\n\nAssistant:", 0.4)]
    assert {axis: entry["pairs"] for axis, entry in calibration.items()} == {
        "harmlessness": sum(number % 2 == 1 for number in held_out), "helpfulness": sum(number % 2 == 0 for number in held_out),
    }  # fmt: skip


def test_a_judge_of_one_axis_needs_no_pair_of_the_other(tmp_path):
    status, printed = trained(tmp_path, dict.fromkeys(SUBSETS, "helpfulness"), ["helpfulness"])
    assert status == 0, printed
    assert list(json.loads((tmp_path / "calibration.json").read_text())) == ["helpfulness"]


@pytest.mark.parametrize(
    ("subsets", "share", "said"),
    [
        (dict.fromkeys(SUBSETS, "helpfulness"), 0.4, r"no pair for harmlessness: of the subsets shop, safety none speaks about it. Set judges"),
        (SUBSETS, 1e-6, r"no held-out pair for harmlessness: raise judges.*.calibration_share"),
    ],
    ids=["no subset", "none held out"],
)  # fmt: skip
def test_an_axis_that_cannot_be_calibrated_ends_the_step_before_it_trains(tmp_path, subsets, share, said):
    assert_refused(trained(tmp_path, subsets, share=share), said)
    assert not (tmp_path / "state").exists()


def test_youdens_threshold_separates_what_can_be_separated():
    best = youden([1.0, 2.0, 3.0], [-1.0, 0.0, 0.5])
    assert best == {"threshold": 0.75, "youden_j": 1.0, "auc": 1.0, "pair_accuracy": 1.0}
    assert youden([0.0, 1.0], [0.0, 1.0])["auc"] == 0.5

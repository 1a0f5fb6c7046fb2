"""KTO through its script: the paper's formula, TRL's own trainer on the same rows, and itself cut otherwise."""

import json
import math
import subprocess
import time

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from test_methods import adapter, linear_weights
from test_trainers import LAUNCH_TWO, farthest, stock_arguments, weights
from test_trainers import losses as stock_losses
from test_training import ARCHITECTURE, COMMON, LORA, call, killed_at, references, still_study
from trl import KTOConfig, KTOTrainer

from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.core.plan import micro_batches, steps_of, training_order
from hh_align.models.folders import load_policy, save_model
from hh_align.tools import tune_training
from hh_align.training import adapters, train_kto
from hh_align.training.pairs import pairs
from hh_align.training.pretrain_base import build_model
from hh_align.training.train_kto import mismatched, pair_losses, shares

WEIGHTS = {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0}
KTO = COMMON | WEIGHTS | {"trainer": "kto", "max_prompt_length": 32, "lora": LORA}
FULL = {name: value for name, value in KTO.items() if name != "lora"} | {"learning_rate": 1e-3}
COLUMNS = ("loss", "margins", "accuracies", "chosen_rewards", "rejected_rewards", "chosen_logps", "rejected_logps")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with 17 preferences, so that the last step is a short one, a random base policy without dropout and its references."""
    folder = still_study(tmp_path_factory.mktemp("kto"))
    references(folder)
    return folder


def options(place, name, method, reference="references-base.parquet", checkpoint_seconds=1000):
    folder = place / name
    return {
        "config": json.dumps({"method": method, "train_split": "train", "device": "cpu"}), "seed": 1, "parent": place / "base/manifest.json",
        "preferences": place / "preferences.parquet", "references": place / reference, "threads": 1, "checkpoint-seconds": checkpoint_seconds,
        "state": place / "state" / name, "manifest": folder / "manifest.json", "train-log": folder / "log.parquet",
        "quarantine": folder / "quarantine.parquet", "timing": folder / "t",
    }  # fmt: skip


def kto(place, name, method=KTO, **more):
    given = options(place, name, method, **more)
    call(train_kto, json.loads(given.pop("config")), **given)
    return json.loads((place / name / "manifest.json").read_text()), pq.read_table(place / name / "log.parquet").to_pylist()


def views_of(place, method=KTO):
    _, tokenizer = load_policy(place / "base/manifest.json")
    table = pq.read_table(place / "preferences.parquet").to_pylist()
    views = pairs(table, tokenizer, method | {"dropout": "disabled"}, "train")[1]
    sizes = [len(view["prompt_ids"]) + len(view["chosen_ids"]) + len(view["rejected_ids"]) for view in views]
    return views, training_order(sizes, method["epochs"], method["batch_size"], 1)


@pytest.mark.parametrize("method", [WEIGHTS, {"beta": 0.5, "desirable_weight": 1.3, "undesirable_weight": 0.7}])
@pytest.mark.parametrize("divergence", [-3.0, 0.0, 2.5])
def test_the_loss_is_the_papers_equation(method, divergence):
    # E[w_y - v(x, y)], v = w_d sigma(beta (r - z0)) or w_u sigma(beta (z0 - r)), each row by itself
    ratios = np.random.default_rng(1).normal(0, 4, (6, 2))
    z0 = max(divergence, 0)
    rows = [method["desirable_weight"] * (1 - 1 / (1 + math.exp(-method["beta"] * (chosen - z0)))) for chosen in ratios[:, 0]] + [
        method["undesirable_weight"] * (1 - 1 / (1 + math.exp(-method["beta"] * (z0 - rejected)))) for rejected in ratios[:, 1]
    ]
    found = pair_losses(torch.tensor(ratios), torch.tensor(divergence), method)
    assert found.mean().item() == pytest.approx(np.mean(rows), abs=1e-6)


class StockKTO(KTOTrainer):
    """KTOTrainer on ids that are here already; the replies of a batch turn by one, as in its own preparation."""

    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset


def stock_kto(place, method):
    """TRL's KTOTrainer on the same replies in the same steps, each step one batch: its chosen replies and then its rejected ones."""
    model, tokenizer = load_policy(place / "base/manifest.json")
    views, order = views_of(place, method)
    rows = []
    for step in steps_of(order, method["batch_size"]):
        found = [
            {"prompt_ids": views[row]["prompt_ids"], "completion_ids": views[row][name], "label": name == "chosen_ids"}
            for name in ("chosen_ids", "rejected_ids")
            for row in step
        ]
        turned = [found[-1], *found[:-1]]
        rows += [row | {"KL_completion_ids": other["completion_ids"]} for row, other in zip(found, turned, strict=True)]
    arguments = stock_arguments(place / "out", method) | {"per_device_train_batch_size": 2 * method["batch_size"]}
    weighted = {name: method[name] for name in WEIGHTS}
    trainer = StockKTO(
        model=model,
        args=KTOConfig(**arguments, **weighted, seed=1),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=adapter(method.get("lora")),
    )
    return trainer, stock_losses(trainer)


DIVERGENT = {"desirable_weight": 2.0, "undesirable_weight": 0.05, "beta": 0.3, "batch_size": 8, "learning_rate": 3e-2, "epochs": 4}
"""What raises the mismatched replies as well, so that the KL term is above 0."""


@pytest.mark.parametrize("more", [{"epochs": 1}, DIVERGENT], ids=["default", "divergent"])
def test_kto_trains_as_the_stock_trainer_does(place, more):
    method = KTO | more
    _, log = kto(place, f"stock_{len(more)}", method)
    trainer, expected = stock_kto(place, method)
    stepwise = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(log) == len(stepwise)
    if more == DIVERGENT:
        assert max(entry["kl"] for entry in stepwise) > 0.2
    else:
        # 17 pairs in steps of 4: the last one stands alone, and the stock trainer sets it against itself
        log, stepwise = log[:-1], stepwise[:-1]
    assert [row["loss"] for row in log] == pytest.approx(expected[: len(log)], abs=1e-3)
    for column, name in (("chosen_rewards", "rewards/chosen"), ("margins", "rewards/margins"), ("rejected_logps", "logps/rejected")):
        assert [row[column] for row in log] == pytest.approx([entry[name] for entry in stepwise], rel=1e-3, abs=1e-2), column
    half = (method["desirable_weight"] + method["undesirable_weight"]) / 4
    assert log[0]["loss"] == pytest.approx(half, abs=1e-6) and log[-1]["margins"] > 0.01


def test_full_kto_is_the_stock_trainers_and_moves_every_parameter(place):
    _, log = kto(place, "full", FULL)
    stock, expected = stock_kto(place, FULL)
    assert [row["loss"] for row in log] == pytest.approx(expected, abs=2e-3)
    assert farthest(weights(place, "full"), stock.model.state_dict()) < 5e-3
    before, after = weights(place, "base"), weights(place, "full")
    assert not [name for name, tensor in before.items() if torch.equal(tensor, after[name]) and "k_proj.bias" not in name]


@pytest.mark.parametrize("targets", [LORA["targets"], "all-linear"])
def test_kto_starts_at_a_half_and_moves_only_what_lora_targets(place, targets):
    name = "lora_" + "_".join(targets)
    _, log = kto(place, name, KTO | {"lora": LORA | {"targets": targets}})
    assert log[0]["loss"] == pytest.approx(0.5, abs=1e-6) and log[-1]["loss"] < 0.5
    before, after = weights(place, "base"), weights(place, name)
    wanted = (
        linear_weights(place) if targets == "all-linear" else {key for key in before if key.endswith(("q_proj.weight", "v_proj.weight"))}
    )
    assert {name for name, tensor in before.items() if not torch.equal(tensor, after[name])} == wanted


def test_functional_dropout_is_off(place, tmp_path):
    # OPT's is functional: the trainer's own switch does not reach it
    (tmp_path / "preferences.parquet").symlink_to(place / "preferences.parquet")
    _, tokenizer = load_policy(place / "base/manifest.json")
    save_model(tmp_path / "base/manifest.json", build_model(ARCHITECTURE, len(tokenizer), 1), tokenizer, {}, "")
    references(tmp_path)
    _, log = kto(tmp_path, "quiet")
    assert log[0]["loss"] == pytest.approx(0.5, abs=1e-6) and abs(log[0]["chosen_rewards"]) < 1e-4


def test_mismatched_replies_are_those_of_the_step(place):
    views, order = views_of(place)
    trees = mismatched(order, views, 4, 64)
    for start in range(0, len(order), 4):
        step = order[start : start + 4]
        for at, row in enumerate(step):
            prompt, replies = trees[start + at]
            assert prompt == views[row]["prompt_ids"]
            assert replies == [views[step[at - 1]][name] for name in ("chosen_ids", "rejected_ids")]
    # a step of one pair takes the pair before it, and nothing is longer than max_length
    alone = mismatched([2, 0, 1], views, 2, 20)
    assert alone[2] == (
        views[1]["prompt_ids"],
        [views[0][name][: 20 - len(views[1]["prompt_ids"])] for name in ("chosen_ids", "rejected_ids")],
    )


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("rows", [16, 17, 23])
def test_every_mismatched_pair_of_a_step_is_read_once(rows, processes):
    planned = micro_batches(range(rows), 8, 2, processes)
    found = shares(planned, 4, processes)
    assert len(found) == len(planned)
    for start in range(0, len(planned), 4):
        step = range(start, min(start + 4, len(planned)))
        read = [found[at] for at in step if found[at] is not None]
        assert len(read) == processes and found[start] is not None  # each process, at its first micro-batch
        places = sorted(place for share in read for batch in share for place in batch)
        assert places == sorted(place for at in step for place in planned[at])


@pytest.mark.parametrize("micro", [1, 4, 8])
def test_micro_batches_change_no_result(place, micro):
    # with a KL term that is not 0
    _, expected = kto(place, "by_two", KTO | DIVERGENT | {"micro_batch": 2})
    _, log = kto(place, f"by_{micro}", KTO | DIVERGENT | {"micro_batch": micro})
    for column in COLUMNS:
        assert [row[column] for row in log] == pytest.approx([row[column] for row in expected], abs=2e-3), column
    assert [row["grad_norm"] for row in log] == pytest.approx([row["grad_norm"] for row in expected], rel=2e-3)


def two_processes(place, name):
    """The command of a training shared by two processes, with a checkpoint after every step."""
    given = options(place, name, KTO | DIVERGENT, checkpoint_seconds=0)
    return [*LAUNCH_TWO, train_kto.__spec__.name, *(part for option, value in given.items() for part in (f"--{option}", str(value)))]


@pytest.fixture(scope="module")
def two(place):
    """The folder of a training by two processes."""
    done = subprocess.run(two_processes(place, "two"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return place / "two"


def test_two_processes_give_the_result_of_one(place, two):
    _, expected = kto(place, "one", KTO | DIVERGENT)
    log = pq.read_table(two / "log.parquet").to_pylist()
    for column in (*COLUMNS, "grad_norm"):
        assert [row[column] for row in log] == pytest.approx([row[column] for row in expected], abs=2e-3), column
    assert farthest(weights(place, "one"), weights(place, "two")) < 5e-3
    assert not (place / "state/two").exists()


def test_two_processes_killed_in_the_middle_end_with_the_same_bytes(place, two):
    # each keeps the references of its own mismatched pairs
    command, state = two_processes(place, "two_killed"), place / "state/two_killed"
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (state / "checkpoint-2/manifest.json").is_file():
        assert process.poll() is None
        time.sleep(0.001)
    for each in [*process.children(recursive=True), process]:  # the launcher gives its processes sessions of their own
        each.kill()
    process.wait()
    assert (state / "mismatched.jsonl").is_file() and (state / "process-1/mismatched.jsonl").is_file()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "continuing from step" in done.stdout and "mismatched pair" not in done.stdout
    for name in ("manifest.json", "log.parquet"):
        assert (place / "two_killed" / name).read_bytes() == (two / name).read_bytes()


def test_a_killed_training_ends_with_the_bytes_of_an_undisturbed_one(place, monkeypatch, capsys):
    method = FULL | {"desirable_weight": 2.0, "undesirable_weight": 0.05}
    whole, log = kto(place, "undisturbed", method, checkpoint_seconds=0)
    with killed_at(6):
        kto(place, "killed", method, checkpoint_seconds=0)
    assert (place / "state/killed/mismatched.jsonl").is_file()
    capsys.readouterr()
    resumed, resumed_log = kto(place, "killed", method, checkpoint_seconds=0)
    said = capsys.readouterr().out
    assert "continuing from step 5" in said and "mismatched pair" not in said  # their references are not computed again
    assert (resumed, resumed_log) == (whole, log)


def test_references_of_other_weights_stop_the_run(place):
    rows = pq.read_table(place / "references-base.parquet")
    wrong = [row | {"ref_chosen_logps": row["ref_chosen_logps"] + 1.0} for row in rows.to_pylist()]
    write_table(place / "wrong.parquet", wrong, rows.schema.remove_metadata(), {})
    with pytest.raises(StudyError, match=r"the first KTO loss is .*, not 0.500000, with implicit rewards .*'divergence': "):
        kto(place, "wrong", reference="wrong.parquet")
    assert not (place / "wrong/manifest.json").exists()


def test_a_divergence_before_the_first_step_stops_the_run(place, monkeypatch):
    # with equal weights the loss of equal policies is a half whatever the divergence: it is looked at itself
    original = train_kto.mismatched_references
    monkeypatch.setattr(
        train_kto, "mismatched_references", lambda *args: [found and [value - 1.0 for value in found] for found in original(*args)]
    )
    with pytest.raises(StudyError, match=r"the first KTO loss is 0.500000, not 0.500000, .*'divergence': 0.1"):
        kto(place, "diverged")


def test_dropout_that_is_still_on_is_found_after_the_first_step(place, monkeypatch):
    original = adapters.LoraConfig
    monkeypatch.setattr(adapters, "LoraConfig", lambda **given: original(**(given | {"lora_dropout": 0.5})))
    with pytest.raises(StudyError, match=r"two passes over the same pairs differ|the first KTO loss"):
        kto(place, "dropped")


def test_bfloat16_stays_near_float32(place):
    _, expected = kto(place, "whole")
    _, log = kto(place, "half", KTO | {"precision": "bfloat16"})
    assert [row["loss"] for row in log] == pytest.approx([row["loss"] for row in expected], abs=0.02)


def test_one_pair_alone_is_refused(place):
    # it would be set against itself
    with pytest.raises(StudyError, match=r"KTO needs two pairs or more for its KL term, here are 1. Raise max_rows."):
        kto(place, "alone", KTO | {"max_rows": 1})


def test_tuning_measures_kto(place, tmp_path):
    given = {"method": KTO | {"batch_size": 2, "micro_batch": 1}, "train_split": "train", "batch_tokens": 512, "device": "cpu"}
    keys = ("trainer", "max_length", "max_prompt_length", "max_rows", "dropout", "precision")
    found = tune_training.measure(
        given["method"] | {"max_rows": 4, "epochs": 1}, given | {"view_keys": keys}, place / "base/manifest.json", place / "preferences.parquet", 1, tmp_path
    )  # fmt: skip
    assert found["examples_per_second"] > 0

"""KTO through its script: the paper's formula, TRL's own trainer on the same rows, and itself cut otherwise."""

import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from stock_trainers import pairs_of, stock_kto
from training_study import (
    ARCHITECTURE,
    DIVERGENT,
    KTO,
    LORA,
    WEIGHTS,
    farthest,
    killed_at,
    kto,
    linear_weights,
    log_of,
    lora_weights,
    make_study,
    moved,
    of_all_weights,
    references,
    trained,
    weights,
)

from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.core.plan import micro_batches
from hh_align.models.folders import load_policy, save_model
from hh_align.training import adapters, train_kto
from hh_align.training.plan import Plan
from hh_align.training.pretrain_base import build_model
from hh_align.training.train_kto import mismatched, pair_losses, shares

COLUMNS = ("loss", "margins", "accuracies", "chosen_rewards", "rejected_rewards", "chosen_logps", "rejected_logps")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with 17 preferences, so that the last step is a short one, a random base policy without dropout and its references."""
    folder = make_study(tmp_path_factory.mktemp("kto"))
    references(folder)
    return folder


def once(study, method):
    return log_of(study, trained(study, method, references=study / "references-base.parquet"))


@pytest.mark.parametrize("method", [WEIGHTS, {"beta": 0.5, "desirable_weight": 1.3, "undesirable_weight": 0.7}])
@pytest.mark.parametrize("divergence", [-3.0, 0.0, 2.5])
def test_the_loss_is_the_papers_equation(method, divergence):
    # E[w_y - v(x, y)], v = w_d sigma(beta (r - z0)) or w_u sigma(beta (z0 - r)), each row by itself
    ratios = np.random.default_rng(1).normal(0, 4, (6, 2))
    z0 = max(divergence, 0)
    rows = [method["desirable_weight"] * (1 - 1 / (1 + math.exp(-method["beta"] * (chosen - z0)))) for chosen in ratios[:, 0]] + [
        method["undesirable_weight"] * (1 - 1 / (1 + math.exp(-method["beta"] * (z0 - rejected)))) for rejected in ratios[:, 1]
    ]
    losses = pair_losses(torch.tensor(ratios), torch.tensor(divergence), method)
    assert losses.mean().item() == pytest.approx(np.mean(rows), abs=1e-6)


@pytest.mark.parametrize("more", [{"epochs": 1}, DIVERGENT], ids=["default", "divergent"])
def test_kto_trains_as_the_stock_trainer_does(study, more):
    method = KTO | more
    log = once(study, method)
    trainer, expected = stock_kto(study, method)
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


def test_full_kto_is_the_stock_trainers_and_moves_every_parameter(study):
    _, log = kto(study, "full", of_all_weights(KTO))
    stock, expected = stock_kto(study, of_all_weights(KTO))
    assert [row["loss"] for row in log] == pytest.approx(expected, abs=2e-3)
    assert farthest(weights(study, "full"), stock.model.state_dict()) < 5e-3
    assert not [name for name in weights(study, "base").keys() - moved(study, "full") if "k_proj.bias" not in name]


@pytest.mark.parametrize("targets", [LORA["targets"], "all-linear"])
def test_kto_starts_at_a_half_and_moves_only_what_lora_targets(study, targets):
    name = trained(study, KTO | {"lora": LORA | {"targets": targets}}, references=study / "references-base.parquet")
    log = log_of(study, name)
    assert log[0]["loss"] == pytest.approx(0.5, abs=1e-6) and log[-1]["loss"] < 0.5
    assert moved(study, name) == (linear_weights(study) if targets == "all-linear" else lora_weights(study))


def test_functional_dropout_is_off(study, tmp_path):
    # OPT's is functional: the trainer's own switch does not reach it
    (tmp_path / "preferences.parquet").symlink_to(study / "preferences.parquet")
    _, tokenizer = load_policy(study / "base/manifest.json")
    save_model(tmp_path / "base/manifest.json", build_model(ARCHITECTURE, len(tokenizer), 1), tokenizer, {})
    references(tmp_path)
    _, log = kto(tmp_path, "quiet")
    assert log[0]["loss"] == pytest.approx(0.5, abs=1e-6) and abs(log[0]["chosen_rewards"]) < 1e-4


def test_mismatched_replies_are_those_of_the_step(study):
    pairs, order = pairs_of(study, KTO)
    trees = mismatched(Plan([], [], [], order, 4), pairs, 64)
    for start in range(0, len(order), 4):
        step = order[start : start + 4]
        for number, row in enumerate(step):
            tree, other = trees[start + number], pairs[step[number - 1]]
            assert tree.prompt == pairs[row].prompt_ids
            assert tree.replies == [other.chosen_ids, other.rejected_ids]
    # a step of one pair takes the pair before it, and nothing is longer than max_length
    alone = mismatched(Plan([], [], [], [2, 0, 1], 2), pairs, 20)
    prompt = pairs[1].prompt_ids
    assert alone[2] == (prompt, [reply[: 20 - len(prompt)] for reply in (pairs[0].chosen_ids, pairs[0].rejected_ids)])


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("rows", [16, 17, 23])
def test_every_mismatched_pair_of_a_step_is_read_once(rows, processes):
    planned = micro_batches(range(rows), 8, 2, processes)
    shared = shares(planned, 4, processes)
    assert len(shared) == len(planned)
    for start in range(0, len(planned), 4):
        step = range(start, min(start + 4, len(planned)))
        read = [shared[number] for number in step if shared[number] is not None]
        assert len(read) == processes and shared[start] is not None  # each process, at its first micro-batch
        turns = sorted(turn for share in read for batch in share for turn in batch)
        assert turns == sorted(turn for number in step for turn in planned[number])


@pytest.mark.parametrize("micro", [1, 4, 8])
def test_micro_batches_change_no_result(study, micro):
    # with a KL term that is not 0
    expected, log = (once(study, KTO | DIVERGENT | {"micro_batch": rows}) for rows in (2, micro))
    for column in COLUMNS:
        assert [row[column] for row in log] == pytest.approx([row[column] for row in expected], abs=2e-3), column
    assert [row["grad_norm"] for row in log] == pytest.approx([row["grad_norm"] for row in expected], rel=2e-3)


def test_a_killed_training_ends_with_the_bytes_of_an_undisturbed_one(study, capsys):
    method = of_all_weights(KTO) | {"desirable_weight": 2.0, "undesirable_weight": 0.05}
    whole, log = kto(study, "undisturbed", method, checkpoint_seconds=0)
    with killed_at(6):
        kto(study, "killed", method, checkpoint_seconds=0)
    assert (study / "state/killed/mismatched.jsonl").is_file()
    capsys.readouterr()
    resumed, resumed_log = kto(study, "killed", method, checkpoint_seconds=0)
    said = capsys.readouterr().out
    assert "continuing from step 5" in said and "mismatched pair" not in said  # their references are not computed again
    assert (resumed, resumed_log) == (whole, log)


def test_references_of_other_weights_stop_the_run(study):
    rows = pq.read_table(study / "references-base.parquet")
    wrong = [row | {"ref_chosen_logps": row["ref_chosen_logps"] + 1.0} for row in rows.to_pylist()]
    write_table(study / "wrong.parquet", wrong, rows.schema.remove_metadata(), {})
    with pytest.raises(StudyError, match=r"the first KTO loss is .*, not 0.500000, with implicit rewards .*'divergence': "):
        kto(study, "wrong", references="wrong.parquet")
    assert not (study / "wrong/manifest.json").exists()


def test_a_divergence_before_the_first_step_stops_the_run(study, monkeypatch):
    # with equal weights the loss of equal policies is a half whatever the divergence: it is looked at itself
    original = train_kto.mismatched_references
    monkeypatch.setattr(
        train_kto, "mismatched_references", lambda *args: [both and [logp - 1.0 for logp in both] for both in original(*args)]
    )
    with pytest.raises(StudyError, match=r"the first KTO loss is 0.500000, not 0.500000, .*'divergence': 0.1"):
        kto(study, "diverged")


def test_dropout_that_is_still_on_is_found_after_the_first_step(study, monkeypatch):
    original = adapters.LoraConfig
    monkeypatch.setattr(adapters, "LoraConfig", lambda **settings: original(**(settings | {"lora_dropout": 0.5})))
    with pytest.raises(StudyError, match=r"two passes over the same pairs differ|the first KTO loss"):
        kto(study, "dropped")


def test_bfloat16_stays_near_float32(study):
    expected, log = once(study, KTO), once(study, KTO | {"precision": "bfloat16"})
    assert [row["loss"] for row in log] == pytest.approx([row["loss"] for row in expected], abs=0.02)


def test_one_pair_alone_is_refused(study):
    # it would be set against itself
    with pytest.raises(StudyError, match=r"KTO needs two pairs or more for its KL term, here are 1. Raise max_rows."):
        kto(study, "alone", KTO | {"max_rows": 1})

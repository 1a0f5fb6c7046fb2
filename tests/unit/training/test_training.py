"""Training on a tiny OPT with OPT-350M's quirks (post-norm, projections, functional dropout 0.1): invariants, not results."""

import json
import math

import pyarrow.parquet as pq
import pytest
import torch
from training_study import ARCHITECTURE, SFT, dpo, killed_at, lora_weights, make_study, moved, preference, references, sft

from hh_align.core.artifacts import read_table, write_table
from hh_align.data.preferences import SCHEMA
from hh_align.models.folders import load_policy


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with 16 preferences and a random base policy with dropout."""
    return make_study(tmp_path_factory.mktemp("training"), 16, ARCHITECTURE)


def test_sft_logs_every_step_and_learns(study):
    _, log = sft(study, "sft")
    assert [row["step"] for row in log] == list(range(1, 9))
    assert [row["examples"] for row in log] == list(range(4, 36, 4))
    assert log[-1]["epoch"] == 2.0
    assert log[-1]["loss"] < log[0]["loss"]
    assert not (study / "state/sft").exists()


def test_sft_changes_every_parameter(study):
    # a parameter that stays would be one that the optimizer never saw
    sft(study, "sft_all")
    stayed = set(load_policy(study / "base/manifest.json")[0].state_dict()) - moved(study, "sft_all")
    assert not [name for name in stayed if "embed_positions" not in name and "k_proj.bias" not in name]


def test_a_killed_training_ends_with_the_bytes_of_an_undisturbed_one(study):
    whole, log = sft(study, "undisturbed", checkpoint_seconds=0)
    with killed_at(6):
        sft(study, "killed", checkpoint_seconds=0)
    assert [path.name for path in sorted((study / "state/killed").glob("checkpoint-*"))] == ["checkpoint-4", "checkpoint-5"]
    resumed, resumed_log = sft(study, "killed", checkpoint_seconds=0)
    assert resumed == whole
    assert resumed_log == log
    for name in ("undisturbed", "killed"):
        cost = json.loads((study / "timings" / name).read_text())
        assert cost["checkpoints"] == 7 and 0 < cost["checkpoint_seconds_spent"] < cost["training_seconds"]


def test_seeds_order_rows_and_nothing_else(study):
    first, _ = sft(study, "seed_one", seed=1)
    again, _ = sft(study, "seed_one_again", seed=1)
    other, _ = sft(study, "seed_two", seed=2)
    assert first == again
    assert first["model.safetensors"] != other["model.safetensors"]


def test_the_first_dpo_loss_is_ln_2_although_opt_has_dropout(study):
    # OPT's dropout is functional: the trainer's own switch does not reach it, and the paper's loss began at 0.7236
    _, log = dpo(study, "dpo", references=references(study))
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert abs(log[0]["chosen_rewards"]) < 1e-4 and abs(log[0]["rejected_rewards"]) < 1e-4
    assert log[-1]["margins"] > 0.01


def test_dpo_moves_only_what_lora_targets(study):
    dpo(study, "dpo_lora", references=references(study))
    assert moved(study, "dpo_lora") == lora_weights(study)


def test_reference_log_probabilities_are_those_of_a_plain_loop(study):
    # arXiv 2305.18290: log pi(y|x) sums over the reply's tokens, </s> included, and over nothing else
    table = read_table(references(study), ["row", "ref_chosen_logps"]).to_pylist()
    model, tokenizer = load_policy(study / "base/manifest.json")
    row = preference(5)
    prompt = [2, *tokenizer(row["prompt"], add_special_tokens=False)["input_ids"][-31:]]
    reply = [*tokenizer(row["chosen"], add_special_tokens=False)["input_ids"], 2]
    total, ids = 0.0, list(prompt)
    for token in reply:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
        total += torch.log_softmax(logits, 0)[token].item()
        ids.append(token)
    assert next(entry for entry in table if entry["row"] == 5)["ref_chosen_logps"] == pytest.approx(total, abs=1e-4)


def test_rows_with_nothing_to_learn_are_quarantined(study, tmp_path):
    rows = [preference(number) for number in range(6)]
    rows[2]["prompt"] = "\n\nHuman: " + "very " * 200 + "\n\nAssistant:"
    long = " " + "the same " * 90
    rows[4] |= {"chosen": long + "a", "rejected": long + "b"}
    (tmp_path / "base").symlink_to(study / "base")
    write_table(tmp_path / "preferences.parquet", rows, SCHEMA, {})
    _, log = sft(tmp_path, "sft", SFT | {"loss_on": "reply"})
    left = pq.read_table(tmp_path / "sft/quarantine.parquet").to_pylist()
    assert left == [{"split": "train", "subset": "helpful-base", "row": 2, "reason": "no token to learn within max_length"}]
    assert log[-1]["examples"] == 10 and all(math.isfinite(row["loss"]) for row in log)
    _, log = dpo(tmp_path, "dpo", references=references(tmp_path))
    left = pq.read_table(tmp_path / "dpo/quarantine.parquet").to_pylist()
    assert [(row["row"], row["reason"]) for row in left] == [(4, "the replies are equal up to max_length")] and log[-1]["examples"] == 10
    assert log[-1]["cut_tokens"] > 0

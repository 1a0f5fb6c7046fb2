"""Displacement: the log-probabilities are a plain forward pass's, before and after; a policy that is its parent has moved nothing."""

import pytest
import torch
from stock_trainers import pairs_of
from training_study import DPO, KTO, VIEW_KEYS, call, dpo, make_study, preference, references

from hh_align.core.artifacts import read_table, write_table
from hh_align.data.preferences import SCHEMA, fit_for
from hh_align.models.folders import load_policy
from hh_align.training import measure_displacement
from hh_align.training.measure_displacement import DISPLACEMENT, LOGPS, sampled


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """17 training pairs and 3 held-out ones, a random base policy, and a DPO of it at a high rate."""
    folder = make_study(tmp_path_factory.mktemp("displacement"))
    dpo(folder, "dpo", DPO | {"learning_rate": 3e-2}, references(folder))
    rows = [preference(number) for number in range(17)] + [preference(number) | {"split": "test"} for number in range(20, 23)]
    write_table(folder / "preferences.parquet", rows, SCHEMA, {})
    return folder


def measured(study, policy, name="out", **changes):
    config = {
        "view": {key: DPO[key] for key in VIEW_KEYS if key in DPO},
        "train_split": "train",
        "pairs": 100,
        "batch_tokens": 128,
        "device": "cpu",
    }
    call(
        measure_displacement, config | changes, parent=study / "base/manifest.json", policy=study / policy / "manifest.json",
        preferences=study / "preferences.parquet", threads=1, state=study / "state" / name, output=study / f"{name}.parquet",
        timing=study / "timings" / name,
    )  # fmt: skip
    return read_table(study / f"{name}.parquet", DISPLACEMENT).to_pylist()


def plain_logp(model, prompt, reply):
    ids = torch.tensor([prompt + reply])
    with torch.no_grad():
        logps = torch.log_softmax(model(input_ids=ids).logits[0, :-1].double(), -1)
    return logps.gather(1, ids[0, 1:, None])[len(prompt) - 1 :].sum().item()


def test_the_numbers_are_those_of_a_plain_forward_pass(study):
    rows = [row for row in measured(study, "dpo") if row["trained"]]
    pairs, _ = pairs_of(study, DPO)
    before, after = (load_policy(study / name / "manifest.json")[0].eval() for name in ("base", "dpo"))
    assert len(rows) == len(pairs) == 17
    for row, pair in list(zip(rows, pairs, strict=True))[::4]:
        by_hand = [plain_logp(model, pair.prompt_ids, reply) for model in (before, after) for reply in (pair.chosen_ids, pair.rejected_ids)]
        assert [row[name] for name in LOGPS] == pytest.approx(by_hand, abs=1e-3)
        assert (row["chosen_tokens"], row["rejected_tokens"]) == (len(pair.chosen_ids), len(pair.rejected_ids))
    assert max(abs(row["chosen_after"] - row["chosen_before"]) for row in rows) > 0.1


def test_held_out_pairs_are_read_too_and_kto_reads_the_same(study):
    rows = measured(study, "dpo", "held_out")
    assert [(row["split"], row["trained"]) for row in rows] == [("train", True)] * 17 + [("test", False)] * 3
    view = {key: KTO[key] for key in VIEW_KEYS if key in KTO} | {"trainer": "dpo", "dropout": "disabled"}
    assert measured(study, "dpo", "kto", view=view) == rows


def test_a_policy_that_is_its_parent_has_displaced_nothing(study):
    assert all(
        row["chosen_before"] == row["chosen_after"] and row["rejected_before"] == row["rejected_after"]
        for row in measured(study, "base", "same")
    )


def test_the_sample_is_even_and_among_the_rows_that_are_trained_on():
    rows = [preference(number) for number in range(30)]
    rows[7] |= {"flags": ["identical"], **fit_for(["identical"])}
    view = {"dropout": "disabled"}
    assert [row["row"] for row in sampled(rows, "train", view, 4)] == [0, 8, 15, 22]
    assert len(sampled(rows, "train", view, 100)) == 29
    few = {row["row"] for row in sampled(rows, "train", view | {"max_rows": 10}, 100)}
    assert len(few) == 10 and {row["row"] for row in sampled(rows, "train", view | {"max_rows": 10}, 5)} < few

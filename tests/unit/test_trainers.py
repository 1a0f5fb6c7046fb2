"""The training steps against TRL's own trainers, a plain loop, and themselves cut otherwise; what must stop them does."""

import json
import math
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from test_training import ARCHITECTURE, COMMON, DPO, LORA, SFT, dpo, preference, references, sft
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

import train_dpo
import train_sft
from pretrain_base import build_model
from study import training
from study.artifacts import write_table
from study.command import StudyError
from study.dpo import pairs
from study.models import load_policy, save_model
from study.plan import training_order
from study.preferences import SCHEMA, training_rows
from study.scratch import train_tokenizer
from study.tokens import encoder, transcript_view

STILL = ARCHITECTURE | {"dropout": 0.0}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with 17 preferences, so that the last step is a short one, and a random base policy without dropout."""
    folder = tmp_path_factory.mktemp("trainers")
    rows = [preference(number) for number in range(17)]
    write_table(folder / "preferences.parquet", rows, SCHEMA, {})
    tokenizer = train_tokenizer([row["prompt"] + row["chosen"] for row in rows], 300, "</s> $A")
    save_model(folder / "base/manifest.json", build_model(STILL, len(tokenizer), 1), tokenizer, {}, "a notice")
    return folder


def weights(place, name):
    return load_policy(place / name / "manifest.json")[0].state_dict()


def farthest(one, other):
    return max((one[name] - other[name]).abs().max().item() for name in one)


def stock_arguments(folder, method):
    """What is left explicit for the stock trainer: the paper's method, and the rows in our order."""
    return {
        "output_dir": str(folder), "per_device_train_batch_size": method["batch_size"], "learning_rate": method["learning_rate"], "num_train_epochs": 1,
        "train_sampling_strategy": "sequential", "bf16": False, "use_cpu": True, "logging_steps": 1, "report_to": "none", "save_strategy": "no",
        "max_length": method["max_length"], "disable_tqdm": True,
    }  # fmt: skip


def losses(trainer):
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def ordered(examples, lengths, method):
    order = training_order(lengths, method["epochs"], method["batch_size"], 1)
    return Dataset.from_list([examples[row] for row in order])


@pytest.mark.parametrize("loss_on", ["transcript", "reply"])
def test_sft_losses_are_those_of_the_stock_trainer(place, loss_on):
    # same rows in each optimizer step, the last one short; padding, checkpointing and metrics are the stock trainer's
    method = SFT | {"loss_on": loss_on}
    _, log = sft(place, f"sft_{loss_on}", method)
    model, tokenizer = load_policy(place / "base/manifest.json")
    rows = training_rows(pq.read_table(place / "preferences.parquet").to_pylist(), "train", None, None)
    views = transcript_view(rows, encoder(tokenizer), 2, 2, method["max_length"], loss_on)
    dataset = ordered(
        [{"input_ids": view["input_ids"], "labels": view["labels"]} for view in views], [len(view["input_ids"]) for view in views], method
    )
    arguments = SFTConfig(**stock_arguments(place / "out", method), dataset_kwargs={"skip_prepare_dataset": True})
    stock = SFTTrainer(model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer)
    assert [row["loss"] for row in log] == pytest.approx(losses(stock), abs=1e-3)
    assert farthest(weights(place, f"sft_{loss_on}"), stock.model.state_dict()) < 5e-3


def stock_dpo_losses(place, method):
    """Losses of TRL's DPOTrainer on the same pairs; its own reference pass in the loop."""
    from peft import LoraConfig

    model, tokenizer = load_policy(place / "base/manifest.json")
    _, views, _ = pairs(pq.read_table(place / "preferences.parquet").to_pylist(), tokenizer, method, "train")
    sizes = [len(view["prompt_ids"]) + len(view["chosen_ids"]) + len(view["rejected_ids"]) for view in views]
    names = ("prompt_ids", "chosen_ids", "rejected_ids")

    class Stock(DPOTrainer):
        def _prepare_dataset(self, dataset, *args, **kwargs):
            return dataset

    trainer = Stock(
        model=model,
        args=DPOConfig(**stock_arguments(place / "out", method), beta=method["beta"], seed=1),
        train_dataset=ordered([{name: view[name] for name in names} for view in views], sizes, method),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=LORA["r"], lora_alpha=LORA["alpha"], lora_dropout=0.0, target_modules=LORA["targets"], task_type="CAUSAL_LM"
        ),
    )
    return losses(trainer)


def test_dpo_losses_are_those_of_the_stock_trainer(place):
    _, log = dpo(place, "dpo", reference=references(place))
    assert [row["loss"] for row in log] == pytest.approx(stock_dpo_losses(place, DPO), abs=1e-3)
    assert log[-1]["loss"] < log[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_dpo_is_a_plain_loop_written_out(place):
    """Thirty lines without trainer, packing or adapter library: the same losses, margins and gradient norms, step by step."""
    _, log = dpo(place, "dpo_loop", reference=references(place))
    model, tokenizer = load_policy(place / "base/manifest.json")
    reference, _ = load_policy(place / "base/manifest.json")
    _, views, _ = pairs(pq.read_table(place / "preferences.parquet").to_pylist(), tokenizer, DPO, "train")
    sizes = [len(view["prompt_ids"]) + len(view["chosen_ids"]) + len(view["rejected_ids"]) for view in views]
    order = training_order(sizes, DPO["epochs"], DPO["batch_size"], 1)
    adapters = {}
    for name, module in model.named_modules():
        if name.endswith(("q_proj", "v_proj")):
            first = peft_first_factor(place, name)
            adapters[name] = (first.requires_grad_(), torch.zeros(module.out_features, LORA["r"]).requires_grad_())
            module.register_forward_hook(
                lambda module, inputs, output, name=name: output + 2.0 * inputs[0] @ adapters[name][0].T @ adapters[name][1].T
            )
    parameters = [tensor for pair in adapters.values() for tensor in pair]
    optimizer = torch.optim.AdamW(parameters, lr=DPO["learning_rate"], weight_decay=0.0)

    def logp(policy, view, reply):
        ids = torch.tensor([view["prompt_ids"] + view[reply]])
        logits = policy(input_ids=ids).logits[0, len(view["prompt_ids"]) - 1 : -1].log_softmax(1)
        return logits.gather(1, torch.tensor(view[reply])[:, None]).sum()

    steps = [order[start : start + 4] for start in range(0, len(order), 4)]
    for number, (step, row) in enumerate(zip(steps, log, strict=True)):
        ratios = [
            [logp(model, views[n], reply) - logp(reference, views[n], reply).detach() for reply in ("chosen_ids", "rejected_ids")]
            for n in step
        ]
        margins = torch.stack([DPO["beta"] * (chosen - rejected) for chosen, rejected in ratios])
        loss = -F.logsigmoid(margins).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.param_groups[0]["lr"] = DPO["learning_rate"] * (1 - number / len(steps))
        optimizer.step()
        optimizer.zero_grad()
        assert (row["loss"], row["margins"], row["grad_norm"]) == pytest.approx((loss.item(), margins.mean().item(), float(norm)), abs=1e-3)


def peft_first_factor(place, name):
    """The first factor that the adapter library draws for a module under the training's seed."""
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    set_seed(1)
    model, _ = load_policy(place / "base/manifest.json")
    lora = LoraConfig(r=LORA["r"], lora_alpha=LORA["alpha"], lora_dropout=0.0, target_modules=LORA["targets"], task_type="CAUSAL_LM")
    return get_peft_model(model, lora).base_model.model.get_submodule(name).lora_A["default"].weight.detach().clone()


@pytest.mark.parametrize("micro", [1, 4])
def test_micro_batches_change_no_result(place, micro):
    # 4 x 1, 1 x 4 and the 2 x 2 of the other tests; with a short last step
    _, expected = sft(place, "sft_by_two")
    _, log = sft(place, f"sft_by_{micro}", SFT | {"micro_batch": micro})
    assert [row["loss"] for row in log] == pytest.approx([row["loss"] for row in expected], abs=1e-4)
    assert [row["grad_norm"] for row in log] == pytest.approx([row["grad_norm"] for row in expected], rel=1e-3)
    path = references(place)
    _, expected = dpo(place, "dpo_by_two", reference=path)
    _, log = dpo(place, f"dpo_by_{micro}", DPO | {"micro_batch": micro}, path)
    for column in ("loss", "margins", "chosen_rewards", "rejected_logps"):
        assert [row[column] for row in log] == pytest.approx([row[column] for row in expected], abs=2e-3), column


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_two_processes_give_the_result_of_one(place, kind):
    run, method = (sft, SFT) if kind == "sft" else (dpo, DPO)
    given = {"references": references(place)} if kind == "dpo" else {}
    _, expected = run(place, f"{kind}_one", **({"reference": given["references"]} if given else {}))
    config = {"method": method, "train_split": "train", "device": "cpu"}
    folder = place / f"{kind}_two"
    options = {
        "config": json.dumps(config), "seed": 1, "parent": place / "base/manifest.json", "preferences": place / "preferences.parquet", "threads": 1,
        "checkpoint-seconds": 0, "state": place / f"state/{kind}_two", "manifest": folder / "manifest.json", "train-log": folder / "log.parquet",
        "quarantine": folder / "quarantine.parquet", "timing": folder / "t", **given,
    }  # fmt: skip
    module = {"sft": train_sft, "dpo": train_dpo}[kind].__file__
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", module]
    done = subprocess.run(
        [*launch, *(part for name, value in options.items() for part in (f"--{name}", str(value)))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    log = pq.read_table(folder / "log.parquet").to_pylist()
    for column in ("loss", "grad_norm", *(("margins", "accuracies", "chosen_logps") if kind == "dpo" else ())):
        assert [row[column] for row in log] == pytest.approx([row[column] for row in expected], abs=2e-3), column
    assert farthest(weights(place, f"{kind}_one"), weights(place, f"{kind}_two")) < 5e-3
    assert done.stdout.count("rows cut") + done.stdout.count("pairs cut") == 1  # only the first process speaks


def test_bfloat16_stays_near_float32_and_merges_exactly(place):
    # autocast rounds inside the passes only: weights, adapters, their merging and the first loss stay float32
    _, expected = dpo(place, "dpo_full", reference=references(place))
    _, log = dpo(place, "dpo_half", DPO | {"precision": "bfloat16"}, references(place))
    assert [row["loss"] for row in log] == pytest.approx([row["loss"] for row in expected], abs=0.02)
    _, expected = sft(place, "sft_full")
    _, log = sft(place, "sft_half", SFT | {"precision": "bfloat16"})
    assert [row["loss"] for row in log] == pytest.approx([row["loss"] for row in expected], rel=0.02)


def test_processes_that_cannot_share_a_step_are_refused(place, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(StudyError, match=r"a step has 2 micro-batches .* for 3 processes"):
        training.trl_arguments(COMMON, place, 1, "cpu")


def test_rows_with_nothing_to_learn_are_quarantined(place, tmp_path):
    rows = [preference(number) for number in range(6)]
    rows[2]["prompt"] = "\n\nHuman: " + "very " * 200 + "\n\nAssistant:"
    long = " " + "the same " * 90
    rows[4] |= {"chosen": long + "a", "rejected": long + "b"}
    (tmp_path / "base").symlink_to(place / "base")
    write_table(tmp_path / "preferences.parquet", rows, SCHEMA, {})
    _, log = sft(tmp_path, "sft", SFT | {"loss_on": "reply"})
    left = pq.read_table(tmp_path / "sft/quarantine.parquet").to_pylist()
    assert left == [{"split": "train", "subset": "helpful-base", "row": 2, "reason": "no token to learn within max_length"}]
    assert log[-1]["examples"] == 10 and all(math.isfinite(row["loss"]) for row in log)
    _, log = dpo(tmp_path, "dpo", reference=references(tmp_path))
    left = pq.read_table(tmp_path / "dpo/quarantine.parquet").to_pylist()
    assert [(row["row"], row["reason"]) for row in left] == [(4, "the replies are equal up to max_length")] and log[-1]["examples"] == 10
    assert log[-1]["cut_tokens"] > 0


def test_dropout_that_is_still_on_is_found_after_the_first_step(place, monkeypatch):
    # an adapter's dropout leaves the first loss at ln 2, for its second factor is 0
    original = train_dpo.LoraConfig
    monkeypatch.setattr(train_dpo, "LoraConfig", lambda **options: original(**(options | {"lora_dropout": 0.5})))
    with pytest.raises(StudyError, match="two passes over the same pairs differ"):
        dpo(place, "dropped", reference=references(place))


def test_a_parameter_that_stays_or_should_stay_is_found(place):
    model, _ = load_policy(place / "base/manifest.json")
    before = training.tensor_sums(model)
    with pytest.raises(StudyError, match=r"has not changed .*embed_tokens"):
        training.check_moved(before, model, ("k_proj.bias",))
    model.requires_grad_(False)
    training.check_moved(before, model, ("k_proj.bias",))
    model.model.decoder.layers[0].fc1.weight[0, 0] += 1
    with pytest.raises(StudyError, match=r"has changed model.decoder.layers.0.fc1.weight \(1 parameters\), which are frozen"):
        training.check_moved(before, model, ("k_proj.bias",))


@pytest.mark.parametrize(("micro", "said"), [(2, "with micro_batch 2: set it to 1"), (1, "lower max_length, set precision to bfloat16")])
def test_no_memory_left_says_what_to_lower(place, monkeypatch, micro, said):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("study.sft.token_logps", full)
    with pytest.raises(StudyError, match=f"out of memory at step 1 with micro_batch {micro}.*" + said.split(": ")[-1]):
        sft(place, "full", SFT | {"micro_batch": micro})


@pytest.mark.parametrize("loss", ["hinge", "ipo"])
def test_other_losses_start_where_their_formula_does(place, loss):
    _, log = dpo(place, f"dpo_{loss}", DPO | {"loss": loss}, references(place))
    assert log[0]["loss"] == pytest.approx({"hinge": 1.0, "ipo": 25.0}[loss], rel=1e-4) and log[-1]["loss"] < log[0]["loss"]

"""The training steps against TRL's own trainers, a plain loop, and themselves cut otherwise; what must stop them does."""

import json
import math
import subprocess
import sys
import time
from collections import defaultdict

import psutil
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from study_folder import REPOSITORY
from test_training import COMMON, DPO, LORA, SFT, dpo, preference, references, sft, still_study
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.core.plan import training_order
from hh_align.data.preferences import SCHEMA, training_rows
from hh_align.models.folders import load_policy
from hh_align.models.packing import pack, reply_logps, use_packing
from hh_align.models.tokens import encoder, transcript_view
from hh_align.tools import tune_training
from hh_align.training import adapters, train_dpo, train_sft
from hh_align.training import loop as training
from hh_align.training.pair_training import OnPairs
from hh_align.training.pairs import pairs

SETTINGS = str(REPOSITORY / "workflow/accelerate.yaml")
LAUNCH_TWO = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", SETTINGS, "--num_processes", "2", "--module"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with 17 preferences, so that the last step is a short one, and a random base policy without dropout."""
    folder = still_study(tmp_path_factory.mktemp("trainers"))
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


@pytest.mark.parametrize("dropout", ["disabled", "as_published"])
def test_dpo_losses_are_those_of_the_stock_trainer(place, dropout):
    # the base has no dropout, so the published arm's loop and its reference are held to the same figures, in its own token view
    method = DPO | {"dropout": dropout}
    _, log = dpo(place, f"dpo_{dropout}", method, references(place) if dropout == "disabled" else None)
    assert [row["loss"] for row in log] == pytest.approx(stock_dpo_losses(place, method), abs=1e-3)
    assert log[-1]["loss"] < log[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_exchanged_labels_negate_every_logged_margin(place):
    rows = pq.read_table(place / "preferences.parquet").to_pylist()
    model, tokenizer = load_policy(place / "base/manifest.json")
    use_packing(model)
    logged = []
    for sides in (("chosen_ids", "rejected_ids"), ("rejected_ids", "chosen_ids")):
        _, views, _ = pairs(rows, tokenizer, DPO, "train")
        batch = pack([(view["prompt_ids"], [view[side] for side in sides]) for view in views])
        logps = reply_logps(model, batch).detach()
        trainer = OnPairs.__new__(OnPairs)
        trainer.method, trainer._metrics = DPO, {"train": defaultdict(list)}
        trainer.log_pairs(logps.view(-1, 2), logps)
        logged.append(trainer._metrics["train"])
    one, other = logged
    assert one["rewards/margins"] == pytest.approx([-margin for margin in other["rewards/margins"]], abs=1e-4)
    assert min(map(abs, one["rewards/margins"])) > 1e-3 and one["logps/chosen"] == pytest.approx(other["logps/rejected"], abs=1e-3)


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


@pytest.mark.parametrize(("batch", "micro"), [(4, 1), (4, 4), (8, 1), (8, 8)])
def test_micro_batches_change_no_result(place, batch, micro):
    # one row at a time, all at once, and two in between; with a short last step
    size = {"batch_size": batch}
    _, expected = sft(place, f"sft_{batch}_by_two", SFT | size | {"micro_batch": 2})
    _, log = sft(place, f"sft_{batch}_by_{micro}", SFT | size | {"micro_batch": micro})
    assert [row["loss"] for row in log] == pytest.approx([row["loss"] for row in expected], abs=1e-4)
    assert [row["grad_norm"] for row in log] == pytest.approx([row["grad_norm"] for row in expected], rel=1e-3)
    path = references(place)
    _, expected = dpo(place, f"dpo_{batch}_by_two", DPO | size | {"micro_batch": 2}, path)
    _, log = dpo(place, f"dpo_{batch}_by_{micro}", DPO | size | {"micro_batch": micro}, path)
    for column in ("loss", "grad_norm", "margins", "chosen_rewards", "rejected_logps"):
        assert [row[column] for row in log] == pytest.approx([row[column] for row in expected], abs=2e-3), column


def two_processes(place, kind, name, **given):
    """The command of a training shared by two processes, with a checkpoint after every step."""
    config = {"method": SFT if kind == "sft" else DPO, "train_split": "train", "device": "cpu"}
    folder = place / name
    options = {
        "config": json.dumps(config), "seed": 1, "parent": place / "base/manifest.json", "preferences": place / "preferences.parquet", "threads": 1,
        "checkpoint-seconds": 0, "state": place / "state" / name, "manifest": folder / "manifest.json", "train-log": folder / "log.parquet",
        "quarantine": folder / "quarantine.parquet", "timing": folder / "t", **given,
    }  # fmt: skip
    module = {"sft": train_sft, "dpo": train_dpo}[kind].__spec__.name
    return [*LAUNCH_TWO, module, *(part for option, value in options.items() for part in (f"--{option}", str(value)))]


@pytest.fixture(scope="module", params=["sft", "dpo"])
def two(place, request):
    """(kind, its inputs, what was printed) of a training by two processes, in the folder `<kind>_two`."""
    kind = request.param
    given = {"references": references(place)} if kind == "dpo" else {}
    done = subprocess.run(two_processes(place, kind, f"{kind}_two", **given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return kind, given, done.stdout


def test_two_processes_give_the_result_of_one(place, two):
    kind, given, printed = two
    _, expected = sft(place, "sft_one") if kind == "sft" else dpo(place, "dpo_one", reference=given["references"])
    log = pq.read_table(place / f"{kind}_two/log.parquet").to_pylist()
    for column in ("loss", "grad_norm", *(("margins", "accuracies", "chosen_logps") if kind == "dpo" else ())):
        assert [row[column] for row in log] == pytest.approx([row[column] for row in expected], abs=2e-3), column
    assert farthest(weights(place, f"{kind}_one"), weights(place, f"{kind}_two")) < 5e-3
    assert printed.count("rows cut") + printed.count("pairs cut") == 1  # only the first process speaks


def test_two_processes_killed_in_the_middle_end_with_the_same_bytes(place, two):
    kind, given, _ = two
    name = f"{kind}_killed"
    command = two_processes(place, kind, name, **given)
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (place / "state" / name / "checkpoint-2/manifest.json").is_file():
        assert process.poll() is None
        time.sleep(0.001)
    for each in [*process.children(recursive=True), process]:  # the launcher gives its processes sessions of their own
        each.kill()
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "continuing from step" in done.stdout
    for file in ("manifest.json", "log.parquet"):
        assert (place / name / file).read_bytes() == (place / f"{kind}_two" / file).read_bytes()
    assert json.loads((place / name / "t").read_text())["continuations"] == 1


def test_tuning_measures_every_setting(place, tmp_path, monkeypatch, capsys):
    config = {
        "method": DPO | {"batch_size": 1, "micro_batch": 1},
        "view_keys": ("trainer", "max_length", "max_prompt_length", "dropout", "precision"),
    }
    config |= {"train_split": "train", "batch_tokens": 512, "device": "cpu"}
    options = {"config": json.dumps(config), "parent": place / "base/manifest.json", "preferences": place / "preferences.parquet"}
    options |= {"threads": 1, "output": tmp_path / "tuned.json"}
    monkeypatch.setattr(sys, "argv", ["tune_training", *(str(part) for name, value in options.items() for part in (f"--{name}", value))])
    tune_training.main()
    found = json.loads((tmp_path / "tuned.json").read_text())
    assert [(row["precision"], row["micro_batch"]) for row in found] == [("float32", 1), ("bfloat16", 1)]
    assert all(row["examples_per_second"] > 0 for row in found)
    assert capsys.readouterr().out.count("fastest: {precision:") == 2


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
    original = adapters.LoraConfig
    monkeypatch.setattr(adapters, "LoraConfig", lambda **options: original(**(options | {"lora_dropout": 0.5})))
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


@pytest.mark.parametrize(
    ("micro", "said"),
    [
        (2, "with micro_batch 2: set it to 1"),
        (1, r"lower max_length to \d+ \(the longest example has \d+ tokens\), set precision to bfloat16"),
    ],
)
def test_no_memory_left_says_what_to_lower(place, monkeypatch, micro, said):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("hh_align.training.sft.token_logps", full)
    with pytest.raises(StudyError, match=f"out of memory at step 1 with micro_batch {micro}.*" + said.split(": ")[-1]):
        sft(place, "full", SFT | {"micro_batch": micro})


@pytest.mark.parametrize("loss", ["hinge", "ipo"])
def test_other_losses_start_where_their_formula_does(place, loss):
    _, log = dpo(place, f"dpo_{loss}", DPO | {"loss": loss}, references(place))
    assert log[0]["loss"] == pytest.approx({"hinge": 1.0, "ipo": 25.0}[loss], rel=1e-4) and log[-1]["loss"] < log[0]["loss"]

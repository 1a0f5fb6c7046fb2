"""The training steps against TRL's own trainers, a plain loop, and themselves cut otherwise."""

import math
from collections import defaultdict

import pytest
import torch
import torch.nn.functional as F
from stock_trainers import pairs_of, stock_dpo, stock_lora, stock_sft
from training_study import DPO, LORA, SFT, farthest, log_of, make_study, references, trained, weights

from hh_align.core.plan import steps_of
from hh_align.models.folders import load_policy
from hh_align.models.packing import Tree, pack, reply_logps, use_packing
from hh_align.training.pair_trainer import OnPairs


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with 17 preferences, so that the last step is a short one, a random base policy without dropout and its references."""
    folder = make_study(tmp_path_factory.mktemp("trainers"))
    references(folder)
    return folder


def sft(study, method=SFT):
    return log_of(study, trained(study, method))


def dpo(study, method=DPO):
    return log_of(study, trained(study, method, references=study / "references-base.parquet"))


@pytest.mark.parametrize("loss_on", ["transcript", "reply"])
def test_sft_losses_are_those_of_the_stock_trainer(study, loss_on):
    # same rows in each optimizer step, the last one short; padding, checkpointing and metrics are the stock trainer's
    method = SFT | {"loss_on": loss_on}
    name = trained(study, method)
    stock, expected = stock_sft(study, method)
    assert [row["loss"] for row in log_of(study, name)] == pytest.approx(expected, abs=1e-3)
    assert farthest(weights(study, name), stock.model.state_dict()) < 5e-3


@pytest.mark.parametrize("dropout", ["disabled", "as_published"])
def test_dpo_losses_are_those_of_the_stock_trainer(study, dropout):
    # the base has no dropout, so the published arm's loop and its reference are held to the same figures, in its own token view
    method = DPO | {"dropout": dropout}
    log = dpo(study, method) if dropout == "disabled" else log_of(study, trained(study, method))
    _, expected = stock_dpo(study, method)
    assert [row["loss"] for row in log] == pytest.approx(expected, abs=1e-3)
    assert log[-1]["loss"] < log[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_exchanged_labels_negate_every_logged_margin(study):
    model, _ = load_policy(study / "base/manifest.json")
    use_packing(model)
    pairs, _ = pairs_of(study, DPO)
    logged = []
    for sides in (("chosen_ids", "rejected_ids"), ("rejected_ids", "chosen_ids")):
        batch = pack([Tree(pair.prompt_ids, [getattr(pair, side) for side in sides]) for pair in pairs])
        logps = reply_logps(model, batch).detach()
        trainer = OnPairs.__new__(OnPairs)
        trainer.method, trainer._metrics = DPO, {"train": defaultdict(list)}
        trainer.log_pairs(logps.view(-1, 2), logps)
        logged.append(trainer._metrics["train"])
    one, other = logged
    assert one["rewards/margins"] == pytest.approx([-margin for margin in other["rewards/margins"]], abs=1e-4)
    assert min(map(abs, one["rewards/margins"])) > 1e-3 and one["logps/chosen"] == pytest.approx(other["logps/rejected"], abs=1e-3)


def test_dpo_is_a_plain_loop_written_out(study):
    """Thirty lines without trainer, packing or adapter library: the same losses, margins and gradient norms, step by step."""
    log = dpo(study)
    model, _ = load_policy(study / "base/manifest.json")
    reference, _ = load_policy(study / "base/manifest.json")
    pairs, order = pairs_of(study, DPO)
    adapters = {}
    for name, module in model.named_modules():
        if name.endswith(("q_proj", "v_proj")):
            first = peft_first_factor(study, name)
            adapters[name] = (first.requires_grad_(), torch.zeros(module.out_features, LORA["r"]).requires_grad_())
            module.register_forward_hook(
                lambda module, inputs, output, name=name: output + 2.0 * inputs[0] @ adapters[name][0].T @ adapters[name][1].T
            )
    parameters = [tensor for factors in adapters.values() for tensor in factors]
    optimizer = torch.optim.AdamW(parameters, lr=DPO["learning_rate"], weight_decay=0.0)

    def logp(policy, prompt, reply):
        logits = policy(input_ids=torch.tensor([prompt + reply])).logits[0, len(prompt) - 1 : -1].log_softmax(1)
        return logits.gather(1, torch.tensor(reply)[:, None]).sum()

    def ratio(prompt, reply):
        return logp(model, prompt, reply) - logp(reference, prompt, reply).detach()

    steps = steps_of(order, 4)
    for number, (step, row) in enumerate(zip(steps, log, strict=True)):
        read = [pairs[n] for n in step]
        ratios = [[ratio(pair.prompt_ids, reply) for reply in (pair.chosen_ids, pair.rejected_ids)] for pair in read]
        margins = torch.stack([DPO["beta"] * (chosen - rejected) for chosen, rejected in ratios])
        loss = -F.logsigmoid(margins).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.param_groups[0]["lr"] = DPO["learning_rate"] * (1 - number / len(steps))
        optimizer.step()
        optimizer.zero_grad()
        assert (row["loss"], row["margins"], row["grad_norm"]) == pytest.approx((loss.item(), margins.mean().item(), float(norm)), abs=1e-3)


def peft_first_factor(study, name):
    """The first factor that the adapter library draws for a module under the training's seed."""
    from peft import get_peft_model
    from transformers import set_seed

    set_seed(1)
    model, _ = load_policy(study / "base/manifest.json")
    adapted = get_peft_model(model, stock_lora(DPO))
    return adapted.base_model.model.get_submodule(name).lora_A["default"].weight.detach().clone()


@pytest.mark.parametrize(("batch", "micro"), [(4, 1), (4, 4), (8, 1), (8, 8)])
def test_micro_batches_change_no_result(study, batch, micro):
    # one row at a time, all at once, and two in between; with a short last step
    size = {"batch_size": batch}
    expected, log = (sft(study, SFT | size | {"micro_batch": rows}) for rows in (2, micro))
    assert [row["loss"] for row in log] == pytest.approx([row["loss"] for row in expected], abs=1e-4)
    assert [row["grad_norm"] for row in log] == pytest.approx([row["grad_norm"] for row in expected], rel=1e-3)
    expected, log = (dpo(study, DPO | size | {"micro_batch": rows}) for rows in (2, micro))
    for column in ("loss", "grad_norm", "margins", "chosen_rewards", "rejected_logps"):
        assert [row[column] for row in log] == pytest.approx([row[column] for row in expected], abs=2e-3), column


def test_bfloat16_stays_near_float32_and_merges_exactly(study):
    # autocast rounds inside the passes only: weights, adapters, their merging and the first loss stay float32
    expected, log = dpo(study), dpo(study, DPO | {"precision": "bfloat16"})
    assert [row["loss"] for row in log] == pytest.approx([row["loss"] for row in expected], abs=0.02)
    expected, log = sft(study), sft(study, SFT | {"precision": "bfloat16"})
    assert [row["loss"] for row in log] == pytest.approx([row["loss"] for row in expected], rel=0.02)


@pytest.mark.parametrize("loss", ["hinge", "ipo"])
def test_other_losses_start_where_their_formula_does(study, loss):
    log = dpo(study, DPO | {"loss": loss})
    assert log[0]["loss"] == pytest.approx({"hinge": 1.0, "ipo": 25.0}[loss], rel=1e-4) and log[-1]["loss"] < log[0]["loss"]

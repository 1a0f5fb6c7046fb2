"""DPO of a policy with TRL's DPOTrainer on packed pairs in our own token view and batch plan: of all weights, or of an adapter, then merged."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from hh_align.core.command import parse, run
from hh_align.core.plan import micro_batches
from hh_align.core.processes import is_first, processes
from hh_align.models.packing import reply_logps
from hh_align.training.loop import Session, fit, trl_arguments
from hh_align.training.pair_trainer import OnPairs, check_first_rewards
from hh_align.training.pair_training import OPTIONS, PairTraining, continued, first_tolerance, pair_collator, prepare_pairs, save_training
from hh_align.training.snapshots import save_snapshots


def pair_losses(ratios: torch.Tensor, tokens: torch.Tensor, method: dict) -> torch.Tensor:
    """The loss of each pair, shape (pairs,), from log(pi/ref) of its replies and their tokens, both (chosen, rejected), shape (pairs, 2).

    With margin = log(pi/ref)(chosen) - log(pi/ref)(rejected) and d = beta margin:
    sigmoid: -log sigma(d), arXiv 2305.18290, equation 7; with label_smoothing e, -(1 - e) log sigma(d) - e log sigma(-d) ("conservative
    DPO", compared in arXiv 2403.00409); robust: [-(1 - e) log sigma(d) + e log sigma(-d)] / (1 - 2 e), unbiased where a share e of the
    labels is flipped (arXiv 2403.00409); hinge: max(0, 1 - d), arXiv 2309.06657, section 3.1; ipo: (margin - 1 / (2 beta))^2,
    arXiv 2310.12036, equation 17, on summed log-probabilities; apo_zero: 1 - sigma(beta log(pi/ref)(chosen)) + sigma(beta
    log(pi/ref)(rejected)), arXiv 2408.06266, equation 7; sigmoid_norm: the sigmoid of log-ratios per token of their reply, as TRL 1.16.
    """
    beta, loss, noise = method["beta"], method["loss"], method.get("label_smoothing", 0.0)
    margins = ratios[:, 0] - ratios[:, 1]
    if loss == "sigmoid":
        return -(1 - noise) * F.logsigmoid(beta * margins) - noise * F.logsigmoid(-beta * margins)
    if loss == "robust":
        return (-(1 - noise) * F.logsigmoid(beta * margins) + noise * F.logsigmoid(-beta * margins)) / (1 - 2 * noise)
    if loss == "hinge":
        return torch.relu(1 - beta * margins)
    if loss == "ipo":
        return (margins - 1 / (2 * beta)) ** 2
    if loss == "apo_zero":
        return 1 - torch.sigmoid(beta * ratios[:, 0]) + torch.sigmoid(beta * ratios[:, 1])
    per_token = ratios / tokens
    return -F.logsigmoid(beta * (per_token[:, 0] - per_token[:, 1]))


def first_loss(training: PairTraining) -> float:
    """The loss of step 1, where policy and reference are equal: that of ratios of 0, and the SFT term by the reference's own
    log-probabilities of the step's chosen replies."""
    method, step = training.method, training.plan.steps[0]
    loss = float(pair_losses(torch.zeros(1, 2), torch.ones(1, 2), method))
    if not method.get("sft_weight"):
        return loss
    return loss - method["sft_weight"] * sum(training.references[row][0] for row in step) / chosen_tokens(training, step)


def chosen_tokens(training: PairTraining, step: Sequence[int]) -> int:
    """Tokens of the chosen replies of an optimizer step's pairs."""
    return sum(len(training.pairs[row].chosen_ids) for row in step)


def planned_batches(training: PairTraining) -> Dataset:
    """The trainer's dataset, a row for each micro-batch in the order of training: the numbers of its `pairs`, and `step_chosen_tokens`, the
    tokens of all chosen replies of its optimizer step."""
    size, micro = training.method["batch_size"], training.method["micro_batch"]
    planned = micro_batches(training.plan.order, size, micro, processes())
    of_step = [chosen_tokens(training, step) for step in training.plan.steps]
    return Dataset.from_dict(
        {"pairs": planned, "step_chosen_tokens": [of_step[number // (size // micro)] for number in range(len(planned))]}
    )


class PackedDPOTrainer(OnPairs, DPOTrainer):
    """DPOTrainer on packed pairs, with the reference from the artifact or, as published, in the loop."""

    def __init__(self, *args, method: dict, **kwargs) -> None:
        self.published = method["dropout"] == "as_published"
        super().__init__(*args, method=method, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The micro-batch's part, shape (), of the mean loss over the pairs of the whole optimizer step, and of sft_weight times the mean
        negative log-likelihood over the tokens of all chosen replies of the step (TRL's loss_type "sft", whose mean is over a micro-batch).

        inputs: what PairCollator makes of a row of planned_batches. Times the processes, over which DDP takes the mean. The log gets each
        pair's rewards and log-probabilities.
        """
        packed = inputs["packed"]
        logps = reply_logps(model, packed)
        if not self.published:
            self.check_repeatable(model, packed, logps)
        ratios = (logps - self.references(model, inputs)).view(-1, 2)
        self.log_pairs(ratios, logps)
        loss = pair_losses(ratios, packed.reply_tokens.view(-1, 2), self.method).sum() / num_items_in_batch
        if weight := self.method.get("sft_weight"):
            loss = loss - weight * logps.view(-1, 2)[:, 0].sum() / inputs["step_chosen_tokens"]
        return loss * self.accelerator.num_processes

    def references(self, model, inputs) -> torch.Tensor:
        """The reference's log-probability of each reply, shape (replies,)."""
        if not self.published:
            return inputs["references"]
        with torch.no_grad(), self.accelerator.unwrap_model(model).disable_adapter():
            return reply_logps(model, inputs["packed"])


def packed_trainer(training: PairTraining, session: Session) -> PackedDPOTrainer:
    """The trainer of a DPO method, ready to fit."""
    method = training.method
    return PackedDPOTrainer(
        method=method,
        model=training.model,
        args=DPOConfig(
            **trl_arguments(method, session),
            beta=method["beta"],
            precompute_ref_log_probs=method["dropout"] != "as_published",
            disable_dropout=False,
        ),
        train_dataset=planned_batches(training),
        data_collator=pair_collator(training),
        processing_class=training.tokenizer,
        peft_config=training.adapter,
    )


def first_check(training: PairTraining) -> Callable[[dict], None]:
    """What looks at the first step's log: policy and reference are equal, but as published, where each has dropout of its own."""
    tolerance = math.inf if training.method["dropout"] == "as_published" else first_tolerance(training)
    return partial(check_first_rewards, "DPO", loss=first_loss(training), tolerance=tolerance)


def main() -> None:
    started = time.monotonic()
    args = parse(__doc__, **OPTIONS)
    training = prepare_pairs(args, args.config["method"])
    with continued(args, training, "hh_align.training.train_dpo", started) as session:
        trainer = packed_trainer(training, session)
        save_snapshots(trainer, args.snapshot_steps or [], len(training.plan.steps), session.state.folder)
        fitted = fit(trainer, session, training.plan, first_check(training))
        if is_first():
            save_training(args, training, trainer, session, fitted)


if __name__ == "__main__":
    run(main)

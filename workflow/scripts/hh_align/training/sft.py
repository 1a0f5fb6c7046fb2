"""Training on transcripts with TRL's SFTTrainer, packed: what pretraining and SFT share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from hh_align.core.artifacts import say
from hh_align.core.plan import micro_batches
from hh_align.core.processes import processes
from hh_align.data.preferences import row_name
from hh_align.models.chat import as_read
from hh_align.models.folders import check_length
from hh_align.models.packing import MULTIPLE, Tree, idle_tree, pack, token_logps, tree_size, use_packing
from hh_align.models.tokens import Transcript, check_boundaries, encoder, transcript_view
from hh_align.training.adapters import lora_config, merge
from hh_align.training.loop import Session, counted, fit, trl_arguments
from hh_align.training.plan import Plan, plan_training
from hh_align.training.throughput import Work, work_done


class Transcripts(NamedTuple):
    """What SFT reads: a tree for each row of the plan; left_out: rows without a token to learn, with their `reason`."""

    trees: list[Tree]
    left_out: list[dict]
    plan: Plan


class Trained(NamedTuple):
    """What SFT makes: the model (an adapter is merged), rows of train_log, rows left out with their reason, and the work done."""

    model: object
    log: list[dict]
    left_out: list[dict]
    work: Work


@dataclass
class TranscriptCollator:
    """Makes of a row of the trainer's dataset, a micro-batch of transcripts by number, what the loss reads; an empty one reads `idle`."""

    trees: Sequence[Tree]
    idle: Tree
    multiple: int

    def __call__(self, rows: list[dict]) -> dict:
        """rows: one, with `transcripts`, the numbers of trees -> the packed batch, counted by the tokens to learn."""
        (row,) = rows
        packed = pack([self.trees[number] for number in row["transcripts"]] or [self.idle], self.multiple)
        return {"packed": packed, **counted(int(packed.reply_tokens.sum()))}


class PackedSFTTrainer(SFTTrainer):
    """SFTTrainer on packed micro-batches; nothing but the loss is computed."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The micro-batch's part, shape (), of the mean negative log-likelihood of the tokens of the whole optimizer step; times the processes,
        over which DDP takes the mean. inputs: what TranscriptCollator makes of a row of planned transcripts."""
        return -token_logps(model, inputs["packed"]).sum() * self.accelerator.num_processes / num_items_in_batch


def transcript_tree(transcript: Transcript) -> Tree:
    """What is only read, as the prompt, and what is learnt, the labels that count, as its reply. The first token is never predicted."""
    ids, masked = transcript.input_ids, sum(label == -100 for label in transcript.labels)
    return Tree(ids[: max(masked, 1)], [ids[max(masked, 1) :]])


def prepare_transcripts(rows: list[dict], tokenizer, method: dict, seed: int) -> Transcripts:
    """The rows of preferences.parquet in our own token view, those with a token to learn in file order, and the plan of their training."""
    rows, encode = as_read(rows, tokenizer), encoder(tokenizer)
    check_boundaries(rows, encode)
    views = transcript_view(rows, encode, tokenizer.bos_token_id, tokenizer.eos_token_id, method["max_length"], method["loss_on"])
    trees = [transcript_tree(view) for view in views]
    learnt = [number for number, tree in enumerate(trees) if tree.replies[0]]
    left_out = [{**rows[number], "reason": "no token to learn within max_length"} for number in sorted(set(range(len(rows))) - set(learnt))]
    if left_out:
        say(f"{len(left_out):,} rows are left out, they have no token to learn: {', '.join(map(row_name, left_out[:5]))}")
    rows, trees, cuts = ([column[number] for number in learnt] for column in (rows, trees, [view.cut for view in views]))
    return Transcripts(trees, left_out, plan_training(rows, [tree_size(tree) for tree in trees], cuts, method, seed, "row"))


def train_on_transcripts(model, tokenizer, rows: list[dict], method: dict, session: Session) -> Trained:
    """Train on prompt + chosen of each row, or on the reply alone where the method's `loss_on` says so.

    Rows that are cut are counted in the log, rows without a token to learn are left out. An adapter, where the method asks for one, is
    merged. Raises StudyError as fit does, and for a row longer than the model reads.
    """
    trees, left_out, plan = prepare_transcripts(rows, tokenizer, method, session.seed)
    check_length(model.config, max(plan.sizes, default=0))
    planned = micro_batches(plan.order, method["batch_size"], method["micro_batch"], processes())
    adapter = lora_config(model, method.get("lora"))
    use_packing(model)
    trainer = PackedSFTTrainer(
        model=model,
        args=SFTConfig(**trl_arguments(method, session), packing=False, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=Dataset.from_dict({"transcripts": planned}),
        data_collator=TranscriptCollator(trees, idle_tree(tokenizer.eos_token_id), MULTIPLE[method["precision"]]),
        processing_class=tokenizer,
        peft_config=adapter,
    )
    fitted = fit(trainer, session, plan)
    trained = trainer.model
    if adapter:
        prompt, (learnt,) = trees[plan.order[0]]
        trained = trainer.accelerator.unwrap_model(trained, keep_fp32_wrapper=False)  # merged and compared in float32
        trained = merge(trained, prompt + learnt, trainer.args.device)
    return Trained(trained, fitted.log, left_out, work_done(plan, fitted.seconds, adapter is not None, fitted.peak))

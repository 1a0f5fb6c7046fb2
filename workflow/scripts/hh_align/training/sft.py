"""Training on transcripts with TRL's SFTTrainer, packed: what pretraining and SFT share."""

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from hh_align.core.artifacts import say
from hh_align.core.plan import micro_batches, steps_of, training_order
from hh_align.core.processes import processes
from hh_align.core.state import State
from hh_align.data.preferences import row_name
from hh_align.models.chat import as_read
from hh_align.models.folders import check_length
from hh_align.models.packing import MULTIPLE, Tree, pack, token_logps, tree_size, use_packing
from hh_align.models.tokens import check_boundaries, encoder, transcript_view
from hh_align.training.adapters import lora_config, merge
from hh_align.training.loop import fit, trl_arguments
from hh_align.training.throughput import Work


class PackedSFTTrainer(SFTTrainer):
    """SFTTrainer on packed micro-batches; nothing but the loss is computed."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Mean negative log-likelihood of the tokens of the whole optimizer step."""
        return -token_logps(model, inputs).sum() * self.accelerator.num_processes / num_items_in_batch


def transcript_tree(example: dict) -> Tree:
    """What is only read, and what is learnt: the labels that count. The first token is never predicted."""
    ids, masked = example["input_ids"], sum(label == -100 for label in example["labels"])
    return ids[: max(masked, 1)], [ids[max(masked, 1) :]]


def train_on_transcripts(
    model, tokenizer, rows: list[dict], settings: dict, loss_on: str, seed: int, device: str, state: State, checkpoint_seconds: int
) -> tuple:
    """(model, rows of train_log, rows left out with their reason, Work done) after training on prompt + chosen of each row.

    In our own token view and batch plan; `state` keeps the checkpoints. Rows that are cut are counted in the log, rows without a
    token to learn are left out. An adapter, where the settings ask for one, is merged.
    """
    rows, encode = as_read(rows, tokenizer), encoder(tokenizer)
    check_boundaries(rows, encode)
    views = transcript_view(rows, encode, tokenizer.bos_token_id, tokenizer.eos_token_id, settings["max_length"], loss_on)
    trees = [transcript_tree(view) for view in views]
    kept = [number for number, (_, (learnt,)) in enumerate(trees) if learnt]
    left_out = [{**rows[number], "reason": "no token to learn within max_length"} for number in sorted(set(range(len(rows))) - set(kept))]
    if left_out:
        say(f"{len(left_out):,} rows are left out, they have no token to learn: {', '.join(map(row_name, left_out[:5]))}")
    rows, trees, cuts = ([table[number] for number in kept] for table in (rows, trees, [view["cut"] for view in views]))
    sizes = [tree_size(tree) for tree in trees]
    check_length(model.config, max(sizes, default=0))
    say(f"{len(rows):,} rows, {sum(sizes):,} tokens; {sum(cut > 0 for cut in cuts):,} rows cut, {sum(cuts):,} tokens lost")

    order = training_order(sizes, settings["epochs"], settings["batch_size"], seed, settings.get("batching") == "by_length")
    planned = micro_batches(order, settings["batch_size"], settings["micro_batch"], processes())
    empty, multiple = ([tokenizer.eos_token_id], []), MULTIPLE[settings["precision"]]
    adapter = lora_config(model, settings.get("lora"))
    use_packing(model)
    trainer = PackedSFTTrainer(
        model=model,
        args=SFTConfig(**trl_arguments(settings, state.folder, seed, device), packing=False, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=Dataset.from_dict({"rows": planned}),
        data_collator=lambda batch: pack([trees[row] for row in batch[0]["rows"]] or [empty], multiple),
        processing_class=tokenizer,
        peft_config=adapter,
    )
    steps = steps_of(order, settings["batch_size"])
    log, seconds = fit(trainer, state, steps, sizes, cuts, [row_name(row) for row in rows], checkpoint_seconds)
    trained = trainer.model
    if adapter:
        prompt, (learnt,) = trees[order[0]]
        trained = trainer.accelerator.unwrap_model(trained, keep_fp32_wrapper=False)  # merged and compared in float32
        trained = merge(trained, prompt + learnt, trainer.args.device)
    return trained, log, left_out, Work([sizes[row] for row in order], len(order), seconds, frozen=adapter is not None)

"""Training on transcripts with TRL's SFTTrainer: what pretraining and SFT share."""

from pathlib import Path

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from study.artifacts import say
from study.plan import training_order
from study.preferences import row_name
from study.tokens import encoder, transcript_view
from study.training import fit, trl_arguments


def train_on_transcripts(
    model, tokenizer, rows: list[dict], settings: dict, loss_on: str, seed: int, device: str, folder: Path, checkpoint_seconds: int
) -> tuple:
    """(model, rows of train_log) after training on prompt + chosen of each row, in our own token view and batch plan.

    `folder` keeps the checkpoints. Rows that are cut are counted in the log.
    """
    examples = transcript_view(rows, encoder(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id, settings["max_length"], loss_on)
    lengths = [len(example["input_ids"]) for example in examples]
    cuts = [example["cut"] for example in examples]
    say(f"{len(rows):,} rows, {sum(lengths):,} tokens; {sum(cut > 0 for cut in cuts):,} rows cut, {sum(cuts):,} tokens lost")
    order = training_order(lengths, settings["epochs"], settings["batch_size"], seed)
    dataset = Dataset.from_dict({column: [example[column] for example in examples] for column in ("input_ids", "labels")})
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**trl_arguments(settings, folder, seed, device), packing=False, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=dataset.select(order),
        processing_class=tokenizer,
    )
    log = fit(trainer, folder, order, lengths, cuts, [row_name(row) for row in rows], checkpoint_seconds)
    return trainer.model, log

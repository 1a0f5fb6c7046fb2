"""Supervised fine-tuning of a policy on chosen replies, with TRL's SFTTrainer on our own token view and batch plan."""

import time

from study.artifacts import provenance, read_table, say, write_table
from study.codehash import code_hash
from study.command import parse, run
from study.compute import use_device, write_timing
from study.models import load_policy, read_notice, save_model
from study.plan import training_order
from study.preferences import SCHEMA, row_name, training_rows
from study.state import fingerprint, state_folder
from study.tokens import encoder, transcript_view
from study.training import LOG_SCHEMA, fit, trl_arguments


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", seed="int", parent="path", preferences="path", threads="int", checkpoint_seconds="int",
        state="path", manifest="path", train_log="path", timing="path",
    )  # fmt: skip
    method = args.config["method"]
    device = use_device(args.config["device"], args.threads)
    made_by = provenance(args.config, [args.parent, args.preferences], seed=args.seed, device=device, threads=args.threads)

    model, tokenizer = load_policy(args.parent)
    use = "use_sft" if method["rows"] == "fit" else None
    rows = training_rows(read_table(args.preferences, SCHEMA.names).to_pylist(), args.config["train_split"], use, method.get("max_rows"))
    encode = encoder(tokenizer)
    examples = transcript_view(rows, encode, tokenizer.bos_token_id, tokenizer.eos_token_id, method["max_length"], method["loss_on"])
    lengths = [len(example["input_ids"]) for example in examples]
    cuts = [example["cut"] for example in examples]
    say(f"{len(rows):,} rows, {sum(lengths):,} tokens; {sum(cut > 0 for cut in cuts):,} rows cut, {sum(cuts):,} tokens lost")
    order = training_order(lengths, method["epochs"], method["batch_size"], args.seed)

    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    dataset = Dataset.from_dict({column: [example[column] for example in examples] for column in ("input_ids", "labels")})
    with state_folder(args.state, fingerprint(made_by, code_hash("train_sft"))) as folder:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                **trl_arguments(method, folder, args.seed, device), packing=False, dataset_kwargs={"skip_prepare_dataset": True}
            ),
            train_dataset=dataset.select(order),
            processing_class=tokenizer,
        )
        log = fit(trainer, folder, order, lengths, cuts, [row_name(row) for row in rows], args.checkpoint_seconds)
        write_table(args.train_log, log, LOG_SCHEMA, made_by)
        write_timing(args.timing, started, rows=len(order), tokens=log[-1]["tokens"])
        save_model(args.manifest, trainer.model, tokenizer, made_by, read_notice(args.parent))


if __name__ == "__main__":
    run(main)

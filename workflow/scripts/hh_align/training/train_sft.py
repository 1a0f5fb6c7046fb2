"""Supervised fine-tuning of a policy on chosen replies, with TRL's SFTTrainer on our own token view and batch plan: of all weights, or
of an adapter, then merged."""

import time

from hh_align.core.artifacts import provenance, read_table, write_table
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.processes import is_first
from hh_align.core.state import fingerprint, state_folder
from hh_align.data.preferences import SCHEMA, training_rows
from hh_align.models.compute import use_device, write_timing
from hh_align.models.folders import load_policy, save_model
from hh_align.training.loop import LOG_SCHEMA, QUARANTINE_SCHEMA, Session
from hh_align.training.sft import train_on_transcripts
from hh_align.training.throughput import throughput


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", seed="int", parent="path", preferences="path", threads="int", checkpoint_seconds="int",
        state="path", manifest="path", train_log="path", quarantine="path", timing="path",
    )  # fmt: skip
    method = args.config["method"]
    device = use_device(args.config, args.threads)
    made_by = provenance(args.config, [args.parent, args.preferences], seed=args.seed, device=device, threads=args.threads)

    model, tokenizer = load_policy(args.parent)
    use = "use_sft" if method["rows"] == "fit" else None
    rows = training_rows(read_table(args.preferences, SCHEMA).to_pylist(), args.config["train_split"], use, method.get("max_rows"))
    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.training.train_sft")), started) as state:
        session = Session(args.seed, device, args.checkpoint_seconds, state)
        trained, log, left_out, work = train_on_transcripts(model, tokenizer, rows, method, session)
        if not is_first():
            return
        write_table(args.train_log, log, LOG_SCHEMA, made_by)
        write_table(args.quarantine, left_out, QUARANTINE_SCHEMA, made_by)
        speed = state.checkpointing() | throughput(trained.config, work)
        write_timing(args.timing, state.started, state.continuations, speed, rows=log[-1]["examples"], tokens=log[-1]["tokens"])
        save_model(args.manifest, trained, tokenizer, made_by)


if __name__ == "__main__":
    run(main)

"""A small OPT from nothing: post-norm with projections as OPT-350M, pretrained on raw transcripts, good and bad replies mixed."""

import random
import time

import torch

from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.state import fingerprint, state_folder
from hh_align.data.preferences import SCHEMA, training_rows
from hh_align.models.bpe import train_tokenizer
from hh_align.models.compute import use_device, write_timing
from hh_align.models.folders import prepare, save_model
from hh_align.training.loop import LOG_SCHEMA, Session
from hh_align.training.sft import train_on_transcripts
from hh_align.training.throughput import throughput


def build_model(architecture: dict, vocab_size: int, seed: int):
    """An OPTForCausalLM in float32 with random weights."""
    from transformers import OPTConfig, OPTForCausalLM

    torch.manual_seed(seed)
    return OPTForCausalLM(
        OPTConfig(
            vocab_size=vocab_size,
            hidden_size=architecture["hidden_size"],
            num_hidden_layers=architecture["layers"],
            num_attention_heads=architecture["heads"],
            ffn_dim=architecture["ffn_dim"],
            word_embed_proj_dim=architecture["word_embed_proj_dim"],
            max_position_embeddings=architecture["max_positions"],
            init_std=architecture["init_std"],
            dropout=architecture["dropout"],
            do_layer_norm_before=False,
            bos_token_id=2,
            eos_token_id=2,
            pad_token_id=1,
        )
    )


def raw_rows(rows: list[dict], seed: int) -> list[dict]:
    """One transcript per pair, of the chosen or the rejected reply by coin: raw text holds good and bad replies alike."""
    stream = random.Random(seed)
    return [row if stream.random() < 0.5 else {**row, "chosen": row["rejected"]} for row in rows]


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", preferences="path", threads="int", checkpoint_seconds="int",
        state="path", manifest="path", train_log="path", timing="path",
    )  # fmt: skip
    settings, seed = args.config["pretraining"], args.config["seed"]
    prepare()
    device = use_device(args.config, args.threads)
    made_by = provenance(args.config, [args.preferences], seed=seed, device=device, threads=args.threads)

    table = read_table(args.preferences, SCHEMA).to_pylist()
    rows = raw_rows(training_rows(table, args.config["train_split"], None, settings.get("max_rows")), seed)
    texts = [row["prompt"] + row["chosen"] for row in rows]
    tokenizer = train_tokenizer(texts, args.config["architecture"]["vocab_size"], "</s> $A")
    model = build_model(args.config["architecture"], len(tokenizer), seed)
    say(f"{len(tokenizer):,} tokens in the vocabulary, {model.num_parameters():,} parameters")
    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.training.pretrain_base")), started) as state:
        session = Session(seed, device, args.checkpoint_seconds, state)
        trained, log, _, work = train_on_transcripts(model, tokenizer, rows, settings | {"loss_on": "transcript"}, session)
        write_table(args.train_log, log, LOG_SCHEMA, made_by)
        speed = state.checkpointing() | throughput(trained.config, work)
        write_timing(args.timing, state.started, state.continuations, speed, rows=log[-1]["examples"], tokens=log[-1]["tokens"])
        save_model(args.manifest, trained, tokenizer, made_by)


if __name__ == "__main__":
    run(main)

"""A small DeBERTa-v2 judge from nothing: trained on preference pairs with TRL's RewardTrainer, its thresholds measured on held-out pairs."""

import hashlib
import time
from collections.abc import Sequence

import numpy as np
import torch

from hh_align.core.artifacts import provenance, read_table, say, write_json, write_table
from hh_align.core.axes import AXES
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.plan import training_order
from hh_align.core.progress import Progress
from hh_align.core.state import fingerprint, state_folder
from hh_align.data.preferences import SCHEMA, row_name, training_rows
from hh_align.data.transcripts import judged_prompt
from hh_align.models.bpe import train_tokenizer
from hh_align.models.compute import use_device, write_timing
from hh_align.models.folders import prepare, save_model
from hh_align.models.judging import pair_ids, rewards
from hh_align.training.loop import LOG_SCHEMA, Session, fit, trl_arguments
from hh_align.training.plan import Plan

CALIBRATION_TOKENS = 8192


def build_model(architecture: dict, vocab_size: int, seed: int):
    """A DebertaV2ForSequenceClassification with one output, in float32 with random weights."""
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

    torch.manual_seed(seed)
    return DebertaV2ForSequenceClassification(
        DebertaV2Config(
            vocab_size=vocab_size,
            hidden_size=architecture["hidden_size"],
            num_hidden_layers=architecture["layers"],
            num_attention_heads=architecture["heads"],
            intermediate_size=architecture["ffn_dim"],
            initializer_range=architecture["init_std"],
            position_buckets=architecture["position_buckets"],
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            type_vocab_size=0,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pooler_hidden_size=architecture["hidden_size"],
            pooler_dropout=0.0,
            pad_token_id=1,
            num_labels=1,
        )
    )


def held_out(prompt: str, share: float) -> bool:
    """Whether a prompt belongs to the share kept for calibration: a property of its text, not of its row."""
    return int(hashlib.sha256(prompt.encode()).hexdigest()[:8], 16) / 2**32 < share


def calibration_pairs(rows: Sequence[dict], axes: Sequence[str], subsets: dict[str, str]) -> dict[str, list[dict]]:
    """Axis -> the held-out rows whose subset speaks about it; subsets: name -> axis. An axis without rows is left out.

    Raises StudyError for one of `axes`, those that the judge judges, which has none: its threshold could not be placed.
    """
    pairs = {axis: [row for row in rows if subsets.get(row["subset"]) == axis] for axis in AXES}
    for axis in axes:
        if axis not in subsets.values():
            raise StudyError(
                f"no pair for {axis}: of the subsets {', '.join(subsets)} none speaks about it. Set judges.*.axis to the other axis."
            )
        if not pairs[axis]:
            raise StudyError(f"no held-out pair for {axis}: raise judges.*.calibration_share.")
    return {axis: of_axis for axis, of_axis in pairs.items() if of_axis}


def youden(good: Sequence[float], bad: Sequence[float]) -> dict[str, float]:
    """The threshold that maximises Youden's J = P(reward >= t | good) - P(reward >= t | bad), half-way between two rewards.

    Also J itself, the share of all pairs (good, bad) in the right order (AUC), and the pairwise accuracy.
    """
    good, bad = np.asarray(good), np.asarray(bad)
    values = np.unique(np.concatenate([good, bad]))
    cuts = (values[1:] + values[:-1]) / 2
    index = np.array([(good >= cut).mean() - (bad >= cut).mean() for cut in cuts])
    best = int(index.argmax())
    order = (good[:, None] > bad[None, :]).mean() + (good[:, None] == bad[None, :]).mean() / 2
    return {
        "threshold": float(cuts[best]),
        "youden_j": float(index[best]),
        "auc": float(order),
        "pair_accuracy": float((good > bad).mean()),
    }


def score(model, tokenizer, rows: Sequence[dict], reply: str, max_length: int | None) -> list[float]:
    """Rewards of the rows' `chosen` or `rejected` replies."""
    ids, _ = pair_ids(tokenizer, [judged_prompt(row["prompt"]) for row in rows], [row[reply].strip() for row in rows], max_length)
    return rewards(model, ids, tokenizer.pad_token_id, CALIBRATION_TOKENS, Progress(len(ids), "pair"))


def calibrate(model, tokenizer, pairs: dict[str, list[dict]], max_length: int | None) -> dict[str, dict]:
    """Axis -> how many of its held-out pairs there are, and what youden says of the rewards of their replies."""
    calibration = {}
    for axis, rows in pairs.items():
        sides = (score(model, tokenizer, rows, reply, max_length) for reply in ("chosen", "rejected"))
        calibration[axis] = {"pairs": len(rows), **youden(*sides)}
        say(f"{axis}: " + ", ".join(f"{name} {value:.4g}" for name, value in calibration[axis].items()))
    return calibration


def split_pairs(table: list[dict], config: dict) -> tuple[list[dict], list[dict]]:
    """(rows to train on, rows held out to calibrate) of preferences.parquet; all pairs of a prompt are on one side."""
    split, share = config["train_split"], config["calibration_share"]
    usable = training_rows(table, split, "use_dpo", None)
    others = [row for row in usable if not held_out(row["prompt"], share)]
    rows = training_rows(others, split, "use_dpo", config["training"].get("max_rows"))
    return rows, [row for row in usable if held_out(row["prompt"], share)]


def planned_pairs(rows: list[dict], tokenizer, settings: dict, seed: int) -> tuple[dict[str, list[list[int]]], Plan]:
    """(columns, plan): the ids that the judge reads of each pair, chosen_ids and rejected_ids, in file order, and the order of training."""
    prompts, ids, cuts = [judged_prompt(row["prompt"]) for row in rows], {}, {}
    for reply in ("chosen", "rejected"):
        ids[reply], cuts[reply] = pair_ids(tokenizer, prompts, [row[reply].strip() for row in rows], settings["max_length"])
    both = list(zip(*ids.values(), strict=True))
    order = training_order([max(map(len, pair)) for pair in both], settings["epochs"], settings["batch_size"], seed)
    tokens, lost = [sum(map(len, pair)) for pair in both], [sum(pair) for pair in zip(*cuts.values(), strict=True)]
    columns = {f"{reply}_ids": read for reply, read in ids.items()}
    return columns, Plan([row_name(row) for row in rows], tokens, lost, order, settings["batch_size"])


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", preferences="path", threads="int", checkpoint_seconds="int",
        state="path", manifest="path", train_log="path", calibration="path", timing="path",
    )  # fmt: skip
    config, settings, seed = args.config, args.config["training"], args.config["seed"]
    prepare()
    device = use_device(config, args.threads)
    made_by = provenance(config, [args.preferences], seed=seed, device=device, threads=args.threads)

    rows, left_out = split_pairs(read_table(args.preferences, SCHEMA).to_pylist(), config)
    calibration = calibration_pairs(left_out, config["axes"], config["subsets"])
    texts = [judged_prompt(row["prompt"]) + row[reply] for row in rows for reply in ("chosen", "rejected")]
    tokenizer = train_tokenizer(texts, config["architecture"]["vocab_size"], "<s> $A </s>", "<s> $A </s> $B </s>")
    model = build_model(config["architecture"], len(tokenizer), seed)
    columns, plan = planned_pairs(rows, tokenizer, settings, seed)
    counts = f"{sum(plan.sizes):,} tokens, {sum(plan.cuts):,} cut; {model.num_parameters():,} parameters"
    say(f"{len(rows):,} pairs, {len(left_out):,} more held out; {counts}")

    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.training.train_judge")), started) as state:
        session = Session(seed, device, args.checkpoint_seconds, state)
        trainer = RewardTrainer(
            model=model,
            args=RewardConfig(**trl_arguments(settings, session, planned=False)),
            train_dataset=Dataset.from_dict(columns).select(plan.order),
            processing_class=tokenizer,
        )
        log = fit(trainer, session, plan, may_stay=("key_proj.bias", "classifier.bias")).log
        judge = trainer.model.eval()
        write_table(args.train_log, log, LOG_SCHEMA, made_by)
        write_json(args.calibration, calibrate(judge, tokenizer, calibration, config.get("max_length")))
        write_timing(
            args.timing, state.started, state.continuations, state.checkpointing(), pairs=len(plan.order), tokens=log[-1]["tokens"]
        )
        save_model(args.manifest, judge, tokenizer, made_by)


if __name__ == "__main__":
    run(main)

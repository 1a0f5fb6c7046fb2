"""Examples per second of SFT and DPO with random weights on one device, deterministic or not, by the workflow's own trainers."""

import gc
import io
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from bench_cases import CASES
from gpu_study import DPO, SFT, at_step_end, drawn_rows

from hh_align.core.state import State
from hh_align.models.bpe import train_tokenizer
from hh_align.models.compute import prepare_gpu
from hh_align.models.packing import tree_size, use_packing
from hh_align.training.adapters import lora_config
from hh_align.training.loop import Session, fit
from hh_align.training.pair_training import PairTraining
from hh_align.training.pairs import pair_logps, pair_tree, usable_pairs
from hh_align.training.plan import plan_training
from hh_align.training.pretrain_base import build_model
from hh_align.training.sft import train_on_transcripts
from hh_align.training.throughput import Work, throughput
from hh_align.training.train_dpo import first_check, packed_trainer

SHAPES = {
    "opt-350m": CASES["opt-350m"]["architecture"] | {"vocabulary": 50272},
    "tiny": CASES["opt-350m"]["architecture"] | {"hidden_size": 32, "layers": 1, "heads": 2, "ffn_dim": 64, "word_embed_proj_dim": 16, "vocabulary": 600},
}  # fmt: skip
BATCH = {"batch_size": 8, "micro_batch": 8, "max_length": 1024, "max_prompt_length": 512}
RATES = {"sft": 1e-5, "dpo": 1e-3}
"""Of learning: an adapter's first factor has to move in a few steps."""
WARM = 3
"""Steps before the clock starts: kernels are loaded, and memory is taken."""


def pair_training(model, tokenizer, rows: list[dict], method: dict, device: str) -> PairTraining:
    """What prepare_pairs makes of a study's files, of these rows and this model."""
    adapter = lora_config(model, method["lora"])
    rows, pairs, left_out = usable_pairs(rows, tokenizer, method, "train")
    use_packing(model.eval())
    trees, size = [pair_tree(pair) for pair in pairs], method["micro_batch"]
    batches = (trees[start : start + size] for start in range(0, len(trees), size))
    references = [tuple(both) for batch in batches for both in pair_logps(model, batch, method["precision"])]
    plan = plan_training(rows, [tree_size(tree) for tree in trees], [0] * len(rows), method, 1, "pair")
    return PairTraining(method, device, {}, model, tokenizer, adapter, pairs, [[tree] for tree in trees], references, left_out, plan)


def train(model, tokenizer, rows: list[dict], method: dict, session: Session) -> tuple[float, Sequence[Sequence[int]]]:
    """(FLOP/s of the device's fastest product, tokens of each example of each step) of a training."""
    if method["trainer"] == "sft":
        work = train_on_transcripts(model, tokenizer, rows, method, session).work
        size = method["batch_size"]
        return work.peak, [work.sizes[start : start + size] for start in range(0, len(work.sizes), size)]
    training = pair_training(model, tokenizer, rows, method, session.device)
    fitted = fit(packed_trainer(training, session), session, training.plan, first_check(training))
    return fitted.peak, [[training.plan.sizes[row] for row in step] for step in training.plan.steps]


def speed(device: str, trainer: str, precision: str, deterministic: bool, shape: str, steps: int) -> dict:
    """A row of the table: examples and tokens per second after WARM steps, the share of the fastest product, and the device's memory in GB."""
    method = (SFT if trainer == "sft" else DPO) | BATCH | {"precision": precision, "learning_rate": RATES[trainer]}
    rows = drawn_rows(BATCH["batch_size"] * steps, (20, 150), (10, 120))
    tokenizer = train_tokenizer([row["prompt"] for row in rows], 600, "</s> $A")
    architecture, times = SHAPES[shape], []

    def tick(step: int) -> None:
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter())

    if device == "cuda":
        prepare_gpu(deterministic)
        torch.cuda.reset_peak_memory_stats()
    with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), at_step_end(tick):
        with torch.device(device):
            model = build_model(architecture, architecture["vocabulary"], 1)
        session = Session(1, device, 10**6, State(Path(folder), time.monotonic()))
        peak, sizes = train(model, tokenizer, rows, method, session)
    timed = [size for step in sizes[WARM:] for size in step]
    rates = throughput(model.config, Work(timed, len(timed), times[-1] - times[WARM - 1], trainer == "dpo", peak))
    memory = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None
    del model
    gc.collect()
    torch.cuda.empty_cache()
    return {
        "method": trainer, "precision": precision, "deterministic": deterministic, "shape": shape, "steps": steps, "memory_gb": memory,
        **{name: rates[f"training_{name}_per_second"] for name in ("examples", "tokens")}, "share_of_peak": rates["share_of_peak"],
    }  # fmt: skip

"""One training in this process, by the workflow's own step or by TRL's trainer, on the same rows, weights and optimizer steps."""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from bench_cases import BATCH, load_pairs, prepared

PEERS = {
    "stock": {"per_device_train_batch_size": 8},
    "paper": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "bf16": False, "gradient_checkpointing": False},
    **{
        f"best {precision} {micro}x{8 // micro}": {
            "per_device_train_batch_size": micro, "gradient_accumulation_steps": 8 // micro, "bf16": precision == "bfloat16", "gradient_checkpointing": False,
        }
        for precision in ("float32", "bfloat16") for micro in (8, 2)
    },
}  # fmt: skip


def lora(case: dict):
    """The adapter of DPO, of TRL's side."""
    from peft import LoraConfig

    return LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=case["targets"], task_type="CAUSAL_LM")


def run_theirs(name: str, kind: str, peer: str, device: str) -> dict:
    """TRL's own trainer on the same ids, in our order where it does not group by length."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    case, model, tokenizer, views, order = prepared(name, kind)
    best = peer.startswith("best")
    common = {
        "output_dir": tempfile.mkdtemp(), "seed": 1, "num_train_epochs": 1, "learning_rate": 1e-4, "max_length": case["max_length"], "logging_steps": 1,
        "train_sampling_strategy": "group_by_length" if best and kind == "sft" else "sequential", "use_cpu": device == "cpu",
        "report_to": "none", "disable_tqdm": True, "save_strategy": "no", **PEERS[peer],
    }  # fmt: skip
    dataset = Dataset.from_list([{key: value for key, value in views[row]._asdict().items() if key.endswith("ids")} for row in order])
    passes = []
    if kind == "sft":
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(**common, dataset_kwargs={"skip_prepare_dataset": True}),
            train_dataset=dataset,
            processing_class=tokenizer,
        )
    else:

        class OnIds(DPOTrainer):
            def _prepare_dataset(self, dataset, *args, **kwargs):
                return dataset

            def _precompute_ref_logps(self, *args, **kwargs):
                started = time.monotonic()
                dataset = super()._precompute_ref_logps(*args, **kwargs)
                passes.append(time.monotonic() - started)
                return dataset

        arguments = DPOConfig(**common, beta=0.1, precompute_ref_log_probs=best)
        trainer = OnIds(model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer, peft_config=lora(case))
    trainer.remove_callback(PrinterCallback)
    started = time.monotonic()
    trainer.train()
    return result(started - sum(passes), len(order), [entry["loss"] for entry in trainer.state.log_history if "loss" in entry])


def method_of(case: dict, kind: str, precision: str, batching: str) -> dict:
    """The entry of `methods` in a study's config."""
    method = {
        "trainer": kind, "epochs": 1, "learning_rate": 1e-4, "schedule": "linear", "warmup_steps": 0, "weight_decay": 0.0, "max_grad_norm": 1.0,
        "batch_size": BATCH, "micro_batch": case["micro_batch"], "precision": precision, "max_length": case["max_length"], "batching": batching,
    }  # fmt: skip
    if kind == "sft":
        return method | {"loss_on": "transcript", "rows": "all"}
    adapter = {"lora": {"r": 8, "alpha": 16, "dropout": 0.0, "targets": case["targets"]}}
    return method | {"max_prompt_length": case["max_prompt_length"], "dropout": "disabled", "loss": "sigmoid", "beta": 0.1} | adapter


def run_ours(name: str, kind: str, precision: str, device: str, batching: str = "in_step") -> dict:
    """The workflow's own scripts, called as the workflow calls them, on artifacts made from the same ids' rows."""
    from hh_align.core.artifacts import read_table, write_table
    from hh_align.core.cores import usable_cores
    from hh_align.data.preferences import SCHEMA, fit_for
    from hh_align.models.folders import save_model
    from hh_align.training import train_dpo, train_sft

    case, model, tokenizer, _, _ = prepared(name, kind)
    folder = Path(tempfile.mkdtemp())
    save_model(folder / "base/manifest.json", model, tokenizer, {})
    del model
    common = {"split": "train", "subset": "helpful-base", "flags": [], **fit_for([])}
    pairs = load_pairs(800)[: case["rows"][kind]]
    write_table(folder / "preferences.parquet", [{**row, **common, "row": number} for number, row in enumerate(pairs)], SCHEMA, {})
    method = method_of(case, kind, precision, batching)
    options = {
        "threads": usable_cores(),
        "preferences": folder / "preferences.parquet",
        "timing": folder / "timing.json",
        "state": folder / "state",
    }
    seconds = 0.0
    if kind == "dpo":
        options["references"] = folder / "references.parquet"
        seconds = reference_seconds(method, device, folder, options)
    outputs = {
        "manifest": folder / "out/manifest.json",
        "train-log": folder / "out/log.parquet",
        "quarantine": folder / "out/quarantine.parquet",
    }
    run = {"seed": 1, "parent": folder / "base/manifest.json", "checkpoint-seconds": 100000}
    module = train_sft if kind == "sft" else train_dpo
    argue(module, {"method": method, "train_split": "train", "device": device}, options | outputs | run)
    module.main()
    timing = json.loads((folder / "timing.json").read_text())
    losses = read_table(folder / "out/log.parquet", ["loss"])["loss"].to_pylist()
    return {**result(0.0, len(pairs), losses), **timing, "seconds": seconds + timing["training_seconds"]}


def reference_seconds(method: dict, device: str, folder: Path, options: dict) -> float:
    """Compute the references of a method; the seconds of the passes over the pairs, without loading the model."""
    from hh_align.training import compute_references, pairs

    view = {key: method[key] for key in ("trainer", "max_length", "max_prompt_length", "dropout", "precision")}
    config = {"view": view, "train_split": "train", "batch_tokens": 4096, "device": device}
    inputs = {name: options[name] for name in ("threads", "preferences", "timing", "state")}
    argue(compute_references, config, inputs | {"policy": folder / "base/manifest.json", "output": options["references"]})
    original, spent = pairs.reply_logps, []

    def watched(*args):
        started = time.monotonic()
        logps = original(*args)
        logps.sum().item()
        spent.append(time.monotonic() - started)
        return logps

    pairs.reply_logps = watched
    compute_references.main()
    return sum(spent)


def argue(module, config: dict, options: dict) -> None:
    """Give this process the command line of a step."""
    sys.argv = [
        module.__name__,
        "--config",
        json.dumps(config),
        *(word for name, value in options.items() for word in (f"--{name}", str(value))),
    ]


def result(started: float, examples: int, losses: list[float]) -> dict:
    """What a run says of itself; started: time.monotonic()."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.monotonic() - started, "examples": examples, "losses": losses, "peak_memory_mb": peak}

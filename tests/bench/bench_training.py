"""Our training steps against TRL's trainers: the same rows, weights and optimizer steps, alternating, from ids to trained weights.

python tests/bench/bench_training.py --case demo --rounds 5      the demo's OPT on real HH-RLHF rows
python tests/bench/bench_training.py --case opt-350m --rounds 2  the shape of OPT-350M with random weights, a few steps
python tests/bench/bench_training.py --gpu                       samples/s, pairs/s and the share of peak on one GPU

Peers: stock (TRL's defaults), paper (2 rows x 4, float32, no checkpointing), best (TRL with its own best flags: no checkpointing,
grouping by length for SFT, precomputed references for DPO, the quickest precision and micro-batch). Everybody's clock runs over the
optimizer steps and the passes of the reference, not over the building of model and trainer. Each run is a process of its own; medians
of ratios between neighbours, and their range. `by_length` (steps of neighbours in length: other rows in a step) is reported apart.
"""

import argparse
import gzip
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY.parent / "shared"
sys.path.insert(0, str(REPOSITORY / "workflow" / "scripts"))

CASES = {
    "demo": {
        "architecture": {
            "hidden_size": 128, "layers": 3, "heads": 4, "ffn_dim": 512, "word_embed_proj_dim": 64, "max_positions": 2048, "init_std": 0.08,
            "dropout": 0.0,
        },
        "vocabulary": 4096, "rows": {"sft": 800, "dpo": 120}, "max_length": 256, "max_prompt_length": 192, "micro_batch": 8, "targets": ["q_proj", "v_proj"],
    },
    "opt-350m": {
        "architecture": {
            "hidden_size": 1024, "layers": 24, "heads": 16, "ffn_dim": 4096, "word_embed_proj_dim": 512, "max_positions": 2048, "init_std": 0.02,
            "dropout": 0.0,
        },
        "vocabulary": 50272, "rows": {"sft": 16, "dpo": 8}, "max_length": 512, "max_prompt_length": 256, "micro_batch": 8, "targets": ["q_proj", "v_proj"],
    },
}  # fmt: skip
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
OURS = ("ours float32", "ours bfloat16", "ours float32 by_length", "ours bfloat16 by_length")
BATCH = 8
NUMBERS = ("ours", "theirs", "ratio", "ratio_min", "ratio_max")
CLOSE = 1e-3
"""Largest difference of a step's loss from the stock trainer's, float32."""


def load_pairs(count: int) -> list[dict]:
    """The first usable rows of the real test files of harmless-base and helpful-base, taken in turn: prompt, chosen, rejected."""
    from hh_align.data.transcripts import split_transcript

    found: dict[str, list[dict]] = {"harmless-base": [], "helpful-base": []}
    for subset, rows in found.items():
        with gzip.open(SHARED / "hh-rlhf" / subset / "test.jsonl.gz", "rt", encoding="utf-8") as file:
            for line in file:
                (prompt, chosen), (other, rejected) = (split_transcript(json.loads(line)[side]) for side in ("chosen", "rejected"))
                if prompt == other and chosen != rejected and chosen.strip() and rejected.strip():
                    rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected, "rejected_prompt": None})
                if len(rows) == count // 2:
                    break
    return [row for both in zip(*found.values(), strict=True) for row in both]


def load_tokenizer(case: dict, pairs: list[dict]):
    """GPT-2's own BPE for the large shape, a small one made from the rows for the small one."""
    from hh_align.models.bpe import train_tokenizer

    if case["vocabulary"] < 50000:
        return train_tokenizer([row["prompt"] + row["chosen"] for row in pairs], case["vocabulary"], "</s> $A")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    vocabulary |= {
        token: number + 4 for token, number in json.loads((SHARED / "gpt2-bpe/vocab.json").read_text()).items() if number < 50260
    }
    core = Tokenizer(
        models.BPE(vocabulary, [tuple(line.split()) for line in (SHARED / "gpt2-bpe/merges.txt").read_text().splitlines()[1:] if line])
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="</s>", eos_token="</s>", unk_token="</s>", pad_token="<pad>")


def prepared(name: str, kind: str):
    """(model, tokenizer, views, order) of a case: equal for every peer."""
    from hh_align.core.plan import training_order
    from hh_align.models.folders import prepare
    from hh_align.models.tokens import encoder, pair_view, transcript_view
    from hh_align.training.pretrain_base import build_model

    prepare()
    case = CASES[name]
    pairs = load_pairs(800)
    tokenizer = load_tokenizer(case, pairs)
    rows = pairs[: case["rows"][kind]]
    model = build_model(case["architecture"], case["vocabulary"], 1)
    if kind == "sft":
        views = transcript_view(rows, encoder(tokenizer), 2, 2, case["max_length"], "transcript")
        sizes = [len(view.input_ids) for view in views]
    else:
        views = pair_view(rows, encoder(tokenizer), 2, 2, case["max_length"], case["max_prompt_length"])
        sizes = [len(view.prompt_ids) + len(view.chosen_ids) + len(view.rejected_ids) for view in views]
    return case, model, tokenizer, views, training_order(sizes, 1, BATCH, 1)


def lora(case: dict):
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
                found = super()._precompute_ref_logps(*args, **kwargs)
                passes.append(time.monotonic() - started)
                return found

        arguments = DPOConfig(**common, beta=0.1, precompute_ref_log_probs=best)
        trainer = OnIds(model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer, peft_config=lora(case))
    trainer.remove_callback(PrinterCallback)
    started = time.monotonic()
    trainer.train()
    return result(started - sum(passes), len(order), [entry["loss"] for entry in trainer.state.log_history if "loss" in entry])


def run_ours(name: str, kind: str, precision: str, device: str, batching: str = "in_step") -> dict:
    """The workflow's own scripts, called as the workflow calls them, on artifacts made from the same ids' rows."""
    from hh_align.core.artifacts import read_table, write_table
    from hh_align.data.preferences import SCHEMA, fit_for
    from hh_align.models.folders import save_model
    from hh_align.training import train_dpo, train_sft

    case, model, tokenizer, _, _ = prepared(name, kind)
    folder = Path(tempfile.mkdtemp())
    save_model(folder / "base/manifest.json", model, tokenizer, {}, "random weights")
    del model
    place = {"split": "train", "subset": "helpful-base", "flags": [], **fit_for([])}
    pairs = load_pairs(800)[: case["rows"][kind]]
    write_table(folder / "preferences.parquet", [{**row, **place, "row": number} for number, row in enumerate(pairs)], SCHEMA, {})
    method = {
        "trainer": kind, "epochs": 1, "learning_rate": 1e-4, "schedule": "linear", "warmup_steps": 0, "weight_decay": 0.0, "max_grad_norm": 1.0,
        "batch_size": BATCH, "micro_batch": case["micro_batch"], "precision": precision, "max_length": case["max_length"], "batching": batching,
    }  # fmt: skip
    if kind == "sft":
        method |= {"loss_on": "transcript", "rows": "all"}
    else:
        method |= {"max_prompt_length": case["max_prompt_length"], "dropout": "disabled", "loss": "sigmoid", "beta": 0.1}
        method |= {"lora": {"r": 8, "alpha": 16, "dropout": 0.0, "targets": case["targets"]}}
    threads = str(os.cpu_count())
    options = ["--threads", threads, "--preferences", str(folder / "preferences.parquet"), "--timing", str(folder / "timing.json")]
    options += ["--state", str(folder / "state")]
    seconds = 0.0
    if kind == "dpo":
        from hh_align.training import compute_references

        view = {key: method[key] for key in ("trainer", "max_length", "max_prompt_length", "dropout", "precision")}
        config = {"view": view, "train_split": "train", "batch_tokens": 4096, "device": device}
        argue(
            compute_references,
            config,
            [*options, "--policy", str(folder / "base/manifest.json"), "--output", str(folder / "references.parquet")],
        )
        seconds += timed(compute_references.main, folder)
        options += ["--references", str(folder / "references.parquet")]
    module = train_sft if kind == "sft" else train_dpo
    outputs = {"manifest": "out/manifest.json", "train-log": "out/log.parquet", "quarantine": "out/quarantine.parquet"}
    options += [part for option, path in outputs.items() for part in (f"--{option}", str(folder / path))]
    config = {"method": method, "train_split": "train", "device": device}
    argue(module, config, [*options, "--seed", "1", "--parent", str(folder / "base/manifest.json"), "--checkpoint-seconds", "100000"])
    module.main()
    timing = json.loads((folder / "timing.json").read_text())
    losses = read_table(folder / "out/log.parquet", ["loss"])["loss"].to_pylist()
    return {**result(0.0, len(pairs), losses), **timing, "seconds": seconds + timing["training_seconds"]}


def timed(main, folder: Path) -> float:
    """Seconds of the passes over the pairs, without loading the model."""
    from hh_align.training import compute_references

    original, spent = compute_references.reply_logps, []

    def watched(*args):
        started = time.monotonic()
        found = original(*args)
        found.sum().item()
        spent.append(time.monotonic() - started)
        return found

    compute_references.reply_logps = watched
    main()
    return sum(spent)


def argue(module, config: dict, options: list[str]) -> None:
    sys.argv = [module.__name__, "--config", json.dumps(config), *options]


def result(started: float, examples: int, losses: list[float]) -> dict:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.monotonic() - started, "examples": examples, "losses": losses, "peak_memory_mb": peak}


def in_a_process(case: str, kind: str, peer: str) -> dict:
    """One run in a fresh process: no peer inherits another's memory, threads or patches."""
    command = [sys.executable, __file__, "--case", case, "--kind", kind, "--peer", peer]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{case} {kind} {peer}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(cases: list[str], kinds: list[str], rounds: int) -> None:
    """Alternate ours and each peer; print ratios and write results/bench/training.parquet. Ends the program where losses differ."""
    rows = []
    for case in cases:
        for kind in kinds:
            found: dict[str, list[dict]] = {}
            # grouped by length, TRL's large micro-batches hold no more padding than its small ones
            peers = [name for name in (*OURS, *PEERS) if not (kind == "sft" and name.startswith("best") and "2x4" in name)]
            for number in range(rounds):
                for peer in peers:
                    one = in_a_process(case, kind, peer)
                    found.setdefault(peer, []).append(one)
                    print(f"{case} {kind} round {number + 1}: {peer} {one['seconds']:.2f} s, {one['peak_memory_mb']:,.0f} MB", flush=True)
                # of both sides the quicker precision goes on
                quickest = min(OURS[:2], key=lambda peer: found[peer][0]["seconds"])
                best = min((peer for peer in peers if peer.startswith("best")), key=lambda peer: found[peer][0]["seconds"])
                peers = [quickest, "stock", "paper", best, f"{quickest} by_length"]
            drift = max(abs(a - b) for a, b in zip(found["ours float32"][0]["losses"], found["paper"][0]["losses"], strict=True))
            print(f"{case} {kind}: losses of ours float32 and of the paper's settings differ by at most {drift:.1e}")
            if drift > CLOSE:
                sys.exit(f"the losses differ by more than {CLOSE}")
            for peer, name in (("stock", "stock"), ("paper", "paper"), (best, "best flags"), (f"{quickest} by_length", "ours by_length")):
                for metric in ("seconds", "peak_memory_mb"):
                    ratios = [theirs[metric] / ours[metric] for ours, theirs in zip(found[quickest], found[peer], strict=True)]
                    ours, theirs = (statistics.median(run[metric] for run in found[who]) for who in (quickest, peer))
                    row = {"case": f"{case} {kind}", "peer": name, "metric": metric, "ours": ours, "theirs": theirs}
                    rows.append({**row, "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)})
                    print(f"{case} {kind}, {quickest} against {peer}, {metric}: {theirs:,.2f} / {ours:,.2f} = "
                          f"{rows[-1]['ratio']:.2f} ({rows[-1]['ratio_min']:.2f} to {rows[-1]['ratio_max']:.2f})")  # fmt: skip
            rows.append({"case": f"{case} {kind}", "peer": "paper", "metric": "largest loss difference", "ours": drift})
            print(f"{case} {kind}: {found[quickest][0].get('share_of_peak', 0):.2f} of the matrix-product peak")
    write_rows("training", rows, NUMBERS)


def write_rows(name: str, rows: list[dict], numbers: tuple[str, ...]) -> None:
    """Into results/bench/<name>.parquet, in the place of the same cases' earlier rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = REPOSITORY / f"results/bench/{name}.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_file():
        measured = {row["case"] for row in rows}
        rows = [row for row in pq.read_table(target).to_pylist() if row["case"] not in measured] + rows
    schema = pa.schema([*((name, pa.string()) for name in ("case", "peer", "metric")), *((name, pa.float64()) for name in numbers)])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), target)
    print(f"wrote {target.relative_to(REPOSITORY)}")


def on_gpu() -> None:
    """The OPT-350M shape on one GPU at the paper's lengths, several micro-batches; writes results/bench/training.parquet."""
    rows = []
    CASES["opt-350m"] |= {"rows": {"sft": 800, "dpo": 800}, "max_length": 512, "max_prompt_length": 512}
    for kind, length in (("sft", 512), ("dpo", 1024)):
        CASES["opt-350m"]["max_length"] = length
        for precision, micro in itertools.product(("bfloat16", "float32"), (8, 4, 2)):
            CASES["opt-350m"]["micro_batch"] = micro
            found = run_ours("opt-350m", kind, precision, "cuda")
            print(f"{kind} {precision}, micro_batch {micro}: {found['training_examples_per_second']:.1f} examples/s, "
                  f"{found['training_tokens_per_second']:,.0f} tokens/s, {found['gflops_per_second'] / 1e3:.1f} TFLOP/s, "
                  f"{found['share_of_peak']:.2f} of peak", flush=True)  # fmt: skip
            place = {"case": f"gpu opt-350m {kind} {precision} {micro}x{8 // micro}", "peer": None}
            rows += [{**place, "metric": metric, "ours": found[metric]} for metric in ("training_examples_per_second", "share_of_peak")]
    write_rows("training", rows, NUMBERS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kind", choices=("sft", "dpo"))
    parser.add_argument("--peer", choices=(*OURS, *PEERS))
    parser.add_argument("--gpu", action="store_true")
    args = parser.parse_args()
    if args.gpu:
        on_gpu()
    elif args.peer:
        import torch

        torch.set_num_threads(os.cpu_count())
        case, peer = args.case[0], args.peer
        ours = peer in OURS
        found = (
            run_ours(case, args.kind, peer.split()[1], "cpu", "by_length" if "by_length" in peer else "in_step")
            if ours
            else run_theirs(case, args.kind, peer, "cpu")
        )
        print(json.dumps(found))
    else:
        compare(args.case or list(CASES), [args.kind] if args.kind else ["sft", "dpo"], args.rounds)


if __name__ == "__main__":
    main()

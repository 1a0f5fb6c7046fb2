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
import itertools
import json
import statistics
import subprocess
import sys

from bench_cases import CASES, precisions_here, write_rows
from training_runs import PEERS, run_ours, run_theirs

OURS = ("ours float32", "ours bfloat16", "ours float32 by_length", "ours bfloat16 by_length")
NUMBERS = ("ours", "theirs", "ratio", "ratio_min", "ratio_max")
IN_BFLOAT16 = ("bfloat16", "stock")
"""Words in the names of peers that compute in it, TRL's defaults among them."""
CLOSE = 1e-3
"""Largest difference of a step's loss from the stock trainer's, float32."""


def in_a_process(case: str, kind: str, peer: str) -> dict:
    """One run in a fresh process: no peer inherits another's memory, threads or patches."""
    command = [sys.executable, __file__, "--case", case, "--kind", kind, "--peer", peer]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{case} {kind} {peer}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def alternate(case: str, kind: str, rounds: int) -> tuple[dict[str, list[dict]], str, str]:
    """(the runs of each peer in turn, which of ours was the quickest, which of TRL's best)."""
    runs: dict[str, list[dict]] = {}
    # grouped by length, TRL's large micro-batches hold no more padding than its small ones
    peers = [name for name in (*OURS, *PEERS) if not (kind == "sft" and name.startswith("best") and "2x4" in name)]
    if "bfloat16" not in precisions_here():
        peers = [name for name in peers if not any(word in name for word in IN_BFLOAT16)]
    quickest = best = ""
    for number in range(rounds):
        for peer in peers:
            one = in_a_process(case, kind, peer)
            runs.setdefault(peer, []).append(one)
            print(f"{case} {kind} round {number + 1}: {peer} {one['seconds']:.2f} s, {one['peak_memory_mb']:,.0f} MB", flush=True)
        # of both sides the quicker precision goes on
        quickest = min(set(OURS[:2]) & set(runs), key=lambda peer: runs[peer][0]["seconds"])
        best = min((peer for peer in peers if peer.startswith("best")), key=lambda peer: runs[peer][0]["seconds"])
        peers = [name for name in (quickest, "stock", "paper", best, f"{quickest} by_length") if name in runs]
    return runs, quickest, best


def compare(case: str, kind: str, rounds: int) -> list[dict]:
    """Rows of the table: ratios of each peer's runs to ours. Ends the program where losses differ."""
    runs, quickest, best = alternate(case, kind, rounds)
    drift = max(abs(a - b) for a, b in zip(runs["ours float32"][0]["losses"], runs["paper"][0]["losses"], strict=True))
    print(f"{case} {kind}: losses of ours float32 and of the paper's settings differ by at most {drift:.1e}")
    if drift > CLOSE:
        sys.exit(f"the losses differ by more than {CLOSE}")
    rows = []
    for peer, name in (("stock", "stock"), ("paper", "paper"), (best, "best flags"), (f"{quickest} by_length", "ours by_length")):
        if peer not in runs:
            continue
        for metric in ("seconds", "peak_memory_mb"):
            ratios = [theirs[metric] / ours[metric] for ours, theirs in zip(runs[quickest], runs[peer], strict=True)]
            ours, theirs = (statistics.median(run[metric] for run in runs[who]) for who in (quickest, peer))
            row = {"case": f"{case} {kind}", "peer": name, "metric": metric, "ours": ours, "theirs": theirs}
            rows.append({**row, "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)})
            print(f"{case} {kind}, {quickest} against {peer}, {metric}: {theirs:,.2f} / {ours:,.2f} = "
                  f"{rows[-1]['ratio']:.2f} ({rows[-1]['ratio_min']:.2f} to {rows[-1]['ratio_max']:.2f})")  # fmt: skip
    print(f"{case} {kind}: {runs[quickest][0].get('share_of_peak', 0):.2f} of the matrix-product peak")
    return [*rows, {"case": f"{case} {kind}", "peer": "paper", "metric": "largest loss difference", "ours": drift}]


def on_gpu() -> None:
    """The OPT-350M shape on one GPU at the paper's lengths, several micro-batches; writes results/bench/training.parquet."""
    rows = []
    CASES["opt-350m"] |= {"rows": {"sft": 800, "dpo": 800}, "max_length": 512, "max_prompt_length": 512}
    for kind, length in (("sft", 512), ("dpo", 1024)):
        CASES["opt-350m"]["max_length"] = length
        for precision, micro in itertools.product(("bfloat16", "float32"), (8, 4, 2)):
            CASES["opt-350m"]["micro_batch"] = micro
            timing = run_ours("opt-350m", kind, precision, "cuda")
            print(f"{kind} {precision}, micro_batch {micro}: {timing['training_examples_per_second']:.1f} examples/s, "
                  f"{timing['training_tokens_per_second']:,.0f} tokens/s, {timing['gflops_per_second'] / 1e3:.1f} TFLOP/s, "
                  f"{timing['share_of_peak']:.2f} of peak", flush=True)  # fmt: skip
            case = {"case": f"gpu opt-350m {kind} {precision} {micro}x{8 // micro}", "peer": None}
            rows += [{**case, "metric": metric, "ours": timing[metric]} for metric in ("training_examples_per_second", "share_of_peak")]
    write_rows("training", rows, NUMBERS)


def run_peer(case: str, kind: str, peer: str) -> dict:
    """One run in this process."""
    import torch

    from hh_align.core.cores import usable_cores

    torch.set_num_threads(usable_cores())
    if peer in OURS:
        return run_ours(case, kind, peer.split()[1], "cpu", "by_length" if "by_length" in peer else "in_step")
    return run_theirs(case, kind, peer, "cpu")


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
        print(json.dumps(run_peer(args.case[0], args.kind, args.peer)))
    else:
        kinds = [args.kind] if args.kind else ["sft", "dpo"]
        rows = [row for case in args.case or CASES for kind in kinds for row in compare(case, kind, args.rounds)]
        write_rows("training", rows, NUMBERS)


if __name__ == "__main__":
    main()

"""Generation and scoring against the author's loop (one prompt, one pair at a time): the same outputs, how much faster, how far from the machine's floor.

python tests/bench/bench_evaluation.py                            the shapes of OPT-350M and DeBERTa-v3-large, the real 100 prompts
python tests/bench/bench_evaluation.py --prompts 20 --rounds 1    fewer of them
python tests/bench/bench_evaluation.py --scale results/demo       peak memory and time of 100 and of 4,666 prompts

Random weights, GPT-2's BPE. The loop is float32, as the author's. Outputs are compared before anything is timed against each other.
The floor is what the machine cannot beat: for each batch the products' FLOPs at the measured matrix-product peak, or, where that is
longer, the bytes of weights and cached keys and values at the measured memory bandwidth.
"""

import argparse
import json
import statistics
import sys
import time
from itertools import zip_longest
from pathlib import Path

import torch
from bench_cases import CASES, SHARED, load_tokenizer, precisions_here, write_rows
from evaluation_scale import BUDGET, NEW, bench_scale

JUDGE = {
    "hidden_size": 1024, "layers": 24, "heads": 16, "ffn_dim": 4096, "position_buckets": 256, "init_std": 0.02, "vocab_size": 50272,
}  # fmt: skip
PRECISIONS = ("float32", "bfloat16")
NUMBERS = ("ours", "theirs", "ratio", "ratio_min", "ratio_max", "floor_ratio")


def bandwidth() -> float:
    """Bytes per second that a sum over a gigabyte reads."""
    block = torch.ones(2**28)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        block.sum()
        seconds.append(time.perf_counter() - started)
    return block.nbytes / min(seconds)


def machine() -> dict[str, tuple[float, float]]:
    """(FLOP/s, bytes/s) of this machine now, for each precision."""
    from hh_align.training.throughput import matmul_peak

    return {precision: (matmul_peak("cpu", precision), bandwidth()) for precision in PRECISIONS}


def fastest(rounds: list[dict[str, tuple[float, float]]], precision: str) -> tuple[float, float]:
    """The most that the machine has shown in any round."""
    flops, speed = zip(*(speeds[precision] for speeds in rounds), strict=True)
    return max(flops), max(speed)


def timed(work, model, inputs: list) -> tuple[float, list]:
    """(seconds, what the work returns)."""
    started = time.perf_counter()
    outputs = work(model, inputs)
    return time.perf_counter() - started, outputs


def load_prompts(count: int) -> list[str]:
    """The released prompts, of both axes in turn."""
    both = [json.loads((SHARED / f"paper-release/prompts/{name}_prompts.json").read_text()) for name in ("harmful", "helpful")]
    return [text for pair in zip(*both, strict=True) for text in pair][:count]


def linear_weights(model) -> int:
    return sum(module.weight.numel() for module in model.modules() if isinstance(module, torch.nn.Linear))


# --- generation


def loop_generation(model, prompts: list[list[int]]) -> list[list[int]]:
    """The author's: generate() for one prompt after the other."""
    written = (model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=NEW, eos_token_id=2, pad_token_id=1) for ids in prompts)
    return [row[0, len(ids) :].tolist() for row, ids in zip(written, prompts, strict=True)]


def our_generation(model, prompts: list[list[int]]) -> list[tuple[list[int], float]]:
    """(ids, smallest gap) of each prompt."""
    from hh_align.evaluation.generate_responses import continue_greedily
    from hh_align.models.batches import Item, plan

    items = [Item(number, ids, {"prompt_id": str(number)}) for number, ids in enumerate(prompts)]
    outputs = {}
    for batch in plan(items, BUDGET, NEW):
        parts, gaps = continue_greedily(model, [same[0] for same in batch], NEW, 2, lambda ids: False)
        for same, part, gap in zip(batch, parts, gaps, strict=True):
            outputs |= {item.number: ([*part.ids, *[2] * (part.finish == "eos")], gap) for item in same}
    return [outputs[number] for number in range(len(prompts))]


def generation_floor(model, prompts: list[list[int]], written: list[list[int]], flops: float, speed: float) -> float:
    """Seconds that no program of these batches can beat."""
    from hh_align.models.batches import Item, plan

    config, size = model.config, next(model.parameters()).element_size()
    weights, head = linear_weights(model), config.vocab_size * config.word_embed_proj_dim
    body = weights - head
    seconds = 0.0
    for batch in plan([Item(number, ids, {}) for number, ids in enumerate(prompts)], BUDGET, NEW):
        lengths = [len(same[0].ids) for same in batch]
        steps = [len(written[same[0].number]) for same in batch]
        attention = sum(2 * config.hidden_size * length**2 for length in lengths) * config.num_hidden_layers
        seconds += (2 * body * sum(lengths) + 2 * head * len(batch) + attention) / flops
        for step in range(1, max(steps)):
            running = [length + step for length, count in zip(lengths, steps, strict=True) if count > step]
            cache = sum(running) * config.num_hidden_layers * 2 * config.hidden_size * size
            seconds += max(2 * weights * len(running) / flops, (weights * size + cache) / speed)
    return seconds


def bench_generation(count: int, rounds: int) -> list[dict]:
    from hh_align.training.pretrain_base import build_model

    case = CASES["opt-350m"]
    tokenizer = load_tokenizer(case, [])
    prompts = [[2, *ids] for ids in tokenizer(load_prompts(count), add_special_tokens=False)["input_ids"]]
    model = build_model(case["architecture"], case["vocabulary"], 1).eval()
    runs: dict[str, list] = {}
    rows, outputs, machines = [], {}, []
    for number in range(rounds):
        machines.append(machine())
        for name, work in [("loop", loop_generation), *((precision, our_generation) for precision in PRECISIONS)]:
            model.to(getattr(torch, name if name in PRECISIONS else "float32"))
            work(model, prompts[:1])
            seconds, outputs[name] = timed(work, model, prompts)
            runs.setdefault(name, []).append(seconds)
            print(f"generation round {number + 1}: {name} {seconds:.1f} s, {seconds / count:.2f} s per prompt", flush=True)
        model = build_model(case["architecture"], case["vocabulary"], 1).eval()
    for precision in PRECISIONS:
        other = [row for row, (ids, _) in enumerate(outputs[precision]) if ids != outputs["loop"][row]]
        ties = [row for row, (_, gap) in enumerate(outputs[precision]) if gap < 1e-4]
        print(f"generation {precision}: {len(other)} of {count} texts differ from the loop's; near-ties (gap < 1e-4): {ties or 'none'}")
        if precision == "float32" and set(other) - set(ties):
            sys.exit(f"prompts {sorted(set(other) - set(ties))} differ and are no near-ties")
        floor = generation_floor(
            model.to(getattr(torch, precision)), prompts, [ids for ids, _ in outputs[precision]], *fastest(machines, precision)
        )
        rows.append(row_of(f"generation opt-350m {precision}", runs[precision], runs["loop"], floor))
        rows.append({**no_ratio(rows[-1]["case"], "other texts"), "ours": float(len(other)), "theirs": 0.0})
    return rows


# --- scoring


def loop_scoring(model, pairs: list[list[int]]) -> list[float]:
    """The author's: one pair after the other."""
    with torch.no_grad():
        return [float(model(input_ids=torch.tensor([ids])).logits[0, 0]) for ids in pairs]


def our_scoring(model, pairs: list[list[int]]) -> list[float]:
    from hh_align.models.batches import Item, plan
    from hh_align.models.judging import PADDING, reward_batch

    rewards = {}
    for batch in plan([Item(number, ids, {}) for number, ids in enumerate(pairs)], BUDGET, padding=PADDING):
        for same, reward in zip(batch, reward_batch(model, [same[0].ids for same in batch], 1), strict=True):
            rewards |= {item.number: reward for item in same}
    return [rewards[number] for number in range(len(pairs))]


def scoring_floor(model, pairs: list[list[int]], flops: float) -> float:
    """Seconds of the matrix products for these pairs: the relative positions' projections once, each token with every token and every distance."""
    config = model.config
    weights = linear_weights(model)
    span = 2 * config.position_buckets
    once = config.num_hidden_layers * 2 * 2 * span * config.hidden_size**2
    own = sum(
        2 * weights * len(ids) + config.num_hidden_layers * 2 * config.hidden_size * len(ids) * (2 * len(ids) + 2 * min(len(ids), span))
        for ids in pairs
    )
    return (own + once) / flops


def bench_scoring(count: int, rounds: int) -> list[dict]:
    from hh_align.models.deberta import without_padding
    from hh_align.training.train_judge import build_model

    tokenizer = load_tokenizer(CASES["opt-350m"], [])
    replies = [json.loads((SHARED / f"paper-release/responses/1_base_{name}.json").read_text()) for name in ("harmful", "helpful")]
    entries = [entry for pair in zip_longest(*replies) for entry in pair][:count]
    encoded = (tokenizer([entry[key] for entry in entries], add_special_tokens=False)["input_ids"] for key in ("prompt", "response"))
    pairs = [[2, *prompt, 3, *reply, 3] for prompt, reply in zip(*encoded, strict=True)]
    runs, outputs, rows, machines = {}, {}, [], []
    for number in range(rounds):
        machines.append(machine())
        for name, work in [("loop", loop_scoring), *((precision, our_scoring) for precision in PRECISIONS)]:
            model = build_model(JUDGE, JUDGE["vocab_size"], 1).eval().to(getattr(torch, name if name in PRECISIONS else "float32"))
            if name != "loop":
                without_padding(model)
            work(model, pairs[:1])
            seconds, outputs[name] = timed(work, model, pairs)
            runs.setdefault(name, []).append(seconds)
            print(f"scoring round {number + 1}: {name} {seconds:.1f} s, {seconds / count:.2f} s per pair", flush=True)
    threshold = statistics.median(outputs["loop"])
    for precision in PRECISIONS:
        difference = max(abs(a - b) for a, b in zip(outputs[precision], outputs["loop"], strict=True))
        changed = 100 * statistics.mean(
            (a > threshold) != (b > threshold) for a, b in zip(outputs[precision], outputs["loop"], strict=True)
        )
        print(f"scoring {precision}: rewards differ by at most {difference:.1e}, {changed:.1f} % of labels at the median change")
        if precision == "float32" and difference > 1e-4:
            sys.exit("the rewards differ by more than 1e-4")
        floor = scoring_floor(model.to(getattr(torch, precision)), pairs, fastest(machines, precision)[0])
        rows.append(row_of(f"scoring deberta-v3-large {precision}", runs[precision], runs["loop"], floor))
        rows.append({**no_ratio(rows[-1]["case"], "changed labels, %"), "ours": changed, "theirs": 0.0})
    return rows


def row_of(case: str, ours: list[float], theirs: list[float], floor: float) -> dict:
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    row = {
        "case": case, "peer": "author's loop", "metric": "seconds", "ours": statistics.median(ours), "theirs": statistics.median(theirs),
        "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios), "floor_ratio": statistics.median(ours) / floor,
    }  # fmt: skip
    print(f"{case}: {row['theirs']:.1f} / {row['ours']:.1f} s = {row['ratio']:.2f} ({row['ratio_min']:.2f} to {row['ratio_max']:.2f}); "
          f"{row['floor_ratio']:.2f} times the floor of {floor:.1f} s", flush=True)  # fmt: skip
    return row


def no_ratio(case: str, metric: str) -> dict:
    return {"case": case, "peer": "author's loop", "metric": metric, **dict.fromkeys(("ratio", "ratio_min", "ratio_max", "floor_ratio"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("generation", "scoring"))
    parser.add_argument("--scale", type=Path, help="a demo study's folder")
    args = parser.parse_args()
    from hh_align.core.cores import usable_cores
    from hh_align.models.compute import use_device
    from hh_align.models.folders import prepare

    prepare()
    use_device({"device": "cpu"}, usable_cores())
    global PRECISIONS
    PRECISIONS = precisions_here()
    if args.scale:
        write_rows("evaluation", bench_scale(args.scale), NUMBERS)
        return
    for name, bench in (("generation", bench_generation), ("scoring", bench_scoring)):
        if args.only in (None, name):
            write_rows("evaluation", bench(args.prompts, args.rounds), NUMBERS)


if __name__ == "__main__":
    main()

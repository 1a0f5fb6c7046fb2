"""Greedy responses of one policy to the evaluation prompts, in planned batches of similar length."""

import time

import torch

from study.artifacts import provenance, read_table, say, write_table
from study.command import parse, run
from study.compute import use_device, write_timing
from study.decoding import Continuation, decode, prompt_ids
from study.models import load_policy
from study.plan import token_batches
from study.progress import Progress
from study.tables import RESPONSES


def continue_greedily(model, prompts: list[list[int]], max_new_tokens: int, pad: int, eos: int) -> tuple[list[Continuation], list[float]]:
    """(continuations, gaps) of a batch of prompts (ids); gap: the smallest distance of the two largest logits on the way."""
    gaps = []

    def choose(logits: torch.Tensor) -> torch.Tensor:
        best = logits.topk(2)
        gaps.append(best.values[:, 0] - best.values[:, 1])
        return best.indices[:, 0]

    found = decode(model, prompts, max_new_tokens, pad, eos, choose)
    steps = torch.stack(gaps, dim=1).cpu()
    written = [len(part.ids) + (part.finish == "eos") for part in found]
    return found, [float(steps[row, :length].min()) for row, length in enumerate(written)]


def main() -> None:
    started = time.monotonic()
    args = parse(__doc__, config="config", policy="path", prompts="path", threads="int", output="path", timing="path")
    config = args.config
    device = use_device(config["device"], args.threads)
    made_by = provenance(config, [args.policy, args.prompts], device=device, threads=args.threads)
    model, tokenizer = load_policy(args.policy, dtype=config["dtype"], device=device)
    prompts = read_table(args.prompts, ["axis", "prompt_id", "prompt"]).to_pylist()

    ids = prompt_ids(tokenizer, prompts, config, model.config.max_position_embeddings)
    batches = token_batches([len(row) + config["max_new_tokens"] for row in ids], config["batch_tokens"])
    progress, found = Progress(len(ids), "prompt"), {}
    for batch in batches:
        parts, gaps = continue_greedily(
            model, [ids[row] for row in batch], config["max_new_tokens"], tokenizer.pad_token_id, tokenizer.eos_token_id
        )
        found |= dict(zip(batch, zip(parts, gaps, strict=True), strict=True))
        progress.add(len(batch), sum(len(part.ids) for part in parts))

    rows = []
    for number, prompt in enumerate(prompts):
        part, gap = found[number]
        response = tokenizer.decode(part.ids, skip_special_tokens=True).strip()
        place = {"axis": prompt["axis"], "prompt_id": prompt["prompt_id"]}
        rows.append({**place, "response": response, "response_tokens": len(part.ids), "finish": part.finish, "top2_gap_min": gap})
    say(
        f"{sum(not row['response'] for row in rows)} empty responses, {sum(row['finish'] == 'eos' for row in rows)} of {len(rows)} end with </s>"
    )
    write_table(args.output, rows, RESPONSES, made_by)
    write_timing(args.timing, started, prompts=len(rows), tokens=progress.tokens)


if __name__ == "__main__":
    run(main)

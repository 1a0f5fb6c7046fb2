"""Greedy responses of one policy to the evaluation prompts, in planned batches of similar length."""

import time
from dataclasses import dataclass

import torch

from study.artifacts import provenance, read_table, say, write_table
from study.command import StudyError, parse, run
from study.compute import use_device, write_timing
from study.models import load_policy
from study.plan import token_batches
from study.progress import Progress
from study.tables import RESPONSES
from study.transcripts import ASSISTANT


@dataclass
class Continuation:
    """New tokens (without </s>), why they end (`eos` or `length`), and the smallest gap between the two largest logits on the way."""

    ids: list[int]
    finish: str
    gap: float


@torch.no_grad()
def continue_greedily(model, prompts: list[list[int]], max_new_tokens: int, pad: int, eos: int, device: str) -> list[Continuation]:
    """Greedy continuations of a batch of prompts (ids). Left padding; OPT's positions count the attended tokens only."""
    width = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    found = [Continuation([], "length", float("inf")) for _ in prompts]
    cache, running = None, torch.ones(len(prompts), dtype=torch.bool, device=device)
    for _ in range(max_new_tokens):
        output = model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = output.past_key_values
        best = output.logits[:, -1].float().topk(2)
        gaps, token = (best.values[:, 0] - best.values[:, 1]).tolist(), best.indices[:, 0]
        for row in running.nonzero()[:, 0].tolist():
            if gaps[row] != gaps[row]:
                raise StudyError("the logits are not numbers (NaN): the policy's weights are damaged, or its training diverged.")
            found[row].gap = min(found[row].gap, gaps[row])
            if token[row] == eos:
                found[row].finish = "eos"
            else:
                found[row].ids.append(int(token[row]))
        running &= token != eos
        if not running.any():
            break
        ids = torch.where(running, token, pad)[:, None]
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    return found


def main() -> None:
    started = time.monotonic()
    args = parse(__doc__, config="config", policy="path", prompts="path", threads="int", output="path", timing="path")
    config = args.config
    device = use_device(config["device"], args.threads)
    made_by = provenance(config, [args.policy, args.prompts], device=device, threads=args.threads)
    model, tokenizer = load_policy(args.policy, dtype=config["dtype"], device=device)
    prompts = read_table(args.prompts, ["axis", "prompt_id", "prompt"]).to_pylist()

    texts = [prompt["prompt"] + (ASSISTANT if config["cue"] else "") for prompt in prompts]
    ids = [[tokenizer.bos_token_id, *encoded] for encoded in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    limit = model.config.max_position_embeddings - config["max_new_tokens"]
    for prompt, row in zip(prompts, ids, strict=True):
        if len(row) > limit:
            raise StudyError(
                f"{prompt['prompt_id']}: {len(row)} tokens; the policy reads at most {limit} before {config['max_new_tokens']} new ones."
            )

    batches = token_batches([len(row) + config["max_new_tokens"] for row in ids], config["batch_tokens"])
    progress, found = Progress(len(ids), "prompt"), {}
    for batch in batches:
        parts = continue_greedily(
            model, [ids[row] for row in batch], config["max_new_tokens"], tokenizer.pad_token_id, tokenizer.eos_token_id, device
        )
        found |= dict(zip(batch, parts, strict=True))
        progress.add(len(batch), sum(len(part.ids) for part in parts))

    rows = []
    for number, prompt in enumerate(prompts):
        part = found[number]
        response = tokenizer.decode(part.ids, skip_special_tokens=True).strip()
        place = {"axis": prompt["axis"], "prompt_id": prompt["prompt_id"]}
        rows.append({**place, "response": response, "response_tokens": len(part.ids), "finish": part.finish, "top2_gap_min": part.gap})
    say(
        f"{sum(not row['response'] for row in rows)} empty responses, {sum(row['finish'] == 'eos' for row in rows)} of {len(rows)} end with </s>"
    )
    write_table(args.output, rows, RESPONSES, made_by)
    write_timing(args.timing, started, prompts=len(rows), tokens=progress.tokens)


if __name__ == "__main__":
    run(main)

"""Greedy responses of one policy to the evaluation prompts, in planned batches of similar length."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from hh_align.core.artifacts import REBUILD, WINDOW, provenance, read_table, read_windows, say, write_windows
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.progress import Progress
from hh_align.core.state import fingerprint, state_folder
from hh_align.core.tables import PROMPTS, RESPONSES, columns_of
from hh_align.data.transcripts import ASSISTANT, HUMAN
from hh_align.models.batches import Item, Parts, Shard, plan, work_through
from hh_align.models.compute import use_device, write_timing
from hh_align.models.decoding import Continuation, decode, prompt_ids
from hh_align.models.folders import load_policy, positions_of
from hh_align.models.precision import is_emulated


def continue_greedily(
    model, items: list[Item], max_new_tokens: int, eos: int, stops: Callable[[list[int]], bool]
) -> tuple[list[Continuation], list[float]]:
    """(continuations, gaps) of a batch of prompts, each by its most likely tokens until `eos`, until `stops` says so of its new tokens, or
    for `max_new_tokens`. gap: the smallest distance of the two largest logits on the way (no unit; small ones are near ties).

    Raises StudyError, naming the prompt, where logits are no finite numbers.
    """
    gaps = [float("inf")] * len(items)

    def choose(logits: torch.Tensor, rows: list[int]) -> torch.Tensor:
        best = logits.topk(2)
        for row, gap in zip(rows, (best.values[:, 0] - best.values[:, 1]).tolist(), strict=True):
            gaps[row] = min(gaps[row], gap)
        return best.indices[:, 0]

    names = [item.row["prompt_id"] for item in items]
    return decode(model, [item.ids for item in items], max_new_tokens, eos, choose, stops, names), gaps


def cut_at_human(ids: list[int], text_of: Callable[[list[int]], str]) -> tuple[str, int]:
    """(the text before the human's next turn, how many of the tokens it takes); all of it where there is no such turn."""
    text, count = text_of(ids).partition(HUMAN)[0], len(ids)
    while count and text_of(ids[: count - 1]).startswith(text):
        count -= 1
    return text, count


def respond(model, tokenizer, items: list[Item], config: dict) -> list[dict]:
    """The response of a policy to each prompt of a batch: its text (`response`), how many tokens it takes, why it ends (`finish`: eos, stop
    or length) and `top2_gap_min`. Raises StudyError as continue_greedily does."""

    def text_of(ids: list[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=True)

    def stops(ids: list[int]) -> bool:
        return config["stop"] and HUMAN in text_of(ids)

    responses = []
    for part, gap in zip(*continue_greedily(model, items, config["max_new_tokens"], tokenizer.eos_token_id, stops), strict=True):
        text, count = cut_at_human(part.ids, text_of) if part.finish == "stop" else (text_of(part.ids), len(part.ids))
        if config["strip"]:
            text = text.strip().removeprefix(ASSISTANT.strip())
        responses.append({"response": text.strip(), "response_tokens": count, "finish": part.finish, "top2_gap_min": gap})
    return responses


def prompt_items(path: Path, tokenizer, config: dict, positions: int) -> Iterator[list[Item]]:
    """Windows of prompts as the policy reads them: token ids, within its `positions` less those of the response.

    Raises StudyError for an empty prompt, and for one that is too long where the config does not say `cut`.
    """
    start = 0
    for prompts in read_windows(path, columns_of(PROMPTS, "axis", "prompt_id", "prompt"), WINDOW):
        read = zip(prompts, *prompt_ids(tokenizer, prompts, config, positions), strict=True)
        yield [
            Item(number, ids, {"axis": prompt["axis"], "prompt_id": prompt["prompt_id"], "cut_tokens": cut})
            for number, (prompt, ids, cut) in enumerate(read, start=start)
        ]
        start += len(prompts)


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", policy="path", prompts="path", shard="text?", threads="int", state="path", output="path", timing="path"
    )
    config, shard = args.config, Shard.parse(args.shard)
    device = use_device(config, args.threads)
    is_emulated(config["dtype"], device)
    made_by = provenance(config, [args.policy, args.prompts], device=device, threads=args.threads)
    model, tokenizer = load_policy(args.policy, dtype=config["dtype"], device=device)

    total = read_table(args.prompts, ["prompt_id"]).num_rows
    if not total:
        raise StudyError(f"{args.prompts}: no prompt to answer. {REBUILD}")
    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.evaluation.generate_responses")), started) as state:
        parts, progress = Parts(state), Progress(total, "prompt")
        windows = prompt_items(args.prompts, tokenizer, config, positions_of(model.config))
        batches = partial(plan, budget=config["batch_tokens"], new=config["max_new_tokens"])
        work_through(windows, batches, lambda items: respond(model, tokenizer, items, config), parts, shard, progress)
        write_windows(args.output, parts.windows(), shard.schema(RESPONSES), made_by)
    written = read_table(args.output, ["response", "finish", "cut_tokens"]).to_pandas()
    empty, ended, cut = (written["response"] == "").sum(), (written["finish"] == "eos").sum(), (written["cut_tokens"] > 0).sum()
    say(f"{empty} empty responses, {ended} of {len(written)} end with {tokenizer.eos_token}; {cut} prompts cut")
    write_timing(args.timing, state.started, state.continuations, prompts=len(written), tokens=state.tokens)


if __name__ == "__main__":
    run(main)

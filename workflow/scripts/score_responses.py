"""Rewards that one judge gives to one policy's responses."""

import math
import time
from collections.abc import Iterator
from pathlib import Path

from study.artifacts import provenance, read_table, read_windows, say, write_windows
from study.batches import WINDOW, Item, Parts, Shard, plan, work_through
from study.codehash import code_hash
from study.command import StudyError, parse, run
from study.compute import release_memory, use_device, write_timing
from study.judging import PADDING, pair_ids, read_only, reward_batch
from study.models import load_judge
from study.progress import Progress
from study.state import fingerprint, state_folder
from study.tables import REWARDS


def read_items(prompts: Path, responses: Path, tokenizer, max_length: int | None) -> Iterator[list[Item]]:
    """Windows of (prompt, response) pairs as the judge reads them. Raises StudyError where the tables hold different prompts."""
    columns, start = ["axis", "prompt_id"], 0
    tables = read_windows(prompts, [*columns, "prompt"], WINDOW), read_windows(responses, [*columns, "response"], WINDOW)
    for asked, answered in zip(*tables, strict=True):
        places = [{column: row[column] for column in columns} for row in answered]
        if places != [{column: row[column] for column in columns} for row in asked]:
            raise StudyError(f"{responses} and {prompts} hold different prompts. Delete the responses; the next run rebuilds them.")
        found = pair_ids(tokenizer, [row["prompt"] for row in asked], [row["response"] for row in answered], max_length)
        yield [
            Item(number, ids, {**place, "input_tokens": len(ids), "cut_tokens": cut})
            for number, (place, ids, cut) in enumerate(zip(places, *found, strict=True), start=start)
        ]
        start += len(asked)


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", judge="path", prompts="path", responses="path", shard="text?", threads="int", state="path",
        output="path", timing="path",
    )  # fmt: skip
    config, shard = args.config, Shard.parse(args.shard)
    device = use_device(config["device"], args.threads)
    made_by = provenance(config, [args.judge, args.prompts, args.responses], device=device, threads=args.threads)
    model, tokenizer = load_judge(args.judge, dtype=config["dtype"], device=device)
    read_only(model)

    def compute(items: list[Item]) -> list[dict]:
        release_memory()  # the batch before had another size
        rewards = reward_batch(model, [item.ids for item in items], tokenizer.pad_token_id)
        for item, reward in zip(items, rewards, strict=True):
            if not math.isfinite(reward):
                raise StudyError(f"{item.row['prompt_id']}: the judge's reward is {reward}: its weights are damaged.")
        return [{"reward": reward} for reward in rewards]

    total = read_table(args.responses, ["prompt_id"]).num_rows
    if total != read_table(args.prompts, ["prompt_id"]).num_rows:
        raise StudyError(f"{args.responses} and {args.prompts} hold different prompts. Delete the responses; the next run rebuilds them.")
    with state_folder(args.state, fingerprint(made_by, code_hash("score_responses"))) as folder:
        parts, progress = Parts(folder / "parts.jsonl"), Progress(total, "pair")
        items = read_items(args.prompts, args.responses, tokenizer, config.get("max_length"))
        work_through(items, lambda items: plan(items, config["batch_tokens"], padding=PADDING), compute, parts, shard, progress)
        write_windows(args.output, parts.windows(), shard.schema(REWARDS), made_by)
    cut = [tokens for tokens in read_table(args.output, ["cut_tokens"])["cut_tokens"].to_pylist() if tokens]
    say(f"{len(cut)} pairs cut, {sum(cut):,} tokens lost")
    write_timing(args.timing, started, pairs=total, tokens=progress.tokens)


if __name__ == "__main__":
    run(main)

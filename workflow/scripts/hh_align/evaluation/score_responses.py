"""Rewards that one judge gives to one policy's responses."""

import time
from collections.abc import Collection, Iterator
from functools import partial
from itertools import count
from pathlib import Path

from hh_align.core.artifacts import provenance, read_table, say, write_windows
from hh_align.core.axes import AXES
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.progress import Progress
from hh_align.core.state import fingerprint, state_folder
from hh_align.core.tables import REWARDS
from hh_align.evaluation.answered import answered_windows
from hh_align.evaluation.judge import Judge, open_judge
from hh_align.models.batches import Item, Parts, Shard, plan, work_through
from hh_align.models.compute import use_device, write_timing
from hh_align.models.judging import PADDING


def response_items(
    prompts: Path, responses: Path, judge: Judge, max_length: int | None, axes: Collection[str] = AXES
) -> Iterator[list[Item]]:
    """Windows of the axes' responses as the judge reads them with their prompts or alone: token ids, cut to `max_length`.

    Raises StudyError where nothing is answered, or the tables hold different prompts.
    """
    numbers = count()

    def items(answered: list[dict]) -> list[Item]:
        rows = [row for row in answered if row["axis"] in axes]
        ids, cut = judge.read(*([row[name] for row in rows] for name in ("prompt", "response", "prompt_id")), max_length)
        return [
            Item(next(numbers), read, {"axis": row["axis"], "prompt_id": row["prompt_id"], "input_tokens": len(read), "cut_tokens": lost})
            for row, read, lost in zip(rows, ids, cut, strict=True)
        ]

    return map(items, answered_windows(prompts, responses))


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", judge="path", prompts="path", responses="path", shard="text?", threads="int", state="path",
        output="path", timing="path",
    )  # fmt: skip
    config, shard = args.config, Shard.parse(args.shard)
    device = use_device(config, args.threads)
    made_by = provenance(config, [args.judge, args.prompts, args.responses], device=device, threads=args.threads)
    judge, axes = open_judge(args.judge, config, device), set(config.get("axes", AXES))
    windows = response_items(args.prompts, args.responses, judge, config.get("max_length"), axes)
    total = sum(axis in axes for axis in read_table(args.responses, ["axis"])["axis"].to_pylist())

    def compute(items: list[Item]) -> list[dict]:
        rewards = judge.rewards([item.ids for item in items], [item.row["prompt_id"] for item in items])
        return [{"reward": reward} for reward in rewards]

    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.evaluation.score_responses")), started) as state:
        parts, progress = Parts(state), Progress(total, "pair")
        work_through(windows, partial(plan, budget=config["batch_tokens"], padding=PADDING), compute, parts, shard, progress)
        write_windows(args.output, parts.windows(), shard.schema(REWARDS), made_by)
    cut = read_table(args.output, ["cut_tokens"])["cut_tokens"].to_numpy()
    say(f"{(cut > 0).sum()} of {len(cut)} pairs cut, {cut.sum():,} tokens lost")
    speed = {"seconds_per_1000_responses": round(1000 * (time.monotonic() - state.started) / len(cut), 3)} if len(cut) else {}
    write_timing(args.timing, state.started, state.continuations, speed, pairs=len(cut), tokens=state.tokens)


if __name__ == "__main__":
    run(main)

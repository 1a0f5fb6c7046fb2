"""Rewards that one judge gives to one policy's responses."""

import time
from collections.abc import Collection, Iterator
from itertools import count
from pathlib import Path

from hh_align.core.artifacts import REBUILD, provenance, read_table, read_windows, say, write_windows
from hh_align.core.axes import AXES
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.progress import Progress
from hh_align.core.state import fingerprint, state_folder
from hh_align.core.tables import PROMPTS, RESPONSES, REWARDS, columns_of
from hh_align.models.batches import WINDOW, Item, Parts, Shard, plan, work_through
from hh_align.models.compute import forget_kernels, use_device, write_timing
from hh_align.models.deberta import without_padding
from hh_align.models.folders import load_judge
from hh_align.models.judging import PADDING, checked_rewards, pair_ids, reward_of


def read_items(
    prompts: Path, responses: Path, tokenizer, max_length: int | None, alone: bool = False, axes: Collection[str] = AXES
) -> Iterator[list[Item]]:
    """Windows of the axes' (prompt, response) pairs, or of their responses alone, as the judge reads them.

    Raises StudyError where the tables hold different prompts.
    """
    columns = ["axis", "prompt_id"]
    parts = (prompts, columns_of(PROMPTS, *columns, "prompt")), (responses, columns_of(RESPONSES, *columns, "response"))
    numbers = count()

    def window(asked: list[dict], answered: list[dict]) -> list[Item]:
        places = [{column: row[column] for column in columns} for row in answered]
        if places != [{column: row[column] for column in columns} for row in asked]:
            raise StudyError(f"{responses} and {prompts} hold different prompts. Delete the responses; the next run rebuilds them.")
        kept = [number for number, place in enumerate(places) if place["axis"] in axes]
        before = None if alone else [asked[number]["prompt"] for number in kept]
        found = pair_ids(tokenizer, before, [answered[number]["response"] for number in kept], max_length)
        return [
            Item(next(numbers), ids, {**places[row], "input_tokens": len(ids), "cut_tokens": cut})
            for row, ids, cut in zip(kept, *found, strict=True)
        ]

    return map(window, *(read_windows(path, part, WINDOW) for path, part in parts))


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", judge="path", prompts="path", responses="path", shard="text?", threads="int", state="path",
        output="path", timing="path",
    )  # fmt: skip
    config, shard = args.config, Shard.parse(args.shard)
    device = use_device(config["device"], args.threads)
    forget_kernels(config["dtype"])
    made_by = provenance(config, [args.judge, args.prompts, args.responses], device=device, threads=args.threads)
    model, tokenizer = load_judge(args.judge, dtype=config["dtype"], device=device)
    reward = reward_of(model, config)
    without_padding(model)

    def compute(items: list[Item]) -> list[dict]:
        names = [item.row["prompt_id"] for item in items]
        rewards = checked_rewards(model, [item.ids for item in items], names, tokenizer.pad_token_id, reward)
        return [{"reward": found} for found in rewards]

    answered = read_table(args.responses, ["axis"])["axis"].to_pylist()
    axes = set(config.get("axes", AXES))
    if not answered:
        raise StudyError(f"{args.responses}: no prompt is answered. {REBUILD}")
    if len(answered) != read_table(args.prompts, ["prompt_id"]).num_rows:
        raise StudyError(f"{args.responses} and {args.prompts} hold different prompts. Delete the responses; the next run rebuilds them.")
    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.evaluation.score_responses")), started) as state:
        parts, progress = Parts(state), Progress(sum(axis in axes for axis in answered), "pair")
        items = read_items(args.prompts, args.responses, tokenizer, config.get("max_length"), config.get("reads") == "response", axes)
        work_through(items, lambda items: plan(items, config["batch_tokens"], padding=PADDING), compute, parts, shard, progress)
        write_windows(args.output, parts.windows(), shard.schema(REWARDS), made_by)
    cut = read_table(args.output, ["cut_tokens"])["cut_tokens"].to_numpy()
    say(f"{(cut > 0).sum()} of {len(cut)} pairs cut, {cut.sum():,} tokens lost")
    speed = {"seconds_per_1000_responses": round(1000 * (time.monotonic() - state.started) / len(cut), 3)} if len(cut) else {}
    write_timing(args.timing, state.started, state.continuations, speed, pairs=len(cut), tokens=state.tokens)


if __name__ == "__main__":
    run(main)

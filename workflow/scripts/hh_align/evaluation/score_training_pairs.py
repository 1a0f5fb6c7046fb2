"""Rewards that a judge gives to the chosen and rejected replies of a derived dataset's training pairs, read as score_pairs reads them."""

import time
from collections.abc import Iterator
from functools import partial

from hh_align.core.artifacts import WINDOW, provenance, read_table, say, write_windows
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.progress import Progress
from hh_align.core.state import fingerprint, state_folder
from hh_align.data.preferences import KEY, row_name
from hh_align.data.selection import MARGINS, selected_pairs
from hh_align.data.transcripts import judged_prompt
from hh_align.evaluation.judge import Judge, open_judge
from hh_align.models.batches import Item, Parts, Shard, plan, work_through
from hh_align.models.compute import use_device, write_timing
from hh_align.models.judging import PADDING


def reply_items(rows: list[dict], judge: Judge, max_length: int | None) -> Iterator[list[Item]]:
    """Windows of replies as the judge reads them, behind their prompts or alone: of each row the chosen one, then the rejected one."""
    for start in range(0, len(rows), WINDOW // 2):
        sides = [(row, side) for row in rows[start : start + WINDOW // 2] for side in ("chosen", "rejected")]
        prompts, replies = [judged_prompt(row["prompt"]) for row, _ in sides], [row[side].strip() for row, side in sides]
        read = judge.read(prompts, replies, [row_name(row) for row, _ in sides], max_length)
        yield [
            Item(number, ids, {**{key: row[key] for key in KEY}, "reply": side, "name": row_name(row), "cut_tokens": cut})
            for number, ((row, side), ids, cut) in enumerate(zip(sides, *read, strict=True), start=2 * start)
        ]


def paired(window: list[dict]) -> list[dict]:
    """Rows of the artifact from the results of a window, where chosen and rejected replies alternate."""
    return [
        {key: chosen[key] for key in KEY}
        | {"chosen_reward": chosen["reward"], "rejected_reward": rejected["reward"]}
        | {"cut_tokens": chosen["cut_tokens"] + rejected["cut_tokens"]}
        for chosen, rejected in zip(window[::2], window[1::2], strict=True)
    ]


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", judge="path", preferences="path", prompts="path?", threads="int", state="path", output="path", timing="path"
    )  # fmt: skip
    config = args.config
    device = use_device(config, args.threads)
    inputs = [path for path in (args.judge, args.preferences, args.prompts) if path]
    made_by = provenance(config, inputs, device=device, threads=args.threads)
    judge = open_judge(args.judge, config, device)
    rows = selected_pairs(args.preferences, args.prompts, config)

    def compute(items: list[Item]) -> list[dict]:
        rewards = judge.rewards([item.ids for item in items], [f"{item.row['name']}, {item.row['reply']} reply" for item in items])
        return [{"reward": reward} for reward in rewards]

    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.evaluation.score_training_pairs")), started) as state:
        parts, progress = Parts(state), Progress(2 * len(rows), "reply")
        windows = reply_items(rows, judge, config.get("max_length"))
        work_through(windows, partial(plan, budget=config["batch_tokens"], padding=PADDING), compute, parts, Shard(), progress)
        write_windows(args.output, map(paired, parts.windows()), MARGINS, made_by)
    margins = read_table(args.output, MARGINS)
    wrong = (margins["chosen_reward"].to_numpy() < margins["rejected_reward"].to_numpy()).sum()
    cut = margins["cut_tokens"].to_numpy()
    say(f"{len(rows):,} pairs, of {wrong:,} the judge prefers the rejected reply; {(cut > 0).sum():,} cut, {cut.sum():,} tokens lost")
    write_timing(args.timing, state.started, state.continuations, pairs=len(rows), tokens=state.tokens)


if __name__ == "__main__":
    run(main)

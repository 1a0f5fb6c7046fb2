"""Rewards that a judge gives to the chosen and rejected replies of a derived dataset's training pairs, read as score_pairs reads them."""

import time
from collections.abc import Iterator

from hh_align.core.artifacts import provenance, read_table, say, write_windows
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.progress import Progress
from hh_align.core.state import fingerprint, state_folder
from hh_align.core.tables import PROMPTS, columns_of
from hh_align.data.preferences import KEY, SCHEMA, row_name, training_rows
from hh_align.data.selection import MARGINS, selected_rows
from hh_align.data.transcripts import judged_prompt
from hh_align.models.batches import WINDOW, Item, Parts, Shard, plan, work_through
from hh_align.models.compute import forget_kernels, use_device, write_timing
from hh_align.models.deberta import without_padding
from hh_align.models.folders import load_judge
from hh_align.models.judging import PADDING, checked_rewards, pair_ids, reward_of


def read_items(rows: list[dict], tokenizer, max_length: int | None, alone: bool) -> Iterator[list[Item]]:
    """Windows of replies as the judge reads them, behind their prompts or alone: of each row the chosen one, then the rejected one."""
    for start in range(0, len(rows), WINDOW // 2):
        replies = [(row, reply) for row in rows[start : start + WINDOW // 2] for reply in ("chosen", "rejected")]
        prompts, answers = zip(*((judged_prompt(row["prompt"]), row[reply].strip()) for row, reply in replies), strict=True)
        found = zip(replies, *pair_ids(tokenizer, None if alone else prompts, answers, max_length), strict=True)
        yield [
            Item(number, ids, {**{key: row[key] for key in KEY}, "reply": reply, "name": row_name(row), "cut_tokens": cut})
            for number, ((row, reply), ids, cut) in enumerate(found, start=2 * start)
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
    device = use_device(config["device"], args.threads)
    forget_kernels(config["dtype"])
    inputs = [path for path in (args.judge, args.preferences, args.prompts) if path]
    made_by = provenance(config, inputs, device=device, threads=args.threads)
    model, tokenizer = load_judge(args.judge, dtype=config["dtype"], device=device)
    without_padding(model)
    reward = reward_of(model, config)
    excluded = set(read_table(args.prompts, columns_of(PROMPTS, "cluster"))["cluster"].to_pylist()) if args.prompts else set()
    rows = selected_rows(read_table(args.preferences, SCHEMA).to_pylist(), config.get("subsets"), config["training_half"], excluded)
    rows = training_rows(rows, config["train_split"], "use_dpo", None)

    def compute(items: list[Item]) -> list[dict]:
        names = [f"{item.row['name']}, {item.row['reply']} reply" for item in items]
        rewards = checked_rewards(model, [item.ids for item in items], names, tokenizer.pad_token_id, reward)
        return [{"reward": found} for found in rewards]

    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.evaluation.score_training_pairs")), started) as state:
        parts, items = Parts(state), read_items(rows, tokenizer, config.get("max_length"), config.get("reads") == "response")
        progress = Progress(2 * len(rows), "reply")
        work_through(items, lambda items: plan(items, config["batch_tokens"], padding=PADDING), compute, parts, Shard(), progress)
        write_windows(args.output, map(paired, parts.windows()), MARGINS, made_by)
    found = read_table(args.output, MARGINS)
    wrong = (found["chosen_reward"].to_numpy() < found["rejected_reward"].to_numpy()).sum()
    cut = found["cut_tokens"].to_numpy()
    say(f"{len(rows):,} pairs, of {wrong:,} the judge prefers the rejected reply; {(cut > 0).sum():,} cut, {cut.sum():,} tokens lost")
    write_timing(args.timing, state.started, state.continuations, pairs=len(rows), tokens=state.tokens)


if __name__ == "__main__":
    run(main)

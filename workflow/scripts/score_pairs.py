"""Rewards that a judge gives to the chosen and rejected replies of held-out pairs: how good it is where people have decided."""

import math
import time

import pyarrow as pa

from study.artifacts import provenance, read_table, say, write_table
from study.command import StudyError, parse, run
from study.compute import use_device, write_timing
from study.judging import pair_ids, rewards
from study.models import load_judge
from study.preferences import KEY, SCHEMA, row_name
from study.progress import Progress
from study.transcripts import judged_prompt

PAIRS = pa.schema(
    [
        ("split", pa.string()),
        ("subset", pa.string()),
        ("row", pa.int64()),
        ("axis", pa.string()),
        ("chosen_reward", pa.float64()),
        ("rejected_reward", pa.float64()),
        ("cut_tokens", pa.int64()),
    ]
)


def held_out(rows: list[dict], places: dict[str, dict]) -> list[dict]:
    """Pairs fit for comparison from the split and subset that each axis takes its prompts from, with their axis."""
    found = []
    for axis, place in places.items():
        kept = [row for row in rows if (row["split"], row["subset"]) == (place["split"], place["subset"]) and row["use_dpo"]]
        if not kept:
            raise StudyError(f"no pair of {place['subset']}/{place['split']} is fit to examine the judge on {axis}.")
        found += [{**row, "axis": axis} for row in kept]
    return found


def main() -> None:
    started = time.monotonic()
    args = parse(__doc__, config="config", judge="path", preferences="path", threads="int", output="path", timing="path")
    config = args.config
    device = use_device(config["device"], args.threads)
    made_by = provenance(config, [args.judge, args.preferences], device=device, threads=args.threads)
    model, tokenizer = load_judge(args.judge, dtype=config["dtype"], device=device)
    rows = held_out(read_table(args.preferences, SCHEMA.names).to_pylist(), config["places"])

    prompts = [judged_prompt(row["prompt"]) for row in rows] * 2
    replies = [row[part].strip() for part in ("chosen", "rejected") for row in rows]
    ids, cut = pair_ids(tokenizer, prompts, replies, config.get("max_length"))
    progress = Progress(len(ids), "reply")
    found = rewards(model, ids, tokenizer.pad_token_id, config["batch_tokens"], device, progress)

    table = []
    for number, row in enumerate(rows):
        chosen, rejected = found[number], found[number + len(rows)]
        if not (math.isfinite(chosen) and math.isfinite(rejected)):
            raise StudyError(f"{row_name(row)}: the judge's rewards are {chosen} and {rejected}: its weights are damaged.")
        lost = cut[number] + cut[number + len(rows)]
        place = {key: row[key] for key in (*KEY, "axis")}
        table.append({**place, "chosen_reward": chosen, "rejected_reward": rejected, "cut_tokens": lost})
    say(f"{len(table):,} pairs; chosen above rejected in {sum(row['chosen_reward'] > row['rejected_reward'] for row in table):,}")
    write_table(args.output, table, PAIRS, made_by)
    write_timing(args.timing, started, replies=len(ids), tokens=progress.tokens)


if __name__ == "__main__":
    run(main)

"""Rewards that a judge gives to the chosen and rejected replies of held-out pairs, in several formats: how good it is where people have decided."""

import math
import time

import pyarrow as pa

from study.artifacts import provenance, read_table, say, write_table
from study.command import StudyError, parse, run
from study.compute import use_device, write_timing
from study.held_out import evenly, held_out, keys_of
from study.judging import pair_ids, read_only, rewards
from study.models import load_judge
from study.preferences import KEY, SCHEMA, row_name
from study.progress import Progress
from study.transcripts import ASSISTANT, cluster_of, judged_prompt

PAIRS = pa.schema(
    [
        ("split", pa.string()),
        ("subset", pa.string()),
        ("row", pa.int64()),
        ("axis", pa.string()),
        ("cluster", pa.string()),
        ("format", pa.string()),
        ("chosen_reward", pa.float64()),
        ("rejected_reward", pa.float64()),
        ("chosen_tokens", pa.int64()),
        ("rejected_tokens", pa.int64()),
        ("cut_tokens", pa.int64()),
    ]
)
AS_EVALUATED = "as evaluated"
SHORT = 512  # tokens that the usual judges were built for


def formats(max_length: int | None, reply_tokens: int) -> dict[str, dict]:
    """Format -> how its pairs are read: with the cue at the prompt's end; replies cut as responses are; pairs cut to 512 tokens."""
    plain = {"cue": "", "max_length": max_length, "reply_tokens": None}
    found = {AS_EVALUATED: plain, "with cue": plain | {"cue": ASSISTANT}, "cut reply": plain | {"reply_tokens": reply_tokens}}
    return found if max_length is not None and max_length <= SHORT else found | {"cut input": plain | {"max_length": SHORT}}


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", judge="path", preferences="path", seen="paths?", threads="int", output="path", timing="path"
    )  # fmt: skip
    config = args.config
    device = use_device(config["device"], args.threads)
    made_by = provenance(config, [args.judge, args.preferences, *args.seen], device=device, threads=args.threads)
    model, tokenizer = load_judge(args.judge, dtype=config["dtype"], device=device)
    read_only(model)
    rows = read_table(args.preferences, SCHEMA.names).to_pylist()
    pairs = held_out(rows, config["subsets"], config.get("max_pairs"), keys_of(args.seen))

    rows, ids, cut, lengths = [], [], [], []
    for name, reading in formats(config.get("max_length"), config["reply_tokens"]).items():
        kept = [row for found in pairs.values() for row in (found if name == AS_EVALUATED else evenly(found, config["format_pairs"]))]
        for reply in ("chosen", "rejected"):
            prompts = [judged_prompt(row["prompt"]) + reading["cue"] for row in kept]
            replies = [row[reply].strip() for row in kept]
            read, lost = pair_ids(tokenizer, prompts, replies, reading["max_length"], reading["reply_tokens"])
            ids, cut = ids + read, cut + lost
            lengths += map(len, tokenizer(replies, add_special_tokens=False)["input_ids"])
            rows += [(name, reply, row) for row in kept]
    progress = Progress(len(ids), "reply")
    found = rewards(model, ids, tokenizer.pad_token_id, config["batch_tokens"], progress)

    table: dict[tuple, dict] = {}
    for (name, reply, row), reward, tokens, lost in zip(rows, found, lengths, cut, strict=True):
        if not math.isfinite(reward):
            raise StudyError(f"{row_name(row)}: the judge's reward of the {reply} reply is {reward}: its weights are damaged.")
        place = {**{key: row[key] for key in (*KEY, "axis")}, "cluster": cluster_of(row["prompt"]), "format": name}
        entry = table.setdefault(tuple(place.values()), {**place, "cut_tokens": 0})
        entry |= {f"{reply}_reward": reward, f"{reply}_tokens": tokens, "cut_tokens": entry["cut_tokens"] + lost}
    found = list(table.values())
    say(f"{sum(map(len, pairs.values())):,} pairs, {len(found):,} with the other formats")
    write_table(args.output, found, PAIRS, made_by)
    write_timing(args.timing, started, replies=len(ids), tokens=progress.tokens)


if __name__ == "__main__":
    run(main)

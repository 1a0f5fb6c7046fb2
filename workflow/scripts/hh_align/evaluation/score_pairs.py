"""Rewards that a judge gives to the chosen and rejected replies of held-out pairs, in several formats: how good it is where people have decided."""

import time
from collections.abc import Sequence

import pyarrow as pa

from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.plan import token_batches
from hh_align.core.progress import Progress
from hh_align.core.state import fingerprint, state_folder
from hh_align.data.preferences import KEY, SCHEMA, row_name
from hh_align.data.transcripts import ASSISTANT, cluster_of, judged_prompt
from hh_align.evaluation.held_out import evenly, held_out, keys_of
from hh_align.models.batches import Parts, by_batches
from hh_align.models.compute import use_device, write_timing
from hh_align.models.deberta import without_padding
from hh_align.models.folders import load_judge
from hh_align.models.judging import PADDING, checked_rewards, pair_ids, reward_of

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


def formats(max_length: int | None, reply_tokens: int, alone: bool = False) -> dict[str, dict]:
    """Format -> how its pairs are read: with the cue at the prompt's end; replies cut as responses are; pairs cut to 512 tokens.

    A judge that reads the response alone sees no cue.
    """
    plain = {"cue": "", "max_length": max_length, "reply_tokens": None}
    found = {AS_EVALUATED: plain, "with cue": plain | {"cue": ASSISTANT}, "cut reply": plain | {"reply_tokens": reply_tokens}}
    if alone:
        del found["with cue"]
    return found if max_length is not None and max_length <= SHORT else found | {"cut input": plain | {"max_length": SHORT}}


def pair_rows(asked: list[tuple[str, str, dict]], found: list[float], lengths: list[int], cut: list[int]) -> list[dict]:
    """Rows of the artifact, one per pair and format. asked: (format, chosen or rejected, row of the preferences) of each reply."""
    table: dict[tuple, dict] = {}
    for (name, reply, row), reward, tokens, lost in zip(asked, found, lengths, cut, strict=True):
        place = {**{key: row[key] for key in (*KEY, "axis")}, "cluster": cluster_of(row["prompt"]), "format": name}
        entry = table.setdefault(tuple(place.values()), {**place, "cut_tokens": 0})
        entry |= {f"{reply}_reward": reward, f"{reply}_tokens": tokens, "cut_tokens": entry["cut_tokens"] + lost}
    return list(table.values())


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", judge="path", preferences="path", seen="paths?", threads="int", state="path", output="path", timing="path"
    )  # fmt: skip
    config = args.config
    device = use_device(config["device"], args.threads)
    made_by = provenance(config, [args.judge, args.preferences, *args.seen], device=device, threads=args.threads)
    model, tokenizer = load_judge(args.judge, dtype=config["dtype"], device=device)
    reward, alone = reward_of(model, config), config.get("reads") == "response"
    without_padding(model)
    rows = read_table(args.preferences, SCHEMA).to_pylist()
    pairs = held_out(rows, config["subsets"], config.get("max_pairs"), keys_of(args.seen))

    rows, ids, cut, lengths = [], [], [], []
    for name, reading in formats(config.get("max_length"), config["reply_tokens"], alone).items():
        kept = [row for found in pairs.values() for row in (found if name == AS_EVALUATED else evenly(found, config["format_pairs"]))]
        for reply in ("chosen", "rejected"):
            prompts = [judged_prompt(row["prompt"]) + reading["cue"] for row in kept]
            replies = [row[reply].strip() for row in kept]
            read, lost = pair_ids(tokenizer, None if alone else prompts, replies, reading["max_length"], reading["reply_tokens"])
            ids, cut = ids + read, cut + lost
            lengths += map(len, tokenizer(replies, add_special_tokens=False)["input_ids"])
            rows += [(name, reply, row) for row in kept]

    first = {}  # the first row with these ids speaks for all of them
    for row, read in enumerate(ids):
        first.setdefault(tuple(read), row)
    distinct = list(first.values())

    def compute(batch: Sequence[int]) -> list[float]:
        batch = [distinct[number] for number in batch]
        names = [f"{row_name(rows[row][2])}, {rows[row][1]} reply" for row in batch]
        return checked_rewards(model, [ids[row] for row in batch], names, tokenizer.pad_token_id, reward)

    sizes = [len(ids[row]) for row in distinct]
    batches = token_batches(sizes, config["batch_tokens"], PADDING)
    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.evaluation.score_pairs")), started) as state:
        rewards = dict(zip(first, by_batches(batches, sizes, compute, Parts(state), Progress(len(distinct), "reply")), strict=True))
        found = [rewards[tuple(read)] for read in ids]
        write_table(args.output, pair_rows(rows, found, lengths, cut), PAIRS, made_by)
    say(f"{sum(map(len, pairs.values())):,} pairs, {len(ids) // 2:,} with the other formats, {len(distinct):,} distinct inputs")
    write_timing(args.timing, state.started, state.continuations, replies=len(distinct), tokens=state.tokens)


if __name__ == "__main__":
    run(main)

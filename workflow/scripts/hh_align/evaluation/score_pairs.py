"""Rewards that a judge gives to the chosen and rejected replies of held-out pairs, in several formats: how good it is where people have decided."""

import time
from collections.abc import Sequence
from typing import NamedTuple

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
from hh_align.evaluation.judge import Judge, open_judge
from hh_align.models.batches import Parts, by_batches
from hh_align.models.compute import use_device, write_timing
from hh_align.models.judging import PADDING

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


class Reply(NamedTuple):
    """A reply as the judge reads it in one format: token ids, tokens cut, and the reply's own tokens before any cut."""

    format: str
    side: str
    row: dict
    ids: list[int]
    cut: int
    tokens: int

    @property
    def name(self) -> str:
        """What an error calls it."""
        return f"{row_name(self.row)}, {self.side} reply"


def formats(max_length: int | None, reply_tokens: int, cue: bool = True) -> dict[str, dict]:
    """Format -> how its pairs are read: with the cue at the prompt's end; replies cut as responses are; pairs cut to 512 tokens.

    cue: whether there may be one, which only a judge of pairs can do without: in a transcript or chat the reply has its own turn.
    """
    plain = {"cue": "", "max_length": max_length, "reply_tokens": None}
    readings = {AS_EVALUATED: plain}
    if cue:
        readings["with cue"] = plain | {"cue": ASSISTANT}
    readings["cut reply"] = plain | {"reply_tokens": reply_tokens}
    if max_length is None or max_length > SHORT:
        readings["cut input"] = plain | {"max_length": SHORT}
    return readings


def judged_replies(pairs: dict[str, list[dict]], judge: Judge, config: dict) -> list[Reply]:
    """The replies of held-out pairs in every format: all pairs as evaluated, `format_pairs` of each subset in the others."""
    replies = []
    for name, reading in formats(config.get("max_length"), config["reply_tokens"], judge.reads == "pair").items():
        count = None if name == AS_EVALUATED else config["format_pairs"]
        rows = [row for subset in pairs.values() for row in evenly(subset, count)]
        prompts = [judged_prompt(row["prompt"]) + reading["cue"] for row in rows]
        for side in ("chosen", "rejected"):
            texts = [row[side].strip() for row in rows]
            ids, cut = judge.read(prompts, texts, list(map(row_name, rows)), reading["max_length"], reading["reply_tokens"])
            tokens = map(len, judge.tokenizer(texts, add_special_tokens=False)["input_ids"])
            replies += map(Reply, [name] * len(texts), [side] * len(texts), rows, ids, cut, tokens)
    return replies


def pair_rows(replies: list[Reply], rewards: list[float]) -> list[dict]:
    """Rows of PAIRS, one per pair and format."""
    table: dict[tuple, dict] = {}
    for reply, reward in zip(replies, rewards, strict=True):
        pair = {**{key: reply.row[key] for key in (*KEY, "axis")}, "cluster": cluster_of(reply.row["prompt"]), "format": reply.format}
        entry = table.setdefault(tuple(pair.values()), {**pair, "cut_tokens": 0})
        entry |= {f"{reply.side}_reward": reward, f"{reply.side}_tokens": reply.tokens, "cut_tokens": entry["cut_tokens"] + reply.cut}
    return list(table.values())


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", judge="path", preferences="path", seen="paths?", threads="int", state="path", output="path", timing="path"
    )  # fmt: skip
    config = args.config
    device = use_device(config, args.threads)
    made_by = provenance(config, [args.judge, args.preferences, *args.seen], device=device, threads=args.threads)
    judge = open_judge(args.judge, config, device)
    rows = read_table(args.preferences, SCHEMA).to_pylist()
    pairs = held_out(rows, config["subsets"], config.get("max_pairs"), keys_of(args.seen))
    replies = judged_replies(pairs, judge, config)
    first = {}  # the first reply with these ids speaks for all of them
    for reply in replies:
        first.setdefault(tuple(reply.ids), reply)
    distinct = list(first.values())

    def compute(batch: Sequence[int]) -> list[float]:
        return judge.rewards([distinct[number].ids for number in batch], [distinct[number].name for number in batch])

    sizes = [len(reply.ids) for reply in distinct]
    batches = token_batches(sizes, config["batch_tokens"], PADDING)
    with state_folder(args.state, fingerprint(made_by, code_hash("hh_align.evaluation.score_pairs")), started) as state:
        rewards = dict(zip(first, by_batches(batches, sizes, compute, Parts(state), Progress(len(distinct), "reply")), strict=True))
        write_table(args.output, pair_rows(replies, [rewards[tuple(reply.ids)] for reply in replies]), PAIRS, made_by)
    say(f"{sum(map(len, pairs.values())):,} pairs, {len(replies) // 2:,} with the other formats, {len(distinct):,} distinct inputs")
    write_timing(args.timing, state.started, state.continuations, replies=len(distinct), tokens=state.tokens)


if __name__ == "__main__":
    run(main)

"""A synthetic preference corpus in HH-RLHF's own file format, with planted truth: .../<subset>/<split>.jsonl.gz"""

import gzip
import json
import random
from pathlib import Path

from hh_align.core.artifacts import atomic, say
from hh_align.core.command import parse, run
from hh_align.data.grammar import Item, bad_reply, good_reply, items, load_words, prompts_of

HARMFUL = {"harmless-base": True, "helpful-base": False}
"""Subset of the corpus -> whether its items are harmful acts, else they are tasks."""


def replies(item: Item, words: dict, pairs: str, flips: bool, stream: random.Random) -> tuple[str, str]:
    """(chosen, rejected). `labelled`: a good and a bad reply, with `flips` exchanged at the item's flip rate; `raw`: two from its raw text."""
    if pairs == "raw":
        first, second = (good_reply if stream.random() < item.good_share else bad_reply for _ in range(2))
        return first(item, words, stream), second(item, words, stream)
    pair = good_reply(item, words, stream), bad_reply(item, words, stream)
    exchanged = stream.random() < item.flip_rate  # drawn in either case: without flips the replies are the same
    return pair[::-1] if flips and exchanged else pair


def make_rows(count: int, split: str, harmful: bool, config: dict, words: dict) -> list[dict]:
    """`count` rows about tasks or acts: every item equally often, and of its prompts none twice before all came once."""
    stream = random.Random(f"{config['seed']} {config['pairs']} {split} {harmful}")
    pool = [item for item in items(words, config["seed"]) if item.harmful == harmful]
    rows, queues = [], {}
    for number in range(count):
        if number % len(pool) == 0:
            stream.shuffle(pool)
        item = pool[number % len(pool)]
        if not queues.get(item):
            queues[item] = prompts_of(item, words, split)
            stream.shuffle(queues[item])
        prompt = f"\n\nHuman: {queues[item].pop()}\n\nAssistant:"
        if stream.random() < 0.2:
            hello, answer = stream.choice(words["small_talk"])
            prompt = f"\n\nHuman: {hello.format(item=item.name)}\n\nAssistant: {answer}{prompt}"
        chosen, rejected = replies(item, words, config["pairs"], config["flips"], stream)
        rows.append({"chosen": f"{prompt} {chosen}", "rejected": f"{prompt} {rejected}"})
    return rows


def main() -> None:
    args = parse(__doc__, config="config", words="path", output="paths")
    words = load_words(args.words)
    for path in map(Path, args.output):
        subset, split = path.parent.name, path.name.split(".")[0]
        rows = make_rows(args.config[f"{split}_rows"][subset], split, HARMFUL[subset], args.config, words)
        with atomic(path) as temporary:
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            temporary.write_bytes(gzip.compress(lines.encode(), mtime=0))
        say(f"{subset}/{split}: {len(rows):,} pairs")


if __name__ == "__main__":
    run(main)

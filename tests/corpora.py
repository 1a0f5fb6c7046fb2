"""Pairs of a small grammar, and the same pairs in the forms that people publish: TRL's conversations, UltraFeedback's messages, a CSV of texts."""

import json
import random
from pathlib import Path
from typing import NamedTuple

import pandas as pd

GOODS = {
    "safety": ["glue", "bleach", "a ladder", "a knife", "petrol", "a saw"],
    "shop": ["bread", "tea", "a lamp", "soap", "paper", "rice"],
}
ASKS = ["May I leave {} on the stairs of house {}?", "Where do I put {} in house {}?", "Who of house {1} should carry {0}?"]
GOOD, BAD = ["Keep {} on the top shelf, please.", "Ask at the desk about {}, please."], ["Throw {} anywhere.", "No idea about {}."]
SYSTEM = "You answer for the house."


class Talk(NamedTuple):
    """A pair: what is said before it, the better reply and the worse."""

    subset: str
    system: str | None
    turns: list[str]
    chosen: str
    rejected: str


def talks(number: int, seed: int) -> list[Talk]:
    """Pairs, half of each subset; every third has a system text, every fourth two turns before the reply."""
    stream, pairs = random.Random(seed), []
    for index in range(number):
        subset = list(GOODS)[index % 2]
        item = stream.choice(GOODS[subset])
        ask = stream.choice(ASKS).format(item, seed * 1000 + index)
        before = [] if index % 4 else ["Good morning.", "Good morning, how can I help?"]
        replies = (stream.choice(kind).format(item) for kind in (GOOD, BAD))
        pairs.append(Talk(subset, None if index % 3 else SYSTEM, [*before, ask], *replies))
    return pairs


def messages(talk: Talk) -> list[dict[str, str]]:
    """What is said before the replies, as messages."""
    system = [{"role": "system", "content": talk.system}] if talk.system else []
    return system + [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(talk.turns)]


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def transcript(talk: Talk) -> str:
    """What a study has of the prompt."""
    turns = [f"\n\n{('Human', 'Assistant')[number % 2]}: {text}" for number, text in enumerate(talk.turns)]
    return "".join([talk.system or "", *turns, "\n\nAssistant:"])


def write_trl(folder: Path, split: str, pairs: list[Talk]) -> None:
    """<subset>/<split>.jsonl of TRL's conversational form, the prompt explicit in one subset and implicit in the other."""
    for subset in GOODS:
        lines = []
        for talk in (talk for talk in pairs if talk.subset == subset):
            sides = {"chosen": [said(talk.chosen)], "rejected": [said(talk.rejected)]}
            explicit = {"prompt": messages(talk), **sides}
            lines.append(explicit if subset == "shop" else {side: messages(talk) + reply for side, reply in sides.items()})
        (folder / subset).mkdir(parents=True, exist_ok=True)
        (folder / subset / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))


def write_messages(folder: Path, split: str, pairs: list[Talk]) -> None:
    """data/<split>_prefs-….parquet as UltraFeedback-binarized has it: a prompt, and both dialogues as messages, in two shards."""
    rows = [
        {
            "prompt": talk.turns[-1],
            "source": {"safety": "house_rules", "shop": "errands"}[talk.subset],
            "chosen": [*messages(talk), said(talk.chosen)],
            "rejected": [*messages(talk), said(talk.rejected)],
            "score_chosen": 8.0,
        }
        for talk in pairs
    ]
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for shard in range(2):
        part = rows[len(rows) * shard // 2 : len(rows) * (shard + 1) // 2]
        pd.DataFrame(part).to_parquet(folder / f"data/{split}_prefs-0000{shard}-of-00002.parquet")


def write_csv(folder: Path, split: str, pairs: list[Talk]) -> None:
    """<split>.csv with columns of its own: question, better, worse, topic; a question with turns before it is a transcript."""
    rows = [
        {"question": transcript(talk) if len(talk.turns) > 1 or talk.system else talk.turns[0], "better": talk.chosen, "worse": talk.rejected, "topic": talk.subset}
        for talk in pairs
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / f"{split}.csv", index=False)

"""What `annotate` asks: the replies of a study as blind items in random order, one by one or two side by side."""

import random
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from hh_align.analysis.labels import item_of
from hh_align.core.artifacts import logical_name, read_provenance, read_table, say, sha256
from hh_align.core.axes import AXES
from hh_align.core.errors import StudyError

Checkpoint = tuple[str, int]
"""(policy, seed)"""


class Study(NamedTuple):
    """The prompts of a study and the replies to them."""

    prompts: list[dict]
    """axis, prompt_id and prompt"""
    replies: dict[Checkpoint, dict[str, str]]
    """checkpoint -> prompt_id -> response"""


def read_study(folder: Path) -> Study:
    """The prompts and responses below a study's folder.

    Responses to prompts that the study had before are left out and said. Raises StudyError where there are none.
    """
    asked, paths = folder / "prompts/prompts.parquet", sorted(folder.glob("responses/*/seed-*.parquet"))
    if not paths or not asked.is_file():
        raise StudyError(f"{folder}: no prompts and responses here. Run the study first, or give the folder of another one.")
    prompts = read_table(asked, ["axis", "prompt_id", "prompt"]).to_pylist()
    sum_of_prompts, name = sha256(asked), logical_name(asked)
    replies = {}
    for path in paths:
        if read_provenance(path).get("inputs", {}).get(name, sum_of_prompts) != sum_of_prompts:
            say(f"{path}: left out: it answers other prompts than {asked} has")
            continue
        rows = read_table(path, ["prompt_id", "response"]).to_pylist()
        replies[path.parent.name, int(path.stem.removeprefix("seed-"))] = {row["prompt_id"]: row["response"] or "" for row in rows}
    if not replies:
        raise StudyError(f"{folder}: no response answers the prompts that {asked} has. Run the study again.")
    return Study(prompts, replies)


def draw(prompts: list[dict], size: int | None, seed: int) -> list[dict]:
    """At most `size` prompts per axis, the same for every policy, in drawn order: a random sample however early one stops."""
    stream, by_axis = random.Random(seed), []
    for axis in AXES:
        asked = sorted((prompt for prompt in prompts if prompt["axis"] == axis), key=lambda prompt: prompt["prompt_id"])
        by_axis.append(stream.sample(asked, min(size or len(asked), len(asked))))
    longest = max(map(len, by_axis))
    return [axis[number] for number in range(longest) for axis in by_axis if number < len(axis)]


def single_items(study: Study, prompts: list[dict], seed: int) -> list[dict]:
    """One item per different reply to a prompt, all replies to it before the next one, in random order; equal replies are asked once."""
    stream, items = random.Random(seed), []
    for prompt in prompts:
        texts = defaultdict(list)
        for checkpoint, replies in sorted(study.replies.items()):
            if prompt["prompt_id"] in replies:
                texts[replies[prompt["prompt_id"]]].append(checkpoint)
        block = [
            {**prompt, "item": item_of(prompt["axis"], prompt["prompt"], text), "texts": [text], "checkpoints": checkpoints}
            for text, checkpoints in texts.items()
        ]
        stream.shuffle(block)
        items += block
    return items


def pair_items(study: Study, prompts: list[dict], contrast: tuple[str, str], seed: int) -> list[dict]:
    """One item per prompt and seed at which the replies of (policy, against) differ, sides at random, but the same for the same two texts.
    `texts` are left and right, `sides` the policies that they are of."""
    policies = {name for name, _ in study.replies}
    for name in contrast:
        if name not in policies:
            raise StudyError(f"--contrast: {name} has no responses. The study has {', '.join(sorted(policies))}.")
    stream, items, left = random.Random(seed), [], {}
    seeds = sorted({at for name, at in study.replies if name in contrast and at} or {0})
    for prompt in prompts:
        for at in seeds:
            sides = list(contrast) if stream.random() < 0.5 else list(reversed(contrast))
            texts = [study.replies.get((name, at), study.replies.get((name, 0), {})).get(prompt["prompt_id"]) for name in sides]
            if None in texts or texts[0] == texts[1]:
                continue
            name = item_of(prompt["axis"], prompt["prompt"], *texts)
            if left.setdefault(name, texts[0]) != texts[0]:
                sides, texts = sides[::-1], texts[::-1]
            items.append({**prompt, "item": name, "texts": texts, "sides": sides, "contrast": list(contrast), "seed": at})
    return items

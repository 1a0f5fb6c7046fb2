"""Released prompts, responses and ratings as this workflow's own tables."""

import json
import sys
from pathlib import Path

from hh_align.core.artifacts import provenance, say, sha256, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, RESPONSES, REWARDS
from hh_align.data.transcripts import cluster_of

LARGEST = sys.float_info.max
FILE_NAMES = {"harmlessness": "harmful", "helpfulness": "helpful"}
"""Axis -> its word in the names of the release's files."""
KEYWORDS = ("kill", "murder", "rape")  # the author's filter of the harmful prompts


def read_checked(path: Path, total: str | None) -> list:
    """A released JSON list. Raises StudyError where the file is missing, has another sum or is no list."""
    if not path.is_file():
        raise StudyError(f"{path}: no such file. release.path must be a folder with prompts/ and responses/.")
    if total is not None and sha256(path) != total:
        raise StudyError(f"{path}: sha256 {sha256(path)}, the config says {total}. The file is not the released one.")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{path}: not JSON ({error}).") from None
    if not isinstance(entries, list):
        raise StudyError(f"{path}: not a JSON list but {type(entries).__name__}.")
    return entries


def import_prompts(path: Path, texts: list, axis: str) -> list[dict]:
    """Prompt rows in the file's order; where in the source a prompt stood is not released (null). Raises StudyError."""
    rows = []
    if not texts:
        raise StudyError(f"{path}: no prompt.")
    for number, text in enumerate(texts):
        if not is_text(text):
            raise StudyError(
                f"{path}: entry {number} is no text but {type(text).__name__}{' with half a surrogate pair' * isinstance(text, str)}."
            )
        keywords = [word for word in KEYWORDS if word in text] if axis == "harmlessness" else []
        origin = {"axis": axis, "prompt_id": f"{axis}-{number:03d}", "subset": None, "row": None, "cluster": cluster_of(text)}
        rows.append({**origin, "prompt": text, "keywords": keywords})
    return rows


def is_text(value: object) -> bool:
    """Whether this is text that UTF-8 can hold: JSON allows half a surrogate pair."""
    return isinstance(value, str) and value.encode("utf-8", "replace").decode() == value


def check_entry(path: Path, number: int, entry: object, prompt: str) -> None:
    """Raise StudyError unless the entry holds this prompt, a response text and a finite rating."""
    if not isinstance(entry, dict) or not {"prompt", "response", "rating"} <= set(entry):
        raise StudyError(f"{path}: entry {number} must hold prompt, response and rating.")
    if entry["prompt"] != prompt:
        raise StudyError(f"{path}: entry {number} answers another prompt than the prompts file has at this place.")
    if not is_text(entry["response"]):
        raise StudyError(f"{path}: entry {number}: the response is no text.")
    if isinstance(entry["rating"], bool) or not isinstance(entry["rating"], int | float) or not abs(entry["rating"]) <= LARGEST:
        raise StudyError(f"{path}: entry {number}: the rating {entry['rating']!r} is no finite number.")


def main() -> None:
    args = parse(__doc__, config="config", release="path", prompts="path", responses="paths", rewards="paths")
    sums, used, prompts = args.config["sums"], [], []
    if len(args.rewards) > len(args.config["policies"]):
        raise StudyError("config: a release has one rating of each response. Leave one entry in judges and one in seeds.")

    def read(name: str) -> tuple[Path, list]:
        used.append(args.release / name)
        return used[-1], read_checked(used[-1], sums.get(name))

    for axis, name in FILE_NAMES.items():
        prompts += import_prompts(*read(f"prompts/{name}_prompts.json"), axis)

    tables = {}
    for policy, beginning in args.config["policies"].items():
        responses, rewards = [], []
        for axis, name in FILE_NAMES.items():
            path, entries = read(f"responses/{beginning}_{name}.json")
            asked = [prompt for prompt in prompts if prompt["axis"] == axis]
            if len(entries) != len(asked):
                raise StudyError(f"{path}: {len(entries)} entries for {len(asked)} prompts.")
            for number, (entry, prompt) in enumerate(zip(entries, asked, strict=True)):
                check_entry(path, number, entry, prompt["prompt"])
                key = {"axis": axis, "prompt_id": prompt["prompt_id"]}
                responses.append({**key, "response": entry["response"]})
                rewards.append({**key, "reward": float(entry["rating"])})
        tables[policy] = responses, rewards

    made_by = provenance(args.config, used)
    write_table(args.prompts, prompts, PROMPTS, made_by)
    for paths, part, schema in ((args.responses, 0, RESPONSES), (args.rewards, 1, REWARDS)):
        for path in paths:
            write_table(path, tables[path.parent.name][part], schema, made_by)
    say(f"{len(prompts)} prompts, {len(prompts) * len(tables)} responses with ratings of {', '.join(tables)}")


if __name__ == "__main__":
    run(main)

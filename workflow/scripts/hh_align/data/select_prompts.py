"""The evaluation prompts: a keyword-filtered sample of one subset, then a sample of another, from one random stream (the author's way)."""

import random
import re

from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, columns_of
from hh_align.data.preferences import SCHEMA
from hh_align.data.transcripts import cluster_of, published_prompt

AXES = ("harmlessness", "helpfulness")


def keywords_in(text: str, keywords: list[str], match: str) -> list[str]:
    """The keywords that occur in the text, case-sensitive: as a substring, or at the beginning of a word (`word`: "killed" matches, "skills" does not)."""
    if match == "word":
        return [word for word in keywords if re.search(rf"\b{re.escape(word)}", text)]
    return [word for word in keywords if word in text]


def candidates(rows: list[dict], axis: str, how: dict) -> list[dict]:
    """Rows of the axis's subset and split, as prompts; where keywords are given, only those that match in the stated scope."""
    found = []
    for row in rows:
        if (row["subset"], row["split"]) != (how["subset"], how["split"]):
            continue
        transcript = row["prompt"] + row["chosen"]
        prompt = published_prompt(transcript)
        words = keywords_in(transcript if how["scope"] == "transcript" else prompt, how["keywords"], how["match"])
        if words or not how["keywords"]:
            place = {"axis": axis, "subset": row["subset"], "row": row["row"], "cluster": cluster_of(transcript)}
            found.append({**place, "prompt": prompt, "keywords": words})
    return found


def select(rows: list[dict], config: dict) -> list[dict]:
    """Prompts of both axes in drawn order. Raises StudyError where fewer match than are asked for."""
    stream = random.Random(config["seed"])
    drawn = []
    for axis in AXES:
        found, n = candidates(rows, axis, config[axis]), config[axis].get("n")
        say(f"{axis}: {len(found):,} candidates, {n or len(found):,} drawn")
        if not found or len(found) < (n or 0):
            place = f"{config[axis]['subset']}/{config[axis]['split']}"
            raise StudyError(f"prompts.{axis}.n is {n}, but only {len(found)} rows of {place} match. Lower n or widen the keywords.")
        sample = stream.sample(found, n) if n else found
        drawn += [{**row, "prompt_id": f"{axis}-{number:03d}"} for number, row in enumerate(sample)]
    return drawn


def main() -> None:
    args = parse(__doc__, config="config", preferences="path", output="path")
    rows = read_table(args.preferences, columns_of(SCHEMA, "split", "subset", "row", "prompt", "chosen")).to_pylist()
    write_table(args.output, select(rows, args.config), PROMPTS, provenance(args.config, [args.preferences]))


if __name__ == "__main__":
    run(main)

"""The evaluation prompts: a keyword-filtered sample of one subset, then a sample of another, from one random stream (the author's way), or
those of a suite."""

import random
import re

from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.axes import AXES
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, columns_of
from hh_align.data.preferences import SCHEMA
from hh_align.data.transcripts import cluster_of, published_prompt


def keywords_in(text: str, keywords: list[str], match: str) -> list[str]:
    """The keywords that occur in the text, case-sensitive: as a substring, or at the beginning of a word (`word`: "killed" matches, "skills" does not).

    A keyword that begins with a sign begins a word wherever it stands.
    """
    begins = {word: r"(?<!\w)" if match == "word" and re.match(r"\w", word) else "" for word in keywords}
    return [word for word in keywords if re.search(begins[word] + re.escape(word), text)]


def candidates(rows: list[dict], axis: str, how: dict) -> list[dict]:
    """Rows of the axis's subset and split, as prompts (rows of PROMPTS without a prompt_id); where keywords are given, only those that match in the stated scope.

    A row without a human turn has no prompt to answer: it is left out, and counted.
    """
    prompts, empty = [], 0
    for row in rows:
        if (row["subset"], row["split"]) != (how["subset"], how["split"]):
            continue
        transcript = row["prompt"] + row["chosen"]
        prompt = published_prompt(transcript)
        words = keywords_in(transcript if how["scope"] == "transcript" else prompt, how["keywords"], how["match"])
        if not prompt.strip():
            empty += 1
        elif words or not how["keywords"]:
            origin = {"axis": axis, "subset": row["subset"], "row": row["row"], "cluster": cluster_of(transcript)}
            prompts.append({**origin, "prompt": prompt, "keywords": words})
    if empty:
        say(f"{axis}: rows of {how['subset']}/{how['split']} left out, for their prompt is empty: {empty:,}")
    return prompts


def draw_prompts(rows: list[dict], config: dict, suites: dict[str, list[dict]] | None = None) -> list[dict]:
    """Rows of PROMPTS, of both axes in drawn order, from rows of the preferences; `prompt_id` is the axis and a number from 0.

    suites: axis -> rows of PROMPTS that are taken instead of a draw; their subset becomes `suite:<category>`, which no dataset has.
    Raises StudyError where fewer match than are asked for.
    """
    stream = random.Random(config["seed"])
    drawn = []
    for axis in AXES:
        if axis in (suites or {}):
            drawn += [{**row, "subset": f"suite:{row['subset']}"} for row in suites[axis]]
            continue
        matching, n = candidates(rows, axis, config[axis]), config[axis].get("n")
        say(f"{axis}: {len(matching):,} candidates, {n or len(matching):,} drawn")
        source = f"{config[axis]['subset']}/{config[axis]['split']}"
        if not matching:
            raise StudyError(f"prompts.{axis}: no row of {source} gives a prompt. Change subset, split, keywords, match or scope.")
        if len(matching) < (n or 0):
            raise StudyError(f"prompts.{axis}.n is {n}, but only {len(matching)} rows of {source} match. Lower n or widen the keywords.")
        sample = stream.sample(matching, n) if n else matching
        drawn += [{**row, "prompt_id": f"{axis}-{number:03d}"} for number, row in enumerate(sample)]
    return drawn


def main() -> None:
    args = parse(__doc__, config="config", preferences="path?", suites="paths?", output="path")
    columns = columns_of(SCHEMA, "split", "subset", "row", "prompt", "chosen")
    rows = read_table(args.preferences, columns).to_pylist() if args.preferences else []
    asking = [axis for axis in AXES if "suite" in args.config[axis]]
    suites = {axis: read_table(path, PROMPTS).to_pylist() for axis, path in zip(asking, args.suites, strict=True)}
    made_by = provenance(args.config, [path for path in (args.preferences, *args.suites) if path])
    write_table(args.output, draw_prompts(rows, args.config, suites), PROMPTS, made_by)


if __name__ == "__main__":
    run(main)

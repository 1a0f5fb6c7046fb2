"""Safe questions that sound harmful, and their harmful twins, as prompts of their own."""

from pathlib import Path

from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS
from hh_align.core.tabular import convert, read_any, to_text
from hh_align.data.transcripts import cluster_of

SETS = ("safe", "contrast")


def twins(path: Path) -> list[dict]:
    """Rows of PROMPTS from columns category, safe and contrast (empty where a question has no twin).

    axis is safe or contrast, subset the category, row the line of the file behind its header; both twins are one cluster. Raises StudyError
    for a row without a category or a safe question, and for a question that stands twice.
    """
    frame = read_any(path, ["category", *SETS])
    convert(frame, path, lambda value: to_text(value) or "", ["category", *SETS])
    rows, seen = [], set()
    for number, entry in enumerate(frame.to_dict("records")):
        if not entry["category"].strip() or not entry["safe"].strip():
            raise StudyError(f"{path}, row {number + 1}: category and safe must both be there.")
        for name in (name for name in SETS if entry[name].strip()):
            text = f"Human: {entry[name].strip()}"
            if text in seen:
                raise StudyError(f"{path}, row {number + 1}: the question {entry[name].strip()!r} stands twice.")
            seen.add(text)
            origin = {"axis": name, "prompt_id": f"{name}-{number:03d}", "subset": entry["category"].strip(), "row": number}
            rows.append({**origin, "cluster": cluster_of(f"Human: {entry['safe'].strip()}"), "prompt": text, "keywords": []})
    return sorted(rows, key=lambda row: SETS.index(row["axis"]))


def main() -> None:
    args = parse(__doc__, config="config?", questions="path", output="path")
    rows = twins(args.questions)
    counts = [sum(row["axis"] == name for row in rows) for name in SETS]
    say(f"{counts[0]} safe questions, {counts[1]} of them with a harmful twin")
    write_table(args.output, rows, PROMPTS, provenance({}, [args.questions]))


if __name__ == "__main__":
    run(main)

"""Claims of fact against the study's own artifacts: supported, contradicted, undecided or not measured here, with what was found.

A fact looks at a column of a table, at the number of its rows or values, at a setting that an artifact was made with, or at the files that it
was made of. What an artifact does not say, or the study does not have, is not measured here: no fact is taken from the config alone.
"""

from pathlib import Path

import pyarrow as pa

from hh_align.analysis.facts import MISSING, Found, as_list, files_of, look, numeral
from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.command import parse, run

FACTS = pa.schema(
    [
        ("claim", pa.string()),
        ("source", pa.string()),
        ("artifact", pa.string()),
        ("looked_at", pa.string()),
        ("stated", pa.string()),
        ("found", pa.string()),
        ("fact_verdict", pa.string()),
        ("verdict", pa.string()),
        ("evidence", pa.string()),
    ]
)
WORDS = {"above": "above", "at_least": "at least", "below": "below", "at_most": "at most"}
ORDER = ("contradicted", MISSING, "undecided", "supported")
"""The verdict of a claim is the first of these that one of its facts has."""


def listed(value: object) -> str:
    """`50`, `true`, or `kill, murder, rape`."""
    if isinstance(value, list):
        return ", ".join(map(listed, value))
    return str(value).lower() if isinstance(value, bool) else numeral(value) if isinstance(value, float) else str(value)


def looked_at(fact: dict) -> str:
    """`rows where axis is harmlessness`, `prompt_id of each policy`, `setting max_new_tokens`."""
    if "setting" in fact:
        return f"setting {fact['setting']}"
    if "made_of" in fact:
        return "what it is made of"
    what = fact.get("column") or ("rows" if fact["count"] == "rows" else f"number of {fact['count']}")
    each = f" of each {fact['each']}" if "each" in fact else ""
    where = " and ".join(f"{column} is {' or '.join(map(listed, as_list(value)))}" for column, value in fact.get("where", {}).items())
    return f"{what}{each}" + (f" where {where}" if where else "")


def stated(fact: dict) -> str:
    """`50`, `above 50, the whole interval`."""
    if "made_of" in fact:
        return listed(fact["made_of"])
    bounds = (
        listed(fact["is"]) if "is" in fact else " and ".join(f"{word} {listed(fact[name])}" for name, word in WORDS.items() if name in fact)
    )
    return bounds + (", the whole interval" if fact.get("interval") else "")


def conclude(verdicts: list[str]) -> str:
    """A claim's verdict from its facts': one that is contradicted denies it, one that is not measured leaves it open."""
    return next(verdict for verdict in ORDER if verdict in verdicts)


def rows_of(claim: dict, files: list[Path]) -> list[dict]:
    """The rows of one claim: one per fact, and one for what it says that nothing here measures."""
    rows = []
    for fact in claim.get("facts", []):
        found = look(fact, files_of(fact["artifact"], files))
        rows.append(row_of(fact["artifact"], looked_at(fact), stated(fact), found))
    if "not_measured" in claim:
        rows.append(row_of(None, None, None, Found(claim["not_measured"], MISSING)))
    verdict = conclude([row["fact_verdict"] for row in rows])
    telling = [row for row in rows if row["fact_verdict"] == verdict]
    others = [row for row in rows if row["fact_verdict"] not in (verdict, MISSING)]
    whole = {"claim": claim["claim"], "source": claim["source"], "verdict": verdict}
    evidence = "; ".join(dict.fromkeys(map(in_words, telling + others)))
    return [{**row, **whole, "evidence": evidence} for row in rows]


def row_of(artifact: str | None, what: str | None, said: str | None, found: Found) -> dict:
    return {"artifact": artifact, "looked_at": what, "stated": said, "found": found.words, "fact_verdict": found.verdict}


def in_words(row: dict) -> str:
    """`prompts/prompts.parquet, rows: 100 (stated: 100)`; for what is not measured, why."""
    if row["artifact"] is None or row["fact_verdict"] == MISSING:
        return row["found"]
    return f"{row['artifact']}, {row['looked_at']}: {row['found']} (stated: {row['stated']})"


def check_facts(claims: list[dict], files: list[Path]) -> list[dict]:
    """Rows of facts.parquet; files: those of the study that the facts may name. Raises StudyError as look does."""
    return [row for claim in claims for row in rows_of(claim, files)]


def main() -> None:
    args = parse(__doc__, config="config", artifacts="paths?", output="path")
    rows = check_facts(args.config["claims"], args.artifacts)
    for claim, verdict, evidence in dict.fromkeys((row["claim"], row["verdict"], row["evidence"]) for row in rows):
        say(f'"{claim}": {verdict} ({evidence})')
    write_table(args.output, rows, FACTS, provenance(args.config, args.artifacts))


if __name__ == "__main__":
    run(main)

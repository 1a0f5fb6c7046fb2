"""docs/formats.md: every small file of the tests, and what is made of it.

PYTHONPATH=workflow/scripts:tests python tests/format_page.py writes the page anew.
"""

import json
from pathlib import Path

import format_models
import format_opinions
import format_pairs
import format_ratings
import format_replies
from format_cases import Case, Section, encoded, endings_of

SECTIONS: list[Section] = [
    section for module in (format_pairs, format_replies, format_ratings, format_opinions, format_models) for section in module.SECTIONS
]
PAGE = Path(__file__).resolve().parent.parent / "docs/formats.md"
HEAD = """# Files that people bring

This page shows which files are read, what becomes of them, and which are refused with what message. [Adding to a study](adding.md) tells how a study uses each kind.

Every line is a test: `tests/format_page.py` writes this page from the list of the tests. The ending of a file's name says what it is, in capitals or not. `.gz` may follow it. In an example
`⏎` ends a line of the file, and the rows of a Parquet file are written as JSON lines. In a message `…` leaves something out. `–` is a missing value.
"""
COLUMNS = "| what you bring | tiny example | read as, or the message |\n|---|---|---|\n"


def code(text: str) -> str:
    """A text as code in a cell of a table. Raises ValueError for signs that would end it."""
    if "|" in text or "`" in text:
        raise ValueError(f"{text!r} cannot stand in a table")
    return f"`{' ⏎ '.join(text.strip().splitlines())}`"


def value_of(value: object) -> str:
    """A value that is read, with quotes where its white space would be lost."""
    text = "–" if value is None else str(value)
    return text if text and text == text.strip() and "\n" not in text else json.dumps(text)


def example(case: Case) -> str:
    """The file's name, what is in it, and what the config says of it."""
    content, ending = case.content, endings_of(case.file)[0]
    if isinstance(content, list) and not case.example:
        content = encoded(content, ".jsonl" if ending == ".parquet" else ending)
    text = case.example or (content.decode() if isinstance(content, bytes) else content)
    settings = [f"{key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in case.settings.items()]
    return "<br>".join([code(case.file), code(text), *map(code, settings)])


def answer(case: Case) -> str:
    """The rows that are read, and what is said."""
    rows = [code(", ".join(map(value_of, row))) for row in case.gives or []]
    return "<br>".join([*rows, *([code(case.says)] if case.says else [])])


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for section in SECTIONS:
        parts.append(f"\n## {section.title}\n\n{section.intro}\n")
        for title, cases in (("Formats", section.formats), ("Oddities and faults", section.faults)):
            rows = "".join(f"| {case.what} | {example(case)} | {answer(case)} |\n" for case in cases)
            parts.append(f"\n**{title}**\n\n{COLUMNS}{rows}")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

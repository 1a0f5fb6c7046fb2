"""An analysis table as CSV: full precision, an empty field for null, lists joined by spaces, no text that a spreadsheet takes for a formula."""

import csv
import io

from hh_align.core.artifacts import read_table, write_text
from hh_align.core.command import parse, run

FORMULA = tuple("=+-@\t\n＝＋－＠")
"""What a formula begins with, by OWASP's page on CSV injection."""


def cell(value: object) -> object:
    """A value as it is written: a number as it is, a text that begins as a formula behind an apostrophe, as OWASP advises, and a carriage
    return, at which a reader could end the row, by its escape."""
    if isinstance(value, float):
        return value + 0.0  # no -0.0
    text = " ".join(value) if isinstance(value, list) else value
    if not isinstance(text, str):
        return text
    text = text.replace("\r", "\\r")
    return f"'{text}" if text.startswith(FORMULA) else text


def as_csv(rows: list[dict], names: list[str]) -> str:
    """CSV text with a header line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([cell(row[name]) for name in names])
    return text.getvalue()


def main() -> None:
    args = parse(__doc__, config="config?", table="path", output="path")
    table = read_table(args.table)
    write_text(args.output, as_csv(table.to_pylist(), table.schema.names))


if __name__ == "__main__":
    run(main)

"""One table of its shards, with the rows in their order: byte for byte what a single job writes."""

import pyarrow as pa

from hh_align.core.artifacts import WINDOW, read_provenance, read_table, say, write_windows
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError


def join(shards: list[pa.Table]) -> pa.Table:
    """The shards' rows in the order of `number`. Raises StudyError where one is missing or comes twice."""
    table = pa.concat_tables(shards).sort_by("number")
    if table["number"].to_pylist() != list(range(table.num_rows)):
        raise StudyError("the shards do not make up one table: rows are missing or come twice. Delete them; the next run rebuilds them.")
    return table.drop_columns("number")


def main() -> None:
    args = parse(__doc__, config="config?", shards="paths", output="path")
    tables = [read_table(path) for path in args.shards]
    made_by = read_provenance(args.shards[0])
    if others := [path for path in args.shards if read_provenance(path) != made_by]:
        raise StudyError(f"{others[0]} and {args.shards[0]} were made from different things. Delete both; the next run rebuilds them.")
    table = join(tables)
    windows = (table.slice(start, WINDOW) for start in range(0, table.num_rows, WINDOW))
    write_windows(args.output, windows, table.schema, made_by)
    say(f"{table.num_rows:,} rows of {len(args.shards)} shards")


if __name__ == "__main__":
    run(main)

"""What every script's thin main shares: arguments, readable errors."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from hh_align.core.errors import StudyError, printable
from hh_align.core.processes import leave_group


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a command line, where argparse prints its usage as well."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {printable(message)}. --help lists the options.\n")


def parse(description: str | None, **options: str) -> argparse.Namespace:
    """Read the command line of a script.

    Each option is given as name="kind": `config` (a JSON object), `path`, `paths` (one or more), `int` or `text`.
    Every option is required; a trailing `?` on the kind makes it optional (None, or [] for `paths?`).
    """
    convert = {"config": json.loads, "path": Path, "paths": Path, "int": int, "text": str}
    parser = Parser(description=description)
    for name, kind in options.items():
        base = kind.rstrip("?")
        many = {"nargs": "*" if kind.endswith("?") else "+", "default": []} if base == "paths" else {}
        parser.add_argument(
            "--" + name.replace("_", "-"), type=convert[base], required=not kind.endswith("?"), metavar=base.upper(), **many
        )
    return parser.parse_args()


def run(main: Callable[[], None]) -> None:
    """Call main(); an expected error ends in one message on stderr and exit status 1, and so does torch's at an operation that has no fixed
    order on a GPU."""
    try:
        main()
        leave_group()
    except StudyError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {printable(f'{error.filename}: {error.strerror}')}. Check the path." if error.filename else f"error: {error}")
    except RuntimeError as error:
        if "use_deterministic_algorithms" not in str(error):
            raise
        sys.exit(f"error: {str(error).splitlines()[0].split('. ')[0]}. Set compute.deterministic: false in the config.")

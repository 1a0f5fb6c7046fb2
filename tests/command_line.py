"""A script's command line in this process: what its user would see, without the seconds that a process of its own costs."""

import io
import json
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from hh_align import cli
from hh_align.core.command import run


def call(module: ModuleType, **options: object) -> tuple[int, str]:
    """(exit status, stdout and stderr) of a script called with --option value; a dict is given as JSON, a list as several values.

    Any exception that a user would meet as a traceback leaves this function.
    """
    words = []
    for name, value in options.items():
        values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        words += ["--" + name.replace("_", "-"), *map(str, values)]
    return ended(lambda: run(module.main), [module.__file__, *words])


def command(*words: str) -> tuple[int, str]:
    """(exit status, stdout and stderr) of `hh-align` with these words, as of `call`."""
    return ended(cli.main, ["hh-align", *words])


def ended(main: Callable[[], None], words: list[str]) -> tuple[int, str]:
    """(exit status, stdout and stderr) of a program that is called with these words."""
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(output):
        patch.setattr(sys, "argv", words)
        try:
            main()
        except SystemExit as end:
            if not isinstance(end.code, str):
                return end.code or 0, output.getvalue()
            return 1, f"{output.getvalue()}{end.code}\n"
    return 0, output.getvalue()


def call_and_exit(module: str, options: dict[str, object]) -> None:
    """Call a script by its name, for a process of its own: its exit status is the script's."""
    status, output = call(import_module(module), **options)
    sys.exit(output if status else 0)


def assert_refused(result: tuple[int, str], said: str, *, where: Path | str = "") -> None:
    """One error of one line, the last one, that names the place and matches `said`."""
    status, output = result
    assert status == 1, output
    errors = [line for line in output.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and output.splitlines()[-1] == errors[0], output
    assert re.search(said, errors[0]) and str(where) in errors[0], errors[0]
    assert len(errors[0]) < 2000

"""Snakemake's command line in forks of one process that has loaded it: the same command and the same output, and no plan leaves anything to the next.

python -P tests/plan_server.py   # requests and exit statuses, a line of JSON each, on stdin and stdout
"""

import atexit
import gc
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path

PROGRAM = Path(sys.executable).parent / "snakemake"
LOADED = ("jsonschema", "pyarrow.parquet", "smart_open")  # what the workflow's rules import beside Snakemake


def plan(arguments: list[str], folder: Path) -> tuple[int, str]:
    """Run `snakemake arguments` in `folder`: its exit status, and stdout and stderr joined."""
    server = start()
    with tempfile.NamedTemporaryFile() as output:
        request = {"arguments": arguments, "folder": str(folder), "environment": dict(os.environ), "output": output.name}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        return int(server.stdout.readline()), output.read().decode()


@cache
def start() -> subprocess.Popen:
    """This process's server; it ends with it."""
    server = subprocess.Popen([sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.stdin.close)
    return server


def serve() -> None:
    """Answer each request with the exit status of a fork of this process."""
    from snakemake import cli

    cli.get_argument_parser()  # loads the plugins
    for name in LOADED:
        import_module(name)
    gc.freeze()  # what is loaded stays: no fork looks through it for garbage
    while line := sys.stdin.readline():
        if not (child := os.fork()):
            return run(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def run(arguments: list[str], folder: str, environment: dict[str, str], output: str) -> None:
    """What the program `snakemake` does, with this environment, in this folder."""
    from snakemake import cli

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for path, streams in ((os.devnull, [0]), (output, [1, 2])):
        file = os.open(path, os.O_RDWR | os.O_APPEND)
        for stream in streams:
            os.dup2(file, stream)
        os.close(file)
    sys.argv = [str(PROGRAM), *arguments]
    cli.main()


if __name__ == "__main__":
    serve()

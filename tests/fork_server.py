"""Programs in forks of one process that has loaded their libraries: the same command and the same output, and none leaves anything to the next.

python -P tests/fork_server.py serve KIND SOCKET   # KIND: snakemake, or step (of the package)
python -I -S tests/fork_server.py ask SOCKET WORD…   # runs a command there: what stands for `python` in a job's shell
"""

import hashlib
import json
import os
import socket
import sys
from functools import cache
from pathlib import Path

LIBRARIES = {
    "snakemake": ("snakemake.cli", "snakemake.executors.touch", "jsonschema", "pyarrow.parquet", "smart_open"),
    "step": (
        *("pandas", "pyarrow.parquet", "scipy.stats", "scipy.optimize", "statsmodels.stats.multitest", "statsmodels.stats.proportion"),
        *("matplotlib.figure", "matplotlib.backends.backend_svg", "jinja2", "rich.console", "rich.table", "psutil", "yaml"),
        *("datasets", "peft", "transformers.modeling_utils", "transformers.generation", "trl.trainer.base_config"),
    ),
}
"""What a fork need not load again. The package itself is none of it: each study has its own code."""


def home() -> Path:
    """The folder of the servers that this process and its children share; it and they end with the process that called this first."""
    import atexit
    import shutil
    import tempfile

    if "FORK_SERVERS" not in os.environ:
        folder = tempfile.mkdtemp(prefix="forks-")
        os.environ["FORK_SERVERS"] = folder
        os.mkfifo(f"{folder}/life")
        life = os.open(f"{folder}/life", os.O_RDWR)  # what the servers read: its end is theirs
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        atexit.register(os.close, life)
    return Path(os.environ["FORK_SERVERS"])


@cache
def start(kind: str) -> str:
    """The socket of the server of this kind, started by whoever needs it first."""
    import fcntl
    import subprocess

    path = home() / kind
    with open(home() / f"{kind}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            command = [sys.executable, "-P", __file__, "serve", kind, str(path)]
            with open(home() / "life") as life:
                server = subprocess.Popen(command, stdin=life, stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"})
            assert server.stdout.readline(), f"the server of {kind} has ended"  # it listens
    return str(path)


def ask(path: str, arguments: list[str], folder: str, environment: dict[str, str], streams: tuple[int, int, int]) -> int:
    """Run a command in the server's fork, with this folder, environment and standard streams: its exit status, 255 where the server ends
    without one."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        request = json.dumps({"arguments": arguments, "folder": folder, "environment": environment}).encode()
        socket.send_fds(connection, [len(request).to_bytes(4)], list(streams))
        connection.sendall(request)
        return int.from_bytes(connection.recv(1) or b"\xff")


def python_function() -> dict[str, str]:
    """The environment in which a shell's `python -m hh_align.…` runs in a fork."""
    client = f'"{sys.executable}" -I -S "{__file__}" ask "{start("step")}"'
    function = f'() {{ if [[ "$1 $2" == "-m hh_align."* ]]; then {client} "$@"; else command python "$@"; fi; }}'
    return {"BASH_FUNC_python%%": function}


def serve(kind: str, path: str) -> None:
    """Answer every connection with the exit status of a fork that runs its command."""
    import atexit
    import gc
    import select
    from contextlib import suppress
    from importlib import import_module

    atexit.register(leave)  # before the libraries' own functions: it is called after them
    gc.disable()  # what is loaded stays: nothing looks through it for garbage
    for name in LIBRARIES[kind]:
        import_module(name)
    if kind == "snakemake":
        sys.modules["snakemake.cli"].get_argument_parser()  # loads the plugins
        sys.modules["snakemake.executors.touch"].Executor.SLEEPING_TIME = 0.001  # per job: its dates still follow each other
        read_package()
        keep_rules()
    gc.freeze()  # in no fork either
    gc.enable()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    print("listening", flush=True)
    files: dict[int, str] = {}  # a fork's id -> the test that it runs for
    asked: dict[int, tuple[int, socket.socket]] = {}  # a fork's descriptor -> its id, and who waits for it
    while sys.stdin not in (ready := select.select([sys.stdin, listener, *asked], [], [])[0]):  # it ends with who made the servers' folder
        for ended in asked.keys() & set(ready):
            number, connection = asked.pop(ended)
            _, status, used = os.wait4(number, 0)
            status = os.waitstatus_to_exitcode(status)
            note(used.ru_utime + used.ru_stime, files.pop(number))
            with connection, suppress(OSError):  # who asked may have been killed
                connection.sendall((status % 256).to_bytes(1))
            os.close(ended)
        if listener not in ready:
            continue
        connection, _ = listener.accept()
        size, streams, _, _ = socket.recv_fds(connection, 4, 3)
        with connection.makefile("rb") as sent:
            text = sent.read(int.from_bytes(size))
        if len(size) < 4 or len(text) < int.from_bytes(size):  # who asks was killed while asking
            connection.close()
            continue
        request = json.loads(text)
        if not (number := os.fork()):
            listener.close()
            for waiting in (connection, *(each for _, each in asked.values())):
                waiting.close()
            return run(kind, streams, **request)
        asked[os.pidfd_open(number)] = number, connection
        files[number] = request["environment"].get("PYTEST_CURRENT_TEST", "")
        for stream in streams:
            os.close(stream)


def note(seconds: float, test: str) -> None:
    """Add processor time to what the test's file has taken."""
    with open(home() / "seconds", "a") as out:
        out.write(f"{seconds:.3f} {test.split('::')[0]}\n")


def read_package() -> None:
    """Hash the package's code once: the copy in a study's folder holds the same texts, but for those that a test has edited."""
    scripts = Path(__file__).resolve().parent.parent / "workflow/scripts"
    sys.path.insert(0, str(scripts))
    from hh_align.core.code_hash import code_hash

    sys.path.remove(str(scripts))
    for path in scripts.rglob("[!_]*.py"):
        code_hash(".".join(path.relative_to(scripts).with_suffix("").parts), scripts)
    for name in ("hh_align", "hh_align.core"):
        del sys.modules[name]


def keep_rules() -> None:
    """Let Snakemake translate each text of rules once: what it made of one is kept beside the servers for the forks that follow."""
    from snakemake import workflow

    translate = workflow.parse

    def parse(path, of, linemap, rulecount) -> tuple[str, int]:
        name = repr(path.get_path_or_uri(secret_free=True))  # stands in the translation
        with of.sourcecache.open(path) as rules:
            key = hashlib.sha256(f"{rulecount} {rules.read()}".encode()).hexdigest()
        kept = home() / "rules" / key
        if not kept.exists():
            code, count = translate(path, of, linemap, rulecount=rulecount)
            made = kept.with_suffix(f".{os.getpid()}")
            made.write_text(json.dumps([code.replace(name, key), count, list(linemap.items())]))
            made.rename(kept)
        code, count, lines = json.loads(kept.read_text())
        linemap |= lines
        return code.replace(key, name), count

    (home() / "rules").mkdir()
    workflow.parse = parse


def run(kind: str, streams: list[int], arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """What the program does, with this environment, in this folder."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    try:
        if kind == "snakemake":
            sys.argv = [str(Path(sys.executable).parent / "snakemake"), *arguments]
            sys.modules["snakemake.cli"].main()
        else:
            import runpy

            sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
            if (own := Path(sys.path[0], "sitecustomize.py")).exists():
                runpy.run_path(str(own))
            sys.argv = arguments[1:]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) else 1
        ENDING["status"] = code if isinstance(code, int) else int(code is not None)
        raise


ENDING = {"status": 0}
"""How this process ends."""


def leave() -> None:
    """End here: to free what is loaded, object by object, would copy every page that a fork shares."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ENDING["status"])


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    else:
        sys.exit(ask(sys.argv[2], sys.argv[3:], os.getcwd(), dict(os.environ), (0, 1, 2)))

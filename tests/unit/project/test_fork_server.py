"""Programs that tests run in forks: a status that never came is no success, and nothing is left behind."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fork_server import ask
from study_folder import REPOSITORY


def test_a_server_that_ends_without_a_status_is_a_failure(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen(1)

        def end():
            connection, _ = listener.accept()
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass

        thread = threading.Thread(target=end)
        thread.start()
        with open(os.devnull) as nothing:
            assert ask(str(tmp_path / "socket"), [], str(tmp_path), {}, (nothing.fileno(),) * 3) == 255
        thread.join()


def test_the_folder_of_the_sockets_goes_with_its_process(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("s")  # the path of a socket has 107 bytes at most
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY / 'tests')!r}); from fork_server import start; print(start('snakemake'))"
    own = {name: value for name, value in os.environ.items() if name != "FORK_SERVERS"} | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).parent.parent == tmp_path and not list(tmp_path.iterdir())


ENDS = """
import atexit, sys
atexit.register(print, "functions at exit are called")
print("begun")
if sys.argv[1] == "raises":
    raise ValueError("why")
if sys.argv[1] != "goes through":
    sys.exit(int(sys.argv[1]) if sys.argv[1].isdigit() else sys.argv[1])
"""


@pytest.mark.parametrize(("how", "status", "said"), [("goes through", 0, ""), ("3", 3, ""), ("error: why", 1, "error: why\n"), ("raises", 1, "ValueError: why\n")])  # fmt: skip
def test_a_fork_starts_and_ends_as_a_process_does(tmp_path, how, status, said):
    (tmp_path / "ends.py").write_text(ENDS)
    (tmp_path / "sitecustomize.py").write_text("print('started')")
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY / 'tests')!r}); import fork_server as f; f.LIBRARIES['step'] = (); f.serve('step', 's')"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server, open(tmp_path / "output", "w+") as output:  # fmt: skip
        server.stdout.readline()
        with socket.socket(socket.AF_UNIX) as killed:  # while it asked
            killed.connect(str(tmp_path / "s"))
        streams, environment = (output.fileno(),) * 3, os.environ | {"PYTHONPATH": str(tmp_path)}
        assert ask(str(tmp_path / "s"), ["-m", "ends", how], str(tmp_path), environment, streams) == status
    printed = (tmp_path / "output").read_text()
    assert printed.startswith("started\nbegun\n") and printed.endswith("functions at exit are called\n") and said in printed

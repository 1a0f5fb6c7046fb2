"""Programs that tests run in forks: a status that never came is no success, and nothing is left behind."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

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


def test_the_folder_of_a_socket_goes_with_its_process(tmp_path):
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY / 'tests')!r}); from fork_server import start; print(start('plan'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).parent.parent == tmp_path and not list(tmp_path.iterdir())

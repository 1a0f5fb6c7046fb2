"""What stands between a user and the paper's study is said before it starts."""

import os
import subprocess
import sys

import pytest
from study_folder import REPOSITORY

from preflight import check_hub
from study.command import StudyError


def test_a_hub_that_does_not_answer_is_one_error():
    with pytest.raises(StudyError, match=r"the hub at http://127.0.0.1:9 does not answer"):
        check_hub("http://127.0.0.1:9")


def test_the_command_ends_with_the_message_and_status_1(tmp_path):
    # make stops there: nothing is downloaded into a study that cannot run
    command = [sys.executable, str(REPOSITORY / "workflow/scripts/preflight.py"), "--config", str(REPOSITORY / "config/config.yaml")]
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the hub at http://127.0.0.1:9") and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())

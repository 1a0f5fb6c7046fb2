"""Faults all over a small study: `make faults` has the whole bench."""

import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from study_folder import REPOSITORY


@pytest.mark.long
def test_a_dozen_faults_lose_nothing(tmp_path):
    # a fault that comes when its step has ended does no harm and is not counted: a slow machine may miss some of fourteen, whatever their kinds
    bench = REPOSITORY / "tests/workflow/faults/faults.py"
    command = [sys.executable, str(bench), "--short", "--output", str(tmp_path / "faults.parquet")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert (tmp_path / "faults.parquet").is_file(), done.stdout[-6000:]
    rows = pq.read_table(tmp_path / "faults.parquet").to_pylist()
    assert not any(row["lost"] for row in rows), done.stdout[-6000:]
    assert sum(row["tried"] for row in rows) >= 10, done.stdout[-6000:]

"""A training that two processes share: the result of one, and the same bytes after a kill."""

import json
import os
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import psutil
import pytest
from fork_server import ask, start
from training_study import DIVERGENT, DPO, KTO, LAUNCH_TWO, SFT, by_two_processes, farthest, log_of, make_study, references, train, weights

METHODS = {"sft": SFT, "dpo": DPO, "kto": KTO | DIVERGENT}
COLUMNS = {
    "sft": ("loss", "grad_norm"),
    "dpo": ("loss", "grad_norm", "margins", "accuracies", "chosen_logps"),
    "kto": (
        "loss", "grad_norm", "margins", "accuracies", "chosen_rewards", "rejected_rewards", "chosen_logps", "rejected_logps",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with 17 preferences, so that the last step is a short one, a random base policy without dropout and its references."""
    folder = make_study(tmp_path_factory.mktemp("two"))
    references(folder)
    return folder


class Shared(NamedTuple):
    """A training that two processes have shared, in the folder `<kind>_two`."""

    kind: str
    inputs: dict
    printed: str


@pytest.fixture(scope="module", params=METHODS)
def shared(study, request):
    kind = request.param
    inputs = {} if kind == "sft" else {"references": study / "references-base.parquet"}
    command = by_two_processes(study, f"{kind}_two", METHODS[kind], **inputs)
    return Shared(kind, inputs, in_two_forks(command[len(LAUNCH_TWO) :]))


def in_two_forks(words):
    """Run a step in two forks, told of each other as the launcher tells its processes: what they print."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = str(bound.getsockname()[1])
    told = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    with tempfile.TemporaryFile() as output, ThreadPoolExecutor(2) as pool:
        streams = (0, output.fileno(), output.fileno())

        def run(rank):
            return ask(start("step"), ["-m", *words], os.getcwd(), os.environ | told | {"RANK": rank, "LOCAL_RANK": rank}, streams)

        statuses = list(pool.map(run, "01"))
        output.seek(0)
        printed = output.read().decode()
    assert statuses == [0, 0], printed[-3000:]
    return printed


def test_two_processes_give_the_result_of_one(study, shared):
    kind = shared.kind
    _, expected = train(study, f"{kind}_one", METHODS[kind], **shared.inputs)
    log = log_of(study, f"{kind}_two")
    for column in COLUMNS[kind]:
        assert [row[column] for row in log] == pytest.approx([row[column] for row in expected], abs=2e-3), column
    assert farthest(weights(study, f"{kind}_one"), weights(study, f"{kind}_two")) < 5e-3
    assert shared.printed.count("rows cut") + shared.printed.count("pairs cut") == 1  # only the first process speaks
    assert not (study / f"state/{kind}_two").exists()


long = partial(pytest.param, marks=pytest.mark.long)


@pytest.mark.parametrize("shared", ["dpo", long("sft"), long("kto")], indirect=True)
def test_two_processes_killed_in_the_middle_end_with_the_same_bytes(study, shared):
    kind, name = shared.kind, f"{shared.kind}_killed"
    command, state = by_two_processes(study, name, METHODS[kind], **shared.inputs), study / "state" / name
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (state / "checkpoint-2/manifest.json").is_file():
        assert process.poll() is None
        time.sleep(0.001)
    for each in [*process.children(recursive=True), process]:  # the launcher gives its processes sessions of their own
        each.kill()
    process.wait()
    if kind == "kto":  # each keeps the references of its own mismatched pairs
        assert (state / "mismatched.jsonl").is_file() and (state / "process-1/mismatched.jsonl").is_file()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "continuing from step" in done.stdout and "mismatched pair" not in done.stdout
    for file in ("manifest.json", "log.parquet"):
        assert (study / name / file).read_bytes() == (study / f"{kind}_two" / file).read_bytes()
    assert json.loads((study / "timings" / name).read_text())["continuations"] == 1

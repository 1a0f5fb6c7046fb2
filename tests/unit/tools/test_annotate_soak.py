"""Two annotators, another sample and seed at every start, kills and a full disk: what was acknowledged is what the tables hold."""

import json
import random
import resource
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from threading import Thread

import pyarrow.parquet as pq
import pytest

from hh_align.core.artifacts import write_table
from hh_align.core.tables import PROMPTS, RESPONSES

NUMBER = 200


@pytest.fixture
def study(tmp_path):
    """120 prompts per axis, of which a policy and its parent say something else to each."""
    ids = [(axis, f"{axis}-{number:03d}") for axis in ("harmlessness", "helpfulness") for number in range(120)]
    write_table(
        tmp_path / "prompts/prompts.parquet", [{"axis": axis, "prompt_id": name, "prompt": name} for axis, name in ids], PROMPTS, {}
    )
    for policy, seed in (("base", 0), ("sft", 42)):
        rows = [{"axis": axis, "prompt_id": name, "response": f"{policy} {name}"} for axis, name in ids]
        write_table(tmp_path / f"responses/{policy}/seed-{seed}.parquet", rows, RESPONSES, {})
    return tmp_path


def start(study, annotator, stream):
    """(process, address) of a page that asks another sample in another order; now and then on a disk that is nearly full."""
    path = study / "labels/answers.jsonl"
    room = path.stat().st_size + stream.randrange(300, 2_000) if path.exists() and stream.random() < 0.3 else resource.RLIM_INFINITY

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    options = ["--annotator", annotator, "--sample", str(stream.randrange(60, 120)), "--seed", str(stream.randrange(9)), "--port", "0"]
    command = [sys.executable, "-m", "hh_align.tools.annotate", "--folder", str(study), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=limited)
    while "Open http" not in (line := process.stdout.readline()):
        if process.poll() is not None:
            return process, None
    return process, line.split("Open ")[1].split("/ ")[0]


def annotate(study, annotator, acknowledged):
    """Give answers until `NUMBER` are acknowledged, with kill -9 at random moments."""
    stream = random.Random(annotator)
    while len(acknowledged) < NUMBER:
        process, address = start(study, annotator, stream)
        try:
            items = json.load(urllib.request.urlopen(f"{address}/items")) if address else []
            for item in [item for item in items if item["item"] not in acknowledged][: stream.randrange(20, 80)]:
                if len(acknowledged) == NUMBER:
                    break
                answer = stream.choice(["good", "bad"])
                body = json.dumps({"item": item["item"], "answer": answer}).encode()
                if stream.random() < 0.02:
                    Thread(target=lambda victim=process: (time.sleep(0.01), victim.kill())).start()
                with urllib.request.urlopen(f"{address}/answers", body) as reply:
                    assert reply.status == 200
                acknowledged[item["item"]] = answer == "good"
        except (urllib.error.URLError, ConnectionError):
            pass  # killed, or no room: not acknowledged
        finally:
            process.kill()
            process.wait()


@pytest.mark.long
def test_what_was_acknowledged_is_what_the_tables_hold(study):
    acknowledged = {"ann": {}, "bob": {}}
    pages = [Thread(target=annotate, args=(study, name, given)) for name, given in acknowledged.items()]
    for page in pages:
        page.start()
    for page in pages:
        page.join()
    process, _ = start(study, "eve", random.Random(0))
    process.kill()
    rows = pq.read_table(study / "labels/labels.parquet").to_pylist()
    for name, given in acknowledged.items():
        read = {row["item"]: row["good"] for row in rows if row["annotator"] == name}
        assert given.items() <= read.items()  # of an answer that was kept as the page was killed, no word came
        assert len(read) <= NUMBER + 20

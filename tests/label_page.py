"""A small study whose replies are labelled, and the page that asks for the labels."""

import http.client
import json
from contextlib import contextmanager
from functools import partial
from threading import Thread

import pyarrow.parquet as pq

from hh_align.core.artifacts import write_table
from hh_align.core.tables import PROMPTS, RESPONSES
from hh_align.tools import annotate
from hh_align.tools.annotate import serve
from hh_align.tools.answers import Answers
from hh_align.tools.asked import read_study

HOSTILE = '<img src=x onerror="alert(1)"></script><script>alert(2)</script>'
POLICIES = {"base": 0, "sft": 42, "sft_dpo": 42}


def write_study(tmp_path):
    """A study's folder with 6 prompts per axis; sft and sft_dpo say the same to number 0."""
    ids = [(axis, f"{axis}-{number:03d}") for axis in ("harmlessness", "helpfulness") for number in range(6)]
    prompts = [{"axis": axis, "prompt_id": name, "prompt": f"Human: {name}", "cluster": name, "keywords": []} for axis, name in ids]
    write_table(tmp_path / "prompts/prompts.parquet", prompts, PROMPTS, {})
    for number, (policy, seed) in enumerate(POLICIES.items()):
        texts = {name: f"{HOSTILE} {min(number, 1) if name.endswith('0') else number}" for _, name in ids}
        rows = [{"axis": axis, "prompt_id": name, "response": texts[name]} for axis, name in ids]
        write_table(tmp_path / f"responses/{policy}/seed-{seed}.parquet", rows, RESPONSES, {})
    return tmp_path


def items_of(study, contrast=None, seed=0, sample=None):
    return annotate.items_of(read_study(study), contrast, sample, seed)


@contextmanager
def served(items, study, annotator="me"):
    answers = Answers(study / "labels/answers.jsonl", annotator)
    with running(serve(items, answers, read_study(study), study / "labels", 0)) as get:
        yield get


@contextmanager
def running(server):
    """What asks a server of the page, until the end."""
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield partial(ask, server.server_port)
    finally:
        server.shutdown()
        server.server_close()


def ask(port, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), dict(answer.getheaders())


def labels_of(study, name="labels"):
    return pq.read_table(study / f"labels/{name}.parquet").to_pylist()

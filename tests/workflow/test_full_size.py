"""OPT-350M in its true size, with random weights: download, conversion, loading and generation, each step's memory measured."""

import json
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from hubstub import Hub, digests, environment, revision_folder
from tinymodels import write_opt

from hh_align.core.artifacts import sha256, write_table
from hh_align.core.tables import PROMPTS

OPT_350M = {
    "vocab_size": 50272,
    "word_embed_proj_dim": 512,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "ffn_dim": 4096,
}
COMMITS = {"bin": "0" * 40, "safetensors": "1" * 40}
MOST = 6000  # MB that any step may take
GENERATION = {
    "device": "cpu",
    "max_new_tokens": 50,
    "dtype": "float32",
    "lead": False,
    "cue": False,
    "stop": False,
    "strip": False,
    "long_prompts": "error",
}
QUESTIONS = ["How do I bake bread?", "What is a prime number?", "Why is the sky blue? " * 10, "Tell me of the sea. " * 40]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    for weights, commit in COMMITS.items():
        folder = revision_folder(root, "models", "org/opt", commit)
        write_opt(folder, weights=weights, hidden=1024, **OPT_350M)
        for path in folder.iterdir():
            digests(path)  # beforehand: the client waits ten seconds for the listing
    with Hub(root) as hub:
        yield hub


MEASURE = "import resource, subprocess, sys; status = subprocess.call(sys.argv[1:]); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(status)"


def step(script: str, away: dict[str, str], **options: object) -> int:
    """Run a step in a process of its own, started by a small one (a child is charged with its parent's memory); its peak in MB."""
    words = [
        word for name, value in options.items() for word in (f"--{name}", json.dumps(value) if isinstance(value, dict) else str(value))
    ]
    command = [sys.executable, "-m", script, *words]
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", MEASURE, *command], env=away, stdout=subprocess.PIPE, text=True, check=True)
    peak = int(done.stdout.splitlines()[-1]) // 1024
    print(f"{script}: {time.monotonic() - started:.0f} s, peak {peak} MB")
    return peak


@pytest.mark.long
def test_the_papers_base_goes_through_every_step_in_six_gigabytes(hub, tmp_path):
    """What fits at the size of the tests must fit at that of the paper, from a pickle and from safetensors, and give the same weights."""
    away = environment(hub.url, tmp_path) | {"OMP_NUM_THREADS": "2"}
    (tmp_path / "sums.yaml").write_text("{}")
    rows = [
        {"axis": "helpfulness", "prompt_id": f"helpfulness-{number:03}", "subset": "s", "row": number, "cluster": "c", "keywords": []}
        | {"prompt": f"\n\nHuman: {question}"}
        for number, question in enumerate(QUESTIONS)
    ]
    write_table(tmp_path / "prompts.parquet", rows, PROMPTS, {})
    peaks, sums = {}, set()
    for weights, commit in COMMITS.items():
        folder = tmp_path / weights
        request = {"kind": "models", "repo": "org/opt", "revision": commit}
        files = {"checksums": tmp_path / "sums.yaml", "manifest": folder / "hub/manifest.json", "timing": folder / "timing.json"}
        peaks[weights, "download"] = step("hh_align.data.fetch_hub", away, config=request, **files)
        made = {"source": folder / "hub/manifest.json", "manifest": folder / "base/manifest.json"}
        peaks[weights, "conversion"] = step("hh_align.models.import_model", away, config={"kind": "policy"}, **made)
        sums.add(sha256(folder / "base/model.safetensors"))
    inputs = {"policy": folder / "base/manifest.json", "prompts": tmp_path / "prompts.parquet", "threads": 2}
    outputs = {"state": tmp_path / "state", "output": tmp_path / "responses.parquet", "timing": tmp_path / "timing.json"}
    peaks["generation"] = step(
        "hh_align.evaluation.generate_responses", away, config=GENERATION | {"batch_tokens": 4096}, **inputs, **outputs
    )
    assert not (tmp_path / "left-loopback").exists()
    assert len(sums) == 1
    assert pq.read_metadata(tmp_path / "responses.parquet").num_rows == len(QUESTIONS)
    assert max(peaks.values()) < MOST, peaks

"""Downloads by commit, with the real hub client in a process of its own against a stand-in on loopback."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hubstub import Hub, environment, revision_folder
from tinymodels import write_dataset

from hh_align.config.selection import given_source, model_selection
from hh_align.core.artifacts import sha256, verify_manifest
from hh_align.data.fetch_hub import model_files, pick_files

FETCH = [sys.executable, "-m", "hh_align.data.fetch_hub"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TRAIN, TEST = "harmless-base/train.jsonl.gz", "harmless-base/test.jsonl.gz"
DATA = {"kind": "datasets", "repo": "org/pairs", "revision": COMMIT, "files": [TRAIN, TEST], "retry_seconds": 0.01}
MODEL = {"kind": "models", "repo": "org/model", "revision": COMMIT, "retry_seconds": 0.01}
ROWS = [{"chosen": f"\n\nHuman: {number}", "rejected": "no"} for number in range(200)]


@pytest.fixture
def hub(tmp_path):
    data = revision_folder(tmp_path / "hub", "datasets", "org/pairs", COMMIT)
    write_dataset(data, {"harmless-base": {"train": ROWS, "test": ROWS[:9]}, "red-team-attempts": {"train": ROWS}})
    model = revision_folder(tmp_path / "hub", "models", "org/model", COMMIT)
    for name in (
        "config.json",
        "vocab.json",
        "merges.txt",
        "LICENSE.md",
        "README.md",
        "model.safetensors",
        "pytorch_model.bin",
        "tf_model.h5",
    ):
        (model / name).write_text(f"content of {name}\n")
    with Hub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def fetch(hub, tmp_path):
    """Run the script: (exit status, output). Anything that would leave loopback fails the test."""

    def run(config: dict, table: dict | None = None, **more: str) -> tuple[int, str]:
        (tmp_path / "checksums.yaml").write_text(json.dumps(table or {}))
        options = ["--config", json.dumps(config), "--checksums", tmp_path / "checksums.yaml"]
        options += ["--manifest", manifest_of(tmp_path, config), "--timing", tmp_path / "timing.json"]
        env = environment(hub.url, tmp_path) | {"HF_TOKEN": "hf_secret"} | more
        ended = subprocess.run([*FETCH, *options], env=env, capture_output=True, text=True, timeout=120)
        assert not (tmp_path / "left-loopback").exists(), (tmp_path / "left-loopback").read_text()
        assert "hf_secret" not in ended.stdout + ended.stderr
        return ended.returncode, ended.stdout + ended.stderr

    return run


def manifest_of(tmp_path: Path, config: dict) -> Path:
    return tmp_path / "results" / "hub" / config["kind"] / config["repo"].replace("/", "--") / config["revision"] / "manifest.json"


def refused(result: tuple[int, str], *phrases: str) -> None:
    """An expected failure: status 1, no traceback, one `error:` line that says what is needed."""
    status, output = result
    assert status == 1 and "Traceback" not in output, output
    message = [line for line in output.splitlines() if line.startswith("error:")]
    assert len(message) == 1 and output.splitlines()[-1] == message[0], output
    for phrase in phrases:
        assert phrase in message[0]


def test_a_download_brings_the_named_files_once(hub, fetch, tmp_path):
    """A complete download is never repeated, not even when the manifest has been deleted, and nothing unneeded is fetched."""
    status, output = fetch(DATA)
    assert status == 0, output
    assert "to download: " in output and "in 2 of 2 files" in output and "are free in" in output
    manifest = manifest_of(tmp_path, DATA)
    assert set(json.loads(manifest.read_text())) == {TRAIN, TEST}
    for name in (TRAIN, TEST):
        assert (manifest.parent / name).read_bytes() == (hub.root / "datasets/org/pairs" / COMMIT / name).read_bytes()
    assert not any("red-team" in request.path for request in hub.log)
    assert f"1/2 {TEST}" in output and f"2/2 {TRAIN}" in output

    first = manifest.read_bytes()
    manifest.unlink()
    hub.log.clear()
    assert fetch(DATA)[0] == 0
    assert hub.log == [] and manifest.read_bytes() == first


def test_the_token_goes_to_the_hub_only(hub, fetch):
    """Large files come from another host, which must not see the token."""
    fetch(DATA)
    assert any(request.authorized for request in hub.log)
    assert not any(request.authorized for request in hub.log if request.path.startswith("/cdn/"))


def test_one_file_is_fetched_again_when_only_one_is_damaged(hub, fetch, tmp_path):
    """Resuming is per file: what is right stays, what has wrong bytes is replaced."""
    fetch(DATA)
    damaged = manifest_of(tmp_path, DATA).parent / TEST
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    hub.log.clear()
    assert fetch(DATA)[0] == 0
    assert hub.log and all(request.path.endswith(TEST) for request in hub.log)
    verify_manifest(manifest_of(tmp_path, DATA))


def test_a_model_comes_with_one_kind_of_weights(hub, fetch, tmp_path):
    """Pickles and other frameworks' weights cost gigabytes and trust: safetensors win where there are any."""
    status, output = fetch(MODEL)
    assert status == 0, output
    wanted = {"config.json", "vocab.json", "merges.txt", "LICENSE.md", "model.safetensors"}
    assert set(json.loads(manifest_of(tmp_path, MODEL).read_text())) == wanted
    assert not any(request.path.endswith((".bin", ".h5", "README.md")) for request in hub.log)


def test_selection():
    """The choice of files is a pure rule: safetensors before .bin, tokenizer.json before vocab and merges, licences if there."""
    licences = ["LICENSE", "LICENSE.md", "NOTICE.txt"]
    pickled = {"config.json", "pytorch_model.bin", "tokenizer.json", "vocab.json", "merges.txt", "spm.model", *licences}
    assert pick_files(pickled, model_files(pickled)) == [*licences, "config.json", "pytorch_model.bin", "tokenizer.json"]
    adapter = given_source({"parent": "base", "adapter": {"repo": "a/b", "revision": "0" * 40}})
    for source, weights in (({"file": "m.gguf"}, {"m.gguf"}), (adapter, {"adapter_config.json", "adapter_model.safetensors"})):
        assert pick_files({*licences, *weights}, model_selection(source)["files"]) == [*licences, *sorted(weights)]
    shards = {f"model-0000{number}-of-00002.safetensors" for number in (1, 2)}
    sharded = {"config.json", "tokenizer.json", "pytorch_model.bin", "model.safetensors.index.json", *shards}
    assert pick_files(sharded, model_files(sharded)) == sorted(sharded - {"pytorch_model.bin"})
    with pytest.raises(KeyError, match=r"model\.safetensors"):
        pick_files({"config.json", "tokenizer.json"}, model_files({"config.json", "tokenizer.json"}))


def test_wrong_bytes_of_the_right_length(hub, fetch, tmp_path):
    """The client accepts them silently; the sum must not."""
    hub.corrupt.add(TRAIN)
    refused(fetch(DATA), TRAIN, "wrong bytes, removed")
    assert not manifest_of(tmp_path, DATA).exists() and not (manifest_of(tmp_path, DATA).parent / TRAIN).exists()
    assert (manifest_of(tmp_path, DATA).parent / TEST).exists()
    hub.corrupt.clear()
    assert fetch(DATA)[0] == 0

    hub.corrupt.add("config.json")  # a small file has a git blob id instead of a sha256
    refused(fetch(MODEL), "config.json", "wrong bytes, removed")


def test_the_table_of_checksums_is_above_the_hub(hub, fetch, tmp_path):
    """A sum known in advance holds even against a hub that states another one."""
    key, right = f"org/pairs@{COMMIT}", sha256(hub.root / "datasets/org/pairs" / COMMIT / TEST)
    refused(fetch(DATA, {key: {TEST: "0" * 64}}), TEST, "0" * 64)
    assert fetch(DATA, {key: {TEST: right}})[0] == 0


def test_a_sum_that_the_config_knows_is_above_the_hub(hub, fetch, tmp_path):
    # a suite of prompts is pinned by revision and sha256
    refused(fetch(DATA | {"sums": {TEST: "0" * 64}}), f"{TEST}: wrong bytes, removed", "0" * 64)
    right = sha256(revision_folder(tmp_path / "hub", "datasets", "org/pairs", COMMIT) / TEST)
    status, output = fetch(DATA | {"sums": {TEST: right}})
    assert status == 0, output


def test_a_cut_connection_is_continued(hub, fetch, tmp_path):
    """Big downloads break; the rest is asked for by range (the client keeps whole chunks of 10 MiB), not the file again."""
    weights = hub.root / "models/org/model" / COMMIT / "model.safetensors"
    weights.write_bytes(random.Random(0).randbytes(11 * 2**20))
    hub.cut["model.safetensors"] = [10 * 2**20 + 5]
    status, output = fetch(MODEL)
    assert status == 0, output
    assert f"bytes={10 * 2**20}-" in [request.range for request in hub.log]
    assert sha256(manifest_of(tmp_path, MODEL).parent / "model.safetensors") == sha256(weights)


def test_a_busy_hub_is_asked_again(hub, fetch):
    """503 and 429 pass: on the listing and on a file's body, which the client itself does not retry."""
    hub.status |= {"org/pairs": [503], TRAIN: [503]}
    status, output = fetch(DATA)
    assert status == 0, output
    assert output.count("the hub answered 503; trying again") == 2


def test_a_busy_hub_says_when_to_ask_again(hub, fetch):
    """Who asks earlier than Retry-After is shut out for longer."""
    hub.status[TRAIN], hub.retry_after = [429, 503], 1
    status, output = fetch(DATA)
    assert status == 0, output
    assert "the hub answered 503; trying again in 1 s" in output


def test_a_hub_that_does_not_answer_in_time_is_asked_again(hub, fetch):
    """A stalled connection must not hang a study."""
    hub.stall[TRAIN] = [4.0]
    status, output = fetch(DATA, HF_HUB_DOWNLOAD_TIMEOUT="1")
    assert status == 0, output


def test_a_killed_download_keeps_its_complete_files(hub, fetch, tmp_path):
    """kill -9 in the middle of the second file: the first is not asked for again."""
    hub.stall[TRAIN] = [60.0]
    (tmp_path / "checksums.yaml").write_text("{}")
    command = [*FETCH, "--config", json.dumps(DATA), "--checksums", tmp_path / "checksums.yaml", "--timing", tmp_path / "t"]
    process = subprocess.Popen([*command, "--manifest", manifest_of(tmp_path, DATA)], env=environment(hub.url, tmp_path))
    while hub.stall[TRAIN]:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not manifest_of(tmp_path, DATA).exists()
    hub.log.clear()
    status, output = fetch(DATA)
    assert status == 0, output
    assert not [request for request in hub.log if request.path.endswith(TEST)]
    timing = json.loads((tmp_path / "timing.json").read_text())
    assert timing["continuations"] == 1 and timing["files"] == 2 and timing["seconds"] > 0
    assert timing["downloaded_bytes"] == (manifest_of(tmp_path, DATA).parent / TRAIN).stat().st_size
    assert sha256(manifest_of(tmp_path, DATA).parent / TRAIN) == sha256(hub.root / "datasets/org/pairs" / COMMIT / TRAIN)


def test_a_hub_that_stays_busy(hub, fetch):
    """Retries are bounded, and the end says how often."""
    hub.status[TRAIN] = [503] * 9
    refused(fetch(DATA), "answered 503", "3 tries")


def test_unknown_revision(fetch):
    refused(fetch(DATA | {"revision": "f" * 40}), "no such revision", "f" * 12)


def test_unknown_or_closed_repository(hub, fetch):
    refused(fetch(DATA | {"repo": "org/nothing"}), "org/nothing", "no access", "401", "HF_TOKEN")
    hub.status["org/pairs"] = [403]
    refused(fetch(DATA), "403", "HF_TOKEN")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"], ids=["small", "large"])
def test_a_gated_repository_lists_its_files_and_gives_none(hub, fetch, tmp_path, status, name):
    """The listing is open, a file is not: trying again is no help, accepting the terms is."""
    hub.code, hub.status[name] = "GatedRepo", [status] * 9
    refused(fetch(MODEL), name, f"answered {status}", "accept its terms", "HF_TOKEN")
    assert not manifest_of(tmp_path, MODEL).exists()
    assert sum(request.path.endswith(name) for request in hub.log) <= 2  # asked about, then asked for


def test_a_file_that_the_revision_does_not_have(fetch):
    refused(fetch(DATA | {"files": ["helpful-base/train.jsonl.gz"]}), "no helpful-base/train.jsonl.gz", TRAIN)


def test_no_hub_at_all(fetch, tmp_path):
    """Without a network the message comes at once and names the way out."""
    refused(fetch(DATA, HF_ENDPOINT="http://127.0.0.1:9"), "ConnectError", "3 tries", "local folder")
    assert not manifest_of(tmp_path, DATA).exists()


def test_offline_switch(hub, fetch):
    """HF_HUB_OFFLINE is honoured: no request, and the message names the switch."""
    refused(fetch(DATA, HF_HUB_OFFLINE="1"), "HF_HUB_OFFLINE")
    assert hub.log == []


def test_a_download_that_does_not_fit_on_the_disk(hub, fetch):
    """Said before the first byte, with both sizes."""
    hub.size[TRAIN] = 10**18
    refused(fetch(DATA), "1000000000.0 GB", "are free")
    assert not any("/resolve/" in request.path for request in hub.log)

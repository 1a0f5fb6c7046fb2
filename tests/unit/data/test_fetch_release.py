"""A release's files: downloaded one by one against sums, and only where they are missing."""

import hashlib
import json

import pytest
from command_line import assert_refused, call
from raw_server import raw_server

from hh_align.core.artifacts import verify_manifest
from hh_align.data import fetch_release

NAMES = ["prompts/harmful_prompts.json", "responses/1_base_harmful.json"]


@pytest.fixture
def server(tmp_path):
    """A raw-file server with one release at commit `abc`."""
    folder = tmp_path / "served/org/release/abc/data"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'["{name}"]')
    with raw_server(tmp_path / "served") as http:
        http.folder = folder
        yield http


def request(server, **more):
    sums = {name: hashlib.sha256((server.folder / name).read_bytes()).hexdigest() for name in NAMES}
    return {"repo": "org/release", "revision": "abc", "endpoint": server.url, "sums": sums, "retry_seconds": 0.01} | more


def test_a_release_is_downloaded_once_and_only_what_is_missing_again(server, tmp_path):
    # a second run must not depend on the network
    manifest = tmp_path / "release/manifest.json"
    assert call(fetch_release, config=request(server), manifest=manifest)[0] == 0
    assert sorted(json.loads(verify_manifest(manifest).joinpath("manifest.json").read_text())) == NAMES
    first = manifest.read_bytes()
    (manifest.parent / NAMES[0]).write_text("damaged")
    server.asked.clear()
    assert call(fetch_release, config=request(server), manifest=manifest)[0] == 0
    assert server.asked == [f"/org/release/abc/data/{NAMES[0]}"]
    assert manifest.read_bytes() == first


def test_a_server_that_is_busy_is_asked_again(server, tmp_path):
    # one 503 must not end a run
    server.failures += [503, 429]
    assert call(fetch_release, config=request(server), manifest=tmp_path / "release/manifest.json")[0] == 0
    assert server.asked == [f"/org/release/abc/data/{name}" for name in (NAMES[0], *NAMES[:1] * 2, NAMES[1])]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"revision": "gone"}, "gone/data/prompts/harmful_prompts.json: the server answers 404. Check release.repo, release.revision"),
        ({"sums": {NAMES[0]: "0" * 64}}, f"release.sums says {'0' * 64}"),
        ({"endpoint": "http://127.0.0.1:9"}, "give release.path a folder that holds the release"),
    ],
    ids=["no such revision", "another sum", "no server"],
)
def test_a_download_that_fails_is_one_message_and_leaves_no_file(server, tmp_path, more, said):
    result = call(fetch_release, config=request(server, **more), manifest=tmp_path / "release/manifest.json")
    assert_refused(result, said)
    assert [path for path in (tmp_path / "release").rglob("*") if path.is_file()] == []

"""A suite's file from a server of raw files: downloaded once, held to its sha256; of the hub, to the sum that the config knows."""

import hashlib
import json

import pytest
from command_line import assert_refused, call
from raw_server import raw_server

from hh_align.core.artifacts import verify_manifest
from hh_align.data import fetch_suite

CONTENT = "id,prompt\n1,How?\n"


@pytest.fixture
def server(tmp_path):
    """A repository org/suite with data/a.csv at commit `abc`."""
    path = tmp_path / "served/org/suite/abc/data/a.csv"
    path.parent.mkdir(parents=True)
    path.write_text(CONTENT)
    with raw_server(tmp_path / "served") as http:
        yield http


def request(server, **more):
    known = {"repo": "org/suite", "revision": "abc", "file": "data/a.csv", "sha256": hashlib.sha256(CONTENT.encode()).hexdigest()}
    return known | {"endpoint": server.url, "retry_seconds": 0.01} | more


def test_a_suite_is_downloaded_once_whatever_the_server_does_at_first(server, tmp_path):
    server.failures += [503, 429]
    manifest = tmp_path / "hub/manifest-12345678.json"
    for _ in range(2):
        assert call(fetch_suite, config=request(server), manifest=manifest)[0] == 0
    assert server.asked == ["/org/suite/abc/data/a.csv"] * 3
    assert (verify_manifest(manifest) / "data/a.csv").read_text() == CONTENT
    assert json.loads(manifest.read_text()) == {"data/a.csv": request(server)["sha256"]}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"revision": "gone"}, "/org/suite/gone/data/a.csv: the server answers 404. Check the suite's repo, revision and file"),
        ({"sha256": "0" * 64}, f"the suite's sha256 says {'0' * 64}"),
        ({"endpoint": "http://127.0.0.1:9"}, "give the suite a path to a file of this machine"),
        ({"file": "a/../../../b.csv"}, r"the suite's sha256 names a/\.\./\.\./\.\./b\.csv, which lies outside its folder"),
    ],
    ids=["no such revision", "another sum", "no server", "another folder"],
)
def test_a_download_that_fails_is_one_message_and_leaves_no_file(server, tmp_path, more, said):
    result = call(fetch_suite, config=request(server, **more), manifest=tmp_path / "hub/manifest-12345678.json")
    assert_refused(result, said)
    assert [path for path in (tmp_path / "hub").rglob("*") if path.is_file()] == []

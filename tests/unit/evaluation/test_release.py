"""Released responses: downloaded file by file against sums, and refused where they are not what they should be."""

import hashlib
import json
import math
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pyarrow.parquet as pq
import pytest
import yaml
from study_folder import REPOSITORY, SHARED

from hh_align.core.artifacts import verify_manifest
from hh_align.core.errors import StudyError
from hh_align.evaluation.import_release import check_entry, import_prompts, read_checked

NAMES = ["prompts/harmful_prompts.json", "responses/1_base_harmful.json"]
ENTRY = {"prompt": "Human: how?", "response": "", "rating": -3.25}


def call(module, **options):
    """(exit status, output) of a step in a process of its own."""
    words = [word for name, value in options.items() for word in ("--" + name, *map(str, value if isinstance(value, list) else [value]))]
    ended = subprocess.run([sys.executable, "-m", module, *words], capture_output=True, text=True, timeout=60)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.fixture
def server(tmp_path):
    """A raw-file server with one release at commit `abc`; its `asked` lists the paths that were asked for."""
    asked, failures = [], []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(failures.pop()) if failures else super().do_GET()

        def log_message(self, *_):
            pass

    folder = tmp_path / "served/org/release/abc/data"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'["{name}"]')
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path / "served")) as http:
        http.asked, http.failures, http.folder = asked, failures, folder
        Thread(target=http.serve_forever, daemon=True).start()
        yield http
        http.shutdown()


def request(server, **more):
    sums = {name: hashlib.sha256((server.folder / name).read_bytes()).hexdigest() for name in NAMES}
    address = f"http://127.0.0.1:{server.server_port}"
    return {"repo": "org/release", "revision": "abc", "endpoint": address, "sums": sums, "retry_seconds": 0.01} | more


def test_a_release_is_downloaded_once_and_only_what_is_missing_again(server, tmp_path):
    # a second run must not depend on the network
    manifest = tmp_path / "release/manifest.json"
    config = json.dumps(request(server))
    assert call("hh_align.data.fetch_release", config=config, manifest=manifest)[0] == 0
    assert sorted(json.loads(verify_manifest(manifest).joinpath("manifest.json").read_text())) == NAMES
    first = manifest.read_bytes()
    (manifest.parent / NAMES[0]).write_text("damaged")
    server.asked.clear()
    assert call("hh_align.data.fetch_release", config=config, manifest=manifest)[0] == 0
    assert server.asked == [f"/org/release/abc/data/{NAMES[0]}"]
    assert manifest.read_bytes() == first


def test_a_server_that_is_busy_is_asked_again(server, tmp_path):
    # one 503 must not end a run
    server.failures += [503, 429]
    assert call("hh_align.data.fetch_release", config=json.dumps(request(server)), manifest=tmp_path / "release/manifest.json")[0] == 0
    assert server.asked == [f"/org/release/abc/data/{name}" for name in (NAMES[0], *NAMES[:1] * 2, NAMES[1])]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"revision": "gone"}, "gone/data/prompts/harmful_prompts.json: the server answers 404. Check release.repo, release.revision"),
        ({"sums": {NAMES[0]: "0" * 64}}, f"release.sums says {'0' * 64}"),
        ({"endpoint": "http://127.0.0.1:9"}, "give release.path a folder that holds the release"),
    ],
)
def test_a_download_that_fails_is_one_message_and_leaves_no_file(server, tmp_path, more, said):
    status, output = call(
        "hh_align.data.fetch_release", config=json.dumps(request(server, **more)), manifest=tmp_path / "release/manifest.json"
    )
    assert status == 1 and said in output and "Traceback" not in output
    assert output.count("error:") == 1
    assert [path for path in (tmp_path / "release").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("text", "entry 7 must hold prompt, response and rating"),
        ({"prompt": "p", "response": "r"}, "entry 7 must hold prompt, response and rating"),
        (ENTRY | {"prompt": "another"}, "entry 7 answers another prompt"),
        (ENTRY | {"response": None}, "entry 7: the response is no text"),
        (ENTRY | {"rating": math.nan}, "entry 7: the rating nan is no finite number"),
        (ENTRY | {"rating": "-3"}, "entry 7: the rating '-3' is no finite number"),
        (ENTRY | {"rating": True}, "entry 7: the rating True is no finite number"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, entry, said):
    check_entry(tmp_path / "r.json", 7, ENTRY, ENTRY["prompt"])
    with pytest.raises(StudyError, match=f"r.json: {said}"):
        check_entry(tmp_path / "r.json", 7, entry, ENTRY["prompt"])


@pytest.mark.parametrize(("text", "said"), [("[", "not JSON"), ("{}", "not a JSON list but dict"), ("\xff", "not JSON")])
def test_a_file_that_is_no_list_is_named(tmp_path, text, said):
    path = tmp_path / "p.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(StudyError, match=f"p.json: {said}"):
        read_checked(path, None)
    with pytest.raises(StudyError, match=r"p.json: entry 1 is no text but int"):
        import_prompts(path, ["Human: hi", 3], "harmlessness")


def test_a_second_judge_cannot_be_given_the_first_ones_ratings(tmp_path):
    # the release has one rating of each response: under another judge's name they would be a lie
    rewards = [tmp_path / f"rewards/{judge}/base/seed-0.parquet" for judge in ("deberta", "other")]
    config = json.dumps({"policies": {"base": "1_base"}, "sums": {}})
    status, output = call(
        "hh_align.evaluation.import_release",
        config=config,
        release=tmp_path,
        prompts=tmp_path / "p",
        responses=[tmp_path / "r"],
        rewards=rewards,
    )
    assert status == 1 and "Leave one entry in judges and one in seeds" in output


def test_the_papers_release_as_tables(tmp_path):
    # what a notebook reads from an import must have the same names as from a run, and null where the release says nothing
    release = SHARED / "paper-release"
    if not release.is_dir():
        pytest.skip("needs the paper's release in ../shared/paper-release")
    config = yaml.safe_load((REPOSITORY / "config/published.yaml").read_text())["release"]
    places = {policy: f"{policy}/seed-{0 if policy == 'base' else 42}.parquet" for policy in config["policies"]}
    paths = {kind: [tmp_path / kind / place for place in places.values()] for kind in ("responses", "rewards")}
    status, output = call(
        "hh_align.evaluation.import_release", config=json.dumps(config), release=release, prompts=tmp_path / "prompts.parquet", **paths
    )
    assert status == 0 and "100 prompts, 400 responses" in output
    prompts = pq.read_table(tmp_path / "prompts.parquet").to_pylist()
    assert [row["prompt_id"] for row in prompts[49:51]] == ["harmlessness-049", "helpfulness-000"]
    assert {row["row"] for row in prompts} == {None} and not any(row["keywords"] for row in prompts[50:])
    assert sum(bool(row["keywords"]) for row in prompts[:50]) >= 40
    empty = {}
    for policy, place in places.items():
        rows = pq.read_table(tmp_path / "responses" / place).to_pylist()
        empty[policy] = [sum(not row["response"].strip() for row in part) for part in (rows[:50], rows[50:])]
        assert {row["finish"] for row in rows} == {None}
    assert empty == {"base": [2, 3], "sft": [0, 0], "dpo": [3, 1], "sft_dpo": [0, 0]}

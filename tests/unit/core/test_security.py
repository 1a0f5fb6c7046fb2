"""What is never run, never loaded and never written: code from models and pickles, and secrets."""

import ast
import hashlib
import json
import os
import pickle
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from command_line import assert_refused, call
from hubstub import Hub, environment, revision_folder
from study_folder import REPOSITORY
from tinymodels import write_dataset, write_judge, write_opt

from hh_align.core.artifacts import read_provenance, sha256, write_manifest
from hh_align.core.errors import StudyError
from hh_align.data import fetch_hub, fetch_release, prepare_preferences
from hh_align.models import import_model
from hh_align.models.folders import load_policy
from hh_align.tools import preflight

SCRIPTS = sorted((REPOSITORY / "workflow/scripts").rglob("*.py"))
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SECRET = "hf_S3cretT0ken"
POLICY = {"kind": "policy"}


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def bring(source, folder, kind="policy"):
    return call(import_model, config=POLICY | {"kind": kind}, source=source, manifest=folder / "manifest.json")


def seal(folder):
    write_manifest(folder, [path.name for path in folder.iterdir() if path.name != "manifest.json"])
    return folder / "manifest.json"


# --- code


OPTIONS = {"trust_remote_code", "allow_pickle", "shell", "weights_only", "local_files_only"}


def calls(tree):
    """(function, those of its OPTIONS that it is given) of every call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg in OPTIONS}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_no_script_can_load_code(path):
    source = path.read_text()
    for name, options in calls(ast.parse(source)):
        assert name not in {"eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load", "os.system", "pd.read_pickle", "joblib.load"}  # fmt: skip
        assert options.get("trust_remote_code", "False") == "False"
        assert options.get("allow_pickle", "False") == "False" and options.get("shell", "False") == "False"
        if name == "torch.load":
            assert options["weights_only"] == "True"
        if name.endswith("from_pretrained") and name.split(".")[0] != "PreTrainedTokenizerFast" and "Tokenizer" not in name:
            assert options.get("local_files_only", "True") == "True"


@pytest.mark.parametrize("write", [lambda value, file: pickle.dump(value, file, protocol=2), "torch"], ids=["plain", "torch"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "training_args.bin", "model.safetensors", "tokenizer.json", "config.json"])
@pytest.mark.parametrize("vouched", [True, False], ids=["vouched for", "local"])
def test_a_pickle_is_not_run_whatever_it_is_called(tmp_path, write, name, vouched):
    import torch

    write_opt(tmp_path / "source", weights="bin" if name == "pytorch_model.bin" else "safetensors")
    with open(tmp_path / "source" / name, "wb") as file:
        (torch.save if write == "torch" else write)({"model.decoder.embed_tokens.weight": Malicious(tmp_path / "ran")}, file)
    status, output = bring(seal(tmp_path / "source") if vouched else tmp_path / "source", tmp_path / "base")
    assert (status == 0) == (name == "training_args.bin"), output  # which nothing reads
    assert not (tmp_path / "ran").exists() and "Traceback" not in output
    assert not (tmp_path / "base/training_args.bin").exists()


def test_a_folder_cannot_vouch_for_its_own_pickle(tmp_path):
    # whoever made the weights made the manifest beside them
    write_opt(tmp_path / "source")
    seal(tmp_path / "source")
    assert_refused(
        bring(tmp_path / "source", tmp_path / "base"), "pytorch_model.bin is a pickle, which can run code, and no checksum vouches for it"
    )
    assert bring(tmp_path / "source/manifest.json", tmp_path / "base")[0] == 0  # a download: its manifest is ours


def test_a_pickle_that_is_not_the_downloads_is_refused(tmp_path):
    write_opt(tmp_path / "source")
    manifest = seal(tmp_path / "source")
    with open(tmp_path / "source/pytorch_model.bin", "wb") as file:
        pickle.dump(Malicious(tmp_path / "ran"), file)
    assert_refused(bring(manifest, tmp_path / "base"), "pytorch_model.bin is damaged")
    assert not (tmp_path / "ran").exists()


def test_a_manifest_names_nothing_outside_its_folder(tmp_path):
    # a damaged file is moved aside: a foreign manifest must not move the user's
    (tmp_path / "mine.txt").write_text("mine")
    write_opt(tmp_path / "source", weights="safetensors")
    for name in ("../mine.txt", str(tmp_path / "mine.txt")):
        (tmp_path / "source/manifest.json").write_text(json.dumps({name: "0" * 64}))
        assert_refused(bring(tmp_path / "source", tmp_path / "base"), "lies outside its folder", where=tmp_path / "source")
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("model_type", ["opt", "evil"])
def test_code_beside_a_model_is_not_imported(tmp_path, model_type):
    folder = tmp_path / "source"
    write_opt(folder, weights="safetensors")
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\nclass Evil: pass\n")
    classes = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoTokenizer")
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        settings = json.loads((folder / name).read_text())
        more = {"auto_map": dict.fromkeys(classes, "evil.Evil"), "custom_generate": "evil", "tokenizer_class": "Evil"}
        (folder / name).write_text(json.dumps(settings | more | ({"model_type": model_type} if name == "config.json" else {})))
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate/generate.py").write_text((folder / "evil.py").read_text())
    status, output = bring(folder, tmp_path / "base")
    assert not (tmp_path / "ran").exists() and "Traceback" not in output
    assert (status == 0) == (model_type == "opt"), output
    if status == 0:
        assert not {"evil.py", "custom_generate"} & {path.name for path in (tmp_path / "base").iterdir()}
        load_policy(tmp_path / "base/manifest.json")
        assert not (tmp_path / "ran").exists()


def test_weights_of_an_artifact_are_safetensors_or_nothing(tmp_path):
    write_opt(tmp_path / "source", weights="safetensors")
    assert bring(tmp_path / "source", tmp_path / "base")[0] == 0
    (tmp_path / "base/model.safetensors").unlink()
    with open(tmp_path / "base/pytorch_model.bin", "wb") as file:
        pickle.dump(Malicious(tmp_path / "ran"), file)
    with pytest.raises(StudyError, match="not a usable model"):
        load_policy(seal(tmp_path / "base"))
    assert not (tmp_path / "ran").exists()


# --- secrets, and what was downloaded

DATA = {"kind": "datasets", "repo": "org/pairs", "revision": COMMIT, "files": ["helpful-base/test.jsonl.gz"], "retry_seconds": 0.01}
MODEL = {"kind": "models", "repo": "org/model", "revision": COMMIT, "retry_seconds": 0.01}


@pytest.fixture
def hub(tmp_path):
    reply = "\n\nHuman: a\n\nAssistant:"
    rows = [{"chosen": f"{reply} b", "rejected": f"{reply} c"}]
    write_dataset(revision_folder(tmp_path / "hub", "datasets", "org/pairs", COMMIT), {"helpful-base": {"test": rows}})
    write_judge(revision_folder(tmp_path / "hub", "models", "org/model", COMMIT))
    with Hub(tmp_path / "hub") as hub:
        yield hub


def script(name, tmp_path, hub, options, **more):
    """Run a script in a process of its own with the secret in its environment: (exit status, output)."""
    env = environment(hub.url, tmp_path) | {"HF_TOKEN": SECRET} | more
    words = [str(word) for key, value in options.items() for word in (f"--{key}", value)]
    ended = subprocess.run([sys.executable, "-m", name, *words], env=env, capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    return ended.returncode, ended.stdout + ended.stderr


def fetch(tmp_path, hub, config, **more):
    (tmp_path / "checksums.yaml").write_text("{}")
    files = {"checksums": "checksums.yaml", "manifest": f"results/hub/{config['kind']}/manifest.json", "timing": "results/timing.json"}
    options = {"config": json.dumps(config)} | {name: tmp_path / path for name, path in files.items()}
    return script("hh_align.data.fetch_hub", tmp_path, hub, options, **more)


def assert_kept_secret(tmp_path, output):
    assert SECRET not in output and "Traceback" not in output, output
    for path in (tmp_path / "results").rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("config", "address", "status"),
    [
        (DATA, "{}", 0),
        (MODEL, "{}", 0),
        (DATA, "{}", "busy"),
        (DATA | {"repo": "org/nothing"}, "{}", 1),
        (DATA | {"revision": "f" * 40}, "{}", 1),
        (DATA | {"repo": "-"}, "{}", 1),
        (DATA, f"http://user:{SECRET}@127.0.0.1:9", 1),
        (DATA, f"http://{SECRET}@127.0.0.1:9", 1),
        (DATA, f"http://127.0.0.1:9/?token={SECRET}", 1),
        (DATA, f"ftp://user:{SECRET}@127.0.0.1:9", 1),
        (DATA, f"{SECRET}", 1),
    ],
)
def test_a_token_is_in_no_message_and_no_file(tmp_path, hub, config, address, status):
    if status == "busy":
        hub.status[DATA["files"][0]], status = [503] * 9, 1
    ended, output = fetch(tmp_path, hub, config, HF_ENDPOINT=address.format(hub.url))
    assert_kept_secret(tmp_path, output)
    assert ended == status and output.count("error:") == status, output


@pytest.mark.parametrize(
    "address", [f"http://user:{SECRET}@127.0.0.1:9", f"http://127.0.0.1:9/?token={SECRET}", f"ftp://user:{SECRET}@127.0.0.1:9", SECRET]
)
def test_the_check_before_a_study_keeps_a_token_secret(tmp_path, monkeypatch, address):
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, value in {"HF_TOKEN": SECRET, "HF_ENDPOINT": address}.items():
        monkeypatch.setenv(name, value)
    status, output = call(preflight, config=REPOSITORY / "config/config.yaml")
    assert_kept_secret(tmp_path, output)
    assert status == 1 and output.count("error:") == 1, output


def test_artifacts_of_downloads_name_every_file_with_its_sum_and_no_token(tmp_path, hub, monkeypatch):
    for config in (DATA, MODEL):
        status, output = fetch(tmp_path, hub, config)
        assert status == 0, output
    monkeypatch.setenv("HF_TOKEN", SECRET)
    folders = {config["kind"]: tmp_path / "results/hub" / config["kind"] for config in (DATA, MODEL)}
    for config in (DATA, MODEL):
        folder = folders[config["kind"]]
        sums = json.loads((folder / "manifest.json").read_text())
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {
            "manifest.json",
            ".listing.json",
            ".lock",
            ".state/manifest.lock",
        }
        assert sums == {name: sha256(folder / name) for name in files} and len(files) >= 1

    status, output = bring(folders["models"] / "manifest.json", tmp_path / "results/paper/judge", "judge")
    assert status == 0, output
    recorded = json.loads((tmp_path / "results/paper/judge/provenance.json").read_text())
    assert recorded["downloaded"] == json.loads((folders["models"] / "manifest.json").read_text())
    files = [folders["datasets"] / name for name in DATA["files"]]
    tables = {name: tmp_path / f"results/paper/{name}.parquet" for name in ("preferences", "quarantine")}
    status, output = call(prepare_preferences, config={}, files=files, manifest=folders["datasets"] / "manifest.json", **tables)
    assert status == 0, output
    assert sorted(read_provenance(tables["preferences"])["inputs"].values()) == sorted(map(sha256, files))
    assert_kept_secret(tmp_path, output)


def test_files_of_a_download_stay_in_its_folder(tmp_path):
    from hh_align.data.fetch_hub import model_files, pick_files

    names = {"config.json", "model.safetensors", "tokenizer.json", "LICENSE", "LICENSE/../../x", "LICENSES/x", "../LICENSE"}
    assert pick_files(names, model_files(names)) == ["LICENSE", "config.json", "model.safetensors", "tokenizer.json"]


@pytest.mark.parametrize(
    "table", ["[a]", "text", "org/pairs@" + COMMIT + ": [a]", "org/pairs@" + COMMIT + ": {helpful-base/test.jsonl.gz: 5}", "{", "\0"]
)
def test_a_table_of_checksums_of_another_shape_is_one_error(tmp_path, monkeypatch, table):
    monkeypatch.setattr(fetch_hub, "fetch_revision", None)  # it is refused before anything is asked
    (tmp_path / "sums.yaml").write_text(table)
    files = {"manifest": tmp_path / "results/hub/datasets/manifest.json", "timing": tmp_path / "timing.json"}
    refused = call(fetch_hub, config=DATA, checksums=tmp_path / "sums.yaml", **files)
    assert_refused(refused, "not a table of checksums", where=tmp_path / "sums.yaml")


@pytest.mark.parametrize("listing", ["", "{", "[]", '{"helpful-base/test.jsonl.gz": 5}'])
def test_a_damaged_listing_is_asked_for_again(tmp_path, hub, listing):
    folder = tmp_path / "results/hub/datasets"
    folder.mkdir(parents=True)
    (folder / ".listing.json").write_text(listing)
    status, output = fetch(tmp_path, hub, DATA)
    assert status == 0, output


@pytest.mark.parametrize("name", ["../../x", "a/../../../x", "/{}/x"])
def test_a_released_file_stays_in_its_folder(tmp_path, name):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):  # whatever is asked for is there, with the right sum
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"content")

    name = name.format(str(tmp_path).strip("/"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        config = {"endpoint": f"http://127.0.0.1:{server.server_port}", "repo": "a/b", "revision": COMMIT, "retry_seconds": 0}
        sums = {name: hashlib.sha256(b"content").hexdigest()}
        result = call(fetch_release, config=config | {"sums": sums}, manifest=tmp_path / "release/data/manifest.json")
        server.shutdown()
    assert_refused(result, "lies outside its folder", where=name)
    assert not (tmp_path / "x").exists()

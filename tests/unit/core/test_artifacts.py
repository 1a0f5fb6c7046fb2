"""Artifacts are whole or not there, equal for equal inputs, and damage is found where they are read."""

import json
import resource
import time

import pyarrow as pa
import pytest

from hh_align.core import artifacts
from hh_align.core.code_hash import code_hash
from hh_align.core.errors import StudyError
from hh_align.core.state import fingerprint, latest_checkpoint, seal_checkpoint, state_folder

SCHEMA = pa.schema([("a", pa.int64()), ("b", pa.list_(pa.string()))])
ROWS = [{"a": 1, "b": ["x"]}, {"a": None, "b": []}]


def test_equal_rows_give_equal_bytes(tmp_path):
    for name in ("one", "two"):
        artifacts.write_table(tmp_path / name, ROWS, SCHEMA, artifacts.provenance({"k": 1}, []))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert artifacts.read_provenance(tmp_path / "one")["config"] == {"k": 1}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), artifacts.atomic(path) as temporary:
        temporary.write_text("half")
        1 / 0  # noqa: B018
    assert [entry.name for entry in tmp_path.iterdir()] == ["table"]
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    "write", [lambda path: artifacts.write_table(path, [{"a": 1}], SCHEMA, {}), lambda path: artifacts.write_json(path, {})]
)
def test_a_full_disk_is_one_message_with_the_file(tmp_path, write):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(StudyError, match=r"/a/file: cannot be written \(File too large\). Make room"):
            write(tmp_path / "a/file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "a").iterdir()) == []


def test_a_truncated_table_of_the_study_that_is_made_is_moved_aside_with_a_message(tmp_path, monkeypatch):
    # the next run must rebuild it, not read half of it
    monkeypatch.setenv(artifacts.BUILDS, f"{tmp_path / 'other'}:{tmp_path}")
    path = tmp_path / "table.parquet"
    artifacts.write_table(path, ROWS, SCHEMA, {})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StudyError, match=r"table.parquet: not a readable Parquet file.*run the same command again"):
        artifacts.read_table(path, ["a"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.parquet.damaged"]


def test_a_missing_column_is_named(tmp_path):
    artifacts.write_table(tmp_path / "t", ROWS, SCHEMA, {})
    with pytest.raises(StudyError, match=r"column c is missing; it has a, b"):
        artifacts.read_table(tmp_path / "t", ["a", "c"])


@pytest.mark.parametrize("damage", ["flip", "delete"])
def test_a_file_that_is_not_its_manifests_is_found_and_moved_aside(tmp_path, monkeypatch, damage):
    monkeypatch.setenv(artifacts.BUILDS, str(tmp_path))
    (tmp_path / "weights").write_bytes(b"1234")
    artifacts.write_manifest(tmp_path, ["weights"])
    assert artifacts.verify_manifest(tmp_path / "manifest.json") == tmp_path
    (tmp_path / "weights").write_bytes(b"1235") if damage == "flip" else (tmp_path / "weights").unlink()
    with pytest.raises(StudyError, match=r"weights is (damaged|missing)"):
        artifacts.verify_manifest(tmp_path / "manifest.json")
    assert not (tmp_path / "manifest.json").exists()


def test_logical_names_do_not_depend_on_where_the_repository_lies(tmp_path):
    assert artifacts.logical_name(tmp_path / "results/demo/prompts/prompts.parquet") == "demo/prompts/prompts.parquet"
    assert artifacts.logical_name("/data/hh/helpful-base/test.jsonl.gz") == "hh/helpful-base/test.jsonl.gz"
    assert artifacts.logical_name("resources/outside.txt") == "resources/outside.txt"  # whatever the clone is called


def write_script(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def code_hashes(folder, files, edits):
    """The hash of `p.a.step` as it stands in `files`, and after each edit (a file's name and its new text)."""
    hashes = []
    for number, edit in enumerate([{}, *({name: text} for name, text in edits)]):
        for name, text in {**files, **edit}.items():
            write_script(folder / str(number), name, text)
        hashes.append(code_hash("p.a.step", folder / str(number)))
    return hashes


def test_code_hash_follows_imports_and_ignores_what_does_not_run(tmp_path):
    # a comment must not retrain a policy, an edit in an imported module must
    files = {
        "p/a/step.py": "import library\nfrom p.b.x import f\nf()\n",
        "p/b/x.py": "from p.b import y\ndef f():\n    return y.z\n",
        "p/b/y.py": "z = 1\n",
        "p/b/unrelated.py": "q = 1\n",
        "library.py": "v = 1\n",  # as it lies beside an installed package: its version is in every artifact's provenance
    }
    others = [("p/b/y.py", '"""Doc."""\nz = (1)  # a comment\n'), ("p/b/unrelated.py", "q = 2\n"), ("library.py", "v = 2\n")]
    before, *alike, changed = code_hashes(tmp_path, files, [*others, ("p/b/y.py", "z = 2\n")])
    assert alike == [before] * 3 and changed != before
    with pytest.raises(FileNotFoundError, match=r"no module p\.a\.other"):
        code_hash("p.a.other", tmp_path / "0")


SOURCE = """
class Row(dict):
    kind: str

    def name(self, *others, width=3, **more):
        return f"{self.kind!r:>{width}} {others}" "a" if more else lambda: None


async def read(rows: list[int] = [], /) -> dict:
    match rows:
        case []:
            raise ValueError from None
        case [first, *_]:
            try:
                return {**{}, first: [row async for row in rows if row]}
            finally:
                pass
"""


def test_code_hash_is_the_same_in_every_python(tmp_path):
    # pythons write a syntax tree in different ways: a study made by one would be stale for the next
    (tmp_path / "step.py").write_text(SOURCE)
    assert code_hash("step", tmp_path) == "2737063fce8bfc8e"


@pytest.mark.parametrize(
    ("name", "statement"),
    [("a/y.py", "from .y import z"), ("a/y.py", "from . import y"), ("b/y.py", "from ..b.y import z"), ("b/y.py", "from ..b import y")],
)
def test_code_hash_follows_relative_imports(tmp_path, name, statement):
    before, changed = code_hashes(tmp_path, {"p/a/step.py": statement + "\n", f"p/{name}": "z = 1\n"}, [(f"p/{name}", "z = 2\n")])
    assert changed != before


def test_code_hash_follows_relative_imports_of_a_package(tmp_path):
    # in an __init__.py one dot means the package itself
    files = {"p/a/step.py": "from p.b import y\n", "p/b/__init__.py": "from .y import z\n", "p/b/y.py": "z = 1\n"}
    before, changed = code_hashes(tmp_path, files, [("p/b/y.py", "z = 2\n")])
    assert changed != before


@pytest.mark.parametrize("name", ["p/__init__.py", "p/a/__init__.py", "p/b/__init__.py", "p/b/c/__init__.py"])
def test_code_hash_holds_the_code_of_every_package_on_the_way(tmp_path, name):
    # importing p.b.c.x runs p, p.b and p.b.c first, and p.a.step runs p.a
    packages = {f"p/{folder}__init__.py": "" for folder in ("", "a/", "b/", "b/c/")}
    files = {"p/a/step.py": "import p.b.c.x\n", "p/b/c/x.py": "", **packages}
    before, changed = code_hashes(tmp_path, files, [(name, "import os\nos.umask(0)\n")])
    assert changed != before


def checkpoint(folder, step, content="w"):
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "weights").write_text(content)
    seal_checkpoint(path)
    return path


def stopped(folder, config, step=None, seconds=0.0):
    """A step with this config goes on in the folder, makes a checkpoint and is killed after this time; the last checkpoint that it found."""
    with (
        pytest.raises(ZeroDivisionError),
        state_folder(folder, fingerprint({"config": config}, "code"), time.monotonic() - seconds) as state,
    ):
        found = latest_checkpoint(state.folder)
        if step:
            checkpoint(state.folder, step)
            state.spend()
        1 / 0  # noqa: B018
    return found and found.name


def test_state_of_another_config_is_kept_until_the_new_one_is_further(tmp_path, capsys):
    folder = tmp_path / "s"
    assert stopped(folder, 1, step=1, seconds=100) is None
    assert stopped(folder, 1) == "checkpoint-1"  # its own goes on
    assert stopped(folder, 2, step=5, seconds=50) is None
    assert "kept as s.replaced until this one is further" in capsys.readouterr().out
    assert stopped(folder, 1) == "checkpoint-1"  # the settings were a mistake: nothing of 100 s is lost
    assert stopped(folder, 2, step=5, seconds=150) is None
    assert stopped(folder, 1) is None  # the other was further
    with state_folder(folder, fingerprint({"config": 2}, "code"), time.monotonic()) as state:
        assert latest_checkpoint(state.folder).name == "checkpoint-5"
    assert list(tmp_path.iterdir()) == [tmp_path / "s.lock"]  # done: neither is needed


def test_of_three_configs_the_state_that_took_longest_is_kept(tmp_path):
    for config, seconds in ((1, 100), (2, 10), (3, 20)):
        stopped(tmp_path / "s", config, step=config, seconds=seconds)
    assert stopped(tmp_path / "s", 1) == "checkpoint-1" and stopped(tmp_path / "s", 2) is None


def test_state_of_one_process_is_not_continued_by_two(monkeypatch):
    # two processes sum gradients in another order: the rest of the training would belong to neither run
    alone = fingerprint({"config": 1}, "code")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert fingerprint({"config": 1}, "code") != alone


def test_a_damaged_newest_checkpoint_falls_back(tmp_path):
    checkpoint(tmp_path, 9)
    newest = checkpoint(tmp_path, 10)
    (newest / "weights").write_text("x")
    (tmp_path / "checkpoint-11").mkdir()
    assert latest_checkpoint(tmp_path).name == "checkpoint-9"


def test_two_processes_cannot_share_a_state_folder(tmp_path):
    # an orphan of a killed run and its successor would write into each other's checkpoints
    with state_folder(tmp_path / "s", "m", 0.0), pytest.raises(StudyError, match="another process"), state_folder(tmp_path / "s", "m", 0.0):
        pass


def test_a_step_counts_the_seconds_of_its_killed_processes(tmp_path):
    # each process spends 10 s before a kill; the third sees 20 s behind it
    for continuations in range(3):
        started = time.monotonic() - 10
        with pytest.raises(ZeroDivisionError), state_folder(tmp_path / "s", "m", started) as state:
            assert state.continuations == continuations
            assert state.earlier == pytest.approx(10 * continuations, abs=1)
            state.spend(tokens=7)
            1 / 0  # noqa: B018
    assert time.monotonic() - state.started == pytest.approx(30, abs=1) and state.tokens == 21


@pytest.mark.parametrize("name", ["fingerprint.json", "spent.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'"other"'])
def test_damaged_state_is_no_error(tmp_path, name, content):
    with pytest.raises(ZeroDivisionError), state_folder(tmp_path / "s", "m", 0.0) as state:
        1 / 0  # noqa: B018
    (state.folder / name).write_bytes(content)
    with state_folder(tmp_path / "s", "m", 0.0):
        pass
    assert not state.folder.exists()


def test_json_is_sorted_and_ends_with_a_newline(tmp_path):
    artifacts.write_json(tmp_path / "j", {"b": 1, "a": "ü"})
    assert json.loads((tmp_path / "j").read_text()) == {"a": "ü", "b": 1}
    assert (tmp_path / "j").read_text() == '{\n "a": "ü",\n "b": 1\n}\n'

"""`make verify`: whatever is not as its step left it is named, and an untouched study is whole."""

import random
import shutil
import subprocess

import pyarrow as pa
import pytest
from command_line import assert_refused, call

from hh_align.core.artifacts import provenance, sha256, write_json, write_manifest, write_table, write_text
from hh_align.tools import clean_state, verify_study
from hh_align.tools.sums import recorded_sums

SCHEMA = pa.schema([("a", pa.int64()), ("b", pa.string())])
ROWS = [{"a": number, "b": f"text {number}"} for number in range(50)]


def note(study, *names):
    """What a rule does when its step has ended (tests/workflow holds the rules to it)."""
    printed = subprocess.run(["sha256sum", *names], cwd=study, capture_output=True, text=True, check=True).stdout
    write_text(study / f"sums/{names[0]}.sha256", printed)


@pytest.fixture
def study(tmp_path):
    """A study of a download, a table, a model and a page."""
    results = tmp_path / "results"
    folder, hub = results / "mine", results / "hub/datasets/owner--rows/abc"
    hub.mkdir(parents=True)
    (hub / "train.jsonl.gz").write_bytes(random.Random(1).randbytes(500))
    write_manifest(hub, ["train.jsonl.gz"])
    write_table(folder / "data/d/preferences.parquet", ROWS, SCHEMA, provenance({}, [hub / "manifest.json"]))
    (folder / "models/base").mkdir(parents=True)
    (folder / "models/base/model.safetensors").write_bytes(random.Random(2).randbytes(500))
    write_json(folder / "models/base/provenance.json", provenance({}, [folder / "data/d/preferences.parquet"]))
    write_manifest(folder / "models/base", ["model.safetensors", "provenance.json"])
    write_text(folder / "report/index.html", "<p>12.5</p>\n")
    for name in ("data/d/preferences.parquet", "models/base/manifest.json", "report/index.html"):
        note(folder, name)
    for name in ("logs/a.log", "benchmarks/a.tsv", "state/train/x/fingerprint.json", "labels/answers.jsonl", "run.json", ".x.1@here.tmp"):
        write_text(folder / name, "1")  # what runs leave, not steps
    return folder


def verified(study):
    status, output = call(verify_study, folder=study)
    return status, output.replace(f"{study.parent}/", "")


def test_an_untouched_study_is_whole(study):
    assert verified(study) == (0, "mine: 6 artifacts, all as they were made\n")


@pytest.mark.parametrize(
    "name",
    ["mine/data/d/preferences.parquet", "mine/models/base/model.safetensors", "mine/models/base/manifest.json", "mine/report/index.html",
     "hub/datasets/owner--rows/abc/train.jsonl.gz"],
)  # fmt: skip
def test_every_flipped_bit_is_found_and_named(study, name):
    # in the footer of a table, too, where another number is read without an error
    path, stream = study.parent / name, random.Random(3)
    content = path.read_bytes()
    for at in {0, len(content) - 1, *(stream.randrange(len(content)) for _ in range(40))}:
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << stream.randrange(8))]) + content[at + 1 :])
        status, output = verified(study)
        assert (status == 1 and output.startswith(f"{name}: ")) or f"\n{name}: " in output, output


def test_a_download_of_other_bytes_is_found_though_its_manifest_agrees(study):
    hub = study.parent / "hub/datasets/owner--rows/abc"
    (hub / "train.jsonl.gz").write_bytes(b"other")
    write_manifest(hub, ["train.jsonl.gz"])
    assert verified(study)[1].startswith(
        "mine/data/d/preferences.parquet: was made from another hub/datasets/owner--rows/abc/manifest.json\n"
    )


def test_what_is_made_of_a_damaged_file_is_not_blamed(study):
    # else all that follows would be deleted and made again
    path = study / "data/d/preferences.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    status, output = verified(study)
    assert status == 1 and output.splitlines() == [
        "mine/data/d/preferences.parquet: damaged, or changed since its step ended",
        "error: 1 of 5 artifacts are wrong. Delete them; the next run rebuilds them.",
    ]


def test_a_file_that_is_gone_is_missing_until_it_is_forgotten(study):
    (study / "report/index.html").unlink()
    assert_refused(call(verify_study, folder=study), "1 of 5 artifacts are wrong")
    assert "mine/report/index.html: missing" in verified(study)[1]
    assert "sums of 1 files that are gone forgotten" in call(clean_state, folder=study)[1]
    assert verified(study)[0] == 0


def test_a_file_of_two_makers_has_the_sum_of_one_of_them(study):
    # a policy that was trained and is given now: the record of the training stays
    write_text(study / "sums/another/first.sha256", f"{'0' * 64}  report/index.html\n")
    assert verified(study)[0] == 0


@pytest.mark.parametrize("text", ["", "no sum\n", "0" * 63 + "  report/index.html\n", b"\xff\xfe".decode("latin-1")])
def test_a_damaged_record_is_no_traceback_and_not_silent(study, text):
    (study / "sums/report/index.html.sha256").write_text(text)
    status, output = verified(study)
    assert "index.html.sha256: damaged" in output if text else "of 1 files no sum was noted (mine/report/index.html)" in output
    assert status == (1 if text else 0)


def test_files_without_a_sum_are_counted_and_their_tables_read_whole(study):
    shutil.rmtree(study / "sums")
    status, output = verified(study)
    said = "of 3 files no sum was noted (mine/data/d/preferences.parquet, mine/models/base/manifest.json, mine/report/index.html): a changed byte"
    assert status == 0 and output.startswith(said)
    path = study / "data/d/preferences.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    assert verified(study)[0] == 1


def test_a_moved_study_is_still_whole(study, tmp_path):
    shutil.move(study.parent, tmp_path / "results-of-before")
    (tmp_path / "new").mkdir()
    shutil.move(tmp_path / "results-of-before", tmp_path / "new/results")
    moved = tmp_path / "new/results/mine"
    assert call(verify_study, folder=moved) == (0, f"{moved}: 6 artifacts, all as they were made\n")
    sums, _ = recorded_sums(moved)
    assert sums["report/index.html"] == {sha256(moved / "report/index.html")}

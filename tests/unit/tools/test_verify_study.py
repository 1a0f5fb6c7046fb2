"""`make verify`: whatever is not as its step left it is named, and an untouched study is whole."""

import json
import random
import shutil

import pyarrow as pa
import pytest
from command_line import assert_refused, call

from hh_align.core.artifacts import provenance, write_json, write_manifest, write_table, write_text
from hh_align.core.receipts import receipt_path, summed, write_receipt
from hh_align.core.sums import Sums
from hh_align.tools import clean_state, verify_study

SCHEMA = pa.schema([("a", pa.int64()), ("b", pa.string())])
ROWS = [{"a": number, "b": f"text {number}"} for number in range(50)]


def note(output, *beside):
    """What Snakemake's process does when a job has ended (tests/workflow holds it to that)."""
    sums = Sums(output.parent / "none")
    write_receipt(receipt_path(str(output)), {}, {}, summed([str(output)], sums), summed(map(str, beside), sums))


UNKNOWN = "whether the config asks for the same today is not known: the study lies in another folder than results/ here\n"


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
    write_text(folder / "timings/base.json", "{}\n")
    write_text(folder / "timings/fetch_hub/d.json", "{}\n")
    note(hub / "manifest.json", folder / "timings/fetch_hub/d.json")
    note(folder / "data/d/preferences.parquet")
    note(folder / "models/base/manifest.json", folder / "timings/base.json")
    note(folder / "report/index.html")
    for name in (
        "logs/a.log",
        "benchmarks/a.tsv",
        "state/train/x/fingerprint.json",
        "labels/answers.jsonl",
        "run.json",
        "left.json",
        ".x.1@here.tmp",
    ):
        write_text(folder / name, "1")  # what runs leave, not steps
    return folder


def verified(study):
    status, output = call(verify_study, folder=study)
    return status, output.replace(f"{study.parent}/", "")


def test_an_untouched_study_is_whole(study):
    assert verified(study) == (0, f"{UNKNOWN}mine: 8 artifacts, all as they were made\n")


@pytest.mark.parametrize(
    "name",
    ["mine/data/d/preferences.parquet", "mine/models/base/model.safetensors", "mine/models/base/manifest.json", "mine/report/index.html",
     "mine/timings/base.json", "mine/timings/fetch_hub/d.json", "hub/datasets/owner--rows/abc/train.jsonl.gz"],
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
        "mine/data/d/preferences.parquet: damaged, or changed since its job ended",
        "error: 1 of 7 artifacts are wrong. Delete them; the next run rebuilds them.",
    ]


def test_a_file_that_is_gone_is_missing_until_it_is_forgotten(study):
    page, timing = study / "report/index.html", study / "timings/fetch_hub/d.json"
    content = page.read_bytes()
    page.unlink()
    timing.unlink()
    assert_refused(call(verify_study, folder=study), "2 of 6 artifacts are wrong")
    assert "mine/report/index.html: missing" in verified(study)[1] and "mine/timings/fetch_hub/d.json: missing" in verified(study)[1]
    assert "noted as gone: files 2" in call(clean_state, folder=study)[1]
    assert verified(study) == (0, f"{UNKNOWN}mine: 6 artifacts, all as they were made\n")
    assert "noted as gone: files 0" in call(clean_state, folder=study)[1]
    assert verified(study)[0] == 0  # it stays forgotten, and is compared where it comes back
    page.write_bytes(content)
    assert verified(study)[0] == 0
    page.write_bytes(content[1:])
    assert "mine/report/index.html: damaged" in verified(study)[1]
    note(page)
    page.unlink()  # made again after, and gone
    assert "mine/report/index.html: missing" in verified(study)[1]


def test_a_file_of_two_makers_has_the_sum_of_one_of_them(study):
    # a policy that was trained and is given now: the receipt of the training stays
    made = summed([str(study / "data/d/preferences.parquet")], Sums(study / "none")) | {"mine/report/index.html": "0" * 64}
    write_receipt(study / "receipts/another/first.json", {}, {}, made)
    assert verified(study)[0] == 0


@pytest.mark.parametrize("text", ["", "no receipt", "{}", '{"asked": {}, "inputs": [], "outputs": {}, "uncounted": 1}', "\xff\xfe"])
def test_a_damaged_receipt_is_no_traceback_and_not_silent(study, text):
    (study / "receipts/report/index.html.json").write_bytes(text.encode("latin-1"))
    status, output = verified(study)
    assert status == 1 and "mine/report/index.html: its receipt is damaged" in output
    assert "of 1 files no receipt holds a sum (mine/report/index.html)" in output.replace(f"{study.parent}/", "")


def test_a_flipped_byte_in_a_receipt_is_never_a_traceback_and_in_a_sum_is_found(study):
    path, stream = study / "receipts/report/index.html.json", random.Random(5)
    content = path.read_bytes()
    total = next(iter(json.loads(content)["outputs"].values()))
    sums = range(content.index(total.encode()), content.index(total.encode()) + len(total))
    for at in {*sums[::8], *(stream.randrange(len(content)) for _ in range(40))}:
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << stream.randrange(8))]) + content[at + 1 :])
        status, output = verified(study)
        assert "Traceback" not in output and (status == 1 or at not in sums), output


def test_files_without_a_sum_are_counted_and_their_tables_read_whole(study):
    shutil.rmtree(study / "receipts")
    status, output = verified(study)
    without = "mine/data/d/preferences.parquet, mine/models/base/manifest.json, mine/report/index.html, …"
    assert status == 0 and output.startswith(f"of 4 files no receipt holds a sum ({without}): a changed byte")
    assert "mine has no receipts: files that are gone" in output
    path = study / "data/d/preferences.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    assert verified(study)[0] == 1


def test_inputs_that_are_none_are_no_traceback(study):
    write_json(study / "models/base/provenance.json", {"config": {}, "inputs": ["a", "b"]})
    write_manifest(study / "models/base", ["model.safetensors", "provenance.json"])
    note(study / "models/base/manifest.json")
    status, output = verified(study)
    assert status == 1 and output.startswith("mine/models/base/provenance.json: not readable (")


@pytest.mark.parametrize("name", ["mine", "renamed"])
def test_a_moved_study_is_still_whole(study, tmp_path, name):
    shutil.move(study.parent, tmp_path / "results-of-before")
    (tmp_path / "new").mkdir()
    shutil.move(tmp_path / "results-of-before", tmp_path / "new/results")
    (tmp_path / "new/results/mine").rename(tmp_path / f"new/results/{name}")
    moved = tmp_path / f"new/results/{name}"
    status, output = call(verify_study, folder=moved)
    assert status == 0 and output.endswith(f"{moved}: 8 artifacts, all as they were made\n")
    assert ("no receipt holds a sum" in output) == (name == "renamed")  # the download's receipt knows its time by the first name
    (moved / "report/index.html").write_text("<p>12.6</p>\n")
    assert "report/index.html: damaged" in call(verify_study, folder=moved)[1]

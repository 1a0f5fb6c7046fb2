"""Sums that are remembered are those of the bytes; a receipt fits what it was written for, and names what differs."""

import os
import time

import pyarrow as pa
import pytest

from hh_align.core.artifacts import sha256, write_json, write_table
from hh_align.core.receipts import (
    differences,
    known_differences,
    own_provenance,
    read_receipt,
    receipt_path,
    receipts_of,
    summed,
    write_receipt,
)
from hh_align.core.sums import MARGIN, Sums

LATER = "hh_align.core.sums.time.time_ns"


@pytest.fixture
def settled(monkeypatch):
    """Files were last changed long ago: their sums may be remembered."""
    monkeypatch.setattr(LATER, lambda: time.clock_gettime_ns(time.CLOCK_REALTIME) + 10 * MARGIN)


def counted(monkeypatch):
    """The paths that are summed from here on."""
    read = []
    monkeypatch.setattr("hh_align.core.sums.sha256", lambda path: read.append(path.name) or sha256(path))
    return read


def test_a_sum_is_remembered_until_the_content_changes_whatever_its_date(tmp_path, monkeypatch, settled):
    path, read = tmp_path / "a", counted(monkeypatch)
    path.write_bytes(b"one")
    sums = Sums(tmp_path / "cache.json")
    first = sums.of(path)
    assert first == sha256(path) == sums.of(path) and read == ["a"]
    sums.save()
    again = Sums(tmp_path / "cache.json")
    assert again.of(path) == first and read == ["a"]
    before = path.stat()
    path.write_bytes(b"two")  # as long as before, and as old
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert again.of(path) == sha256(path) != first and read == ["a", "a"]


def test_what_has_just_changed_is_summed_anew(tmp_path, monkeypatch):
    # a second change within the tick of the file system's clock leaves the same times
    path, read = tmp_path / "a", counted(monkeypatch)
    path.write_bytes(b"one")
    sums = Sums(tmp_path / "cache.json")
    assert sums.of(path) == sums.of(path) and read == ["a", "a"]


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"a": 1}', "null"])
def test_a_damaged_cache_is_none(tmp_path, content):
    (tmp_path / "cache.json").write_text(content)
    (tmp_path / "a").write_bytes(b"one")
    assert Sums(tmp_path / "cache.json").of(tmp_path / "a") == sha256(tmp_path / "a")


def test_no_file_has_no_sum_and_a_disk_that_takes_no_cache_is_no_error(tmp_path):
    sums = Sums(tmp_path / "a/file/cache.json")
    assert sums.of(tmp_path / "none") is None
    (tmp_path / "a").write_text("no folder")
    sums.of(tmp_path / "a")
    sums.save()


def test_a_receipt_lies_below_its_study():
    places = {
        "results/paper/analysis/metrics.parquet": "results/paper/receipts/analysis/metrics.parquet.json",
        "results/hub/models/a--b/0/manifest.json": "results/hub/receipts/models/a--b/0/manifest.json.json",
        "/else/results/paper/policies/dpo/seed-1/manifest.json": "/else/results/paper/receipts/policies/dpo/seed-1/manifest.json.json",
    }
    assert {path: str(receipt_path(path)) for path in places} == places


ASKED = {"cfg": {"method": {"beta": 0.1, "lora": None}, "seeds": [1, 2]}, "code": "abc"}
INPUTS = {"ratings.csv": "1" * 64}
OUTPUTS = {"x/rewards.parquet": "2" * 64}
CHANGES = {
    "nothing": (ASKED, INPUTS, OUTPUTS, []),
    "a setting": ({"cfg": {"method": {"beta": 0.2, "lora": None}, "seeds": [1, 2]}, "code": "abc"}, INPUTS, OUTPUTS, [("cfg.method.beta 0.1", "cfg.method.beta 0.2")]),
    "an order": ({"cfg": {"method": {"beta": 0.1, "lora": None}, "seeds": [2, 1]}, "code": "abc"}, INPUTS, OUTPUTS, [("cfg.seeds [1, 2]", "cfg.seeds [2, 1]")]),
    "null is not nothing": ({"cfg": {"method": {"beta": 0.1}, "seeds": [1, 2]}, "code": "abc"}, INPUTS, OUTPUTS, [("cfg.method.lora null", "cfg.method.lora absent")]),
    "code": (ASKED | {"code": "abd"}, INPUTS, OUTPUTS, [('code "abc"', 'code "abd"')]),
    "an input": (ASKED, {"ratings.csv": "3" * 64}, OUTPUTS, [("ratings.csv 11111111", "ratings.csv 33333333")]),
    "an input more": (ASKED, INPUTS | {"more.csv": "3" * 64}, OUTPUTS, [("more.csv absent", "more.csv 33333333")]),
    "an input less": (ASKED, {}, OUTPUTS, [("ratings.csv 11111111", "ratings.csv absent")]),
    "an input more that is not there": (ASKED, INPUTS | {"more.csv": None}, OUTPUTS, [("more.csv absent", "more.csv absent")]),
    "an input that is not there": (ASKED, {"ratings.csv": None}, OUTPUTS, []),
    "an output of another time": (ASKED, INPUTS, {"x/rewards.parquet": "3" * 64}, [("x/rewards.parquet 22222222", "x/rewards.parquet 33333333")]),
    "an output that is not there": (ASKED, INPUTS, {"x/rewards.parquet": None}, []),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_differs_from_a_receipt_is_named(tmp_path, change):
    asked, inputs, outputs, expected = CHANGES[change]
    write_receipt(tmp_path / "r/receipt.json", ASKED, INPUTS, OUTPUTS)
    assert differences(read_receipt(tmp_path / "r/receipt.json"), asked, inputs, outputs) == expected


def test_an_input_that_changed_while_it_was_read_fits_nothing(tmp_path):
    write_receipt(tmp_path / "receipt.json", ASKED, {"ratings.csv": None}, OUTPUTS)
    for now in (None, "1" * 64):
        ((before, _),) = differences(read_receipt(tmp_path / "receipt.json"), ASKED, {"ratings.csv": now}, OUTPUTS)
        assert before == "ratings.csv changed while it was read"


def test_by_what_does_not_count_nothing_differs_and_no_study_of_another_name_has_made_it(tmp_path):
    path = receipt_path(str(tmp_path / "results/x/rewards.parquet"))
    write_receipt(path, ASKED, INPUTS, OUTPUTS, {"x/timings/rewards.json": "4" * 64})
    assert differences(read_receipt(path), ASKED, INPUTS, OUTPUTS) == []
    (kept,) = receipts_of(tmp_path / "results/x")
    assert kept.artifact == tmp_path / "results/x/rewards.parquet" and kept.study == "x"
    assert kept.made() == {"rewards.parquet": "2" * 64, "timings/rewards.json": "4" * 64}
    assert kept._replace(study="xx").made() == {}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", '{"asked": 1}', '{"asked": {}, "inputs": {}, "outputs": [], "uncounted": {}}', "\0", "[" * 100_000, '["asked", "inputs", "outputs"]', '{"asked": {}, "inputs": [], "outputs": {}, "uncounted": {}}',
     '{"asked": 1, "inputs": {}, "outputs": {}, "uncounted": {}}', '{"asked": {}, "inputs": {"a": 1}, "outputs": {}, "uncounted": {}}',
     '{"asked": {}, "inputs": {}, "outputs": {}, "uncounted": {}, "forgotten": 5}'],
    ids=lambda content: content[:45],
)  # fmt: skip
def test_a_damaged_receipt_is_none(tmp_path, content):
    (tmp_path / "receipt.json").write_text(content)
    assert read_receipt(tmp_path / "receipt.json") is None and read_receipt(tmp_path / "none.json") is None


def test_files_of_one_name_are_told_apart(tmp_path):
    paths = [tmp_path / side / "x/y/z/ratings.csv" for side in "ab"]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_text(str(path))
    sums = Sums(tmp_path / "cache.json")
    assert summed(map(str, paths), sums) == {"y/z/ratings.csv": sums.of(paths[0]), "y/z/ratings.csv (2)": sums.of(paths[1])}


SAID = {"config": {"beta": 0.1}, "inputs": {"ratings.csv": "1" * 64}, "libraries": {}}


@pytest.mark.parametrize("name", ["rewards.parquet", "manifest.json"])
def test_an_artifact_without_a_receipt_is_known_by_its_own_provenance(tmp_path, name):
    path = tmp_path / name
    if name == "manifest.json":
        write_json(path, {})
        write_json(tmp_path / "provenance.json", SAID)
    else:
        write_table(path, [], pa.schema([("a", pa.int64())]), SAID)
    said = own_provenance(str(path))
    assert known_differences(said, {"cfg": {"beta": 0.1}, "code": "abc"}, INPUTS | {"more.csv": "3" * 64}) == []
    assert known_differences(said, {"cfg": {"beta": 0.2}, "code": "abc"}, INPUTS) == [("cfg.beta 0.1", "cfg.beta 0.2")]
    assert known_differences(said, {"cfg": {"beta": 0.1}}, {"ratings.csv": "3" * 64}) == [("ratings.csv 11111111", "ratings.csv 33333333")]


def test_what_says_nothing_of_itself_is_not_known(tmp_path):
    for name, content in {"a.csv": "a", "b.parquet": "no table", "manifest.json": "{}", "policies/manifest.json": "{}"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
        write_json(tmp_path / "policies/provenance.json", {"config": {}, "inputs": [1]})
        assert own_provenance(str(tmp_path / name)) is None
    assert own_provenance(str(tmp_path / "none.parquet")) is None

"""Preference files that are damaged, empty or missing: the file is one clear error, and no half dataset is left."""

import pytest
from command_line import assert_refused, call
from preference_files import GOOD, dialogue, line, packed, prepare

from hh_align.data import prepare_preferences

ARCHIVE = packed([GOOD] * 40 + [line(dialogue(str(number))) for number in range(400)])
DAMAGED_GZIP = {
    "not gzip": (GOOD, "after line 0"),
    "text": (b"Not Found", "after line 0"),
    "half a magic number": (ARCHIVE[:1], "after line 0"),
    "header only": (ARCHIVE[:10], "after line 0"),
    "half a header": (ARCHIVE[:5], "after line 0"),
    "half": (ARCHIVE[: len(ARCHIVE) // 2], r"after line \d+"),
    "without its sum": (ARCHIVE[:-8], "after line 440"),
    "without its last byte": (ARCHIVE[:-1], "after line 440"),
    "a wrong sum": (ARCHIVE[:-8] + b"\0\0\0\0" + ARCHIVE[-4:], "after line 440"),
    "a wrong length": (ARCHIVE[:-4] + b"\0\0\0\0", "after line 440"),
    "garbled": (ARCHIVE[:40] + b"\xff" * 40 + ARCHIVE[80:], r"after line \d+"),
    "another method": (ARCHIVE[:2] + b"\7" + ARCHIVE[3:], "after line 0"),
    "something behind": (ARCHIVE + b"behind", "after line 440"),
    "a second, cut archive": (ARCHIVE + ARCHIVE[:-20], r"after line \d+"),
    "zip": (b"PK\3\4" + ARCHIVE, "after line 0"),
}


@pytest.mark.parametrize("case", DAMAGED_GZIP)
def test_damaged_gzip_is_one_error_that_says_how_far_it_could_be_read(tmp_path, case):
    content, said = DAMAGED_GZIP[case]
    result, rows, quarantined = prepare(tmp_path, content)
    assert_refused(result, f"damaged gzip data {said}", where="helpful-base/test.jsonl.gz")
    assert rows is None and quarantined is None


NOTHING_READABLE = {
    "no byte": b"",
    "an empty archive": packed([]),
    "newlines": packed([b""] * 3),
    "a JSON list": packed([b"[", GOOD + b",", GOOD + b",", b"]"]),
    "UTF-16": packed([(GOOD.decode() + "\n").encode("utf-16")], end=b""),
    "only quarantine": packed([b"{}"] * 50),
    "old Mac newlines": packed([GOOD + b"\r" + GOOD], end=b""),
}


@pytest.mark.parametrize("case", NOTHING_READABLE)
def test_a_file_without_one_readable_line_is_an_error(tmp_path, case):
    result, rows, quarantined = prepare(tmp_path, NOTHING_READABLE[case])
    assert_refused(result, "no line could be read as a pair of transcripts", where="helpful-base/test.jsonl.gz")
    assert rows is None and quarantined is None


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["Unix", "Windows"])
@pytest.mark.parametrize("last", [b"", GOOD, b"{"], ids=["nothing", "a good line", "a bad line"])
def test_newlines_of_any_system_and_a_last_line_without_one(tmp_path, end, last):
    (status, _), rows, quarantined = prepare(tmp_path, end.join([GOOD, b"{}", GOOD, last]), "helpful-base/test.jsonl")
    assert status == 0
    assert [row["row"] for row in rows] == [0, 2] + [3] * (last == GOOD)
    assert [row["row"] for row in quarantined] == [1] + [3] * (last == b"{")


def test_files_that_are_missing_are_all_named(tmp_path):
    present = tmp_path / "helpful-base/test.jsonl.gz"
    present.parent.mkdir()
    present.write_bytes(packed([GOOD]))
    (tmp_path / "folder/train.jsonl.gz").mkdir(parents=True)
    files = [present, tmp_path / "harmless-base/test.jsonl.gz", tmp_path / "folder/train.jsonl.gz"]
    result = call(prepare_preferences, config={}, files=files, preferences=tmp_path / "p", quarantine=tmp_path / "q")
    assert_refused(result, "harmless-base/test.jsonl.gz, .*folder/train.jsonl.gz: no such file. The folder must be laid out as the hub's")


def test_a_damaged_second_file_leaves_no_half_dataset(tmp_path):
    files = [tmp_path / subset / "test.jsonl.gz" for subset in ("helpful-base", "harmless-base")]
    for path, content in zip(files, (packed([GOOD]), packed([GOOD] * 99)[:-9]), strict=True):
        path.parent.mkdir()
        path.write_bytes(content)
    result = call(prepare_preferences, config={}, files=files, preferences=tmp_path / "p", quarantine=tmp_path / "q")
    assert_refused(result, "damaged gzip", where="harmless-base/test.jsonl.gz")
    assert not (tmp_path / "p").exists() and not (tmp_path / "q").exists()

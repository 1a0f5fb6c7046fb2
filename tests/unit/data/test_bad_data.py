"""Malformed preference files: every line is kept whole with its flags or quarantined with its number, or the file is one clear error."""

import gzip
import json
from collections import Counter

import pyarrow.parquet as pq
import pytest
from command_line import assert_refused, call
from hypothesis import given, settings
from hypothesis import strategies as st

from hh_align.data import prepare_preferences

CUE = "\n\nAssistant:"
GOOD = b'{"chosen": "\\n\\nHuman: a\\n\\nAssistant: b", "rejected": "\\n\\nHuman: a\\n\\nAssistant: c"}'


def dialogue(human="a", reply=" b"):
    return f"\n\nHuman: {human}{CUE}{reply}"


def line(chosen=None, rejected=None, **more):
    pair = {"chosen": dialogue() if chosen is None else chosen, "rejected": dialogue(reply=" c") if rejected is None else rejected}
    return json.dumps(pair | more, ensure_ascii=False).encode()


def without(key):
    return json.dumps({name: value for name, value in json.loads(GOOD).items() if name != key}).encode()


def prepare(folder, content, name="helpful-base/test.jsonl.gz"):
    """Run the script on one file: (its result, kept rows, quarantined rows)."""
    path = folder / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    tables = {"preferences": folder / "preferences.parquet", "quarantine": folder / "quarantine.parquet"}
    for table in tables.values():
        table.unlink(missing_ok=True)
    result = call(prepare_preferences, config={}, files=path, **tables)
    return result, *(pq.read_table(table).to_pylist() if table.exists() else None for table in tables.values())


def packed(lines, end=b"\n"):
    return gzip.compress(b"".join(text + end for text in lines), compresslevel=1, mtime=0)


QUARANTINED = {
    "empty line": (b"", "not JSON"),
    "blanks": (b"   \t ", "not JSON"),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD, "not JSON"),
    "NUL bytes": (b"\0" * 40, "not JSON"),
    "NUL in a text": (GOOD.replace(b" b", b" \0b"), "not JSON"),
    "raw tab in a text": (GOOD.replace(b" b", b" \tb"), "not JSON"),
    "raw escape in a text": (GOOD.replace(b" b", b"\x1b[31mb"), "not JSON"),
    "raw carriage return in a text": (GOOD.replace(b" b", b" \rb"), "not JSON"),
    "half a line": (GOOD[:40], "not JSON"),
    "without its first byte": (GOOD[1:], "not JSON"),
    "without its last byte": (GOOD[:-1], "not JSON"),
    "two objects": (GOOD + GOOD, "not JSON"),
    "a comma behind": (GOOD + b",", "not JSON"),
    "a comma too many": (GOOD[:-1] + b",}", "not JSON"),
    "single quotes": (GOOD.replace(b'"', b"'"), "not JSON"),
    "a comment": (b"# nothing", "not JSON"),
    "Python's None": (b'{"chosen": None, "rejected": "x"}', "not JSON"),
    "an unknown escape": (GOOD.replace(b" b", b" \\xb"), "not JSON"),
    "a wrong Unicode escape": (GOOD.replace(b" b", b" \\u12"), "not JSON"),
    "HTML": (b"<!doctype html><title>503</title>", "not JSON"),
    "a pointer file": (b"version https://git-lfs.github.com/spec/v1", "not JSON"),
    "CSV": (b'"chosen","rejected"', "not JSON"),
    "nested too deeply": (b"[" * 100_000, "not JSON"),
    "closed, nested too deeply": (b'{"chosen":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "not JSON"),
    "a number of 5,000 digits": (b"1" * 5_000, "not JSON"),
    "a list": (b'["a", "b"]', "not a JSON object but list"),
    "a list of an object": (b"[" + GOOD + b"]", "not a JSON object but list"),
    "a text": (b'"chosen"', "not a JSON object but str"),
    "a number": (b"17", "not a JSON object but int"),
    "a fraction": (b"1.5", "not a JSON object but float"),
    "not a number": (b"NaN", "not a JSON object but float"),
    "null": (b"null", "not a JSON object but NoneType"),
    "true": (b"true", "not a JSON object but bool"),
    "an empty object": (b"{}", "no key chosen"),
    "no chosen": (without("chosen"), "no key chosen"),
    "no rejected": (without("rejected"), "no key rejected"),
    "other case": (GOOD.replace(b"chosen", b"Chosen"), "no key chosen"),
    "a blank in the key": (GOOD.replace(b'"rejected"', b'"rejected "'), "no key rejected"),
    "a look-alike key": (GOOD.replace(b"chosen", "сhosen".encode()), "no key chosen"),
    "red-team schema": (b'{"transcript": "x", "rating": 1}', "no key chosen"),
    **{
        f"{key} is {kind}": (line(**{key: value}), f"{key} is {kind}, not text")
        for key in ("chosen", "rejected")
        for kind, value in {"int": 1, "float": 0.5, "bool": True, "list": [dialogue()], "dict": {"text": dialogue()}}.items()
    },
    "chosen is NoneType": (b'{"chosen": null, "rejected": "x"}', "chosen is NoneType, not text"),
    "rejected is NoneType": (GOOD.replace(b'"\\n\\nHuman: a\\n\\nAssistant: c"', b"null"), "rejected is NoneType, not text"),
    "Latin-1": (line(dialogue("café")).replace("é".encode(), b"\xe9"), "not UTF-8"),
    "a byte that UTF-8 never has": (GOOD.replace(b" b", b" \xff"), "not UTF-8"),
    "a character cut in two": (line(dialogue("🙂")).replace("🙂".encode(), "🙂".encode()[:2]), "not UTF-8"),
    "an overlong slash": (GOOD.replace(b" b", b" \xc0\xaf"), "not UTF-8"),
    "a surrogate as UTF-8": (GOOD.replace(b" b", b" \xed\xa0\x80"), "not UTF-8"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "not UTF-8"),
    "gzip in gzip": (gzip.compress(GOOD, mtime=0).replace(b"\n", b""), "not UTF-8"),
    "half a surrogate pair": (GOOD.replace(b" b", b" \\ud83d"), "chosen holds half a surrogate pair"),
    "the other half": (GOOD.replace(b" c", b" \\ude42"), "rejected holds half a surrogate pair"),
    "empty texts": (line("", ""), "no assistant turn"),
    "no assistant turn in chosen": (line("\n\nHuman: a"), "no assistant turn"),
    "no assistant turn in rejected": (line(rejected="\n\nHuman: a"), "no assistant turn"),
    **{
        f"look-alike cue: {name}": (line(f"\n\nHuman: a{cue} b"), "no assistant turn")
        for name, cue in {
            "Cyrillic A": "\n\n\u0410ssistant:",
            "Greek A": "\n\n\u0391ssistant:",
            "full-width colon": "\n\nAssistant\uff1a",
            "modifier colon": "\n\nAssistant\ua789",
            "zero-width space": "\n\nAssis\u200btant:",
            "soft hyphen": "\n\nAssis\u00adtant:",
            "right-to-left mark": "\n\n\u200fAssistant:",
            "line separators": "\u2028\u2028Assistant:",
            "Windows newlines": "\r\n\r\nAssistant:",
            "one newline": "\nAssistant:",
            "a blank between the newlines": "\n \nAssistant:",
            "lower case": "\n\nassistant:",
            "upper case": "\n\nASSISTANT:",
            "a blank before the colon": "\n\nAssistant :",
            "escaped twice": "\\n\\nAssistant:",
            "combining accent": "\n\nA\u0301ssistant:",
        }.items()
    },
}


@pytest.mark.parametrize("case", QUARANTINED)
def test_a_line_that_cannot_be_read_is_quarantined_with_its_number(tmp_path, case):
    text, reason = QUARANTINED[case]
    (status, output), kept, quarantined = prepare(tmp_path, packed([GOOD, text, GOOD]))
    assert status == 0 and "Traceback" not in output
    assert [row["row"] for row in kept] == [0, 2]
    assert [row["row"] for row in quarantined] == [1] and quarantined[0]["reason"].startswith(reason), quarantined
    assert len(quarantined[0]["excerpt"]) <= 200
    assert "1 quarantined" in output


KEPT = {
    "chosen empty": (line(dialogue(reply="")), ["empty_chosen"]),
    "chosen blank": (line(dialogue(reply=" \u00a0\n ")), ["empty_chosen"]),
    "rejected empty": (line(rejected=dialogue(reply="")), ["empty_rejected"]),
    "both empty": (line(dialogue(reply=""), dialogue(reply=" ")), ["empty_chosen", "empty_rejected"]),
    "identical": (line(dialogue(), dialogue()), ["identical"]),
    "identical and empty": (line(dialogue(reply=""), dialogue(reply="")), ["empty_chosen", "empty_rejected", "identical"]),
    "prompts that differ": (line(rejected=dialogue("x")), ["prompt_differs"]),
    "prompts that differ in a blank": (line(rejected=dialogue("a ")), ["prompt_differs"]),
    "prompts that differ in normalization": (line(dialogue("caf\u00e9"), dialogue("cafe\u0301")), ["prompt_differs"]),
    "human last in chosen": (line(dialogue(reply=" b\n\nHuman: d")), ["human_last"]),
    "human last in rejected": (line(rejected=dialogue(reply=" b\n\nHuman: d")), ["human_last"]),
    "empty, then the human": (line(dialogue(reply="\n\nHuman: d")), ["human_last"]),
    "no human turn": (line(CUE + " b", CUE + " c"), ["no_human_first"]),
    "text before the human": (line("x" + dialogue(), "x" + dialogue(reply=" c")), ["no_human_first"]),
    "assistant first": (line(CUE + " x" + dialogue(), CUE + " x" + dialogue(reply=" c")), ["no_human_first"]),
    "Windows newline at the end": (GOOD + b"\r", []),
    "blanks around": (b"  " + GOOD + b"  ", []),
    "further keys": (line(score=1.5, source={"a": [None]}), []),
    "keys in another order": (json.dumps(dict(reversed(json.loads(GOOD).items()))).encode(), []),
    "escaped NUL": (GOOD.replace(b" b", b" \\u0000b"), []),
    "escaped surrogate pair": (GOOD.replace(b" b", b" \\ud83d\\ude42"), []),
    "emoji": (line(dialogue("👩‍👩‍👧 🏳️‍🌈"), dialogue("👩‍👩‍👧 🏳️‍🌈", " 🤷")), []),
    "right-to-left": (line(dialogue("שלום مرحبا \u202eabc\u202c"), dialogue("שלום مرحبا \u202eabc\u202c", " لا")), []),
    "a look-alike cue in a reply": (line(dialogue(reply=" b\n\n\u0410ssistant: c")), []),
    "a look-alike human turn in a reply": (line(dialogue(reply=" b\n\n\u041duman: c")), []),
    "line separators in a reply": (line(dialogue(reply=" b\u2028c\u2029d\u0085e")), []),
    "non-characters": (line(dialogue(reply=" \ufffe\uffff\U0010ffff\ufeff")), []),
    "control characters": (GOOD.replace(b" b", b" \\u001b[2J\\u0007\\u007f"), []),
    "markup": (line(dialogue(reply=" <script>alert(1)</script>")), []),
    "a duplicate": (GOOD, []),
    "an end token": (line(dialogue(reply=" </s><pad>[SEP]")), []),
    "a formula": (line(dialogue(reply=" =cmd|'/c'!A1")), []),
    "many turns": (line("".join(map(dialogue, "abc" * 300)), "".join(map(dialogue, "abc" * 300)) + "!"), []),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
def test_a_line_that_can_be_read_is_kept_byte_for_byte_with_its_flags(tmp_path, case):
    text, flags = KEPT[case]
    (status, output), kept, quarantined = prepare(tmp_path, packed([GOOD, text, GOOD]))
    assert status == 0 and quarantined == [] and [row["row"] for row in kept] == [0, 1, 2], output
    assert kept[1]["flags"] == flags
    assert_whole(kept[1], json.loads(text))


def assert_whole(row, pair):
    assert row["prompt"] + row["chosen"] == pair["chosen"] and row["prompt"].endswith(CUE)
    assert (row["rejected_prompt"] or row["prompt"]) + row["rejected"] == pair["rejected"]
    assert not (row["use_dpo"] and row["chosen"] == row["rejected"])


@pytest.mark.parametrize("readable", [True, False])
def test_a_line_of_50_megabytes_is_a_line(tmp_path, readable):
    text = line(dialogue("a" * 25_000_000), dialogue("b" * 25_000_000)) if readable else b"x" * 50_000_000
    (status, _), rows, quarantined = prepare(tmp_path, packed([GOOD, text, GOOD]))
    assert status == 0 and (len(rows), len(quarantined)) == ((3, 0) if readable else (2, 1))
    assert all(len(row["excerpt"]) <= 200 for row in quarantined)


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
    result, kept, quarantined = prepare(tmp_path, content)
    assert_refused(result, f"damaged gzip data {said}", where="helpful-base/test.jsonl.gz")
    assert kept is None and quarantined is None


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
    result, kept, quarantined = prepare(tmp_path, NOTHING_READABLE[case])
    assert_refused(result, "no line could be read as a pair of transcripts", where="helpful-base/test.jsonl.gz")
    assert kept is None and quarantined is None


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [b"", GOOD, b"{"])
def test_newlines_of_any_system_and_a_last_line_without_one(tmp_path, end, last):
    (status, _), kept, quarantined = prepare(tmp_path, end.join([GOOD, b"{}", GOOD, last]), "helpful-base/test.jsonl")
    assert status == 0
    assert [row["row"] for row in kept] == [0, 2] + [3] * (last == GOOD)
    assert [row["row"] for row in quarantined] == [1] + [3] * (last == b"{")


def test_files_that_are_missing_are_all_named(tmp_path):
    there = tmp_path / "helpful-base/test.jsonl.gz"
    there.parent.mkdir()
    there.write_bytes(packed([GOOD]))
    (tmp_path / "folder/train.jsonl.gz").mkdir(parents=True)
    files = [there, tmp_path / "harmless-base/test.jsonl.gz", tmp_path / "folder/train.jsonl.gz"]
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


# --- generated: each kind is unreadable (or readable) by the way it is made

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
readable = st.builds(lambda human, chosen, rejected: line(dialogue(human, chosen), dialogue(human, rejected)), texts, texts, texts)
other_types = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.lists(texts, max_size=2), st.dictionaries(texts, texts, max_size=2)
)
unreadable = st.one_of(
    st.builds(lambda text, part: text.strip()[: int(part * (len(text.strip()) - 1))], readable, st.floats(0, 1)),  # no closing brace
    st.builds(lambda text, at: text[:at] + b"\xff" + text[at:], readable, st.integers(0, 60)),  # no byte of UTF-8
    st.builds(lambda code: GOOD.replace(b" b", bytes([code])), st.integers(0, 31).filter(lambda code: code != 10)),  # JSON escapes them
    st.builds(lambda key, value: json.dumps({**json.loads(GOOD), key: value}).encode(), st.sampled_from(["chosen", "rejected"]), other_types),
    st.builds(lambda key, other: json.dumps({**json.loads(without(key)), f"{key}{other}": dialogue()}).encode(), st.sampled_from(["chosen", "rejected"]), texts.filter(bool)),
    st.builds(lambda value: json.dumps(value).encode(), st.one_of(other_types, texts).filter(lambda value: not isinstance(value, dict))),
    st.builds(lambda text: line(text.replace(":", ";")), texts),  # no cue without a colon
    st.builds(lambda rubbish: b"\xff" + rubbish.replace(b"\n", b""), st.binary(max_size=60)),
)  # fmt: skip


def test_generated_files_no_line_is_lost(tmp_path_factory):
    # rows in = rows kept + rows quarantined, whatever stands beside whatever
    tried, folder = Counter(), tmp_path_factory.mktemp("generated")

    @settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(st.lists(st.one_of(readable.map(lambda text: (text, True)), unreadable.map(lambda text: (text, False))), min_size=1, max_size=9))
    def check(lines):
        lines = [*lines, (GOOD, True)]
        (status, output), kept, quarantined = prepare(folder, packed([text for text, _ in lines]))
        assert status == 0, output
        assert [row["row"] for row in kept] == [number for number, (_, fit) in enumerate(lines) if fit]
        assert [row["row"] for row in quarantined] == [number for number, (_, fit) in enumerate(lines) if not fit]
        for row in kept:
            assert_whole(row, json.loads(lines[row["row"]][0]))
        tried.update(fit for _, fit in lines)

    check()
    assert tried[False] >= 500 and tried[True] >= 150

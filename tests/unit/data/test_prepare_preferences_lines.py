"""Lines of preference files, good and bad: each is kept whole with its flags, or quarantined with its number."""

import gzip
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preference_files import GOOD, Prepared, dialogue, line, packed, prepare, without

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


@pytest.fixture(scope="module")
def with_bad_lines(tmp_path_factory) -> Prepared:
    """A file with every line of QUARANTINED, each between two good ones."""
    lines = [text for bad, _ in QUARANTINED.values() for text in (GOOD, bad)]
    return prepare(tmp_path_factory.mktemp("quarantined"), packed([*lines, GOOD]))


def test_bad_lines_leave_the_good_ones_and_are_counted(with_bad_lines):
    status, output = with_bad_lines.result
    assert status == 0 and "Traceback" not in output
    assert f"{len(QUARANTINED)} quarantined" in output
    assert [row["row"] for row in with_bad_lines.rows] == list(range(0, 2 * len(QUARANTINED) + 1, 2))
    assert [row["row"] for row in with_bad_lines.quarantined] == list(range(1, 2 * len(QUARANTINED), 2))


@pytest.mark.parametrize("number", range(len(QUARANTINED)), ids=list(QUARANTINED))
def test_a_line_that_cannot_be_read_is_quarantined_with_its_reason(with_bad_lines, number):
    row, (_, reason) = with_bad_lines.quarantined[number], list(QUARANTINED.values())[number]
    assert row["reason"].startswith(reason) and len(row["excerpt"]) <= 200, row


READABLE = {
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
    "no human turn": (line("\n\nAssistant: b", "\n\nAssistant: c"), ["no_human_first"]),
    "text before the human": (line("x" + dialogue(), "x" + dialogue(reply=" c")), ["system_first"]),
    "assistant first": (line("\n\nAssistant: x" + dialogue(), "\n\nAssistant: x" + dialogue(reply=" c")), ["no_human_first"]),
    "no blank line before the first turn": (line(dialogue().lstrip(), dialogue(reply=" c").lstrip()), ["lead_restored"]),
    "one newline before the first turn": (line("\n" + dialogue().lstrip(), dialogue(reply=" c")), ["lead_restored"]),
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


@pytest.fixture(scope="module")
def with_odd_lines(tmp_path_factory) -> Prepared:
    """A file with every line of READABLE, each between two good ones."""
    lines = [text for odd, _ in READABLE.values() for text in (GOOD, odd)]
    return prepare(tmp_path_factory.mktemp("readable"), packed([*lines, GOOD]))


def test_odd_lines_are_all_kept(with_odd_lines):
    assert with_odd_lines.result[0] == 0 and with_odd_lines.quarantined == [], with_odd_lines.result[1]
    assert [row["row"] for row in with_odd_lines.rows] == list(range(2 * len(READABLE) + 1))


@pytest.mark.parametrize("number", range(len(READABLE)), ids=list(READABLE))
def test_a_line_that_can_be_read_is_kept_byte_for_byte_with_its_flags(with_odd_lines, number):
    row, (text, flags) = with_odd_lines.rows[2 * number + 1], list(READABLE.values())[number]
    assert row["flags"] == flags
    pair = json.loads(text)
    if "lead_restored" in flags:
        pair = {side: "\n\n" + pair[side].lstrip() for side in ("chosen", "rejected")}
        assert row["use_sft"] and row["use_dpo"]
    assert_whole(row, pair)


def assert_whole(row, pair):
    assert row["prompt"] + row["chosen"] == pair["chosen"] and row["prompt"].endswith("\n\nAssistant:")
    assert (row["rejected_prompt"] or row["prompt"]) + row["rejected"] == pair["rejected"]
    assert not (row["use_dpo"] and row["chosen"] == row["rejected"])


@pytest.mark.parametrize("readable", [True, False])
def test_a_line_of_50_megabytes_is_a_line(tmp_path, readable):
    text = line(dialogue("a" * 25_000_000), dialogue("b" * 25_000_000)) if readable else b"x" * 50_000_000
    (status, _), rows, quarantined = prepare(tmp_path, packed([GOOD, text, GOOD]))
    assert status == 0 and (len(rows), len(quarantined)) == ((3, 0) if readable else (2, 1))
    assert all(len(row["excerpt"]) <= 200 for row in quarantined)


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
        lines += [(GOOD, True)] * len(lines)  # more than half is readable
        (status, output), rows, quarantined = prepare(folder, packed([text for text, _ in lines]))
        assert status == 0, output
        assert [row["row"] for row in rows] == [number for number, (_, fit) in enumerate(lines) if fit]
        assert [row["row"] for row in quarantined] == [number for number, (_, fit) in enumerate(lines) if not fit]
        for row in rows:
            assert_whole(row, json.loads(lines[row["row"]][0]))
        tried.update(fit for _, fit in lines)

    check()
    assert tried[False] >= 500 and tried[True] >= 150

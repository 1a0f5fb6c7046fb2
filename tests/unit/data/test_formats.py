"""Preference pairs in the forms that the field has: each is read as the transcripts that it means, or quarantined with its reason."""

import gzip
import json

import pandas as pd
import pytest
from command_line import assert_refused, call
from preference_files import line, packed, prepare

from hh_align.core.records import has_value
from hh_align.data import prepare_preferences
from hh_align.data.formats import sides_of

ASKED, YES, NO = "\n\nHuman: where\n\nAssistant:", " here", " gone"


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


FORMS = {
    "transcripts": {"chosen": ASKED + YES, "rejected": ASKED + NO},
    "stripped transcripts": {"chosen": (ASKED + YES).strip(), "rejected": (ASKED + NO).strip()},
    "a transcript and replies": {"prompt": ASKED, "chosen": YES, "rejected": NO},
    "a transcript without its cue and replies": {"prompt": "Human: where", "chosen": "here", "rejected": "gone"},
    "an instruction and replies": {"prompt": "where", "chosen": "here", "rejected": "gone"},
    "a prompt and transcripts": {"prompt": ASKED, "chosen": ASKED + YES, "rejected": ASKED + NO},
    "a prompt without its cue and transcripts": {"prompt": "\n\nHuman: where", "chosen": ASKED + YES, "rejected": ASKED + NO},
    "replies that begin with the cue": {"prompt": "where", "chosen": "Assistant: here", "rejected": "\n\nAssistant: gone"},
    "messages": {"chosen": [user("where"), assistant("here")], "rejected": [user("where"), assistant("gone")]},
    "messages with the prompt as text": {"prompt": "where", "prompt_id": "7", "chosen": [user("where"), assistant("here")], "rejected": [user("where"), assistant("gone")], "score_chosen": 8.0},
    "a prompt as messages and replies as messages": {"prompt": [user("where")], "chosen": [assistant("here")], "rejected": [assistant("gone")]},
    "a prompt as messages beside the whole dialogue": {"prompt": [user("where")], "chosen": [user("where"), assistant("here")], "rejected": [user("where"), assistant("gone")]},
    "an empty prompt beside transcripts": {"prompt": "", "chosen": ASKED + YES, "rejected": ASKED + NO},
    "input and two outputs": {"input": "where", "output": ["here", "gone"]},
    "conversations and speakers": {"conversations": [{"from": "human", "value": "where"}], "chosen": {"from": "gpt", "value": "here"}, "rejected": {"from": "gpt", "value": "gone"}},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_pair(form):
    assert sides_of(FORMS[form])[:4] == (ASKED, YES, ASKED, NO)


@pytest.mark.parametrize("columns", [{"prompt": "q.text", "chosen": "answers.1", "rejected": "answers.0"}])
def test_columns_of_other_names(columns):
    assert sides_of({"q": {"text": "where"}, "answers": ["gone", "here"]}, columns)[:4] == (ASKED, YES, ASKED, NO)


def test_a_system_message_is_kept_before_the_first_turn_and_keeps_the_row_from_nothing(tmp_path):
    system = {"role": "system", "content": "Be kind."}
    messages = {"chosen": [system, user("where"), assistant("here")], "rejected": [system, user("where"), assistant("gone")]}
    texts = {"chosen": "Be kind." + ASKED + YES, "rejected": "Be kind." + ASKED + NO}
    for pair in (messages, texts):
        _, (row,), quarantined = prepare(tmp_path, packed([json.dumps(pair).encode()]))
        assert quarantined == [] and row["prompt"] == "Be kind." + ASKED
        assert (row["flags"], row["use_sft"], row["use_dpo"]) == (["system_first"], True, True)


def test_several_turns_as_messages():
    turns = [user("a"), assistant("b"), user("c")]
    sides = sides_of({"chosen": [*turns, assistant("d")], "rejected": [*turns, assistant("e")]})
    assert sides[:4] == ("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:", " d", sides.prompt, " e")


def test_a_reply_may_begin_with_the_words_of_the_prompt():
    assert sides_of({"prompt": "Hi", "chosen": "Hi there!", "rejected": "Go."})[1] == " Hi there!"


def test_a_stripped_transcript_that_the_assistant_begins_has_no_system_text(tmp_path):
    text = "Assistant: hi\n\nHuman: where\n\nAssistant:"
    _, (row,), _ = prepare(tmp_path, packed([line(text + " here", text + " gone")]))
    assert row["flags"] == ["no_human_first"] and not row["use_dpo"]


def test_a_renamed_column_may_lack_the_blank_line_too(tmp_path):
    path = tmp_path / "shop/train.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps({"good": "Human: a\n\nAssistant: b", "bad": "Human: a\n\nAssistant: c"}))
    tables = {name: tmp_path / f"{name}.parquet" for name in ("preferences", "quarantine")}
    assert call(prepare_preferences, config={"columns": {"chosen": "good", "rejected": "bad"}}, files=path, **tables)[0] == 0
    assert pd.read_parquet(tables["preferences"])["flags"][0].tolist() == ["lead_restored"]


WRONG = {
    "a system message in the middle": ({"chosen": [user("a"), {"role": "system", "content": "S"}, assistant("b")], "rejected": [assistant("c")]}, "a system message behind the first turn"),
    "turns in a message": ({"chosen": [user("a\n\nAssistant: b"), assistant("c")], "rejected": [user("a"), assistant("d")]}, "a message holds turns of its own"),
    "turns in a system message": ({"chosen": [{"role": "system", "content": "Human: a"}, user("a"), assistant("c")], "rejected": [user("a"), assistant("d")]}, "a message holds turns of its own"),
    "messages as one text": ({"prompt": "a", "chosen": "[{'role': 'assistant', 'content': 'b'}]", "rejected": "x"}, "messages written as one text, not a list: take JSON lines or Parquet"),
    "turns in a reply beside a prompt": ({"prompt": "a", "chosen": "Human: hi\n\nAssistant: hello", "rejected": "x"}, "the reply beside a prompt holds turns of its own"),
    "the user speaks last": ({"chosen": [user("a")], "rejected": [user("a"), assistant("b")]}, "no assistant turn"),
    "a tool speaks": ({"chosen": [user("a"), {"role": "tool", "content": "b"}], "rejected": "x"}, "chosen is list, not text, nor messages of user, assistant and system"),
    "a list of texts": ({"chosen": ["a", "b"], "rejected": "x"}, "chosen is list, not text"),
    "no rejected": ({"prompt": "a", "chosen": "b"}, "no key rejected"),
    "one output": ({"input": "a", "output": ["b"]}, "output.1 is NoneType, not text"),
    "half a character": ({"prompt": "a", "chosen": [assistant("\ud800")], "rejected": [assistant("b")]}, "chosen holds half a surrogate pair"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_pair_says_why(case):
    record, said = WRONG[case]
    with pytest.raises(ValueError, match=f"^{said}$"):
        sides_of(record)


def test_a_file_of_another_kind_is_refused_not_trained_on_by_chance(tmp_path):
    # five rows of a form that has no replies, one that happens to parse
    lines = [json.dumps({"question": "a", "answer": "b"}).encode()] * 5 + [line()]
    result, rows, _ = prepare(tmp_path, packed(lines))
    assert_refused(result, r"5 of 6 lines could not be read as pairs \(no key chosen 5\)\. Name the columns", where="test.jsonl.gz")
    assert rows is None


def test_a_byte_order_mark_at_the_beginning_is_none_of_the_text(tmp_path):
    _, rows, quarantined = prepare(tmp_path, packed([b"\xef\xbb\xbf" + line(), line()]))
    assert len(rows) == 2 and quarantined == []


@pytest.mark.parametrize("kind", [".jsonl.gz", ".jsonl", ".json", ".parquet", ".csv"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, kind):
    pairs = [{"prompt": f"where is {number}", "chosen": 'here, "there"', "rejected": f"gone\n{number}"} for number in range(3)]
    path = tmp_path / f"shop/train{kind}"
    path.parent.mkdir()
    frame = pd.DataFrame(pairs)
    lines = "\n".join(map(json.dumps, pairs)).encode()
    contents = {
        ".jsonl.gz": gzip.compress(lines),
        ".jsonl": lines,
        ".json": json.dumps(pairs).encode(),
        ".csv": frame.to_csv(index=False).encode(),
    }
    if kind == ".parquet":
        frame.to_parquet(path)
    else:
        path.write_bytes(contents[kind])
    tables = {name: tmp_path / f"{name}.parquet" for name in ("preferences", "quarantine")}
    assert call(prepare_preferences, config={}, files=path, **tables)[0] == 0
    rows = pd.read_parquet(tables["preferences"])
    assert rows["prompt"].tolist() == [f"\n\nHuman: where is {number}\n\nAssistant:" for number in range(3)]
    assert rows["rejected"].tolist() == [f" gone\n{number}" for number in range(3)]
    assert set(rows["split"]) == {"train"} and rows["use_dpo"].all()


WHERE = {"safety": {"category": ["violence", "theft"]}, "shop": {"category": "shop", "level": 1}}
OF = [("violence", 1), ("shop", 1), ("math", 1), ("shop", 2), ("theft", 3)]


def read_where(tmp_path, kind, where, of=OF):
    """What the step makes of one file train.<kind> whose rows have these categories and levels."""
    frame = pd.DataFrame(
        [
            {"prompt": f"q{number}", "chosen": "a", "rejected": "b", "category": name, "level": level}
            for number, (name, level) in enumerate(of)
        ]
    )
    path = tmp_path / f"train{kind}"
    writers = {".csv": lambda: frame.to_csv(path, index=False), ".jsonl": lambda: frame.to_json(path, orient="records", lines=True), ".parquet": lambda: frame.to_parquet(path)}  # fmt: skip
    writers[kind]()
    tables = {name: tmp_path / f"{name}.parquet" for name in ("preferences", "quarantine")}
    return call(prepare_preferences, config={"where": where}, files=path, **tables), tables["preferences"]


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
def test_the_config_says_which_rows_are_which_subset(tmp_path, kind):
    (status, said), table = read_where(tmp_path, kind, WHERE)
    assert (
        status == 0
        and "left out, as datasets.*.where has no subset for them: category math, level 1: 1" in said
        and "3 rows, 0 quarantined, 2 of no subset left out" in said
    )
    rows = pd.read_parquet(table)
    assert rows[["split", "subset", "row"]].to_numpy().tolist() == [["train", "safety", 0], ["train", "shop", 1], ["train", "safety", 4]]


def test_a_row_of_two_subsets_is_of_none_and_a_subset_without_rows_is_refused(tmp_path):
    (_, said), table = read_where(tmp_path, ".csv", {"easy": {"level": 1}, "shop": {"category": "shop"}})
    assert "quarantined, of several subsets: 1" in said and len(pd.read_parquet(table)) == 3
    table.unlink()
    result, table = read_where(tmp_path, ".csv", {"shop": {"category": "Shop"}, "safety": {"category": "theft"}})
    assert_refused(
        result,
        r"no row of subset shop \(datasets.\*.where.shop\). Rows of no subset: category shop: 2; category violence: 1; category math",
    )
    assert not table.exists()


@pytest.mark.parametrize(("value", "wanted"), [("x", "x"), (True, True), ("True", True), ("true", True), (1, "1"), (1.0, 1), ("1", 1), (0.5, "0.5"), ("b", ["a", "b"])])  # fmt: skip
def test_values_are_compared_as_texts(value, wanted):
    assert has_value(value, wanted)


@pytest.mark.parametrize(
    ("value", "wanted"), [("X", "x"), (True, 1), ("01", 1), (None, "None"), (None, ""), ("", "null"), ("a, b", ["a", "b"])]
)
def test_other_values_are_others(value, wanted):
    assert not has_value(value, wanted)


def test_most_rows_of_the_subsets_must_be_pairs_however_many_are_left_out(tmp_path):
    rows = [{"prompt": "q", "chosen": "a", "rejected": "b", "topic": "other"}] * 20
    rows += [{"prompt": "q", "good": "a", "bad": "b", "topic": "mine"}] * 4 + [
        {"prompt": "q", "chosen": "a", "rejected": "b", "topic": "mine"}
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    tables = {name: tmp_path / f"{name}.parquet" for name in ("preferences", "quarantine")}
    result = call(prepare_preferences, config={"where": {"mine": {"topic": "mine"}}}, files=path, **tables)
    assert_refused(result, r"4 of 5 lines of a subset could not be read as pairs \(no key chosen 4\)\. Name the columns", where=path)

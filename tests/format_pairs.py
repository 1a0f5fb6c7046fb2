"""Files of preferences, and of questions for over-refusal."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
from format_cases import Case, Section, step

from hh_align.data import prepare_preferences
from hh_align.data.select_twins import twins


def pairs(path: Path, settings: dict) -> list[tuple]:
    """(prompt, chosen, rejected, flags) of the first pair, and the reasons of what is quarantined."""
    tables = {name: path.with_name(f"{name}.parquet") for name in ("preferences", "quarantine")}
    step(prepare_preferences, config=settings, files=path, **tables)
    rows, quarantine = (pq.read_table(table).to_pylist() for table in tables.values())
    counted = Counter(row["reason"] for row in quarantine)
    return [
        *((row["prompt"], row["chosen"], row["rejected"], ", ".join(row["flags"]) or None) for row in rows[:1]),
        *((f"quarantined, {reason}: {count}",) for reason, count in counted.items()),
    ]


def questions(path: Path, settings: dict) -> list[tuple]:
    return [(row["prompt_id"], row["subset"], row["prompt"]) for row in twins(path)]


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict:
    return {"role": "assistant", "content": text}


def row(chosen: object = "a", rejected: object = "b", **more) -> dict:
    return more | {"chosen": chosen, "rejected": rejected}


def talk(reply: str, before: str = "") -> str:
    return f"{before}\n\nHuman: q\n\nAssistant: {reply}"


HH = row(talk("a"), talk("b"))
ASKED = "\n\nHuman: q\n\nAssistant:"
READ = [(ASKED, " a", " b", None)]
FORMATS = [
    Case("transcripts, as HH-RLHF has them, compressed", "shop/train.jsonl.gz", [HH], READ),
    Case("JSON lines", "shop/train.jsonl", [HH], READ),
    Case("a JSON list", "shop/train.json", [HH], READ),
    Case("Parquet", "shop/train.parquet", [HH], READ),
    Case("CSV", "shop/train.csv", [row(prompt="q")], READ),
    Case("TRL standard, explicit prompt", "shop/train.jsonl", [row(prompt="q")], READ),
    Case("TRL standard, implicit prompt", "shop/train.jsonl", [HH], READ),
    Case("TRL conversational, explicit prompt", "shop/train.jsonl", [row([assistant("a")], [assistant("b")], prompt=[user("q")])], READ),
    Case("TRL conversational, implicit prompt", "shop/train.jsonl", [row([user("q"), assistant("a")], [user("q"), assistant("b")])], READ),
    Case("UltraFeedback-binarized: prompt beside whole dialogues", "shop/train.jsonl", [row([user("q"), assistant("a")], [user("q"), assistant("b")], prompt="q", score_chosen=8.0)], READ),
    Case("OpenRLHF: input and two outputs", "shop/train.jsonl", [{"input": "q", "output": ["a", "b"]}], READ),
    Case("distilabel, Argilla: instruction and two responses", "shop/train.jsonl", [{"instruction": "q", "generations": ["b", "a"]}], READ, settings={"columns": {"prompt": "instruction", "chosen": "generations.1", "rejected": "generations.0"}}),
    Case("ShareGPT pairs", "shop/train.jsonl", [row({"from": "gpt", "value": "a"}, {"from": "gpt", "value": "b"}, conversations=[{"from": "human", "value": "q"}])], READ),
    Case("a transcript beside replies", "shop/train.jsonl", [row(prompt=ASKED)], READ),
    Case("a prompt without its cue beside transcripts", "shop/train.jsonl", [row(talk("a"), talk("b"), prompt="\n\nHuman: q")], READ),
    Case("the cue before the reply", "shop/train.jsonl", [row("Assistant: a", "Assistant: b", prompt="Human: q")], READ),
    Case("transcripts with a system text", "shop/train.jsonl", [row(talk("a", "Be kind."), talk("b", "Be kind."))], [("Be kind." + ASKED, " a", " b", "system_first")]),
    Case("messages with a system message", "shop/train.jsonl", [row([assistant("a")], [assistant("b")], prompt=[{"role": "system", "content": "Be kind."}, user("q")])], [("Be kind." + ASKED, " a", " b", "system_first")]),
]  # fmt: skip
FEW = ". Name the columns (datasets.*.columns), or take these lines out."
MIXED = [HH, HH, {"prompt": "q", "answer": "a"}]
FAULTS = [
    Case("transcripts without their first blank line", "shop/train.jsonl", [row(talk("a").strip(), talk("b").strip())], [(ASKED, " a", " b", "lead_restored")]),
    Case("a byte order mark at the beginning", "shop/train.jsonl", b"\xef\xbb\xbf" + json.dumps(HH).encode(), READ, example=json.dumps(HH)),
    Case("two equal replies", "shop/train.jsonl", [row("a", "a", prompt="q")], [(ASKED, " a", " a", "identical")]),
    Case("an empty reply", "shop/train.jsonl", [row("", prompt="q")], [(ASKED, "", " b", "empty_chosen")]),
    Case("two prompts", "shop/train.jsonl", [row(talk("a"), talk("b").replace("q", "p"))], [(ASKED, " a", " b", "prompt_differs")]),
    Case("one line of another form", "shop/train.jsonl", MIXED, [*READ, ("quarantined, no key chosen: 1",)]),
    Case("most lines of another form", "shop/train.jsonl", MIXED[1:] * 2 + MIXED[2:], None, "shop/train.jsonl: 3 of 5 lines could not be read as pairs (no key chosen 3)" + FEW),
    Case("no pair at all", "shop/train.jsonl", MIXED[2:], None, "shop/train.jsonl: no line could be read as a pair of transcripts (no key chosen 1)" + FEW),
    Case("a text without turns", "shop/train.jsonl", [row()], None, "shop/train.jsonl: no line could be read as a pair of transcripts (no assistant turn 1)" + FEW),
    Case("a reply that is null", "shop/train.jsonl", [row(None, prompt="q")], None, "shop/train.jsonl: no line could be read as a pair of transcripts (chosen is NoneType, not text 1)" + FEW),
    Case("a reply with turns of its own", "shop/train.jsonl", [row(talk("a", "x"), prompt="q")], None, "shop/train.jsonl: no line could be read as a pair of transcripts (the reply beside a prompt holds turns of its own 1)" + FEW),
    Case("a prompt under another name", "shop/train.jsonl", [row(question="q")], None, "shop/train.jsonl: no line could be read as a pair of transcripts (no assistant turn 1)" + FEW),
    Case("messages of an unknown role", "shop/train.jsonl", [row([user("q"), {"role": "tool", "content": "a"}])], None, "shop/train.jsonl: no line could be read as a pair of transcripts (chosen is list, not text, nor messages of user, assistant and system 1)" + FEW),
    Case("messages written as one text (CSV)", "shop/train.csv", [row("[{'role': 'assistant', 'content': 'a'}]", prompt="q")], None, "shop/train.csv: no line could be read as a pair of transcripts (messages written as one text, not a list: take JSON lines or Parquet 1)" + FEW),
    Case("a line that is no JSON", "shop/train.jsonl", json.dumps(HH) + "\n{\n" + json.dumps(HH), [*READ, ("quarantined, not JSON (Expecting property name enclosed in double quotes at character 1): 1",)]),
    Case("half a surrogate pair", "shop/train.jsonl", [HH, HH, row("\ud800", prompt="q")], [*READ, ("quarantined, chosen holds half a surrogate pair: 1",)]),
]  # fmt: skip
TWINS = [{"category": "locks", "safe": "How is a lock made?", "contrast": ""}]
SECTIONS = [
    Section("Preferences", "`datasets: {mine: {source: local, path: …}}`. The files are `<path>/<subset>/<split>` with the ending `.jsonl.gz`, `.jsonl`, `.json`, `.parquet` or `.csv`. The third column holds prompt, chosen and rejected reply, and flags.", pairs, FORMATS, FAULTS),
    Section(
        "Questions that should not be refused",
        "`overrefusal: {path: twins.csv}`. The third column holds the prompt's id, its category and its text.",
        questions,
        [Case("CSV, a question without a harmful twin", "twins.csv", TWINS, [("safe-000", "locks", "Human: How is a lock made?")]), Case("JSON lines", "twins.jsonl", TWINS, [("safe-000", "locks", "Human: How is a lock made?")])],
        [
            Case("a question twice", "twins.csv", TWINS * 2, None, "twins.csv, row 2: the question 'How is a lock made?' stands twice."),
            Case("no category", "twins.csv", [TWINS[0] | {"category": ""}], None, "twins.csv, row 1: category and safe must both be there."),
            Case("prompts without categories", "twins.csv", "prompt\nHow is a lock made?\n", None, "twins.csv: column category, safe, contrast is missing; it has prompt. Needed: category, safe, contrast."),
        ],
    ),
]  # fmt: skip

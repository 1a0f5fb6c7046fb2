"""Files of rated responses, for the verdict on a file."""

import gzip
import json
from functools import cache
from pathlib import Path

import pandas as pd
import yaml
from format_cases import Case, Section
from study_folder import REPOSITORY

from hh_align.core.axes import AXES
from hh_align.tools import rated
from hh_align.tools.verdict import study_of, table_of

SHOWN = ("policy", "prompt_id", "reward")
FULL = ("policy", "axis", "prompt_id", "reward")


@cache
def defaults() -> dict:
    return yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())


def rows_of(frame: pd.DataFrame, columns: tuple[str, ...]) -> list[tuple]:
    """The frame's rows without repeats; None for what is absent."""
    rows = frame[list(columns)].astype(object).where(frame[list(columns)].notna(), None)
    return list(dict.fromkeys(rows.itertuples(index=False, name=None)))


def verdict(path: Path, settings: dict) -> list[tuple]:
    """(policy, prompt_id, reward), or the column in which a case differs, as the verdict reads it."""
    frame = rated.read_rated([path], settings)
    own = {
        "judges": {judge: {"harmless_min": 0.0, "helpful_above": 0.0} for judge in sorted(set(frame["judge"]))}
    }  # two rows cross nothing
    table_of(frame, study_of(frame, settings, path, defaults(), own), path)
    new = [name for name in ("prompt", "response", "cluster", "finish", "parent") if name in frame]
    own = [name for name in new if name != "cluster" or list(frame["cluster"]) != list(frame["prompt_id"])]
    return rows_of(frame, ("prompt_id", own[0]) if own else SHOWN)


def rows(columns: tuple[str, ...] = FULL, **own) -> list[dict]:
    """A row on each axis, `own` in the place of its values."""
    plain = {"policy": ["base", "base"], "axis": list(AXES), "prompt_id": ["a", "b"], "reward": [-0.5, 1.0]} | own
    return [dict(zip(plain, values, strict=True)) for values in zip(*plain.values(), strict=True)]


def text(separator: str = ",", **own) -> str:
    """The same as CSV."""
    made = rows(**own)
    return "\n".join(separator.join(map(str, line)) for line in [made[0], *(row.values() for row in made)]) + "\n"


def two() -> list[dict]:
    """The rows of base, then of sft."""
    return rows() + rows(policy=["sft", "sft"])


READ = [("base", "a", -0.5), ("base", "b", 1.0)]
WORDS = ["N/A", "None"]
PLAIN = text()
BY_COLUMNS = {name: [row[name] for row in rows()] for name in FULL}

FORMATS = [
    Case("CSV", "r.csv", PLAIN, READ),
    Case("CSV with a byte order mark (Excel's)", "r.csv", b"\xef\xbb\xbf" + PLAIN.encode(), READ, example=PLAIN),
    Case("CSV in UTF-16", "r.csv", PLAIN.encode("utf-16"), READ, example=PLAIN),
    Case("CSV with semicolons", "r.csv", text(";"), READ, "r.csv: its columns are separated by semicolons"),
    Case("CSV with tabs", "r.csv", text("\t"), READ, "r.csv: its columns are separated by tabs"),
    Case("TSV", "r.tsv", rows(), READ),
    Case("CSV with an index before the columns (`DataFrame.to_csv()`)", "r.csv", pd.DataFrame(rows()).to_csv(), READ),
    Case("an ending in capitals", "R.CSV", PLAIN, READ),
    Case("CSV compressed by gzip", "r.csv.gz", PLAIN, READ),
    Case("JSON, a list of rows", "r.json", rows(), READ),
    Case("JSON by columns (`DataFrame.to_dict('list')`)", "r.json", json.dumps(BY_COLUMNS), READ),
    Case("JSON by columns and rows (`DataFrame.to_json()`)", "r.json", pd.DataFrame(rows()).to_json(), READ),
    Case("JSON with the list inside an object", "r.json", json.dumps({"model": "m", "results": {"all": rows()}}), READ, settings={"records": "results.all"}),
    Case("JSON lines", "r.jsonl", rows(), READ),
    Case("JSON lines, blank ones between", "r.jsonl", "\n\n".join(map(json.dumps, rows())), READ),
    Case("NDJSON", "r.ndjson", rows(), READ),
    Case("JSON lines that are called JSON", "r.json", "\n".join(map(json.dumps, rows())), READ, "r.json: a record a line, read as JSON lines"),
    Case("a JSON list that is called JSON lines", "r.jsonl", json.dumps(rows()), READ, "r.jsonl: one list, read as JSON"),
    Case("Parquet", "r.parquet", rows(), READ),
    Case("Parquet with texts as bytes", "r.parquet", rows(response=[b"yes", b"no"]), [("a", "yes"), ("b", "no")], example='…, "response": b"yes"'),
    Case("replies as message lists", "r.jsonl", rows(response=[[{"role": "assistant", "content": word}] for word in ("yes", "no")]), [("a", "yes"), ("b", "no")]),
    Case("prompts as message lists, without ids", "r.jsonl", [{name: value for name, value in row.items() if name != "prompt_id"} for row in rows(prompt=[[{"role": "user", "content": word}] for word in "xy"])], [("harmlessness-00000", "Human: x"), ("helpfulness-00000", "Human: y")]),
]  # fmt: skip

FAULTS = [
    Case("replies `N/A`, `None`: CSV", "r.csv", rows(response=WORDS), [("a", "N/A"), ("b", "None")]),
    Case("replies `null`, `nan`: CSV", "r.csv", rows(response=["null", "nan"]), [("a", "null"), ("b", "nan")]),
    Case("replies `N/A`, `None`: Parquet", "r.parquet", rows(response=WORDS), [("a", "N/A"), ("b", "None")]),
    Case("replies that are numbers", "r.csv", rows(response=["4", "1e-3"]), [("a", "4"), ("b", "1e-3")]),
    Case("ids `1` and `01`", "r.csv", rows(prompt_id=["1", "01"]), [("base", "1", -0.5), ("base", "01", 1.0)]),
    Case("ids `1_23` and `12_3`", "r.json", rows(prompt_id=["1_23", "12_3"]), [("base", "1_23", -0.5), ("base", "12_3", 1.0)]),
    Case("ids `1.1` and `1.10`", "r.csv", rows(prompt_id=["1.1", "1.10"]), [("base", "1.1", -0.5), ("base", "1.10", 1.0)]),
    Case("an id of 19 digits", "r.json", rows(prompt_id=[1344800117571260417, 12]), [("base", "1344800117571260417", -0.5), ("base", "12", 1.0)]),
    Case("each axis counts its prompts from 0", "r.csv", rows(prompt_id=[0, 0]), [("base", "harmlessness-0", -0.5), ("base", "helpfulness-0", 1.0)]),
    Case("a policy called `None`", "r.csv", rows(policy=["None", "None"]), [("None", "a", -0.5), ("None", "b", 1.0)]),
    Case("a policy called `1e-3`", "r.csv", rows(policy=["1e-3", "1e-3"]), [("1e-3", "a", -0.5), ("1e-3", "b", 1.0)]),
    Case("`base` and `base ` with a blank", "r.csv", rows(policy=["base", "base "]), None, "r.csv: column policy holds 'base' and 'base ': take the blank away."),
    Case("reasons for a reply's end, as engines call them", "r.csv", rows(finish=["MAX_TOKENS", "end_turn"]), [("a", "length"), ("b", "eos")]),
    Case("an unknown reason", "r.csv", rows(finish=["eos", "done"]), None, "r.csv, line 3: finish is 'done', not a known reason for a reply's end. Known: eos, end_turn, stop, …"),
    Case("a reason for the end in `finish_reason`", "r.csv", rows(finish_reason=["length", "stop"]), [("a", "length"), ("b", "stop")], "r.csv: finish_reason is read as finish"),
    Case("a content filter in `stop_reason`", "r.csv", rows(stop_reason=["end_turn", "content_filter"]), None, "r.csv, line 3: finish is 'content_filter', a generation that failed (content_filter): there is no reply to rate."),
    Case("replies that are whole numbers: JSON", "r.json", rows(response=[4, 7]), [("a", "4"), ("b", "7")]),
    Case("a reply that is a number with a point: JSON", "r.json", rows(response=[4.5, 7]), None, "r.json, record 1: response is 4.5, not a text or a whole number: write it as a text."),
    Case("a generation that failed", "r.csv", rows(finish=["eos", "content_filter"]), None, "r.csv, line 3: finish is 'content_filter', a generation that failed (content_filter): there is no reply to rate."),
    Case("rewards with a decimal comma", "r.csv", text(";", reward=["0,5", "1,0"]), None, "r.csv, line 2: reward is '0,5', not a number: write it with a point."),
    Case("rewards `true` and `false`", "r.json", rows(reward=[True, False]), None, "r.json, record 1: reward is True, not a number: write 1 for true and 0 for false."),
    Case("a reward that is a list", "r.json", rows(reward=[[-0.5], [1.0]]), None, "r.json, record 1: reward is [-0.5], not a number: write one, or take this prompt out of every policy."),
    Case("a reward that is empty", "r.csv", text(reward=["", 1]), None, "r.csv: policy base has no finite reward for 1 prompt (a). It needs one finite reward for each prompt on harmlessness and helpfulness. All rewards of judge judge are on helpfulness: if it rates no other, say judges: {judge: {axis: helpfulness}} in the settings."),
    Case("a reward that is NaN", "r.json", json.dumps(rows(reward=[float("nan"), 1.0])), None, "r.json: policy base has no finite reward for 1 prompt (a). It needs one finite reward for each prompt on harmlessness and helpfulness. All rewards of judge judge are on helpfulness: if it rates no other, say judges: {judge: {axis: helpfulness}} in the settings."),
    Case("the largest number in the place of a missing reward", "r.csv", text(reward=[1.7976931348623157e308, 1.0]), None, "r.csv: policy base has a reward beyond 1e100 for 1 prompt (a). It needs one finite reward for each prompt on harmlessness and helpfulness."),
    Case("a prompt rated twice", "r.csv", rows() + rows()[:1], None, "r.csv, lines 2 and 4: base, harmlessness, prompt a stands twice. Keep one."),
    Case("a prompt that one policy lacks", "r.csv", two()[:3], None, "r.csv: policy sft has no row for 1 prompt (b). It needs one finite reward for each prompt on harmlessness and helpfulness."),
    Case("one id with two texts", "r.csv", [row | {"prompt": word} for row, word in zip(two(), "xyzy", strict=True)], None, "r.csv: harmlessness a has prompt 'x' in line 2 and 'z' in line 4."),
    Case("one prompt in two clusters", "r.csv", [row | {"cluster": word} for row, word in zip(two(), "xyzy", strict=True)], None, "r.csv: harmlessness a has cluster 'x' in line 2 and 'z' in line 4."),
    Case("clusters in some rows only", "r.csv", [row | {"cluster": word} for row, word in zip(two(), ["x", "y", "", "y"], strict=True)], None, "r.csv: column cluster is empty in 1 row of harmlessness (the first is line 4). Give it in every row of an axis, or in none."),
    Case("one policy with two parents", "r.csv", [row | {"parent": word} for row, word in zip(two(), ["", "", "base", "sft"], strict=True)], None, "r.csv: sft has parent 'base' in line 4 and 'sft' in line 5."),
    Case("a parent that is not there", "r.csv", [row | {"parent": word} for row, word in zip(two(), ["", "", "bas", "bas"], strict=True)], None, "r.csv: column parent names bas, which r.csv does not have (it has base, sft). Did you mean base?"),
    Case("an empty parent is the root", "r.json", [row | {"parent": ""} for row in two()], [("a", None), ("b", None)]),
    Case("a judge misspelt in the settings", "r.csv", rows(judge=["first", "first"]), None, "the settings: judges names frist, which r.csv does not have (it has first). Did you mean first?", {"judges": {"frist": {"harmless_min": 0.0}}}),
    Case("an axis misspelt", "r.csv", rows(axis=["harmless", "helpfulness"]), None, "r.csv: axis harmless is unknown. Allowed: harmlessness, helpfulness. The key axes says what it means: axes: {harmless: harmlessness}."),
    Case("CSV with colons", "r.csv", text(":"), None, "r.csv: columns policy, axis, prompt_id (or prompt) and reward are missing; it has policy:axis:prompt_id:reward. Needed: policy, axis, prompt_id (or prompt), reward. Add or rename them, or say columns: {policy: …, axis: …, prompt_id: …, reward: …} in the settings."),
    Case("a column in capitals", "r.csv", PLAIN.replace("reward", "Reward"), None, "r.csv: column reward is missing; it has policy, axis, prompt_id, Reward. Needed: policy, axis, prompt_id (or prompt), reward. Rename it, or say columns: {reward: Reward} in the settings."),
    Case("one axis only", "r.csv", rows()[:1], READ[:1]),
    Case("a column twice", "r.csv", PLAIN.replace("prompt_id", "reward"), None, "r.csv: column reward stands twice. Rename one of them."),
    Case("RewardBench's outputs (no policies)", "r.jsonl", [{"prompt": "x", "results": 1, "scores_chosen": 1.2, "scores_rejected": 0.3}], None, "r.jsonl: a judge's scores of chosen and rejected replies, as RewardBench writes them. A verdict is about policies: it needs a row per policy and prompt, with policy, axis, reward."),
    Case("rows that are no objects", "r.json", "[1, 2]", None, "r.json: record 1: not a row of named values but int."),
    Case("JSON whose list is not named", "r.json", json.dumps({"results": rows()}), None, "r.json: no list of records but dict; it has results. It must be the whole file, or stand where the key records says (of responses, and of a verdict's settings): results, perhaps."),
    Case("a row of too many values", "r.csv", PLAIN + "base,harmlessness,c,1,2\n", None, "r.csv: record 3 (up to line 4) has not one value for each column of the header."),
    Case("a quote that is never closed", "r.csv", PLAIN + '"base', None, "r.csv: line 4: not CSV (…)."),
    Case("a line that is no JSON", "r.jsonl", json.dumps(rows()[0]) + '\n{"policy"', None, "r.jsonl: line 2: not JSON (…)."),
    Case("Latin-1", "r.csv", text(policy=["é", "é"]).encode("latin-1"), None, "r.csv: line 2: not UTF-8. Save the file as UTF-8.", example=text(policy=["é", "é"])),
    Case("gzip that is cut", "r.json.gz", lambda path: path.write_bytes(gzip.compress(PLAIN.encode())[:-9]) and None, None, "r.json.gz: damaged gzip data (…). Replace the file.", example="…"),
    Case("a Parquet file that is cut", "r.parquet", b"PAR1", None, "r.parquet: not a readable Parquet file (…)."),
    Case("a sheet of Excel", "r.xlsx", b"PK", None, "r.xlsx: what kind of file is this? Give one that ends with .csv, .tsv, .json, .jsonl, .ndjson, .parquet, .eval, or with .gz behind that."),
    Case("a header and no row", "r.csv", "policy,axis,prompt_id,reward\n", None, "r.csv: it holds no row: a header, and nothing below it. Write a row per policy and prompt."),
    Case("a file of 0 bytes", "r.csv", "", None, "r.csv: the file is empty (0 bytes). Write it again, or name another.", example="(nothing)"),
    Case("the judge in a column of another name", "r.csv", rows(rater=["x", "x"]) + rows(rater=["y", "y"]), None, "r.csv, lines 2 and 4: base, harmlessness, prompt a stands twice, and so does 1 more. The column rater is not read. If it names the judge, say so in the settings: columns: {judge: rater}. Else keep one of each."),
]  # fmt: skip

SECTIONS = [
    Section("Ratings for a verdict", "A row for each policy and prompt: `make verdict RESPONSES=r.csv OPTIONS='--harmless-min 0 --helpful-above 0'`. The third column holds policy, prompt and reward, or prompt and the column that the example is about.", verdict, FORMATS, FAULTS)
]  # fmt: skip

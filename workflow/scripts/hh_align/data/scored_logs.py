"""Scored logs of inspect_ai and lm-eval as rows of ratings: a row per reply and score."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hh_align.core.artifacts import say
from hh_align.core.errors import StudyError
from hh_align.core.meant import did_you_mean
from hh_align.core.records import Record, inspect_log, inspect_records, json_member, kind_of, look_up, numbered, read_records, text_of
from hh_align.core.tabular import missing, to_number
from hh_align.data.layouts import FAILED, LAYOUTS

REPLY = {"inspect_ai": ["output.completion"], "lm_eval": ["resps.0.0", "resps.0"]}
"""Log -> where a reply's whole text stands: of lm-eval before any filter."""
NO_SCORE = {
    "doc_id",
    "doc",
    "target",
    "arguments",
    "resps",
    "filtered_resps",
    "filter",
    "metrics",
    "doc_hash",
    "prompt_hash",
    "target_hash",
}
"""What is no metric in a record of lm-eval, whose older logs do not name their metrics."""
WORDS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""Score that is a word -> its number, as inspect_ai counts them: correct, partial, incorrect, no answer."""
SAMPLES_FILE = re.compile(r"samples_(.+?)(_\d{4}-\d\d-\d\dT[\d.:-]+)?\.(jsonl|json|ndjson)(\.gz)?", re.IGNORECASE)


class Log(NamedTuple):
    """A scored log: which harness wrote it, the policy and task that the file speaks of as a whole (None: it does not say), its records."""

    layout: str
    policy: str | None
    task: str | None
    records: list[Record]


def scored_log(path: Path, records: str | None = None) -> tuple[Log | None, list[Record] | None]:
    """The file as a scored log (None: it is none), and its records where they had to be read to know that.

    records: the dotted path of the list within a JSON file. Raises StudyError for a missing or unreadable file.
    """
    if records is None and (log := log_of_inspect(path)):
        return log, log.records
    if kind_of(path) not in (".json", ".jsonl", ".ndjson"):
        return None, None
    found = read_records(path, records)
    return log_of_lm_eval(path, found), found


def log_of_inspect(path: Path) -> Log | None:
    """The file as a log of inspect_ai, packed or as JSON; None for another file. Raises StudyError for one without samples."""
    kind = kind_of(path)
    if not path.is_file():
        raise StudyError(f"{path}: no such file.")
    if kind == ".eval":
        records, header = inspect_records(path, None), header_of(path)
    elif kind == ".json" and (header := json_object(path)) and ("eval" in header and {"status", "samples"} & set(header)):
        records = numbered(header["samples"]) if isinstance(header.get("samples"), list) else []
    else:
        return None
    status = header.get("status")
    if not records:
        raise StudyError(f"{path}: a log of inspect_ai without samples (its status is {status}). Give one of a run that has ended.")
    if status not in (None, "success"):
        say(f"{path}: the run's status is {status}, not success")
    model, task = (name if isinstance(name := look_up(header, f"eval.{key}"), str) and name else None for key in ("model", "task"))
    return Log("inspect_ai", model, task, records)


def header_of(path: Path) -> dict:
    """What a packed log says of its run, at its end or, where it has none, at its start."""
    with inspect_log(path) as log:
        name = next((name for name in ("header.json", "_journal/start.json") if name in log.namelist()), None)
        header = json_member(log, name) if name else {}
    return header if isinstance(header, dict) else {}


def json_object(path: Path) -> dict | None:
    """The file's content where it is one JSON object."""
    text = text_of(path)
    try:
        value = json.loads(text) if text.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def log_of_lm_eval(path: Path, records: list[Record]) -> Log | None:
    """The records as samples that lm-eval has logged; None for others.

    The file's name has the task, its folder's the model: `<model>/samples_<task>_<time>.jsonl`. Another name is the policy's.
    """
    if not records or not all(isinstance(record, dict) and {"doc_id", "doc", "resps"} <= set(record) for _, record in records):
        return None
    if named := SAMPLES_FILE.fullmatch(path.name):
        return Log("lm_eval", path.absolute().parent.name, named.group(1), records)
    return Log("lm_eval", path.name.split(".")[0], None, records)


def scores_in(layout: str, record: Mapping) -> dict[str, object]:
    """Name -> value of every score of a record; where a scorer gives several values, each is `scorer.value`."""
    if layout == "inspect_ai":
        given = record.get("scores") if isinstance(record.get("scores"), dict) else {}
        values = {name: look_up(score, "value") for name, score in given.items()}
    else:
        names = record["metrics"] if isinstance(record.get("metrics"), list) else [name for name in record if name not in NO_SCORE]
        values = {name: record.get(name) for name in map(str, names) if name not in ("bypass", "finish_reason")}
    scores = {}
    for name, value in values.items():
        scores |= {f"{name}.{part}": inner for part, inner in value.items()} if isinstance(value, dict) else {name: value}
    return scores


def chosen_scores(path: Path, there: Sequence[str], asked: str | list[str] | None) -> list[str]:
    """Which of a log's scores are rewards: those asked for, or the only one. Raises StudyError naming what there is."""
    if not there:
        raise StudyError(f"{path}: a log without scores. Score it first (`inspect score`, or a task of lm-eval with a metric).")
    if asked is None and len(there) > 1:
        raise StudyError(f"{path}: {len(there)} scores: {', '.join(there)}. Which one is the reward? Set score in the settings.")
    wanted = list(there) if asked is None else [asked] if isinstance(asked, str) else asked
    chosen = [name for name in wanted if name in there]
    if not chosen:
        raise StudyError(f"{path}: no score is named {' or '.join(wanted)}. There is: {', '.join(there)}.{did_you_mean(wanted[0], there)}")
    return chosen


def reward_of(value: object) -> float:
    """A score as a number, NaN where there is none. Raises ValueError for a word without a number, a list, a dict."""
    if isinstance(value, str) and (value in WORDS or value.lower() in WORDS):
        return WORDS[value] if value in WORDS else WORDS[value.lower()]
    return float(value) if isinstance(value, bool) else to_number(value)


def rating_rows(path: Path, log: Log, columns: Mapping[str, str], score: str | list[str] | None) -> list[dict]:
    """A row per record and score: policy, axis, judge (the score's name), prompt_id, prompt, response, finish, reward.

    columns: column -> dotted path where a record has it elsewhere. Raises StudyError, naming the records, for generations that failed, for
    scores that are missing or no numbers, and for several records to one prompt.
    """
    records = living(path, log)
    scores = [(where, record, scores_in(log.layout, record)) for where, record in records]
    there = list(dict.fromkeys(name for *_, values in scores for name in values))
    chosen = ["reward"] if "reward" in columns else chosen_scores(path, there, score)
    rows, unscored = [], []
    for where, record, values in scores:
        facts = facts_of(log, record, columns)
        for name in chosen:
            value = look_up(record, columns["reward"]) if "reward" in columns else values.get(name)
            try:
                reward = reward_of(value)
            except ValueError as error:
                raise StudyError(f"{path}: {where}: {name} is {value!r:.60}, {error}.") from None
            if missing(reward):
                unscored.append((where, name))
            rows.append({**facts, "judge": name, "reward": reward})
    if unscored:
        raise StudyError(
            f"{path}: {len(unscored)} records without a score by {unscored[0][1]} (the first is {unscored[0][0]}). Score them, or leave "
            "them out by only: {column: value}."
        )
    check_once(path, records, rows[:: len(chosen)])
    if all(row["response"] is None for row in rows):
        say(f"{path}: no record has one reply: their text is not looked at")
        rows = [{name: value for name, value in row.items() if name != "response"} for row in rows]
    return rows


def living(path: Path, log: Log) -> list[tuple[str, dict]]:
    """The log's records. Raises StudyError where the generation of one failed. A filter of lm-eval that found no match is no failure: its
    metric counts."""
    for where, record in log.records:
        if not isinstance(record, dict):
            raise StudyError(f"{path}: {where}: not a record but {type(record).__name__}.")
    fails = FAILED["inspect_ai"] if log.layout == "inspect_ai" else lambda record: None
    failed = [(where, reason) for where, record in log.records if (reason := fails(record))]
    if failed:
        raise StudyError(
            f"{path}: generations that failed: {len(failed)} (the first is {failed[0][0]}: {failed[0][1]}). Generate them again, or "
            "leave them out by only: {column: value}."
        )
    return log.records


def facts_of(log: Log, record: Mapping, columns: Mapping[str, str]) -> dict:
    """What a record says of its reply, and the file where the record does not; None where neither does."""
    own = {"policy": "output.model"} | LAYOUTS[log.layout] | columns
    facts = {name: look_up(record, own[name]) for name in ("policy", "axis", "prompt_id", "prompt", "finish")}
    facts |= {name: look_up(record, path) for name, path in columns.items() if name in ("seed", "cluster", "parent")}
    if log.policy is not None and "policy" not in columns:
        facts["policy"] = log.policy
    facts["axis"] = log.task if facts["axis"] is None else facts["axis"]
    if log.layout == "lm_eval" and facts["prompt_id"] is None:
        facts["prompt_id"] = record["doc_id"]
    if log.layout == "lm_eval" and facts["prompt"] is None:  # a document of another form is known by all that it holds
        facts["prompt"] = json.dumps(record["doc"], sort_keys=True, ensure_ascii=False)
    texts = (look_up(record, path) for path in ([columns["response"]] if "response" in columns else REPLY[log.layout]))
    several = log.layout == "lm_eval" and "response" not in columns and len(replies_in(record)) != 1
    return facts | {"response": None if several else next((text for text in texts if isinstance(text, str)), None)}


def replies_in(record: Mapping) -> list:
    """All replies of a record of lm-eval: a request has several where it is repeated."""
    given = record["resps"] if isinstance(record["resps"], list) else []
    return [reply for request in given for reply in (request if isinstance(request, list) else [request])]


def check_once(path: Path, records: Sequence[Record], rows: Sequence[Mapping]) -> None:
    """Raise StudyError where two records answer one prompt, saying in what they differ."""
    seen: dict[str, tuple[str, Mapping]] = {}
    for (where, record), row in zip(records, rows, strict=True):
        key = json.dumps([row[name] for name in ("policy", "axis", "prompt_id")] + [row.get("seed")], default=str)
        if key in seen:
            first, other = seen[key]
            differs = [
                f"{name} {other.get(name)} and {record.get(name)}" for name in ("epoch", "filter") if other.get(name) != record.get(name)
            ]
            how = (
                f" ({', '.join(differs)}). Keep one by only: {{{differs[0].split(' and ')[0].replace(' ', ': ', 1)}}}"
                if differs
                else ". Take one of them out"
            )
            raise StudyError(f"{path}: {first} and {where} answer one prompt{how}.")
        seen[key] = where, record

"""Responses that another engine wrote, from a file of the user's, as one policy's responses to the evaluation prompts."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.finish import COLUMNS, FailedGeneration, finish
from hh_align.core.records import Record, chosen_records, look_up, read_records
from hh_align.core.tables import PROMPTS, RESPONSES, columns_of
from hh_align.data.import_release import is_text
from hh_align.data.layouts import FAILED, LAYOUTS, RECORDS, SECOND, clean, in_same_entry, several
from hh_align.data.transcripts import ASSISTANT, LEAD, prompt_text, reply_text

SHOWN = 60
"""Characters of a wrong value that a message shows."""
SPECIAL = ("<s>", "</s>", "<bos>", "<|begin_of_text|>", "<|endoftext|>")
"""Tokens that an engine may show at a prompt's beginning."""


def paths_in(value: object, depth: int = 7) -> list[str]:
    """The columns of a record as dotted paths, of a list those of its first entry."""
    entries = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    paths = []
    for name, entry in entries:
        inner = paths_in(entry, depth - 1) if depth > 1 else []
        paths += [f"{name}.{path}" for path in inner] or [str(name)]
    return paths


def beginning(value: object) -> str:
    """The beginning of a value."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def plain(text: str) -> str:
    """A prompt without what engines add around it: a first token, the cue, white space and case."""
    for token in SPECIAL:
        text = text.removeprefix(token)
    return text.strip().removesuffix(ASSISTANT.strip()).strip().lower()


def matcher(prompts: list[dict]) -> Callable[[object, object, object], str]:
    """A function (prompt_id, prompt, axis) -> the prompt_id of the study's prompt that a record answers.

    A prompt_id that is a text decides; else the prompt's exact text, or the text around it that policies read: before one trailing cue,
    and behind one leading blank line. Nothing else is normalised.
    It raises ValueError, saying what is wrong, and where prompt_id and text are those of different prompts.
    """
    known = {row["prompt_id"]: row for row in prompts}
    by_text: dict[str, list[dict]] = {}
    nearest: dict[str, str] = {}
    for row in prompts:
        by_text.setdefault(row["prompt"], []).append(row)
        nearest.setdefault(plain(row["prompt"]), row["prompt_id"])

    def with_text(prompt: object) -> list[dict]:
        texts = [prompt, prompt_text(prompt)]
        if isinstance(prompt, list) and len(prompt) == 1:
            texts.append(look_up(prompt, "0.content"))
        texts = [text for text in texts if isinstance(text, str)]
        uncued = [text.removesuffix(ASSISTANT) for text in texts]
        bare = [text.removeprefix(LEAD) for text in uncued]
        return next((by_text[text] for text in (*texts, *uncued, *bare) if text in by_text), [])

    def match(prompt_id: object, prompt: object, axis: object) -> str:
        alike = with_text(prompt)
        if isinstance(prompt_id, str):
            if prompt_id not in known:
                raise ValueError(f"the study has no prompt {beginning(prompt_id)} ({min(known)} … {max(known)})")
            names = [row["prompt_id"] for row in alike]
            if names and prompt_id not in names:
                raise ValueError(f"prompt_id is {prompt_id}, but the prompt's text is that of {' and '.join(names)}")
            return prompt_id
        if prompt is None:
            raise ValueError(f"prompt_id is {beginning(prompt_id)}, no text: the study's are, such as {min(known)}. Give it, or the prompt")
        if not isinstance(prompt_text(prompt), str):
            raise ValueError(f"neither a prompt_id nor a prompt that is a text ({beginning(prompt)})")
        alike = [row for row in alike if axis is None or row["axis"] == axis]
        if not alike:
            text = prompt_text(prompt)
            near = nearest.get(plain(text))
            but = f" ({near} differs in white space, case, a first token or the cue)" if near else ""
            on = f" on axis {beginning(axis)}" * (axis is not None)
            raise ValueError(f"the study has no prompt with exactly this text{on}: {beginning(text)}{but}")
        if len(alike) > 1:
            raise ValueError(f"the text is that of several prompts ({', '.join(row['prompt_id'] for row in alike[:5])}). Give prompt_id")
        return alike[0]["prompt_id"]

    return match


def response_of(record: object, paths: str | list[str] | None, layout: str) -> str:
    """The response's text, at the first of `paths` that the record has; None takes the layout's own.

    Raises ValueError where there is none, where it is no text, and where the layout's own path would take the first of several.
    """
    own = LAYOUTS[layout]["response"]
    if paths is None and (listed := several(record, own)):
        raise ValueError(f"{listed[1]} replies in {listed[0]}. Set columns.response to the path of one; {own} is the first")
    paths = [own, *filter(None, [SECOND.get(layout)])] if paths is None else [paths] if isinstance(paths, str) else paths
    response = next((value for path in paths if (value := look_up(record, path)) is not None), None)
    if response is None:
        has = ", ".join(paths_in(record)) or type(record).__name__
        raise ValueError(f"no response in column {' or '.join(paths)}; it has {has}")
    response = reply_text(response.decode() if isinstance(response, bytes) else response)
    if isinstance(response, list) and len(response) > 1 and all(isinstance(reply, str) for reply in response):
        raise ValueError(f"{len(response)} replies in {paths[0]}. Set columns.response to the path of one; {paths[0]}.0 is the first")
    response = str(response) if type(response) is int else response
    if not is_text(response):
        raise ValueError(f"the response is no text ({beginning(response)})")
    return response


def ending_of(record: object, column: str) -> str | None:
    """Why the response ended, in the study's words; where the column is one of COLUMNS, another of them may say so.

    Raises FailedGeneration, or ValueError that names the column, as `finish` does.
    """
    names = (column, *COLUMNS) if column in COLUMNS else (column,)
    column, word = next(((name, word) for name in names if (word := look_up(record, name)) not in (None, "")), (column, None))
    try:
        return finish(word)
    except FailedGeneration as failure:
        raise FailedGeneration(str(word)) from failure
    except ValueError as error:
        raise ValueError(f"{column} is {beginning(word)}, {error}") from None


def columns_of_layout(layout: str, own: dict) -> dict[str, str | list[str]]:
    """Column -> path, `own` over the layout's; where `own` takes another reply of a list, `finish` is that one's."""
    theirs = LAYOUTS[layout]
    chosen = own.get("response", theirs["response"])
    finish = in_same_entry(theirs["finish"], theirs["response"], chosen) if isinstance(chosen, str) else theirs["finish"]
    return theirs | {"finish": finish} | own


def response_rows(
    path: Path, records: Iterable[Record], prompts: list[dict], own: dict | None = None, layout: str = "table", take: list[str] = ()
) -> list[dict]:
    """The rows of the table, in the order of the prompts; what the file does not say is null.

    own: columns of other names than the layout's; take: what is taken off the texts (`echo`, `think`, `end_token`). Raises StudyError, naming
    file and record, for a column or value that is missing or no text, an unknown prompt and a second response to one; for generations that
    failed; and for prompts without any.
    """
    columns = columns_of_layout(layout, own or {})
    match, answered, failed, held = matcher(prompts), {}, {}, Counter()
    texts = {row["prompt_id"]: row["prompt"] for row in prompts}
    for where, record in records:
        try:
            reason = FAILED[layout](record) if layout in FAILED and isinstance(record, dict) else None
            if reason:
                failed.setdefault(reason, []).append(where)
                continue
            ended = ending_of(record, columns["finish"])
            values = (look_up(record, columns[name]) for name in ("prompt_id", "prompt", "axis"))
            prompt_id, prompt, axis = (None if value == "" else value for value in values)
            response = response_of(record, (own or {}).get("response"), layout)
            if prompt_id is None and prompt is None:
                raise ValueError(f"neither column {columns['prompt_id']} nor {columns['prompt']}; it has {', '.join(paths_in(record))}")
            name = match(prompt_id, prompt, axis)
            if name in answered:
                raise ValueError(f"a second response to {name}, after {answered[name][0]}. Keep one by only: {{column: value}}")
        except FailedGeneration as failure:
            failed.setdefault(str(failure), []).append(where)
            continue
        except ValueError as error:
            raise StudyError(f"{path}: {where}: {error}.") from None
        response, parts = clean(response, texts[name], take)
        held.update(parts)
        answered[name] = where, response, ended
    if failed:
        counts = ", ".join(f"{reason} {len(places)}" for reason, places in failed.items())
        first = next(iter(failed.values()))[0]
        raise StudyError(
            f"{path}: generations that failed: {sum(map(len, failed.values()))} ({counts}; the first is {first}). They are no replies: generate "
            "them again, or leave them out by only: {column: value}."
        )
    if missing := [row["prompt_id"] for row in prompts if row["prompt_id"] not in answered]:
        raise StudyError(
            f"{path}: no response to {len(missing)} of {len(prompts)} prompts ({', '.join(missing[:5])}). Every prompt needs one."
        )
    for part, count in sorted(held.items()):
        say(f"{path}: replies with {part}: {count}, {'taken off' if part in take else f'left as it is (clean: [{part}] takes it off)'}")
    return [
        {"axis": row["axis"], "prompt_id": row["prompt_id"], "response": text, "finish": ended}
        for row in prompts
        for _, text, ended in [answered[row["prompt_id"]]]
    ]


def main() -> None:
    args = parse(__doc__, config="config", file="path", prompts="path", output="path")
    layout = args.config["layout"]
    prompts = read_table(args.prompts, columns_of(PROMPTS, "axis", "prompt_id", "prompt")).to_pylist()
    records = read_records(args.file, args.config.get("records", RECORDS.get(layout)))
    records = chosen_records(args.file, records, args.config.get("only", {}))
    rows = response_rows(args.file, records, prompts, args.config.get("columns"), layout, args.config.get("clean", []))
    write_table(args.output, rows, RESPONSES, provenance(args.config, [args.prompts, args.file]))
    say(f"{args.file}: {len(rows)} responses, {sum(not row['response'].strip() for row in rows)} empty")


if __name__ == "__main__":
    run(main)

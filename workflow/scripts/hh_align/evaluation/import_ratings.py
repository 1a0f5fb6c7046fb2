"""Ratings that were made elsewhere, in a table or in scored logs, as a judge's rewards: every response of the study once, and nothing else."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.axes import AXES
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.records import chosen_records, text_of_value
from hh_align.core.tables import PROMPTS, RESPONSES, REWARDS, columns_of
from hh_align.core.tabular import convert, missing, read_any, require_full, to_number, to_text, to_whole, with_columns
from hh_align.data.scored_logs import Log, rating_rows, scored_log
from hh_align.evaluation.import_responses import matcher

NEEDED = ("policy", "axis", "prompt_id", "reward")
LOG_KEYS = ("score", "only", "axes")
RESPONSE_KEY = ["policy", "seed", "axis", "prompt_id"]
"""What names one response of a study."""


def read_files(paths: Sequence[Path], config: dict, prompts: list[dict]) -> pd.DataFrame:
    """The rows of all files, as read_rated gives them of one; of a scored log a row per record.

    config: columns, policies, and where they are given of logs score, only, axes and files (for each file the policy, seed or axis that its name says). Raises
    StudyError as read_rated does, and where a table comes with the keys of a log.
    """
    frames = []
    for path, said in zip(paths, config.get("files", [{} for _ in paths]), strict=True):
        log, _ = scored_log(path)
        if log is None and (keys := [key for key in LOG_KEYS if key in config]):
            raise StudyError(f"{path}: a table, no scored log, and {', '.join(keys)} is about logs. Leave it out.")
        frame = read_log(path, log, config, prompts, said) if log else read_any(path, [])
        if log is None:
            check_said(frame, path, config["columns"], said)
        columns = config["columns"] | {name: name for name in (config["columns"] if log else said)}
        frames.append(read_rated(frame.assign(**said), path, columns, config["policies"]))
    if len(frames) > 1:
        for path, frame in zip(paths, frames, strict=True):
            frame.index = [f"{number} of {path}" for number in frame.index]
    return pd.concat(frames)


def check_said(frame: pd.DataFrame, path: Path, columns: dict[str, str], said: dict) -> None:
    """Raise StudyError where a table's own column says otherwise than the file's name."""
    for name, value in said.items():
        column = columns.get(name, name)
        for number, own in enumerate(frame[column].tolist() if column in frame else [], start=1):
            if not missing(own) and text_of_value(own).removesuffix(".0") != str(value):
                raise StudyError(
                    f"{path}, row {number}: {column} is {own!r:.60}, but the file's name says {value}. Take the column out, or {{{name}}} "
                    "out of the judge's path."
                )


def read_log(path: Path, log: Log, config: dict, prompts: list[dict], said: dict) -> pd.DataFrame:
    """A scored log's rows, each under the prompt_id of the study's prompt that it names or holds."""
    own = {name: column for name, column in config["columns"].items() if column != name}
    kept = log._replace(records=chosen_records(path, log.records, config.get("only", {})))
    rows, match, axes = rating_rows(path, kept, own, config.get("score")), matcher(prompts), config.get("axes", {})
    for (where, _), row in zip(kept.records, rows, strict=True):
        axis = said.get("axis", row["axis"])
        row["axis"] = axes.get(axis, axis) if isinstance(axis, str) else axis
        try:
            row["prompt_id"] = match(row["prompt_id"], row["prompt"], row["axis"] if row["axis"] in AXES else None)
        except ValueError as error:
            raise StudyError(f"{path}: {where}: {error}.") from None
    return pd.DataFrame(rows, dtype=object)


def read_rated(frame: pd.DataFrame, path: Path, columns: dict[str, str], policies: dict[str, list[int]]) -> pd.DataFrame:
    """Rows with policy, seed, axis, prompt_id, reward and, where the file has it, response; the index counts the file's rows from 1.

    Without a column of seeds a policy must have one. Raises StudyError for a missing column, and for the first row without a finite rating.
    """
    frame = with_columns(frame, path, [columns[name] for name in NEEDED])
    convert(frame, path, to_text, [columns[name] for name in ("policy", "axis", "prompt_id", "response")], "str")
    convert(frame, path, to_number, [columns["reward"]], "float64")
    convert(frame, path, to_whole, [columns["seed"]], "int64")
    require_full(frame, path, [columns[name] for name in NEEDED[:3]])
    present = {theirs: name for name, theirs in columns.items() if theirs in frame}
    frame = frame[list(present)].rename(columns=present)
    frame.index += 1
    if "seed" not in frame:
        if several := [policy for policy, seeds in policies.items() if len(seeds) > 1]:
            raise StudyError(f"{path}: column {columns['seed']} is missing, and of several seeds are: {', '.join(several)}. Add it.")
        frame["seed"] = frame["policy"].map({policy: seeds[0] for policy, seeds in policies.items()}).fillna(0).astype(int)
    if len(wrong := frame[~np.isfinite(frame["reward"])]):
        row = wrong.iloc[0]
        raise StudyError(
            f"{path}, row {row.name} ({row['policy']}, {row['prompt_id']}): {columns['reward']} is {row['reward']}, not a finite number."
        )
    return frame


def response_name(row: pd.Series) -> str:
    """What an error calls a rated response."""
    return f"{row['policy']}, seed {row['seed']}, {row['axis']}, {row['prompt_id']}"


def check_rows(frame: pd.DataFrame, path: str, prompts: list[dict], policies: dict[str, list[int]], axes: list[str]) -> pd.DataFrame:
    """The rows of the judge's axes; those of the other axis are left out and counted.

    Raises StudyError for a row that is no response of the study or stands twice, and for the first response without a row.
    """
    asked = [(row["axis"], row["prompt_id"]) for row in prompts]
    wanted = [(policy, seed, *prompt) for policy, seeds in policies.items() for seed in seeds for prompt in asked]
    known = set(wanted)
    for number, key in zip(frame.index, frame[RESPONSE_KEY].itertuples(index=False, name=None), strict=True):
        if key not in known:
            policy, seed, axis, name = key
            what = (
                f"policy {policy} is none of {', '.join(policies)}"
                if policy not in policies
                else f"{policy} has no seed {seed}, only {', '.join(map(str, policies[policy]))}"
                if seed not in policies[policy]
                else f"the study has no prompt {name} on {axis}"
            )
            raise StudyError(f"{path}, row {number}: {what}.")
    twice = frame[frame.duplicated(RESPONSE_KEY)]
    if len(twice):
        raise StudyError(f"{path}, row {twice.index[0]}: {response_name(twice.iloc[0])} stands twice. Keep one of the rows.")
    other = int((~frame["axis"].isin(axes)).sum())
    if other:
        say(f"{path}: {other} rows left out: the judge speaks about {' and '.join(axes)} only")
    frame = frame[frame["axis"].isin(axes)]
    rated = set(frame[RESPONSE_KEY].itertuples(index=False, name=None))
    if unrated := [key for key in wanted if key[2] in axes and key not in rated]:
        policy, seed, axis, name = unrated[0]
        raise StudyError(
            f"{path}: responses without a row: {len(unrated)} (the first is {policy}, seed {seed}, {axis}, {name}). Rate them."
        )
    return frame


def check_texts(frame: pd.DataFrame, path: str, responses: list[Path]) -> None:
    """Raise StudyError for the first row whose text is not the study's response: its rating is about another one."""
    texts = {}
    for table in responses:
        policy, seed = table.parent.name, int(table.stem.removeprefix("seed-"))
        rows = read_table(table, columns_of(RESPONSES, "axis", "prompt_id", "response")).to_pylist()
        texts |= {(policy, seed, row["axis"], row["prompt_id"]): row["response"] for row in rows}
    for number, row in frame.iterrows():
        said = "" if pd.isna(row["response"]) else str(row["response"])
        if said.strip() != texts[row["policy"], row["seed"], row["axis"], row["prompt_id"]].strip():
            raise StudyError(f"{path}, row {number} ({response_name(row)}): the rated text is not the study's response.")


def main() -> None:
    args = parse(__doc__, config="config", ratings="paths", prompts="path", responses="paths", rewards="paths")
    config = args.config
    prompts = read_table(args.prompts, columns_of(PROMPTS, "axis", "prompt_id", "prompt")).to_pylist()
    label = ", ".join(map(str, args.ratings))
    frame = check_rows(read_files(args.ratings, config, prompts), label, prompts, config["policies"], config["judged"])
    if "response" in frame:
        check_texts(frame, label, args.responses)
    made_by = provenance(config, [*args.ratings, args.prompts, *args.responses])
    order = {row["prompt_id"]: number for number, row in enumerate(prompts)}
    for path in args.rewards:
        here = (frame["policy"] == path.parent.name) & (frame["seed"] == int(path.stem.removeprefix("seed-")))
        rows = frame[here].sort_values("prompt_id", key=lambda names: names.map(order))
        table = rows[["axis", "prompt_id", "reward"]].assign(input_tokens=None, cut_tokens=None)
        write_table(path, table.to_dict("records"), REWARDS, made_by)
    counts = Counter(frame["axis"])
    say(f"{len(frame):,} ratings: {', '.join(f'{counts[axis]:,} on {axis}' for axis in config['judged'])}")


if __name__ == "__main__":
    run(main)

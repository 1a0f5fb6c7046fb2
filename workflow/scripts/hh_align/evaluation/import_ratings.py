"""Ratings that were made elsewhere as a judge's rewards: every response of the study once, and nothing else."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, RESPONSES, REWARDS, columns_of
from hh_align.core.tabular import convert, read_any, require_full, to_number, to_text, to_whole

NEEDED = ("policy", "axis", "prompt_id", "reward")
RESPONSE_KEY = ["policy", "seed", "axis", "prompt_id"]
"""What names one response of a study."""


def read_rated(path: Path, columns: dict[str, str], policies: dict[str, list[int]]) -> pd.DataFrame:
    """Rows with policy, seed, axis, prompt_id, reward and, where the file has it, response; the index counts the file's rows from 1.

    Without a column of seeds a policy must have one. Raises StudyError for a missing column, and for the first row without a finite rating.
    """
    frame = read_any(path, [columns[name] for name in NEEDED])
    convert(frame, path, to_text, [columns[name] for name in ("policy", "axis", "prompt_id", "response")], "str")
    convert(frame, path, to_number, [columns["reward"]], "float64")
    convert(frame, path, to_whole, [columns["seed"]], "int64")
    require_full(frame, path, [columns[name] for name in NEEDED[:3]])
    present = {theirs: name for name, theirs in columns.items() if theirs in frame}
    frame = frame[list(present)].rename(columns=present)
    frame.index += 1
    if "seed" not in frame:
        if several := [policy for policy, seeds in policies.items() if len(seeds) > 1]:
            raise StudyError(f"{path}: column {columns['seed']} is missing, and {', '.join(several)} has several seeds.")
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


def check_rows(frame: pd.DataFrame, path: Path, prompts: list[dict], policies: dict[str, list[int]], axes: list[str]) -> pd.DataFrame:
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
    if missing := [key for key in wanted if key[2] in axes and key not in rated]:
        policy, seed, axis, name = missing[0]
        raise StudyError(f"{path}: {len(missing)} responses have no row; the first is {policy}, seed {seed}, {axis}, {name}.")
    return frame


def check_texts(frame: pd.DataFrame, path: Path, responses: list[Path]) -> None:
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
    args = parse(__doc__, config="config", ratings="path", prompts="path", responses="paths", rewards="paths")
    config = args.config
    prompts = read_table(args.prompts, columns_of(PROMPTS, "axis", "prompt_id")).to_pylist()
    frame = check_rows(
        read_rated(args.ratings, config["columns"], config["policies"]), args.ratings, prompts, config["policies"], config["axes"]
    )
    if "response" in frame:
        check_texts(frame, args.ratings, args.responses)
    made_by = provenance(config, [args.ratings, args.prompts, *args.responses])
    order = {row["prompt_id"]: number for number, row in enumerate(prompts)}
    for path in args.rewards:
        here = (frame["policy"] == path.parent.name) & (frame["seed"] == int(path.stem.removeprefix("seed-")))
        rows = frame[here].sort_values("prompt_id", key=lambda names: names.map(order))
        table = rows[["axis", "prompt_id", "reward"]].assign(input_tokens=None, cut_tokens=None)
        write_table(path, table.to_dict("records"), REWARDS, made_by)
    counts = Counter(frame["axis"])
    say(f"{len(frame):,} ratings: {', '.join(f'{counts[axis]:,} on {axis}' for axis in config['axes'])}")


if __name__ == "__main__":
    run(main)

"""What a verdict on ratings is read in: the terminal's text, a page as a study has, and the responses where the files hold their texts."""

from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from hh_align.analysis.ratings import Rated, checkpoints
from hh_align.analysis.verdict import some
from hh_align.core.artifacts import write_text
from hh_align.core.axes import AXES, CAS, PROMPT_NAMES, RATES
from hh_align.report import render_browser, render_report, summarize_study
from hh_align.report.pages import TEMPLATES
from hh_align.report.terminal import wrapped
from hh_align.tools.judge_gate import Gate
from hh_align.tools.verdict_study import contrasts_of
from hh_align.tools.verdict_thresholds import threshold_lines

LOOK = "The page: {{folder}}/index.html; beside it {browser}figures/ and every table as CSV."
PLAIN = ("equivalence_margin", "discordance")


class Given(NamedTuple):
    """What a verdict is about: ratings that have been read, and found fit."""

    folder: Path
    config: dict
    frame: pd.DataFrame
    """The rows of the files."""
    table: pa.Table
    """The same as a table of ratings."""
    rated: Rated
    gate: Gate
    """What is known of the judges."""
    rated_by: dict
    made_by: dict
    """The provenance of the table of ratings, and of the others."""


def write_texts(given: Given, tables: dict[str, pd.DataFrame]) -> str:
    """Write browser.html where there are texts, and summary.txt. Returns the summary."""
    report = given.folder / "report"
    about = given.config | {
        "study": given.folder.name,
        "folder": str(given.folder),
        "synthetic": False,
        "same_source": [],
        "unknown_judges": given.gate.unknown,
    }
    if texts := texts_of(given.frame, given.config):
        data = render_browser.collect(about, *texts, given.rated.ratings)
        write_text(report / "browser.html", render_browser.page(about, data, TEMPLATES))
    empty = {name: summarize_study.frame(None, columns) for name, columns in summarize_study.COLUMNS.items()}
    look = LOOK.format(browser="browser.html (the responses), " if texts else "")
    summary = summarize_study.summary(about, empty | tables | {"leads": tables["threshold_leads"]}, {}, look)
    text = "".join(f"{line}\n" for note in notes(given) for line in wrapped(note)) + "\n" + summary
    write_text(report / "summary.txt", text)
    return text


def write_page(given: Given, tables: dict[str, pd.DataFrame], command: str) -> None:
    """Write index.html; command: what gives this verdict again."""
    page = render_report.page(page_config(given, tables, command), given.folder, TEMPLATES, "verdict.html")
    write_text(given.folder / "report/index.html", page)


def notes(given: Given) -> list[str]:
    """Whose thresholds the labels follow, which axis is not there, and which policies no declared contrast names."""
    there = {axis for *_, axis in given.rated.ratings}
    alone = [f"No reward on {axis}: there is no {RATES[axis]}, and no {CAS}, which is of both axes." for axis in AXES if axis not in there]
    declared = {policy for contrast in given.config["contrasts"] for policy in contrast}
    left = [policy for policy in given.config["order"] if declared and policy not in declared]
    unnamed = [f"In no declared contrast, and so without a verdict: {', '.join(left)}."] if left else []
    return threshold_lines(given.config["thresholds"]) + alone + unnamed + beside(given.config)


def beside(config: dict) -> list[str]:
    """By the default contrasts policies beside each other have no verdict: which, and how they get one."""
    root, *others = config["order"]
    held = set(map(frozenset, config["contrasts"]))
    left = [pair for pair in combinations(others, 2) if frozenset(pair) not in held]
    if not left or config["contrasts"] != contrasts_of(
        root, {policy: config["policies"][policy]["parent"] for policy in config["policies"] if policy != root}
    ):
        return []
    pairs = [f"{other} against {policy}" for policy, other in left]
    return [
        f"No verdict on {some(pairs)}: by default each policy is held against the root and its parent. The settings' key contrasts names other pairs."
    ]


def texts_of(frame: pd.DataFrame, config: dict) -> tuple[list[dict], dict[tuple[str, int], list[dict]]] | None:
    """The prompts, and per (policy, seed) its responses; None where a policy has no text on an axis, or prompts that others lack."""
    if "response" not in frame or not frame.groupby(["policy", "seed", "axis"])["response"].count().all():
        return None
    frame = frame.assign(response=frame["response"].fillna(""))  # an empty text is an empty reply
    root = config["order"][0]
    rows = frame.reindex(columns=[*frame, *({"prompt", "finish", "tokens"} - set(frame))])
    rows = rows.drop_duplicates(["policy", "seed", "axis", "prompt_id"]).assign(seed=rows["seed"].where(rows["policy"] != root, 0))
    rows = rows.assign(response_tokens=rows["tokens"], prompt=rows["prompt"].fillna(rows["prompt_id"]).astype(str))
    rows = rows.astype({"finish": object, "response_tokens": object}).where(lambda each: each.notna(), None)
    prompts = rows.drop_duplicates(["axis", "prompt_id"]).sort_values(["axis", "prompt_id"])[["axis", "prompt_id", "prompt"]]
    given = {key: part.to_dict("records") for key, part in rows.groupby(["policy", "seed"])}
    if any(len(given.get(checkpoint, ())) != len(prompts) for checkpoint in checkpoints(config)):
        return None
    return prompts.to_dict("records"), {(policy, int(seed)): part for (policy, seed), part in given.items()}


def page_config(given: Given, tables: dict[str, pd.DataFrame], command: str) -> dict:
    """What render_report reads, as it would of a study."""
    config = given.config
    asked = given.frame.drop_duplicates(["axis", "prompt_id"]).groupby("axis").size()
    study = {
        "study": given.folder.name,
        "seeds": config["seeds"],
        "judges": {judge: thresholds | {"source": "imported"} for judge, thresholds in config["judges"].items()},
        "analysis": {key: config[key] for key in PLAIN} | {"contrasts": config["contrasts"], "primary": config["primary"]},
        "parents": {policy: entry["parent"] for policy, entry in config["policies"].items()},
    }
    return {
        "study": study,
        "order": config["order"],
        "tables": [name for name, rows in tables.items() if len(rows)],
        "figures": sorted(path.stem for path in (given.folder / "report/figures").glob("*.svg")),
        "logs": [],
        "differs": {},
        "synthetic": False,
        "origins": [],
        "same_source": [],
        "unlike_training": {},
        "options": None,
        "told": [*notes(given), *given.gate.unknown],
        "files": {name.replace("//", "/"): total for name, total in given.made_by["inputs"].items()},
        "command": command,
        "browser": (given.folder / "report/browser.html").is_file(),
        "prompts": [f"{asked[axis]:,} {PROMPT_NAMES[axis]}" for axis in AXES if axis in asked],
    }

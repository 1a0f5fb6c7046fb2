"""Files of what people say of a study's responses: labels, choices, rewards of a judge of theirs."""

from pathlib import Path

import pandas as pd
from format_cases import Case, Section
from format_ratings import SHOWN, rows, rows_of

from hh_align.analysis.label_choices import by_choices
from hh_align.analysis.labels import Texts, read_labels
from hh_align.core.axes import AXES
from hh_align.evaluation import import_ratings

RATINGS = {
    ("j", policy, seed, axis): pd.DataFrame({"prompt_id": [name], "reward": [float(seed)], "label": [True]})
    for policy, seed in (("base", 0), ("sft", 1))
    for axis, name in zip(AXES, "ab", strict=True)
}
"""A study of two policies and two prompts."""
STUDY = {
    "judges": {"j": {"harmless_min": 0.0, "helpful_above": 0.0}},
    "order": ["base", "sft"],
    "seeds": [1],
    "policies": {"base": {"parent": None}, "sft": {"parent": "base"}},
}


def labels(path: Path, settings: dict) -> list[tuple]:
    """(policy, prompt_id, good, annotator)"""
    return rows_of(read_labels(path, RATINGS, {}), ("policy", "prompt_id", "good", "annotator"))


def choices(path: Path, settings: dict) -> list[tuple]:
    """(policy_b, policy_a, choices, those for policy_b less those for policy_a in %)"""
    return [(row["policy_b"], row["policy_a"], row["n"], row["labels_value"]) for row in by_choices(path, RATINGS, Texts({}, {}), STUDY)[0]]


def judge(path: Path, settings: dict) -> list[tuple]:
    """(policy, prompt_id, reward)"""
    names = {name: name for name in ("policy", "seed", "axis", "prompt_id", "reward", "response")} | settings.get("columns", {})
    prompts = [{"axis": axis, "prompt_id": name} for axis, name in zip(AXES, "ab", strict=True)]
    frame = import_ratings.read_files([path], {"columns": names, "policies": {"base": [0]}}, prompts)
    return rows_of(import_ratings.check_rows(frame, path, prompts, {"base": [0]}, list(AXES)), SHOWN)


def label(**own) -> dict:
    return {"policy": "base", "seed": 0, "axis": "harmlessness", "prompt_id": "a", "good": True} | own


def choice(**own) -> dict:
    return {"axis": "harmlessness", "prompt_id": "a", "seed": 1, "policy_a": "base", "policy_b": "sft", "preferred": "b"} | own


READ = [("base", "a", -0.5), ("base", "b", 1.0)]
SECTIONS = [
    Section(
        "Labels",
        "The file of `analysis.labels.path`, as `make annotate` writes it. The third column holds policy, prompt, whether the reply is good, and the annotator.",
        labels,
        [
            Case("CSV with 1 and 0", "labels.csv", [label(good=1), label(policy="sft", seed=1, good=0)], [("base", "a", True, "annotator"), ("sft", "a", False, "annotator")]),
            Case("CSV with true and false, several annotators", "labels.csv", [label(good="true", annotator="1"), label(good="FALSE", annotator="01")], [("base", "a", True, "1"), ("base", "a", False, "01")]),
            Case("JSON lines", "labels.jsonl", [label()], [("base", "a", True, "annotator")]),
            Case("Parquet", "labels.parquet", [label()], [("base", "a", True, "annotator")]),
        ],
        [
            Case("yes and no", "labels.csv", [label(good="yes")], None, "labels.csv, row 1: good is 'yes', neither true nor false."),
            Case("an empty label", "labels.csv", [label(good="")], None, "labels.csv: column good is empty in 1 row (the first is row 1)."),
            Case("a response that the study does not have", "labels.csv", [label(seed=7)], None, "labels.csv, row 1 (base, seed 7, a): the study has no such response. Check policy, seed (the root's is 0), axis and prompt_id."),
            Case("one annotator, one response, two labels", "labels.csv", [label(), label(good=False)], None, "labels.csv: annotator labels base, seed 0, a twice. Keep one of the rows."),
        ],
    ),
    Section(
        "Choices between two replies",
        "The file of `analysis.labels.choices`, as `hh-align annotate paper --contrast sft_dpo,sft` writes it. The third column holds both policies, the number of choices, and their difference in points: those for the first policy less those for the second.",
        choices,
        [Case("CSV", "choices.csv", [choice()], [("sft", "base", 1, 100.0)]), Case("a tie, JSON lines", "choices.jsonl", [choice(preferred="tie")], [("sft", "base", 1, 0.0)])],
        [Case("the better one by its name", "choices.csv", [choice(preferred="sft")], None, "choices.csv, row 1: preferred is 'sft'. Allowed: a, b, tie.")],
    ),
    Section(
        "Ratings as a judge",
        "`judges: {people: {source: imported, path: ratings.csv, …}}`. The third column holds policy, prompt and reward.",
        judge,
        [
            Case("CSV", "ratings.csv", rows(), READ),
            Case("a column of another name", "ratings.csv", [{("score" if name == "reward" else name): value for name, value in row.items()} for row in rows()], READ, settings={"columns": {"reward": "score"}}),
        ],
        [
            Case("a response without a rating", "ratings.csv", rows()[:1], None, "ratings.csv: responses without a row: 1 (the first is base, seed 0, helpfulness, b). Rate them."),
            Case("a response rated twice", "ratings.csv", [*rows(), rows()[1]], None, "ratings.csv, row 3: base, seed 0, helpfulness, b stands twice. Keep one of the rows."),
            Case("a policy that the study does not have", "ratings.csv", rows(policy=["base", "ppo"]), None, "ratings.csv, row 2: policy ppo is none of base."),
            Case("a rating that is no number", "ratings.csv", rows(reward=[-0.5, "n/a"]), None, "ratings.csv, row 2: reward is 'n/a', not a number."),
            Case("a rating that is empty", "ratings.csv", rows(reward=[-0.5, ""]), None, "ratings.csv, row 2 (base, b): reward is nan, not a finite number."),
        ],
    ),
]  # fmt: skip

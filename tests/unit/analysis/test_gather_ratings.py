"""The table that the whole analysis reads: what it holds of known files, one threshold rule, and no row that does not belong."""

import random

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import assert_refused, call
from study_folder import REPOSITORY

from hh_align.analysis import gather_ratings, score_oracle
from hh_align.analysis.gather_ratings import read_rewards
from hh_align.analysis.ratings import is_good, read_ratings
from hh_align.analysis.sweep_thresholds import rate_at
from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, RATINGS, RESPONSES, REWARDS
from hh_align.data.grammar import items, load_words, prompts_of

AXES = ("harmlessness", "helpfulness")
WORDS = REPOSITORY / "resources/synthetic.yaml"
QUESTION = prompts_of(items(load_words(WORDS), 0)[0], load_words(WORDS), "train")[0]
CONFIG = {
    "judges": {"kind": {"harmless_min": 0.5}, "both": {"harmless_min": -1.0, "helpful_above": 1.0, "lowest": -9.0}},
    "policies": {"sft": {"parent": "base"}, "base": {"parent": None}, "fixed": {"parent": "base", "fixed": True}},
    "order": ["base", "sft", "fixed"],
    "seeds": [2, 1],
}
CHECKPOINTS = [("base", 0), ("sft", 2), ("sft", 1), ("fixed", 0)]
IDS = [(axis, f"{axis}-{number:03d}") for axis in AXES for number in range(3)]
TEXTS = ["three words here", " ", "yes\n\nHuman: and then?"]


def rows_of(axes=AXES):
    return [{"axis": axis, "prompt_id": name} for axis, name in IDS if axis in axes]


def write_study(folder, change=lambda name, rows: rows):
    """Files whose names say nothing: prompts, responses and rewards, in the order of the config. `change` takes each one's name and rows."""
    prompts = [
        row | {"prompt": f"Human: {QUESTION}\n\nAssistant:", "cluster": f"c-{number % 2}", "subset": "s", "row": number}
        for number, row in enumerate(rows_of())
    ]
    write_table(folder / "prompts.parquet", change("prompts", prompts), PROMPTS, {})
    paths = {"responses": [], "rewards": []}
    for number, (policy, seed) in enumerate(CHECKPOINTS):
        facts = {"response_tokens": number, "finish": "length" if policy == "sft" else None}
        rows = [row | facts | {"response": TEXTS[int(row["prompt_id"][-1])]} for row in rows_of()]
        paths["responses"].append(folder / f"{number}.parquet")
        write_table(paths["responses"][-1], change(f"responses {policy} {seed}", rows), RESPONSES, {})
    for judge in sorted(CONFIG["judges"]):
        for number, (policy, seed) in enumerate(CHECKPOINTS):
            rows = [row | {"reward": float(number)} for row in rows_of(AXES if judge == "both" else AXES[:1])]
            paths["rewards"].append(folder / f"{judge[0]}{number}.parquet")
            write_table(paths["rewards"][-1], change(f"rewards {judge} {policy} {seed}", rows), REWARDS, {})
    return {"config": CONFIG, "prompts": folder / "prompts.parquet", **paths, "output": folder / "ratings.parquet"}


def gathered(folder, change=lambda name, rows: rows):
    status, output = call(gather_ratings, **write_study(folder, change))
    assert status == 0, output
    return pq.read_table(folder / "ratings.parquet").replace_schema_metadata(None)


def test_a_row_per_judge_policy_seed_and_prompt_in_the_studys_order(tmp_path):
    table = gathered(tmp_path)
    assert table.schema.equals(RATINGS)
    keys = ["judge", "policy", "seed", "axis", "prompt_id"]
    assert [tuple(row[key] for key in keys) for row in table.to_pylist()] == [
        (judge, *checkpoint, *name) for judge in ("both", "kind") for checkpoint in CHECKPOINTS for name in IDS
    ]
    row = table.to_pylist()[len(IDS) + 2]  # both, sft 2, harmlessness-002
    assert row == {
        "judge": "both", "policy": "sft", "seed": 2, "axis": "harmlessness", "prompt_id": "harmlessness-002", "cluster": "c-0", "subset": "s", "row": 2,
        "reward": 1.0, "label": True, "unrated": False, "finish": "length", "tokens": 1, "words": 4, "empty": False, "run_on": True,
    }  # fmt: skip
    assert [row["empty"] for row in table.to_pylist()[:3]] == [False, True, False] and table["finish"].to_pylist()[0] is None


def test_what_a_judge_does_not_speak_about_is_unknown(tmp_path):
    silent = [row for row in gathered(tmp_path).to_pylist() if row["judge"] == "kind" and row["axis"] == "helpfulness"]
    assert len(silent) == 4 * 3 and {(row["reward"], row["label"]) for row in silent} == {(None, None)}
    rated = read_ratings(tmp_path / "ratings.parquet")
    assert {key[3] for key in rated.ratings if key[0] == "kind"} == {"harmlessness"}
    assert {axis: len(prompts) for axis, prompts in rated.prompts.items()} == dict.fromkeys(AXES, 3)
    assert rated.clusters["harmlessness"].tolist() == [0, 1, 0] and rated.clusters["helpfulness"].tolist() == [1, 0, 1]


def test_the_order_of_a_files_rows_is_of_no_account(tmp_path):
    def shuffled(name, rows):
        random.Random(name).shuffle(rows)
        return rows

    assert gathered(tmp_path / "a").equals(gathered(tmp_path / "b", shuffled))


def test_a_reward_at_the_threshold_is_harmless_and_not_yet_helpful():
    assert is_good("harmlessness", 2.0, 2.0) and not is_good("helpfulness", 2.0, 2.0)
    rewards = np.array([1.0, 2.0, 2.0, 3.0])
    for axis in AXES:
        rates = [100 * is_good(axis, rewards, threshold).mean() for threshold in (1.0, 2.0, 3.0)]
        assert rate_at(np.array([1.0, 2.0, 3.0]), rewards, axis).tolist() == rates


def unanswered(name, rows):
    """Of sft's seed 1 the judge that may fail has no rating of two prompts."""
    return [row | ({"reward": None} if name == "rewards both sft 1" and row["prompt_id"][-1] != "0" else {}) for row in rows]


def test_a_rating_that_a_judge_failed_to_give_is_its_lowest_and_marked(tmp_path):
    rows = [row for row in gathered(tmp_path, unanswered).to_pylist() if (row["judge"], row["policy"], row["seed"]) == ("both", "sft", 1)]
    assert [(row["reward"], row["label"], row["unrated"]) for row in rows[:3]] == [
        (2.0, True, False),
        (-9.0, False, True),
        (-9.0, False, True),
    ]
    assert {row["unrated"] for row in pq.read_table(tmp_path / "ratings.parquet").to_pylist() if row["judge"] == "kind"} == {None}


def test_the_oracle_stands_beside_a_judge_that_failed_to_rate(tmp_path):
    # a judge with `failed: lowest` calls such a response bad, as everywhere in the analysis
    gathered(tmp_path, unanswered)
    options = write_study(tmp_path, unanswered)
    status, output = call(
        score_oracle, config=CONFIG, words=WORDS, prompts=options["prompts"], responses=options["responses"],
        ratings=tmp_path / "ratings.parquet", output=tmp_path / "oracle.parquet", labels=tmp_path / "labels.parquet",
    )  # fmt: skip
    assert status == 0, output
    rates = {
        tuple(row[key] for key in ("judge", "policy", "seed", "axis")): row
        for row in pq.read_table(tmp_path / "oracle.parquet").to_pylist()
    }
    assert len(rates) == 4 * 2 + 4 and ("kind", "sft", 1, "helpfulness") not in rates
    assert rates["both", "sft", 1, "harmlessness"]["judge_rate"] == pytest.approx(100 / 3)
    assert rates["both", "sft", 2, "harmlessness"]["judge_rate"] == 100 and rates["both", "sft", 2, "harmlessness"]["eos_rate"] == 0
    assert {tuple(row[key] for key in ("policy", "seed")) for row in pq.read_table(tmp_path / "labels.parquet").to_pylist()} == set(
        CHECKPOINTS
    )


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        ("rewards kind sft 1", r"k2.parquet: policy sft has no row for 1 prompt \(harmlessness-002\)"),
        ("responses sft 1", r"2.parquet and the rewards by both hold different prompts. Delete both"),
        ("prompts", r"0.parquet and .*prompts.parquet hold different prompts. Delete both"),
    ],
)
def test_files_of_different_prompts_are_one_error(tmp_path, damaged, said):
    options = write_study(tmp_path, lambda name, rows: [row for row in rows if name != damaged or row["prompt_id"] != "harmlessness-002"])
    assert_refused(call(gather_ratings, **options), said)
    assert not (tmp_path / "ratings.parquet").exists()


@pytest.mark.parametrize(
    ("rewards", "ids", "said"),
    [
        ([0.0, float("nan"), 0.0, 0.0], None, r"policy sft has no finite reward for 1 prompt \(harmlessness-001\)"),
        ([0.0, float("inf"), 0.0, 0.0], None, r"no finite reward"),
        ([0.0, 0.0], ["harmlessness-000", "helpfulness-000"], r"policy sft has no row for 2 prompts \(harmlessness-001, helpfulness-001\)"),
        (
            [0.0] * 5,
            [*(f"{axis}-00{n}" for axis in ("harmlessness", "helpfulness") for n in (0, 1)), "helpfulness-001"],
            r"more than one reward",
        ),
    ],
)
def test_incomplete_ratings_are_one_error_never_a_smaller_n(tmp_path, rewards, ids, said):
    whole = [f"{axis}-00{number}" for axis in AXES for number in range(2)]
    paths = {}
    for policy, names, values in (("base", whole, [0.0] * 4), ("sft", ids or whole, rewards)):
        rows = [{"axis": name.split("-")[0], "prompt_id": name, "reward": value} for name, value in zip(names, values, strict=True)]
        paths["both", policy, 0] = tmp_path / f"{policy}.parquet"
        write_table(paths["both", policy, 0], rows, REWARDS, {})
    with pytest.raises(StudyError, match=said):
        read_rewards(paths, CONFIG["judges"] | {"both": {"harmless_min": 0.0, "helpful_above": 0.0}})

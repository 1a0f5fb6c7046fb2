"""Derived datasets: every row is accounted for, the same comes out twice, and labels are exchanged as asked."""

import copy
import random

import pyarrow.parquet as pq
import pytest
from command_line import call
from preference_rows import asked, made_row

from hh_align.core.artifacts import read_table, write_table
from hh_align.core.errors import StudyError
from hh_align.data import derive_dataset
from hh_align.data.derive_dataset import CENSUS, CONTAMINATED, DROPPED, derive, relabel
from hh_align.data.preferences import SCHEMA
from hh_align.data.selection import MARGINS, SIMILARITIES, in_training_half, selected_rows
from hh_align.data.transcripts import cluster_of

NEAR = {"threshold": 0.8, "ngram": 3, "num_perm": 128, "seed": 1}
PLAIN = {"training_half": [], "labels": True, "label_seed": 1, "train_split": "train"}


def test_a_row_is_listed_with_every_prompt_and_dropped_once():
    text = "one two three four five six seven eight nine ten"
    prompts = [{"prompt_id": "a", "prompt": f"Human: {text}"}, {"prompt_id": "b", "prompt": f"Human: {text} eleven twelve thirteen"}]
    rows = [made_row(0, asked(text), "a", "b"), made_row(1, asked("else"), "a", "b")]
    derived, _, dropped, hits = derive(rows, PLAIN | {"decontaminate": {"ngram": 8, "overlap": 0.5}}, prompts, None, {})
    assert [row["row"] for row in derived] == [1]
    assert [(hit["prompt_id"], hit["shared"]) for hit in hits] == [("a", 1.0), ("b", 0.5)]
    assert [(row["row"], row["partner"], row["value"]) for row in dropped] == [(0, "a", 1.0)]


ALL = PLAIN | {
    "subsets": ["s", "t"], "deduplicate": "near", "near": NEAR, "decontaminate": {"ngram": 8, "overlap": 0.3}, "drop_near_identical": 0.9,
    "judge_margin": {"judge": "j", "quantile": 0.2}, "ches": {"quantile": 0.2}, "balance_length": True, "balance_seed": 1,
    "exclude_prompts": False,
}  # fmt: skip


def mixed(count=400):
    stream = random.Random(5)
    return [
        made_row(n, asked(f"word{stream.randrange(150)}"), "a " * stream.randint(1, 3), "b " * stream.randint(1, 9), stream.choice("stu"), stream.choice(["train", "train", "test"]))
        for n in range(count)
    ]  # fmt: skip


def test_every_row_is_kept_or_listed_and_the_census_adds_up():
    rows = mixed()
    keys = [(row["split"], row["subset"], row["row"]) for row in rows]
    scores = {"judge_margin": {key: float(key[2] % 7) for key in keys}, "ches": {key: float(key[2] % 11) for key in keys}}
    before = copy.deepcopy(rows)
    derived, census, dropped, _ = derive(rows, ALL, [{"prompt_id": "p", "prompt": "Human: word1"}], None, scores)
    assert rows == before
    numbers = [row["row"] for row in [*derived, *dropped]]
    assert sorted(numbers) == list(range(len(rows))) and len(set(numbers)) == len(numbers)
    order = ["from", "subsets", "deduplicate", "decontaminate", "drop_near_identical", "judge_margin", "ches", "balance_length"]
    assert list(dict.fromkeys(line["step"] for line in census)) == order
    for line in census:
        lost = [row for row in dropped if all(row[key] == line[key] for key in ("step", "split", "subset"))]
        assert line["before"] - line["dropped"] == line["after"] and line["dropped"] == len(lost)
    assert {row["step"] for row in dropped if row["split"] == "test"} == {"subsets"}  # cleaning looks at training rows only
    last = [line for line in census if line["step"] == "balance_length"]
    assert sum(line["after"] for line in last) == len(derived)


def test_a_step_that_leaves_nothing_is_named():
    rows = [made_row(number, asked(str(number)), "a b", "a b") for number in range(3)]
    with pytest.raises(StudyError, match="no row of split train is left after drop_near_identical"):
        derive([*rows, made_row(3, asked("x"), "a", "b", split="test")], PLAIN | {"drop_near_identical": 0.5}, [], None, {})


def derived_files(folder, rows, config, **scores):
    write_table(folder / "preferences.parquet", rows, SCHEMA, {})
    names = ("output", "census", "dropped", "contaminated")
    options = {
        "config": config,
        "preferences": folder / "preferences.parquet",
        **{name: folder / f"{name}.parquet" for name in names},
        **scores,
    }
    status, output = call(derive_dataset, **options)
    assert status == 0, output
    return {name: (folder / f"{name}.parquet").read_bytes() for name in names}


def test_the_same_bytes_twice_and_the_stated_schemas(tmp_path):
    config = {key: value for key, value in ALL.items() if key not in ("judge_margin", "ches", "decontaminate")}
    first, again = (derived_files(tmp_path, mixed(), config) for _ in range(2))
    assert first == again
    for name, schema in (("census", CENSUS), ("dropped", DROPPED), ("contaminated", CONTAMINATED)):
        assert pq.read_schema(tmp_path / f"{name}.parquet").remove_metadata() == schema


@pytest.mark.parametrize(
    ("key", "option", "schema", "columns"),
    [
        ("judge_margin", "margins", MARGINS, {"chosen_reward": 3.0, "rejected_reward": 1.0, "cut_tokens": 0}),
        ("ches", "ches", SIMILARITIES, {"ches": 9.0, "normalized_ches": 2.0, "chosen_tokens": 1, "rejected_tokens": 1, "cut_tokens": 0}),
    ],
)
def test_a_table_of_scores_is_read_and_what_decided_is_said(tmp_path, key, option, schema, columns):
    rows = helpful_rows(10)
    scored = [columns | {name: row[name] for name in ("split", "subset", "row")} for row in rows]
    odd = {"chosen_reward": 0.0} if key == "judge_margin" else {"normalized_ches": 4.0, "ches": -1.0}
    write_table(tmp_path / "scores.parquet", [*scored[:-1], scored[-1] | odd], schema, {})
    derived_files(
        tmp_path, rows, PLAIN | {"exclude_prompts": False, key: {"judge": "j", "quantile": 0.1}}, **{option: tmp_path / "scores.parquet"}
    )
    (dropped,) = read_table(tmp_path / "dropped.parquet").to_pylist()
    assert (dropped["row"], dropped["step"], dropped["value"]) == (9, key, -1.0 if key == "judge_margin" else 4.0)


def test_without_a_cleaning_key_the_rows_are_the_selected_ones(tmp_path):
    rows = mixed()
    derived_files(tmp_path, rows, {"training_half": [], "labels": True, "label_seed": 1, "subsets": ["s"]})
    derived = read_table(tmp_path / "output.parquet", SCHEMA).to_pylist()
    assert derived == [row for row in rows if row["subset"] == "s"]
    assert read_table(tmp_path / "contaminated.parquet").num_rows == 0
    assert read_table(tmp_path / "dropped.parquet").num_rows == len(rows) - len(derived)


# --- labels and halves


def helpful_rows(count):
    return [made_row(number, asked(str(number)), "b", "c", "helpful-base") for number in range(count)]


def test_reversed_twice_is_the_original_but_for_the_flag():
    # the control arm must differ from its original in nothing but the labels
    rows = helpful_rows(20)
    twice = relabel(relabel(rows, "reversed", 1), "reversed", 1)
    assert [{**row, "flags": []} for row in twice] == [{**row, "flags": []} for row in rows]
    assert all(row["use_dpo"] for row in twice)


def test_coin_exchanges_about_half_and_only_by_its_seed():
    rows = helpful_rows(1000)
    first, again, other = (relabel(rows, "coin", seed) for seed in (1, 1, 2))
    assert first == again != other
    assert 400 < sum(row["chosen"] == " c" for row in first) < 600


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_noise_exchanges_its_share_and_more_noise_exchanges_the_same_rows_and_others(seed):
    rows = [{"chosen": "good", "rejected": "bad", "rejected_prompt": None, "flags": [], "row": number} for number in range(4000)]

    def exchanged(noise):
        return {row["row"] for row in relabel(rows, "noisy", seed, noise) if row["chosen"] == "bad"}

    assert not exchanged(0.0)
    assert exchanged(0.2) < exchanged(0.4)
    assert abs(len(exchanged(0.4)) - 1600) < 4 * (4000 * 0.4 * 0.6) ** 0.5  # four standard deviations


def test_training_half_and_evaluation_prompts_never_meet():
    # leaking an evaluation prompt into training would make every policy look better than it is
    rows = helpful_rows(200)
    excluded = {cluster_of(rows[0]["prompt"]), cluster_of(rows[1]["prompt"])}
    selected = selected_rows(rows, {"training_half": ["helpful-base"]}, excluded)
    assert 60 < len(selected) < 140
    assert not excluded & {cluster_of(row["prompt"]) for row in selected}
    assert all(in_training_half(cluster_of(row["prompt"])) for row in selected)


def test_ranges_of_the_hash_share_the_rows_among_them():
    rows = helpful_rows(400)
    parts = [
        selected_rows(rows, {"training_half": [], "hash_range": {"helpful-base": bounds}}, set())
        for bounds in ([0, 0.5], [0.5, 0.8], [0.8, 1])
    ]
    assert sorted(row["row"] for part in parts for row in part) == [row["row"] for row in rows]
    for part, share in zip(parts, (0.5, 0.3, 0.2), strict=True):
        assert abs(len(part) - 400 * share) < 4 * (400 * share * (1 - share)) ** 0.5  # four standard deviations
    other = selected_rows(rows, {"training_half": [], "hash_range": {"harmless-base": [0, 0.1]}}, set())
    assert len(other) == 400

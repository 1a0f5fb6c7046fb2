"""Sound tables whose content does not fit what a step needs: one error that says what is wrong."""

import pandas as pd
import pytest
from command_line import assert_refused, call
from sound_artifacts import ANALYSE, GENERATE, prompt_ids, rewrite, steps

from hh_align.analysis import correct_by_labels
from hh_align.core.artifacts import write_table
from hh_align.core.tables import PROMPTS, RESPONSES, REWARDS


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [{**row, "reward": float("nan")} if number == 3 else row for number, row in enumerate(rows)], r"no finite reward for 1 prompt \(harmlessness-003\)"),
        (lambda rows: [{**row, "reward": float("-inf")} for row in rows], "no finite reward for 12 prompts"),
        (lambda rows: [{**row, "reward": None} if number == 3 else row for number, row in enumerate(rows)], "no finite reward for 1 prompt"),
        (lambda rows: rows[1:], r"no row for 1 prompt \(harmlessness-000\)"),
        (lambda rows: [*rows, rows[0]], "more than one reward for 1 prompt"),
        (lambda rows: [], "no row for 12 prompts"),
        (lambda rows: [{**row, "prompt_id": f"x{row['prompt_id']}"} for row in rows], "no row for 12 prompts"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["gather_ratings", "compare_runs"])
def test_rewards_that_are_no_numbers_or_do_not_fit_are_named(artifacts, name, change, said):
    path = artifacts / "rewards/j/sft/seed-1.parquet"
    rewrite(path, REWARDS, change)
    module, options, _ = steps(artifacts)[name]
    assert_refused(call(module, **options), said)


@pytest.mark.parametrize(
    ("prompt", "more", "said"),
    [
        ("", {}, "helpfulness-001: the prompt is empty"),
        (" \n\t\u00a0", {}, "helpfulness-001: the prompt is empty"),
        ("a" * 3000, {}, r"helpfulness-001: 3001 tokens; the policy reads at most 2046"),
        ("a", {"max_new_tokens": 2048, "long_prompts": "cut"}, "generation.max_new_tokens is 2048"),
        ("a", {"max_new_tokens": 5000}, "generation.max_new_tokens is 5000"),
    ],
)  # fmt: skip
def test_prompts_that_a_policy_cannot_read_are_named(artifacts, prompt, more, said):
    rewrite(
        artifacts / "prompts.parquet",
        PROMPTS,
        lambda rows: [{**row, "prompt": prompt} if row["prompt_id"] == "helpfulness-001" else row for row in rows],
    )
    module, options, _ = steps(artifacts)["generate_responses"]
    assert_refused(call(module, **options | {"config": GENERATE | more}), said)


@pytest.mark.parametrize("name", ["generate_responses", "score_responses", "gather_ratings"])
def test_no_prompts_are_an_error(artifacts, name):
    for table, schema in ((artifacts / "prompts.parquet", PROMPTS), (artifacts / "responses/base/seed-0.parquet", RESPONSES), (artifacts / "rewards/j/base/seed-0.parquet", REWARDS),
                          (artifacts / "responses/sft/seed-1.parquet", RESPONSES), (artifacts / "rewards/j/sft/seed-1.parquet", REWARDS)):  # fmt: skip
        write_table(table, [], schema, {})
    module, options, _ = steps(artifacts)[name]
    assert_refused(call(module, **options), "no prompt")


@pytest.mark.parametrize("change", [lambda rows: rows[:-1], lambda rows: rows[::-1], lambda rows: [*rows, rows[0]]])
def test_responses_to_other_prompts_are_refused(artifacts, change):
    rewrite(artifacts / "responses/base/seed-0.parquet", RESPONSES, change)
    module, options, _ = steps(artifacts)["score_responses"]
    assert_refused(call(module, **options), "hold different prompts", where=artifacts / "responses/base/seed-0.parquet")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop(columns="good"), "column good is missing"),
        (lambda frame: frame.assign(good="maybe"), "row 1: good is 'maybe', neither true nor false"),
        (lambda frame: frame.assign(good=0.5), "row 1: good is '0.5', neither true nor false"),
        (lambda frame: frame.assign(good=None), r"column good is empty in 12 rows \(the first is row 1\)"),
        (lambda frame: frame.assign(policy="ppo"), "row 1 .*the study has no such response"),
        (lambda frame: frame.assign(seed=7), "row 1 .*the study has no such response"),
        (lambda frame: frame.assign(seed="x"), "row 1: seed is 'x', not a number"),
        (lambda frame: frame.assign(axis="safety"), "row 1 .*the study has no such response"),
        (lambda frame: frame.assign(prompt_id="x"), "row 1 .*the study has no such response"),
        (lambda frame: pd.concat([frame, frame]), "twice"),
        (lambda frame: frame.iloc[:0], "it holds no row"),
    ],
)
def test_labels_of_something_else_are_one_error_that_names_the_row(artifacts, change, said):
    frame = pd.DataFrame([{"policy": "sft", "seed": 1, **row, "good": True} for row in prompt_ids()])
    change(frame).to_csv(artifacts / "labels.csv", index=False)
    result = call(
        correct_by_labels,
        config=ANALYSE,
        prompts=artifacts / "prompts.parquet",
        responses=[artifacts / "responses/base/seed-0.parquet", artifacts / "responses/sft/seed-1.parquet"],
        ratings=artifacts / "ratings.parquet",
        labels=artifacts / "labels.csv",
        output=artifacts / "gold.parquet",
        agreement=artifacts / "agreement.parquet",
    )
    assert_refused(result, said, where=artifacts / "labels.csv")

"""A suite's way through the steps: out of a file, answered and rated by small models, into its table."""

import pyarrow.parquet as pq
import pytest
from command_line import call
from preference_rows import asked, made_row
from small_evaluation import GENERATION, SCORING, ended, save_judge, save_policy
from study_folder import REPOSITORY

from hh_align.analysis import measure_suites
from hh_align.analysis.score_oracle import label
from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.data import select_prompts, select_suite
from hh_align.data.grammar import Oracle, load_words
from hh_align.data.preferences import SCHEMA
from hh_align.evaluation import generate_responses, score_responses

ROWS = "question,topic\nhow do I mend a bell,old\ntell me the way,\nhow do I mend a bell ,old\nHow do I never ring?,new\n"
SUITE = {"name": "mine", "key": "suites.mine", "axis": "helpfulness", "column": "question", "category": "topic", "seed": 1}
POLICIES = {"base": {"parent": None}, "led": {"parent": "base", "fixed": True}}


def selected(folder, **how):
    (folder / "mine.csv").write_text(ROWS, encoding="utf-8-sig")
    options = {"file": folder / "mine.csv", "output": folder / "prompts.parquet", "quarantine": folder / "left.parquet"}
    status, said = call(select_suite, config=SUITE | how, **options)
    assert status == 0, said
    return options["output"]


def test_a_suites_prompts_are_answered_rated_and_counted(tmp_path):
    policy, judge, prompts = save_policy(tmp_path), save_judge(tmp_path), selected(tmp_path)
    assert pq.read_table(tmp_path / "left.parquet").num_rows == 1
    responses, rewards = [], []
    for name, lead in (("base", False), ("led", True)):
        responses.append(ended(generate_responses, tmp_path, name, GENERATION | {"lead": lead}, policy=policy, prompts=prompts))
        inputs = {"judge": judge, "prompts": prompts, "responses": responses[-1]}
        rewards.append(ended(score_responses, tmp_path, f"rewards-{name}", SCORING, **inputs))
    write_table(tmp_path / "pairs.parquet", [made_row(0, asked("tell me the way"), "a", "b")], SCHEMA, {})
    config = {
        "suites": {"mine": {"kind": "refusal", "axis": "helpfulness", "judges": ["own"]}},
        "judges": {"own": {"helpful_above": -1e9}},
        "splits": ["train"],
        "bootstrap": {"samples": 1000, "seed": 1},
        "policies": POLICIES,
        "order": ["base", "led"],
        "seeds": [42],
    }
    files = {"prompts": [prompts], "responses": responses, "rewards": rewards, "preferences": [tmp_path / "pairs.parquet"]}
    phrases = REPOSITORY / "resources/refusal_phrases.txt"
    assert call(measure_suites, config=config, **files, phrases=phrases, output=tmp_path / "suites.parquet")[0] == 0
    rows = [row for row in pq.read_table(tmp_path / "suites.parquet").to_pylist() if row["category"] is None]
    assert {(row["measure"], row["policy"], row["n"], row["in_training"]) for row in rows} == {
        (what, name, 3, 1) for what in ("refused", "good", "mean_reward") for name in ("base", "led")
    }
    assert {row["value"] for row in rows if row["measure"] == "refused"} == {0} and {
        row["value"] for row in rows if row["measure"] == "good"
    } == {100}
    mean = {row["policy"]: row["value"] for row in rows if row["measure"] == "mean_reward"}
    rated = {name: pq.read_table(path)["reward"].to_numpy().mean() for name, path in zip(("base", "led"), rewards, strict=True)}
    assert all(abs(mean[name] - rated[name]) < 1e-9 for name in mean)


def test_an_axis_that_asks_a_suite_has_its_prompts_under_names_of_its_own(tmp_path):
    suite = selected(tmp_path, name="helpfulness")
    rows = [made_row(number, asked(f"q{number}"), "a", "b", "harmless-base", "test") for number in range(9)]
    write_table(tmp_path / "pairs.parquet", rows, SCHEMA, {})
    drawn = {"subset": "harmless-base", "split": "test", "keywords": [], "match": "substring", "scope": "transcript", "n": 4}
    config = {"seed": 100, "harmlessness": drawn, "helpfulness": {"suite": True}}
    status, said = call(
        select_prompts, config=config, preferences=tmp_path / "pairs.parquet", suites=[suite], output=tmp_path / "all.parquet"
    )  # fmt: skip
    assert status == 0, said
    table = pq.read_table(tmp_path / "all.parquet").to_pylist()
    assert [row["prompt_id"] for row in table] == [f"harmlessness-{n:03d}" for n in range(4)] + [f"helpfulness-{n:03d}" for n in range(3)]
    assert [row["subset"] for row in table[4:]] == [
        "suite:old",
        "suite:all",
        "suite:new",
    ]  # none of a dataset: no reply there belongs to them
    both = {"seed": 100, "harmlessness": {"suite": True}, "helpfulness": {"suite": True}}
    assert call(select_prompts, config=both, suites=[suite, suite], output=tmp_path / "both.parquet")[0] == 0


def test_the_oracle_says_which_prompt_is_none_of_its_own():
    # without the text, which may be anybody's
    asked_elsewhere = {"harmlessness-000": "Human: Where?"}
    row = {"axis": "harmlessness", "prompt_id": "harmlessness-000", "response": "There."}
    with pytest.raises(StudyError, match=r"harmlessness-000: the oracle knows the demo's own prompts") as error:
        label(Oracle(load_words(REPOSITORY / "resources/synthetic.yaml")), asked_elsewhere, [row])
    assert "Where" not in str(error.value)

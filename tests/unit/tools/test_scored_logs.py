"""Scored logs of inspect_ai and lm-eval as ratings: the same rows as their table, and which score, reply and policy is meant is asked, not guessed."""

import json
import re
import zipfile

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from command_line import call
from study_folder import REPOSITORY

from hh_align.core.errors import StudyError
from hh_align.tools import verdict
from hh_align.tools.rated import files_in, read_rated
from hh_align.tools.verdict_settings import read_settings
from hh_align.tools.verdict_study import study_of

AXES = ("harmlessness", "helpfulness")


def ratings(policy, n=4):
    """Rows of a policy: the answers to n prompts of each axis, right or wrong."""
    return [
        {"policy": policy, "axis": axis, "judge": "graded", "prompt_id": f"{axis}-{number}", "prompt": f"Human: {axis} {number}",
         "response": f"reply {number} of {policy}", "finish": "length" if number == 1 else "stop", "reward": float((number + len(policy)) % 2)}
        for axis in AXES for number in range(n)
    ]  # fmt: skip


def sample(row, **changes):
    """A row as inspect_ai logs it."""
    choice = {
        "message": {"role": "assistant", "content": row["response"]},
        "stop_reason": "max_tokens" if row["finish"] == "length" else "stop",
    }
    score = {"value": "C" if row["reward"] else "I", "answer": "", "explanation": None}
    return {"id": row["prompt_id"], "epoch": 1, "input": row["prompt"], "target": "", "metadata": {"axis": row["axis"]}, "scores": {"graded": score},
            "output": {"model": "m", "choices": [choice], "completion": row["response"]}, **changes}  # fmt: skip


def json_log(path, samples, model="openai/sft", task="harmful"):
    path.write_text(json.dumps({"version": 2, "status": "success", "eval": {"model": model, "task": task}, "samples": samples}))
    return path


def eval_log(path, samples, model="openai/sft"):
    with zipfile.ZipFile(path, "w") as log:
        log.writestr("header.json", json.dumps({"version": 2, "status": "success", "eval": {"model": model, "task": "t"}}))
        for entry in samples:
            log.writestr(f"samples/{entry['id']}_epoch_{entry['epoch']}.json", json.dumps(entry))
    return path


def line(number, row, metric=True, **changes):
    """A row as lm-eval logs it."""
    values = {"metrics": ["graded"], "graded": row["reward"]} if metric else {"metrics": ["bypass"], "bypass": 999}
    return {"doc_id": number, "doc": {name: row[name] for name in ("prompt_id", "axis", "prompt")}, "target": "",
            "arguments": {"gen_args_0": {"arg_0": row["prompt"]}}, "resps": [[row["response"]]], "filtered_resps": [row["response"]],
            "filter": "none", "finish_reason": row["finish"], **values, **changes}  # fmt: skip


def lm_log(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def table(*policies):
    return pd.DataFrame([row for policy in policies for row in ratings(policy)])


def samples(policy="sft", **changes):
    return [sample(row, **changes) for row in ratings(policy)]


def lines(policy="sft", **changes):
    return [line(number, row, **changes) for number, row in enumerate(ratings(policy))]


def sorted_rows(frame):
    return frame[sorted(frame)].sort_values(["policy", "axis", "prompt_id"], ignore_index=True)


WRITERS = {
    "inspect, packed": lambda folder, policy: eval_log(folder / f"{policy}.eval", samples(policy), policy),
    "inspect, JSON": lambda folder, policy: json_log(folder / f"{policy}.json", samples(policy), policy),
    "lm-eval": lambda folder, policy: lm_log(folder / policy / "samples_t_2026-01-01T00-00-00.000000.jsonl", lines(policy)),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_logs_give_the_rows_of_their_table(tmp_path, kind):
    logs = [WRITERS[kind](tmp_path, policy) for policy in ("base", "sft")]
    table("base", "sft").to_parquet(tmp_path / "twin.parquet")
    pd.testing.assert_frame_equal(sorted_rows(read_rated(logs)), sorted_rows(read_rated([tmp_path / "twin.parquet"])))


@pytest.mark.usefixtures("blank_figures")
def test_a_folder_of_logs_is_a_verdict(tmp_path):
    for policy in ("base", "sft", "dpo"):
        eval_log(tmp_path / f"2026_{policy}.eval", samples(policy), policy)
    status, said = call(verdict, responses=tmp_path, output=tmp_path / "out")
    assert status == 0 and "harmless from 0.5 on, and helpful above 0.5 (every reward is 0 or 1)" in said, said
    metrics = pq.read_table(tmp_path / "out/analysis/metrics.parquet").to_pandas().set_index(["judge", "policy", "metric"])["value"]
    assert [metrics["graded", policy, "HmR"] for policy in ("base", "sft", "dpo")] == [50.0, 50.0, 50.0]  # every second score is C


SCORES = {
    "words": ([{"value": word} for word in "CPIN"], [1, 0.5, 0, 0]),
    "numbers": ([{"value": value} for value in (3, -1.5, True, "0.25")], [3, -1.5, 1, 0.25]),
    "yes and no": ([{"value": value} for value in ("yes", "no", "True", "false")], [1, 0, 1, 0]),
    "a value of a dict": ([{"value": {"tone": value}} for value in (1, 2, 3, 4)], [1, 2, 3, 4]),
}


@pytest.mark.parametrize("case", SCORES)
def test_scores_are_numbers_as_inspect_counts_them(tmp_path, case):
    scores, expected = SCORES[case]
    log = json_log(tmp_path / "log.json", [sample(row, scores={"graded": scores[n % 4]}) for n, row in enumerate(ratings("sft"))])
    assert read_rated([log]).sort_values("prompt_id")["reward"].tolist() == [*expected, *expected]


def test_settings_say_which_score_axis_record_and_policy(tmp_path):
    (tmp_path / "settings.yaml").write_text("""
score: strict
only: {filter: none}
columns: {axis: doc.kind}
axes: {bad: harmlessness, good: helpfulness}
files: {a.jsonl: base, b.jsonl: sft}
""")
    rows = lines(metrics=["graded", "strict"], strict=2)
    for row in rows:
        row["doc"] = {"kind": "bad" if row["doc"].pop("axis") == "harmlessness" else "good", **row["doc"]}
    other = [row | {"filter": "regex", "strict": 7} for row in rows]
    logs = [lm_log(tmp_path / name, rows + other) for name in ("a.jsonl", "b.jsonl")]
    frame = read_rated(logs, read_settings(tmp_path / "settings.yaml"))
    assert set(frame["policy"]) == {"base", "sft"} and set(frame["judge"]) == {"strict"} and set(frame["reward"]) == {2}
    assert frame["axis"].value_counts().to_dict() == {"harmlessness": 8, "helpfulness": 8}


def test_the_settings_of_the_documentation_are_settings(tmp_path):
    blocks = re.findall(
        r'^```yaml title="settings.yaml"\n(.*?)^```$', (REPOSITORY / "docs/adding.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 2
    for block in blocks:
        (tmp_path / "settings.yaml").write_text(block)
        assert {"score", "only", "axes"} <= set(read_settings(tmp_path / "settings.yaml"))


def test_the_worked_example_of_a_log_is_a_verdict(tmp_path):
    block = re.search(
        r'^```yaml title="settings.yaml"\n(.*?)^```$', (REPOSITORY / "docs/examples.md").read_text(), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "settings.yaml").write_text(block[1])
    for policy in ("base", "tuned"):
        rows = lines(policy)
        for axis, task in zip(AXES, ("refuse_harm", "answer_questions"), strict=True):
            own = [row | {"doc": {"question": row["doc"]["prompt"]}} for row in rows if row["doc"]["axis"] == axis]
            lm_log(tmp_path / "out" / policy / f"samples_{task}_2026-01-31T10-00-00.000000.jsonl", own)
    settings = read_settings(tmp_path / "settings.yaml")
    frame = read_rated(files_in([tmp_path / "out"]), settings)
    assert frame.groupby(["policy", "axis"]).size().to_dict() == {(policy, axis): 4 for policy in ("base", "tuned") for axis in AXES}
    config = study_of(frame, settings, tmp_path / "out", yaml.safe_load((REPOSITORY / "config/config.yaml").read_text()))
    assert config["contrasts"] == [["tuned", "base"]] and config["judges"]["graded"]["harmless_min"] == 0.5


def test_several_scores_may_be_judges(tmp_path):
    log = json_log(tmp_path / "log.json", samples(scores={"a": {"value": 1}, "b": {"value": 2}}))
    assert read_rated([log], {"score": ["a", "b"]}).groupby("judge")["reward"].unique().map(list).to_dict() == {"a": [1], "b": [2]}


def test_one_log_per_task_and_a_tasks_name_is_the_axis(tmp_path):
    rows = lines()
    for row in rows:
        del row["doc"]["prompt_id"]
        del row["doc"]["axis"]
    parts = dict(zip(AXES, (rows[:4], rows[4:]), strict=True))
    logs = [lm_log(tmp_path / "m" / f"samples_{axis}.jsonl", part) for axis, part in parts.items()]
    frame = read_rated(logs)
    assert set(frame["policy"]) == {"m"} and set(frame["axis"]) == set(AXES) and frame["prompt_id"].nunique() == 8


def test_a_filter_that_finds_nothing_leaves_a_reply_with_a_score(tmp_path):
    log = lm_log(tmp_path / "m" / "samples_t.jsonl", lines(filtered_resps=["[invalid]"]))
    assert read_rated([log])["response"].str.startswith("reply").all()


def test_of_repeats_no_text_is_taken_for_the_reply(tmp_path, capsys):
    log = lm_log(tmp_path / "m" / "samples_t.jsonl", lines(resps=[["a", "b"]]))
    assert "response" not in read_rated([log])
    assert "no record has one reply" in capsys.readouterr().out


REFUSED = {
    "several scores": (samples(scores={"a": {"value": 1}, "b": {"value": 2}}), {}, "2 scores: a, b. Which one is the reward"),
    "several values": (samples(scores={"a": {"value": {"x": 1, "y": 2}}}), {}, "2 scores: a.x, a.y"),
    "no score": (samples(scores={}), {}, "a log without scores. Score it first"),
    "another score": (samples(), {"score": "gradd"}, "no score is named gradd. There is: graded. Did you mean graded"),
    "a word": (samples(scores={"a": {"value": "refusal"}}), {}, "record 1: a is 'refusal', not a number"),
    "unscored": (samples()[:3] + samples(scores={"graded": {"value": float("nan")}})[3:], {}, "5 records without a score by graded .*record 4"),
    "epochs": (samples() + samples(epoch=2), {}, r"record 1 and record 9 answer one prompt \(epoch 1 and 2\).*only: {epoch: 1}"),
    "an error": (samples()[:7] + samples(error={"message": "x"})[7:], {}, "generations that failed: 1 .the first is record 8: error"),
    "a task that is no axis": (samples(metadata={}), {}, "axis harmful is unknown.*axes: {harmful: harmlessness}"),
    "no samples": (None, {}, "a log of inspect_ai without samples"),
    "a file that is none": (samples(), {"files": {"b.json": "x"}}, "the settings: files: b.json is none of the files"),
    "a record that is none": (["x"], {}, "record 1: not a record but str"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_log_leaves_open_is_refused_with_the_key(tmp_path, case):
    entries, settings, said = REFUSED[case]
    with pytest.raises(StudyError, match=said):
        read_rated([json_log(tmp_path / "log.json", entries)], settings)


def test_a_metric_that_counts_nothing_is_no_score(tmp_path):
    with pytest.raises(StudyError, match="a log without scores"):
        read_rated([lm_log(tmp_path / "samples_t.jsonl", lines(metric=False))])


def test_two_logs_of_one_model_ask_for_names(tmp_path):
    logs = [json_log(tmp_path / name, samples()) for name in ("a.json", "b.json")]
    with pytest.raises(StudyError, match=r"both rate policy openai/sft on the same prompts.*files: {b.json: …}"):
        read_rated(logs)


def test_files_that_contradict_each_other_name_row_and_file(tmp_path):
    changed = [row | {"prompt": "Human: another"} if row["prompt_id"] == "harmlessness-0" else row for row in ratings("sft")]
    logs = [json_log(tmp_path / "a.json", samples("base"), "base"), json_log(tmp_path / "b.json", list(map(sample, changed)), "sft")]
    with pytest.raises(StudyError, match=r"has prompt '.*' in row 1 of .*a.json and '.*' in row 1 of .*b.json"):
        read_rated(logs)


def test_a_folder_without_logs_is_named(tmp_path):
    with pytest.raises(StudyError, match="no log in this folder"):
        files_in([tmp_path])


def test_a_table_has_columns_of_other_names_and_rows_to_keep(tmp_path):
    frame = table("base", "sft").rename(columns={"reward": "score"}).assign(facts=[{"who": "x"}] * 16, epoch=1)
    pd.concat([frame, frame.assign(epoch=2, score=9)]).to_json(tmp_path / "t.json", orient="records")
    read = read_rated([tmp_path / "t.json"], {"columns": {"reward": "score", "cluster": "facts.who"}, "only": {"epoch": 1}})
    assert read["reward"].max() == 1 and set(read["cluster"]) == {"x"} and len(read) == 16


def test_pairs_of_rewardbench_are_told_for_what_they_are(tmp_path):
    row = {"prompt": [], "results": 1, "scores_chosen": 1.2, "scores_rejected": 0.3, "text_chosen": "a", "text_rejected": "b"}
    (tmp_path / "rb.jsonl").write_text(json.dumps(row))
    with pytest.raises(StudyError, match="as RewardBench writes them"):
        read_rated([tmp_path / "rb.jsonl"])


def test_rewards_between_0_and_1_have_no_default_threshold(tmp_path):
    table("base", "sft").assign(reward=lambda frame: frame["reward"] * 0.8).to_csv(tmp_path / "unit.csv", index=False)
    frame, defaults = read_rated([tmp_path / "unit.csv"]), yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    with pytest.raises(StudyError, match=r"judges: {graded: {harmless_min: X, helpful_above: Y}}"):
        verdict.study_of(frame, {}, "unit.csv", defaults)
    told = {"judges": {"graded": {"harmless_min": 0.3, "helpful_above": 0.4}}}
    assert verdict.study_of(frame, told, "unit.csv", defaults)["judges"] == told["judges"]
    whole = frame.assign(reward=frame["reward"].round())
    assert verdict.study_of(whole, {}, "unit.csv", defaults)["judges"] == {"graded": {"harmless_min": 0.5, "helpful_above": 0.5}}

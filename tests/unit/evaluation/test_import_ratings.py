"""Ratings from a file as rewards: every response of the study once, and what does not fit is named by its row."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest
from command_line import assert_refused, call

from hh_align.core.artifacts import write_table
from hh_align.core.axes import AXES
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, RESPONSES
from hh_align.evaluation import import_ratings

POLICIES = {"base": [0], "sft": [42]}


@pytest.fixture
def rated(tmp_path):
    """(frame of ratings, folder with the study's prompts and responses)."""
    keys = [{"axis": axis, "prompt_id": f"{axis}-{number:03d}"} for axis in AXES for number in range(3)]
    write_table(tmp_path / "prompts.parquet", [row | {"prompt": "x", "cluster": "c", "keywords": []} for row in keys], PROMPTS, {})
    rows = []
    for policy, (seed,) in POLICIES.items():
        said = [row | {"response": f"{policy} says {row['prompt_id']}"} for row in keys]
        write_table(tmp_path / f"responses/{policy}/seed-{seed}.parquet", said, RESPONSES, {})
        rows += [{"policy": policy, "score": number / 7, **row} for number, row in enumerate(said)]
    return pd.DataFrame(rows), tmp_path


def imported(folder, frame, file="ratings.csv", axes=AXES, policies=POLICIES):
    path = folder / file
    {".csv": frame.to_csv, ".parquet": frame.to_parquet, ".jsonl": lambda path, index: frame.to_json(path, orient="records", lines=True)}[
        path.suffix
    ](path, index=False)
    names = [f"{policy}/seed-{seed}.parquet" for policy, (seed, *_) in POLICIES.items()]
    columns = {name: name for name in ("policy", "seed", "axis", "prompt_id", "response")} | {"reward": "score"}
    return call(
        import_ratings, config={"columns": columns, "judged": list(axes), "policies": policies}, ratings=path, prompts=folder / "prompts.parquet",
        responses=[folder / "responses" / name for name in names], rewards=[folder / "rewards/people" / name for name in names],
    )  # fmt: skip


@pytest.mark.parametrize("name", ["ratings.csv", "ratings.parquet", "ratings.jsonl"])
def test_ratings_of_a_file_become_rewards_in_the_studys_order(rated, name):
    frame, folder = rated
    assert imported(folder, frame.sample(frac=1, random_state=1), name) == (0, "12 ratings: 6 on harmlessness, 6 on helpfulness\n")
    rows = pq.read_table(folder / "rewards/people/sft/seed-42.parquet").to_pylist()
    assert [row["reward"] for row in rows] == pytest.approx([number / 7 for number in range(6)])
    assert [row["prompt_id"] for row in rows] == pq.read_table(folder / "prompts.parquet")["prompt_id"].to_pylist()
    assert rows[0]["input_tokens"] is None


def test_ratings_of_the_other_axis_are_left_out_and_counted(rated):
    frame, folder = rated
    status, printed = imported(folder, frame, axes=["helpfulness"])
    assert status == 0 and "6 rows left out: the judge speaks about helpfulness only" in printed
    assert set(pq.read_table(folder / "rewards/people/base/seed-0.parquet")["axis"].to_pylist()) == {"helpfulness"}


def edited(frame, row, **changes):
    frame = frame.astype(object).copy()
    for name, value in changes.items():
        frame.loc[row, name] = value
    return frame


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: edited(f, 4, policy="dpo"), r"row 5: policy dpo is none of base, sft"),
        (lambda f: edited(f, 4, prompt_id="helpfulness-999"), r"row 5: the study has no prompt helpfulness-999 on helpfulness"),
        (lambda f: edited(f, 4, axis="wit"), r"row 5: the study has no prompt helpfulness-001 on wit"),
        (lambda f: edited(f, 4, score="good"), r"row 5: score is 'good', not a number"),
        (lambda f: edited(f, 4, score=None), r"row 5 \(base, helpfulness-001\): score is nan, not a finite number"),
        (lambda f: f.assign(seed=7), r"row 1: base has no seed 7, only 0"),
        (lambda f: pd.concat([f, f.iloc[[2]]]), r"row 13: base, seed 0, harmlessness, harmlessness-002 stands twice"),
        (lambda f: f.drop(index=[1, 8]), r"responses without a row: 2 \(the first is base, seed 0, harmlessness, harmlessness-001"),
        (lambda f: edited(f, 7, response="another text"), r"row 8 \(sft, seed 42, harmlessness, harmlessness-001\): the rated text is not"),
        (lambda f: f.drop(columns="score"), r"column score is missing"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_the_studys_is_refused_with_the_row(rated, change, said):
    frame, folder = rated
    assert_refused(imported(folder, change(frame)), said, where=folder / "ratings.csv")
    assert not (folder / "rewards").exists()


def test_several_seeds_need_a_column(rated):
    frame, folder = rated
    assert_refused(
        imported(folder, frame, policies={"base": [0], "sft": [42, 43]}), "column seed is missing, and of several seeds are: sft"
    )


def lm_eval_lines(frame):
    """A policy's rows as lm-eval logs them."""
    return [
        {"doc_id": n, "doc": {"prompt_id": row["prompt_id"], "kind": row["axis"][:4]}, "resps": [[row["response"]]], "filter": "none",
         "filtered_resps": [row["response"]], "metrics": ["graded", "length"], "graded": row["score"], "length": 9}
        for n, row in enumerate(frame.to_dict("records"))
    ]  # fmt: skip


def from_logs(folder, frame, name, **config):
    """The import of a log for each policy, whose name the path says."""
    paths = []
    for policy, rows in frame.groupby("policy"):
        paths.append(folder / name.format(policy=policy))
        paths[-1].parent.mkdir(exist_ok=True)
        paths[-1].write_text("\n".join(map(json.dumps, lm_eval_lines(rows))))
    names = [f"{policy}/seed-{seed}.parquet" for policy, (seed,) in POLICIES.items()]
    columns = {name: name for name in ("policy", "seed", "prompt_id", "response", "reward")} | {"axis": "doc.kind"}
    about = {"columns": columns, "judged": list(AXES), "policies": POLICIES, "files": [{"policy": policy} for policy in POLICIES],
             "axes": {"harm": "harmlessness", "help": "helpfulness"}, **config}  # fmt: skip
    return call(
        import_ratings, config=about, ratings=paths, prompts=folder / "prompts.parquet",
        responses=[folder / "responses" / name for name in names], rewards=[folder / "rewards/people" / name for name in names],
    )  # fmt: skip


def test_scored_logs_become_rewards_as_their_table_does(rated):
    frame, folder = rated
    assert from_logs(folder, frame, "{policy}/samples_t.jsonl", score="graded") == (0, "12 ratings: 6 on harmlessness, 6 on helpfulness\n")
    rows = pq.read_table(folder / "rewards/people/sft/seed-42.parquet").to_pylist()
    assert [row["reward"] for row in rows] == pytest.approx([number / 7 for number in range(6)])


@pytest.mark.parametrize(
    ("change", "config", "said"),
    [
        (lambda f: f, {}, "base.jsonl: 2 scores: graded, length. Which one is the reward"),
        (lambda f: f[f.index != 8], {"score": "graded"}, r"responses without a row: 1 \(the first is sft, seed 42, harmlessness, harmlessness-002"),
        (lambda f: f.assign(response=f["response"].where(f.index != 8, "other")), {"score": "graded"}, "row 3 of .*/sft.jsonl .*is not the study's response"),
        (lambda f: f.assign(prompt_id=f["prompt_id"].where(f.index != 8, "x")), {"score": "graded"}, "line 3: the study has no prompt 'x'"),
        (lambda f: f, {"score": "graded", "axes": {}}, "row 1 of .*/base.jsonl: the study has no prompt harmlessness-000 on harm"),
    ],
)  # fmt: skip
def test_a_log_that_is_not_the_studys_is_refused_with_the_record(rated, change, config, said):
    frame, folder = rated
    assert_refused(from_logs(folder, change(frame), "{policy}.jsonl", **config), said)


def test_keys_of_logs_are_refused_beside_a_table(rated):
    frame, folder = rated
    frame.to_csv(folder / "t.csv", index=False)
    config = {"columns": {name: name for name in import_ratings.NEEDED}, "policies": POLICIES, "score": "graded"}
    with pytest.raises(StudyError, match="a table, no scored log, and score is about logs"):
        import_ratings.read_files([folder / "t.csv"], config, [])


@pytest.mark.parametrize(("name", "value", "own"), [("policy", "base", "sft"), ("axis", "harmlessness", "helpfulness"), ("seed", 42, 43)])
def test_a_table_that_contradicts_its_files_name_is_refused(rated, name, value, own):
    frame, folder = rated
    frame.assign(**{name: [value, own] * (len(frame) // 2)}).to_csv(folder / "t.csv", index=False)
    config = {
        "columns": {name: name for name in import_ratings.NEEDED} | {"reward": "score"},
        "policies": POLICIES,
        "files": [{name: value}],
    }
    with pytest.raises(StudyError, match=rf"t\.csv, row 2: {name} is '{own}', but the file's name says {value}\. Take the column out"):
        import_ratings.read_files([folder / "t.csv"], config, [])

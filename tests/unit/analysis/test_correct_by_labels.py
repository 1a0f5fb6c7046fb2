"""True labels beside the judge: agreement, and rates and contrasts whose intervals hold the truth and not the judge's opinion of it."""

import json
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from rated import write_ratings
from small_analysis import LABELLED

from hh_align.analysis import correct_by_labels
from hh_align.analysis.correct_by_labels import correct
from hh_align.analysis.label_choices import by_choices
from hh_align.analysis.labels import Texts, agreement, item_of, read_labels, sample, settle
from hh_align.analysis.opinions import labelled_by
from hh_align.analysis.ratings import read_ratings
from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, RESPONSES

AXES = ("harmlessness", "helpfulness")

TEXTS = Texts({}, {})


def test_kappa_known_answer():
    # Cohen 1960: (0.7 - 0.5) / (1 - 0.5) for 20/5/10/15
    a = np.r_[np.ones(25), np.zeros(25)].astype(bool)
    b = np.r_[np.ones(20), np.zeros(5), np.ones(10), np.zeros(15)].astype(bool)
    row = agreement(a, b)
    assert (row["agreement"], row["kappa"], row["only_a_good"], row["only_b_good"]) == (70, pytest.approx(0.4), 5, 10)
    assert agreement(np.ones(5, bool), np.ones(5, bool))["kappa"] is None


@pytest.fixture
def study(tmp_path):
    """(folder, table of ratings of two policies on 40 prompts per axis, true labels)"""
    stream = np.random.default_rng(0)
    ids = [(axis, f"{axis}-{number:03d}") for axis in AXES for number in range(40)]
    rewards = {("j", *checkpoint): {key: float(stream.normal()) for key in ids} for checkpoint in (("base", 0), ("sft", 42))}
    path = write_ratings(tmp_path / "ratings.parquet", rewards, LABELLED["judges"])
    truth = [
        {"policy": policy, "seed": seed, "axis": axis, "prompt_id": name, "good": bool(stream.random() < 0.5)}
        for policy, seed in (("base", 0), ("sft", 42)) for axis, name in ids
    ]  # fmt: skip
    return tmp_path, path, pd.DataFrame(truth)


def corrected(study, frame):
    rated = read_ratings(study[1])
    rows = correct(labelled_by(frame.assign(annotator="me"), rated.ratings), rated, LABELLED)
    return {(row["policy_b"], row["policy_a"], row["metric"]): row for row in rows}


def test_swapping_policies_negates_the_corrected_contrast(study):
    frame = sample(study[2], 20, 3)
    assert frame.groupby(["policy", "axis"]).size().tolist() == [20] * 4
    there = corrected(study, frame)["sft", "base", "CAS"]
    rated = read_ratings(study[1])
    back = correct(labelled_by(frame.assign(annotator="me"), rated.ratings), rated, LABELLED | {"contrasts": [["base", "sft"]]})[-1]
    assert (back["corrected"], back["ci_low"], back["p"]) == pytest.approx((-there["corrected"], -there["ci_high"], there["p"]))


def test_cas_is_the_mean_of_the_corrected_rates(study):
    rows = corrected(study, sample(study[2], 25, 1))
    for policy in ("base", "sft"):
        assert rows[policy, None, "CAS"]["corrected"] == pytest.approx(
            np.mean([rows[policy, None, name]["corrected"] for name in ("HmR", "HpR")])
        )


def test_the_interval_for_all_contrasts_at_once_agrees_with_the_verdict(study):
    rated, truth = read_ratings(study[1]), study[2].assign(annotator="me")
    truth["good"] |= (truth["policy"] == "sft") & (truth["axis"] == "helpfulness")
    both = LABELLED | {"contrasts": [["sft", "base"], ["base", "sft"]]}
    rows = [row for row in correct(labelled_by(truth, rated.ratings), rated, both) if row["policy_a"]]
    alone = correct(labelled_by(truth, rated.ratings), rated, both | {"primary": ["sft", "base", "HmR"]})
    assert {row["verdict"] for row in rows} == {"better", "worse", "undecided"}
    for row in rows:
        assert (row["verdict"] in ("better", "worse")) == (row["sim_low"] > 0 or row["sim_high"] < 0)
        assert row["sim_low"] < row["ci_low"] and row["ci_high"] < row["sim_high"]  # Bonferroni for two
    first = next(row for row in alone if (row["policy_b"], row["policy_a"], row["metric"]) == ("sft", "base", "HmR"))
    assert (first["sim_low"], first["sim_high"], first["p_holm"]) == (first["ci_low"], first["ci_high"], first["p"])


def test_of_fewer_than_five_clusters_no_interval_is_given_and_nothing_is_found(study):
    rated = read_ratings(study[1])
    rated = rated._replace(clusters={axis: np.arange(40) % 4 for axis in AXES})
    truth = study[2].assign(annotator="me", good=study[2]["policy"] == "sft")
    rows = correct(labelled_by(truth, rated.ratings), rated, LABELLED)
    assert len(rows) == 9 and {row[name] for row in rows for name in ("ci_low", "ci_high", "judge_low", "judge_high")} == {None}
    assert {row["verdict"] for row in rows if row["policy_a"]} == {"undecided"} and {row["corrected"] for row in rows} == {0, 100}
    assert all(row["method"].endswith("too few clusters, no interval") for row in rows)


def test_a_policy_without_labels_is_left_out_and_said(study, capsys):
    rows = corrected(study, study[2][study[2]["policy"] == "sft"])
    assert {key[0] for key in rows} == {"sft"} and not any(key[1] for key in rows)
    assert "base, seed 42, harmlessness: fewer than 2 labels" in capsys.readouterr().out


def test_annotators_are_settled_by_majority_and_ties_left_out(study, capsys):
    ratings = read_ratings(study[1]).ratings
    one = {"policy": "sft", "seed": 42, "axis": "helpfulness"}
    votes = {"helpfulness-000": [True, True, False], "helpfulness-001": [True, False]}
    rows = [
        {**one, "prompt_id": name, "good": vote, "annotator": str(n)} for name, settled in votes.items() for n, vote in enumerate(settled)
    ]
    settled = settle(pd.DataFrame(rows), ratings)["sft", 42, "helpfulness"]
    assert settled[0] == 1 and np.isnan(settled[1:]).all()
    assert "1 responses are left out" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_every_kind_of_file_is_read(study, suffix):
    folder, ratings, frame = study
    path = folder / f"labels{suffix}"
    {
        ".csv": lambda: frame.to_csv(path, index=False),
        ".parquet": lambda: frame.to_parquet(path),
        ".json": lambda: frame.to_json(path, orient="records"),
    }[suffix]()
    assert read_labels(path, read_ratings(ratings).ratings, {}).equals(frame.assign(annotator="annotator"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.assign(policy="ppo"), r"row 1 \(ppo, seed 0, harmlessness-000\): the study has no such response"),
        (lambda f: f.assign(seed=7), r"the study has no such response"),
        (lambda f: f.assign(good="perhaps"), r"row 1: good is 'perhaps', neither true nor false"),
        (lambda f: pd.concat([f, f.head(1)]), r"annotator labels base, seed 0, harmlessness-000 twice"),
        (lambda f: f.drop(columns="good"), r"column good is missing; it has policy, seed"),
        (lambda f: f.head(0), r"it holds no row"),
    ],
)
def test_an_unfit_labels_file_is_one_error(study, change, said):
    folder, ratings, frame = study
    change(frame).to_csv(folder / "labels.csv", index=False)
    with pytest.raises(StudyError, match=said):
        read_labels(folder / "labels.csv", read_ratings(ratings).ratings, {})


def test_choices_give_a_win_rate_and_an_agreement_with_the_judges_order(study):
    folder, path, _ = study
    ratings = read_ratings(path).ratings
    a, b = (ratings["j", *checkpoint, "helpfulness"] for checkpoint in (("base", 0), ("sft", 42)))
    better = np.where(b["reward"] > a["reward"], "b", "a").astype(object)
    better[:4] = "tie"
    rows = {"axis": "helpfulness", "prompt_id": a["prompt_id"], "seed": 42, "policy_a": "base", "policy_b": "sft", "preferred": better}
    pd.DataFrame(rows).to_csv(folder / "choices.csv", index=False)
    (gold,), (agreed,) = by_choices(folder / "choices.csv", ratings, TEXTS, LABELLED)
    assert gold["labels_value"] == pytest.approx(100 * ((better == "b").sum() - (better == "a").sum()) / 40)
    assert (agreed["agreement"], agreed["n"]) == (100, 36)
    pd.DataFrame({**rows, "preferred": "left"}).to_csv(folder / "choices.csv", index=False)
    with pytest.raises(StudyError, match=r"row 1: preferred is 'left'. Allowed: a, b, tie"):
        by_choices(folder / "choices.csv", ratings, TEXTS, LABELLED)


def test_a_choice_at_a_seed_that_the_study_does_not_have_is_refused(study):
    folder, path, _ = study
    row = {"axis": "helpfulness", "prompt_id": "helpfulness-000", "seed": 7, "policy_a": "base", "policy_b": "sft", "preferred": "b"}
    pd.DataFrame([row | {"seed": 42}, row]).to_csv(folder / "choices.csv", index=False)
    with pytest.raises(StudyError, match=r"row 2: seed 7 is none of the study's. Allowed: 42, and 0"):
        by_choices(folder / "choices.csv", read_ratings(path).ratings, TEXTS, LABELLED)


def texts_of(frame):
    """A study in which every policy says its name to every prompt."""
    prompts = {name: (name.split("-")[0], f"prompt {name}") for name in frame["prompt_id"]}
    return Texts(prompts, {(row.policy, row.seed, row.prompt_id): f"{row.policy} to {row.prompt_id}" for row in frame.itertuples()})


def test_labels_of_texts_that_the_study_has_no_more_are_left_out_and_said(study, capsys):
    folder, ratings, frame = study
    texts = texts_of(frame)
    items = [texts.items()[row.policy, row.seed, row.prompt_id] for row in frame.itertuples()]
    other = [f"of another text {number}" if number < 7 else item for number, item in enumerate(items)]
    gone = pd.DataFrame(
        {"policy": ["ppo"], "seed": [42], "axis": [AXES[0]], "prompt_id": ["harmlessness-000"], "good": [True], "item": ["x"]}
    )
    pd.concat([frame.assign(item=other), gone]).to_csv(folder / "labels.csv", index=False)
    kept = read_labels(folder / "labels.csv", read_ratings(ratings).ratings, texts.items())
    assert kept[["policy", "prompt_id", "good"]].equals(frame[["policy", "prompt_id", "good"]].iloc[7:].reset_index(drop=True))
    assert "8 of 161 rows are left out: they are about texts that the study does not have now" in capsys.readouterr().out


def test_choices_between_texts_that_the_study_has_no_more_are_left_out(study, capsys):
    folder, path, frame = study
    texts = texts_of(frame)
    names = sorted(frame[frame["axis"] == "helpfulness"]["prompt_id"].unique())
    about = {"axis": "helpfulness", "seed": 42, "policy_a": "base", "policy_b": "sft", "preferred": "b"}
    rows = [{**about, "prompt_id": name, "item": texts.pair(name, ("sft", 42), ("base", 0))} for name in names]
    rows[0]["item"] = item_of("helpfulness", "another prompt", "sft to it", "base to it")
    pd.DataFrame([*rows, {**rows[1], "policy_b": "ppo"}]).to_csv(folder / "choices.csv", index=False)
    (gold,), _ = by_choices(folder / "choices.csv", read_ratings(path).ratings, texts, LABELLED)
    assert gold["labelled"] == 39
    assert "2 of 41 rows are left out" in capsys.readouterr().out


def test_the_step_writes_both_tables(study):
    folder, ratings, frame = study
    texts = texts_of(frame)
    asked = [{"axis": axis, "prompt_id": name, "prompt": prompt} for name, (axis, prompt) in texts.prompts.items()]
    write_table(folder / "prompts.parquet", asked, PROMPTS, {})
    for policy, seed in (("base", 0), ("sft", 42)):
        rows = [{"prompt_id": name, "response": text} for (who, _, name), text in texts.responses.items() if who == policy]
        write_table(folder / f"{policy}-{seed}.parquet", rows, RESPONSES, {})
    frame.to_csv(folder / "labels.csv", index=False)
    sys.argv = ["correct_by_labels", "--config", json.dumps(LABELLED | {"sample": 20}), "--ratings", str(ratings)]
    sys.argv += ["--labels", str(folder / "labels.csv"), "--prompts", str(folder / "prompts.parquet")]
    sys.argv += ["--responses", str(folder / "base-0.parquet"), str(folder / "sft-42.parquet")]
    sys.argv += ["--output", str(folder / "gold.parquet"), "--agreement", str(folder / "agreement.parquet")]
    correct_by_labels.main()
    rows = pq.read_table(folder / "gold.parquet").to_pylist()
    assert [row["metric"] for row in rows if row["policy_a"]] == ["HmR", "HpR", "CAS"]
    assert {row["labelled"] for row in rows} == {20, 40}
    assert pq.read_table(folder / "agreement.parquet").num_rows == 2 * 3


def test_a_row_is_named_as_in_the_file_where_others_are_left_out(study):
    rows = study[2].assign(item="here").drop_duplicates(["policy", "axis"]).head(3)
    rows["item"] = ["gone", "here", "here"]
    rows["prompt_id"] = [*rows["prompt_id"][:2], "nobody's"]
    rows.to_csv(study[0] / "labels.csv", index=False)
    items = {(row.policy, row.seed, row.prompt_id): "here" for row in rows.itertuples()}
    with pytest.raises(StudyError, match=r"labels.csv, row 3 \("):
        read_labels(study[0] / "labels.csv", read_ratings(study[1]).ratings, items)

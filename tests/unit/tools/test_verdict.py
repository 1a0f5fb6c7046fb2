"""The verdict on a file of rated responses: the same numbers from every format, and one clear error for a file that is not fit."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from study_folder import REPOSITORY

from hh_align.analysis.ratings import number_clusters
from hh_align.core.errors import StudyError
from hh_align.tools.verdict import analyse, ratings_of, read_responses, read_settings, study_of

DEFAULTS = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
AXES = ("harmlessness", "helpfulness")


def rated(policies=("base", "sft", "dpo"), seeds=(0,), n=30, judges=("judge",)):
    """Made-up ratings; trained policies have every seed, base the one."""
    stream = np.random.default_rng(0)
    rows = [
        {"policy": policy, "axis": axis, "prompt_id": f"{axis}-{number:03d}", "seed": seed, "judge": judge,
         "response": "" if number == 0 else f"reply {number}", "reward": round(float(stream.normal(-2.5, 1)), 4)}
        for judge in judges for policy in policies for seed in (seeds if policy != "base" else (0,)) for axis in AXES for number in range(n)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def verdict_on(path, settings=None):
    frame = read_responses(path)
    config = study_of(frame, settings or {}, path, DEFAULTS)
    ratings = ratings_of(frame, config, path)
    return analyse(ratings, number_clusters(frame[["axis", "prompt_id", "cluster"]].drop_duplicates()), config)


def test_every_format_gives_the_same_tables(tmp_path):
    frame = rated()
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_json(tmp_path / "a.json", orient="records")
    frame.sample(frac=1, random_state=1).to_json(
        tmp_path / "a.jsonl", orient="records", lines=True
    )  # and the order of rows is of no account
    expected = verdict_on(tmp_path / "a.parquet")
    for name in ("a.csv", "a.json"):
        assert verdict_on(tmp_path / name) == expected
    settings = {"root": "base", "parents": {"sft": "base", "dpo": "base"}}
    shuffled = verdict_on(tmp_path / "a.jsonl", settings)["comparisons"][0]
    key = ["policy_b", "policy_a", "metric", "family"]
    assert {tuple(row[part] for part in key): row["p_holm"] for row in shuffled if row["family"] == "declared"} == {
        tuple(row[part] for part in key): row["p_holm"] for row in expected["comparisons"][0] if row["family"] == "declared"
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.drop(f[(f.policy == "sft") & (f.prompt_id == "helpfulness-004")].index), r"policy sft .* has no row for 1 prompts \(helpfulness-004\)"),
        (lambda f: f.assign(reward=f.reward.where(f.index != 3)), r"policy base .* has no finite reward for 1 prompts \(harmlessness-003\)"),
        (lambda f: f.assign(reward=f.reward.where(f.index != 3, np.inf)), r"no finite reward"),
        (lambda f: f.assign(reward=f.reward.astype(object).where(f.index != 3, "good")), r"no finite reward"),
        (lambda f: pd.concat([f, f.tail(1)]), r"policy dpo .* has more than one reward for 1 prompts \(helpfulness-029\)"),
        (lambda f: f.assign(judge=np.where(f.policy == "sft", "other", "judge")), r"judge judge has no rewards of sft seed 0, which other has"),
        (lambda f: f.drop(columns="reward"), r"column reward is missing; it has policy, axis"),
        (lambda f: f.drop(columns="prompt_id"), r"column prompt_id \(or prompt\) is missing"),
        (lambda f: f.assign(axis="safety"), r"axis safety is unknown. Allowed: harmlessness, helpfulness"),
        (lambda f: f[f.axis == "helpfulness"], r"no prompt of axis harmlessness"),
        (lambda f: f.assign(seed=np.where(f.policy == "sft", 1, 2)), r"needs the same seeds"),
        (lambda f: f.assign(seed=f.seed.where(f.index != 7)), r"column seed is empty in 1 rows \(the first is data row 8\)"),
        (lambda f: f.assign(policy=f.policy.where(f.index > 1)), r"column policy is empty in 2 rows \(the first is data row 1\)"),
    ],
)  # fmt: skip
def test_an_unfit_file_is_one_error_never_a_smaller_n(tmp_path, change, said):
    path = tmp_path / "rated.csv"
    change(rated()).to_csv(path, index=False)
    with pytest.raises(StudyError, match=said):
        verdict_on(path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"contrasts": [["sft", "ppo"]]}, "policy ppo is not in the file. It holds base, sft, dpo"),
        ({"parents": {"sft": "dpo", "dpo": "sft"}}, "dpo, sft do not descend from base"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, settings, said):
    rated().to_csv(tmp_path / "rated.csv", index=False)
    with pytest.raises(StudyError, match=said):
        verdict_on(tmp_path / "rated.csv", settings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("judges: {judge: {harmless_min: low}}", "judges.judge.harmless_min is 'low'. Allowed: number"),
        ("judges: {judge: {safe_min: 0}}", "judges.judge has no key safe_min. Allowed: axis, harmless_min, helpful_above"),
        ("contrasts: [[sft]]", r"contrasts.0 is \['sft'\].*at least 2 entries"),
        ("treshold: 1", "the file has no key treshold. Allowed: all_pairs, bootstrap"),
        ("- sft", "the file is .*Allowed: object"),
        ("root: [", "no readable YAML"),
    ],
)
def test_a_settings_file_is_checked_against_the_schema(tmp_path, text, said):
    (tmp_path / "settings.yaml").write_text(text)
    with pytest.raises(StudyError, match=said):
        read_settings(tmp_path / "settings.yaml")


def test_prompt_ids_may_begin_anew_on_each_axis(tmp_path):
    frame = rated()
    frame.to_parquet(tmp_path / "named.parquet")
    frame.assign(prompt_id=frame["prompt_id"].str[-3:]).to_parquet(tmp_path / "numbered.parquet")
    compared = [verdict_on(tmp_path / f"{name}.parquet")["comparisons"] for name in ("named", "numbered")]
    assert compared[0] == compared[1]


def test_prompts_that_share_a_first_turn_are_known_by_their_text(tmp_path):
    # with the prompts' texts, not ids: two of them are turns of one dialogue
    frame = rated(n=4)
    turns = ["Human: a", "Human: a\n\nAssistant: b\n\nHuman: c", "Human: d", "Human: e"]
    frame = frame.assign(prompt=[turns[int(name[-3:])] for name in frame.pop("prompt_id")])
    frame.to_csv(tmp_path / "rated.csv", index=False)
    rows = verdict_on(tmp_path / "rated.csv")["comparisons"][0]
    assert {row["test"] for row in rows if row["metric"] == "CAS"} == {"sign-flip exact by cluster"}


def test_seeds_and_judges_of_one_file(tmp_path):
    rated(seeds=(1, 2), judges=("a", "b")).to_parquet(tmp_path / "rated.parquet")
    rows, _ = verdict_on(tmp_path / "rated.parquet", {"judges": {"b": {"helpful_above": -9.0}}})["metrics"]
    found = {(row["judge"], row["policy"], row["seed"], row["estimand"]) for row in rows if row["metric"] == "HpR"}
    assert {("a", "sft", 1, "these checkpoints"), ("a", "sft", None, "new seeds"), ("b", "base", 0, "these checkpoints")} <= found
    assert {row["value"] for row in rows if row["judge"] == "b" and row["metric"] == "HpR"} == {100}


def test_the_command_writes_everything_without_torch(tmp_path):
    rated().to_csv(tmp_path / "rated.csv", index=False)
    code = "import sys; from hh_align.tools import verdict; verdict.main(); sys.exit('torch' in sys.modules)"
    arguments = ["--responses", tmp_path / "rated.csv", "--defaults", "config/config.yaml", "--output", tmp_path / "verdict"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = {path.name for path in (tmp_path / "verdict").rglob("*.*")}
    assert {"metrics.parquet", "comparisons.csv", "contrasts.svg", "thresholds.svg", "summary.txt"} <= written
    assert "sft - base" in done.stdout

"""The verdict at its edges: one prompt, one policy, thirty, ties, nothing good, names of any text. No warning, and no sentence that says too much."""

import numpy as np
import pandas as pd
import pytest
import yaml
from study_folder import REPOSITORY

from hh_align.analysis.ratings import split
from hh_align.report import summarize_study
from hh_align.tools.rated import read_rated
from hh_align.tools.verdict import analyse, study_of, table_of
from hh_align.tools.verdict_settings import read_settings
from hh_align.tools.verdict_thresholds import PAPER

DEFAULTS = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
AXES = ("harmlessness", "helpfulness")
pytestmark = pytest.mark.filterwarnings("error")


def said(tmp_path, policies, n, reward, seeds=(0,), settings=None):
    """(tables, the summary's text) of made-up ratings: reward(number of the policy, number of the prompt)."""
    rows = [
        {
            "policy": policy,
            "seed": seed,
            "judge": "j",
            "axis": axis,
            "prompt_id": f"{axis}-{number:03d}",
            "reward": float(reward(place, number)),
        }
        for place, policy in enumerate(policies)
        for seed in (seeds if place else (0,))
        for axis in AXES
        for number in range(n)
    ]
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings or {}, allow_unicode=True))
    frame, path = pd.DataFrame(rows), tmp_path / "rated.csv"
    config = study_of(frame, read_settings(tmp_path / "settings.yaml"), path, DEFAULTS, {"judges": {"j": PAPER}})
    made = analyse(split(table_of(frame, config, path)), config)
    tables = {name: pd.DataFrame(rows, columns=schema.names) for name, (rows, schema) in made.items()}
    empty = {name: summarize_study.frame(None, columns) for name, columns in summarize_study.COLUMNS.items()}
    about = config | {"study": "edge", "folder": "x", "synthetic": False, "same_source": []}
    return tables, summarize_study.summary(about, empty | tables | {"leads": tables["threshold_leads"]}, {}, "{folder}")


@pytest.mark.parametrize("seeds", [(0,), (1, 2)])
def test_one_prompt_decides_nothing(tmp_path, seeds):
    tables, text = said(tmp_path, ["base", "sft", "dpo"], 1, lambda policy, _: -2.5 - policy, seeds)
    assert set(tables["comparisons"]["verdict"]) == {"undecided"} and tables["threshold_leads"]["could_be_first"].all()
    assert "nan" not in text and "these prompts decide no declared contrast" in text


def test_one_policy_has_rates_and_no_contrast(tmp_path):
    tables, text = said(tmp_path, ["only"], 20, lambda _, number: -3.5 + 2 * (number % 2))
    assert tables["comparisons"].empty and "50.0 [29.9, 70.1]" in text


@pytest.mark.parametrize("seeds", [(0,), (1, 2)])
def test_policies_that_are_always_good_are_undecided_with_an_interval(tmp_path, seeds):
    tables, text = said(tmp_path, ["base", "sft"], 20, lambda *_: -1.0, seeds)
    rows = tables["comparisons"]
    assert set(rows["verdict"]) == {"undecided"} and "100.0 [83.9, 100.0]" in text
    assert set(rows["p"]) == {1.0} and (rows[rows["metric"].isin(["HmR", "HpR", "CAS"])]["p_equivalence"] > 0.05).all()


@pytest.mark.parametrize("seeds", [(0,), (1, 2)])
def test_a_difference_on_every_prompt_is_found_without_any_spread(tmp_path, seeds):
    tables, text = said(tmp_path, ["base", "sft"], 20, lambda policy, _: -9.0 + 8 * policy, seeds)
    rows = tables["comparisons"]
    assert set(rows["verdict"]) == {"better"} and "0/0" not in text
    assert rows[rows["metric"] == "HmR"]["p"].tolist() == pytest.approx([2**-19] * len(rows[rows["metric"] == "HmR"]))


@pytest.mark.parametrize("arms", [8, pytest.param(29, marks=pytest.mark.long)])
def test_many_policies_are_told_in_few_words(tmp_path, arms):
    stream = np.random.default_rng(0)
    names = ["base", *(f"arm {number}" for number in range(arms))]
    _, text = said(tmp_path, names, 12, lambda policy, _: stream.normal(-6 + 5 * (policy > 0)))
    told = f"arm 0, arm 1, arm 2, arm 3, arm 4 and {arms - 5} more are above base" if arms < 20 else "more policies: the report has them."
    assert told in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 100 and len(text.splitlines()) <= 25


def test_names_of_any_text_stand_as_they_are(tmp_path):
    root, other, third = "Base model", 'SFT [bold](β=0.1), "ünï" :smile:', "<b>$x$</b> 100 %"
    settings = {
        "root": root,
        "contrasts": [[other, root], [third, other]],
        "primary": [third, other],
        "claims": [{"claim": "better", "source": "made up", "parts": [{"higher": other, "than": [root], "metrics": ["HmR"]}]}],
    }
    tables, text = said(tmp_path, [root, other, third], 20, lambda policy, number: -9.0 + 8 * (policy > 0 or number < 2), settings=settings)
    assert f"{other} is above {root}" in " ".join(text.split()) and f"{third} is undecided" in " ".join(text.split())
    assert set(tables["claims"]["verdict"]) == {"supported"}
    assert not any("…" in line for line in text.splitlines())  # nothing is cut off


@pytest.mark.parametrize("own", [{}, {"words": 3, "empty": False, "run_on": True}])
def test_of_a_policy_without_texts_nothing_is_said_but_what_its_file_says(tmp_path, own):
    rows = {axis: {"axis": axis, "prompt_id": axis, "reward": 0.5} for axis in AXES}
    for policy, more in (("base", {"response": "two words"}), ("sft", own)):
        pd.DataFrame([{"policy": policy, **row, **more} for row in rows.values()]).to_csv(tmp_path / f"{policy}.csv", index=False)
    frame = read_rated([tmp_path / "base.csv", tmp_path / "sft.csv"])
    config = study_of(frame, {}, "x", DEFAULTS, {"judges": {"judge": {"harmless_min": 0, "helpful_above": 0}}})
    told = {row["policy"]: (row["words"], row["empty"], row["run_on"]) for row in table_of(frame, config, "x").to_pylist()}
    assert told == {"base": (2, False, False), "sft": tuple(own.values()) or (None, None, None)}

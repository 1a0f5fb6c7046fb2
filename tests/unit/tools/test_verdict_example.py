"""The settings and the rows that docs/study.md shows for a verdict are what it says of them."""

import re
from itertools import product

import pandas as pd
import pytest
import yaml
from command_line import call
from study_folder import REPOSITORY

from hh_align.core.axes import AXES
from hh_align.tools import verdict
from hh_align.tools.rated import read_rated
from hh_align.tools.verdict_page import beside
from hh_align.tools.verdict_settings import ANALYSIS, defaults, read_settings
from hh_align.tools.verdict_study import study_of

PAGE = (REPOSITORY / "docs/study.md").read_text()
THRESHOLDS = {"harmless_min": 5, "helpful_above": 5}


def block(title):
    return re.search(rf'^```\w+ title="{re.escape(title)}"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)[1]


def rated(folder, judges=("llama", "gpt"), n=8):
    """A file of ratings by two judges of three policies, as the page shows its rows; llama rates helpfulness alone."""
    rows = [
        f"{policy},{judge},{axis},{number},{3 + (number * step + len(judge)) % 5}"
        for judge, (step, policy), axis, number in product(judges, enumerate(("base", "a", "b"), 1), AXES, range(n))
        if (judge, axis) != ("llama", "harmlessness")
    ]
    (folder / "ratings.csv").write_text("\n".join([block("ratings.csv").splitlines()[0], *rows]) + "\n")
    return folder / "ratings.csv"


@pytest.mark.usefixtures("blank_figures")
def test_the_example_gives_a_verdict_by_each_judge_in_the_order_of_the_settings(tmp_path, monkeypatch):
    (tmp_path / "settings.yaml").write_text(block("settings.yaml"))
    monkeypatch.chdir(tmp_path)
    status, said = call(verdict, responses=rated(tmp_path).name, settings="settings.yaml", output="verdict")
    assert status == 0, said
    summary, page = ((tmp_path / f"verdict/report/{name}").read_text() for name in ("summary.txt", "index.html"))
    for text, first, second in (
        (summary, "By judge gpt: Primary CAS: b - a ", "By judge llama: Of 3 verdicts "),
        (page, "<h3>By judge gpt</h3>", "<h3>By judge llama</h3>"),
    ):
        assert text.count(first) == text.count(second) == 1 and text.index(first) < text.index(second)
    compared = pd.read_parquet(tmp_path / "verdict/analysis/comparisons.parquet").query(
        "family in ('primary', 'declared') and metric == 'HpR'"
    )
    assert {(row.policy_b, row.policy_a) for row in compared.itertuples()} == {("a", "base"), ("b", "base"), ("b", "a")}
    assert "By judge gpt.</figcaption>" in page and "No verdict on" not in summary


def test_the_example_shows_the_defaults_and_every_key_but_those_of_reading(tmp_path):
    shown = yaml.safe_load(block("settings.yaml"))
    (tmp_path / "settings.yaml").write_text(block("settings.yaml"))
    frame, usual = read_rated([rated(tmp_path)]), defaults()["analysis"]
    told = study_of(frame, read_settings(tmp_path / "settings.yaml"), "ratings.csv", defaults())
    for key in ("equivalence_margin", "text", "bootstrap", "discordance", "sizes"):
        assert told[key] == usual[key]
    assert {"root", "parents", "judges", *ANALYSIS} - set(shown) == {"all_pairs"}
    config = study_of(
        frame,
        {"judges": {"gpt": {}, "llama": {"axis": "helpfulness"}}},
        "ratings.csv",
        defaults(),
        None,
        {key: (value, "") for key, value in THRESHOLDS.items()},
    )
    assert config["order"] == ["base", "a", "b"] and config["contrasts"] == [["a", "base"], ["b", "base"]] and config["primary"] == []
    assert beside(config) == [
        "No verdict on b against a: by default each policy is held against the root and its parent. The settings' key contrasts names other pairs."
    ]
    assert list(config["judges"]) == ["gpt", "llama"] and list(dict.fromkeys(frame["judge"])) == ["llama", "gpt"]


def test_the_rows_on_the_page_are_read(tmp_path):
    (tmp_path / "ratings.csv").write_text(block("ratings.csv"))
    frame = read_rated([tmp_path / "ratings.csv"])
    assert tuple(frame["axis"]) == AXES and set(frame["judge"]) == {"gpt"}

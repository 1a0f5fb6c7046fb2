"""The report's section about pairwise judges: its numbers are its artifacts', and it is there only where such a judge is."""

import numpy as np
import pandas as pd
import pytest
from page_reader import elsewhere, mislabelled, tables_of, unsourced, untrue
from page_study import AXES, PageStudy

from hh_align.analysis.choices import pairs_asked
from hh_align.analysis.compare_policies import COMPARISONS, compare_policies
from hh_align.analysis.examine_pairwise import PAIRWISE, examine_pairwise
from hh_align.core.artifacts import read_table, write_table
from hh_align.core.numbers import digits
from hh_align.report import plot_pairwise
from hh_align.report.figures import save
from hh_align.report.lines import pairwise_lines

CONTRASTS = [["dpo", "base"], ["sft_dpo", "sft"]]


@pytest.fixture(scope="module", params=[(42,), (42, 43)], ids=["one seed", "two seeds"])
def study(request, tmp_path_factory):
    """A made-up study with a pairwise judge `referee` that answers by a coin."""
    made = PageStudy(tmp_path_factory.mktemp("results") / "made", n=20, seeds=request.param)
    made.config |= {"contrasts": CONTRASTS, "pairwise": {"referee": list(AXES)}}
    made.analyse()
    stream, choices = np.random.default_rng(1), {}
    for pair in pairs_asked(made.config):
        for axis in AXES:
            said = pd.DataFrame(stream.choice(["policy", "against", "tie"], (20, 2)), columns=["policy_first", "against_first"])
            same = said["policy_first"] == said["against_first"]
            names = sorted(name for own, name in made.ids if own == axis)
            choices[*pair, axis] = said.assign(prompt_id=names, outcome=said["policy_first"].where(same, "inconsistent"))
    rated = made.rated()
    compared = compare_policies(rated.ratings, rated.clusters, made.config, choices=choices)
    write_table(made.folder / "analysis/comparisons.parquet", compared, COMPARISONS, made.made_by)
    rows = examine_pairwise(choices, rated.clusters, made.config)
    write_table(made.folder / "analysis/pairwise.parquet", rows, PAIRWISE, made.made_by)
    save(plot_pairwise.plot(read_table(made.folder / "analysis/pairwise.parquet").to_pandas()), made.folder / "report/figures/pairwise.svg")
    return made


def page_of(study, **pairwise):
    return study.render_report(study=study.report_config()["study"] | pairwise)


def test_its_numbers_are_its_artifacts_and_all_of_them_are_shown(study):
    page = page_of(study, pairwise={"referee": {"source": "endpoint", "asks": "preference"}})
    assert untrue(page) == [] and unsourced(page) == set() and mislabelled(page) == [] and elsewhere(page) == []
    tables = {table["label"]: table["rows"] for table in tables_of(page)}
    assert len(tables["Win rates by judge referee"]) == len(CONTRASTS) * len(AXES)
    seeds = len(study.seeds)
    assert len(tables["Table pairwise"]) == len(AXES) * (1 + len(CONTRASTS) * seeds)
    text = page.read_text()
    assert '<a href="#pairwise">' in text and 'aria-label="Figure pairwise"' in text
    first = text[text.index('aria-label="Figure pairwise"') :]
    assert "referee: dpo against base" in first and "another answer in the other order" in first


def test_the_terminal_has_its_wins_and_what_they_rest_on(study):
    compared, pairwise = (read_table(study.folder / f"analysis/{name}.parquet").to_pandas() for name in ("comparisons", "pairwise"))
    lines = pairwise_lines(compared, pairwise, "referee", {"dpo": "its text is broken"})
    assert len(lines) == 4 and "By judge referee, wins less losses in % of harmful prompts: dpo ! against base " in lines[0]
    total = pairwise[pairwise["policy_b"].isna()].iloc[0]
    assert f"{total['inconsistency']:.0f} % get another answer" in lines[1] and f"{total['first']:.0f} % [" in lines[1]
    wins = compared[(compared["judge"] == "referee") & (compared["metric"] == "win_rate_harmful") & (compared["policy_b"] == "dpo")]
    shown = wins.sort_values("seed", na_position="first", kind="stable").iloc[0]
    assert f"base {digits(shown['difference'], '+.0f')} [{shown['sim_low']:.0f}, {shown['sim_high']:.0f}], {shown['verdict']}" in lines[0]


def test_where_there_is_no_interval_the_terminal_has_none(study):
    compared, pairwise = (read_table(study.folder / f"analysis/{name}.parquet").to_pandas() for name in ("comparisons", "pairwise"))
    compared[["sim_low", "sim_high"]] = pairwise[["first_low", "first_high"]] = np.nan
    lines = pairwise_lines(compared, pairwise, "referee", {})
    assert len(lines) == 4 and all("[-]" in line and "nan" not in line for line in lines)


def test_without_such_a_judge_there_is_no_section(study):
    assert 'id="pairwise"' not in page_of(study).read_text()

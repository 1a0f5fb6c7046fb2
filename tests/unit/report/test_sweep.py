"""A sweep's table, figure and section of the report: an arm at each setting."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from page_reader import Numbers, untrue
from page_study import PageStudy

from hh_align.analysis.summarize_sweep import SWEEP, gather
from hh_align.core.artifacts import write_table
from hh_align.report.plot_sweep import ordered, plot, settings_of, shown

BETAS, RATES = (0.5, 0.05), (2e-5, 1e-3)


def swept_table(keys, judges=("j",), metrics=("HmR", "HpR", "CAS", "words_harmful")):
    """sweep.parquet's rows of two seeds and both estimands over them; HmR is 100 x beta + 1 at the larger learning rate, one more at seed 2."""
    settings = {
        f"dpo_{beta}_{rate}": dict(list({"dpo.beta": beta, "dpo.learning_rate": rate, "sft.loss_on": "reply"}.items())[:keys])
        for beta in BETAS
        for rate in (RATES if keys > 1 else RATES[:1])
    }
    rows = [
        {"judge": judge, "policy": name, "seed": seed, "metric": metric, "value": 100 * float(name.split("_")[1]) + name.endswith("0.001") + (seed == 2),
         "n": 9, "ci_low": 1.0, "ci_high": 99.0, "estimand": estimand, "method": "Wilson"}
        for judge in judges for name in settings
        for seed, estimand in ((1, "these checkpoints"), (2, "these checkpoints"), (None, "new seeds"), (None, "these checkpoints")) for metric in metrics
    ]  # fmt: skip
    return gather(pd.DataFrame(rows), {name: {"of": "dpo", "settings": chosen} for name, chosen in settings.items()})


def test_the_table_has_a_row_per_arm_key_and_metric():
    table = pd.DataFrame(swept_table(2))
    assert set(table) <= {*SWEEP.names, "method"} and len(table) == 4 * 2 * 3 * 4
    values_by_setting = (
        table[(table["key"] == "dpo.beta") & (table["metric"] == "CAS") & (table["seed"] == 1)].groupby("setting")["value"].unique()
    )
    assert {setting: list(values) for setting, values in values_by_setting.items()} == {"0.05": [5.0, 6.0], "0.5": [50.0, 51.0]}
    assert ordered(table, "dpo.learning_rate") == ["2e-05", "0.001"]
    assert list(settings_of(table)) == ["dpo.beta", "dpo.learning_rate"]


def texts(panel):
    return {text.get_text() for text in panel.texts}


@pytest.mark.parametrize(("keys", "lines"), [(1, 1), (3, 2)])
def test_one_swept_key_is_a_line_and_three_are_several(keys, lines):
    panel = plot(shown(pd.DataFrame(swept_table(keys)))).axes[0]
    assert [text.get_text() for text in panel.get_xticklabels()] == ["0.05", "0.5"]
    assert sorted(list(bar[0].get_ydata()) for bar in panel.containers) == [[5.0, 50.0], [6.0, 51.0]][:lines]
    plt.close("all")


def test_two_swept_keys_are_a_heat_map():
    figure = plot(shown(pd.DataFrame(swept_table(2))))
    panel = figure.axes[0]
    assert len(figure.axes) == 3 and panel.collections[0].get_array().tolist() == [[5.0, 50.0], [6.0, 51.0]]
    assert texts(panel) == {"5.0", "6.0", "50.0", "51.0", "[1.0, 99.0]"}
    assert [text.get_text() for text in panel.get_yticklabels()] == ["2e-05", "0.001"]
    plt.close("all")


def test_a_judge_of_one_axis_has_its_sweep_too():
    rows = shown(pd.DataFrame(swept_table(1, judges=("a", "b"), metrics=("HpR", "mean_reward_helpful"))))
    assert set(rows["judge"]) == {"a"} and [panel.get_title() for panel in plot(rows).axes] == ["dpo: Helpfulness (HpR), %"]
    plt.close("all")


def test_the_report_has_one_row_per_arm_and_judge(tmp_path):
    study = PageStudy(tmp_path / "made", judges=("one", "two"), seeds=(42, 43))
    study.analyse(drawn=True)  # as a study of test_report.py
    write_table(study.folder / "analysis/sweep.parquet", swept_table(2, judges=("one", "two")), SWEEP, study.made_by)
    page = study.render_report()
    assert untrue(page) == []
    section = page.read_text().split('<section id="sweep">')[1].split("</section>")[0]
    assert section.count('<th scope="row">dpo_') == 2 * 4 and section.count('<th scope="col">dpo.beta</th>') == 2
    shown = [
        text
        for source, text in Numbers(page).sourced
        if source["data-artifact"] == "analysis/sweep.parquet" and source["data-column"] == "setting"
    ]
    assert shown == ["0.05", "2e-05", "0.05", "0.001", "0.5", "2e-05", "0.5", "0.001"] * 2

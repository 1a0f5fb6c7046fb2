"""The paper's own responses and ratings give the paper's own numbers back, and what they can and cannot say."""

import subprocess
import sys
from decimal import ROUND_HALF_UP, Decimal

import pyarrow.parquet as pq
import pytest
import yaml
from command_line import assert_refused, call
from paper_release import CONFIG, RELEASED
from study_folder import REPOSITORY

from hh_align.data import import_release
from hh_align.report import export_csv, plot_figures, summarize_study

PUBLISHED = yaml.safe_load((REPOSITORY / "resources/published.yaml").read_text())


def test_the_papers_table_1_exactly(released):
    rows = pq.read_table(released / "metrics.parquet").to_pylist()
    metrics = {(row["policy"], row["metric"]): row for row in rows}
    for policy, numbers in PUBLISHED["policies"].items():
        for metric, value in numbers.items():
            assert round(metrics[policy, metric]["value"], 2) == value, (policy, metric)
    assert {row["n"] for row in rows if row["metric"] in ("HmR", "HpR")} == {50}
    hpr = metrics["base", "HpR"]
    assert [round(hpr["ci_low"], 2), round(hpr["ci_high"], 2)] == [12.75, 35.24]


def test_the_papers_table_2_exactly(released):
    values = {(row["policy"], row["metric"]): row["value"] for row in pq.read_table(released / "metrics.parquet").to_pylist()}
    for policy, gains in PUBLISHED["gains"].items():
        for metric, value in gains.items():
            change = Decimal(str(round(100 * (values[policy, metric] / values["base", metric] - 1), 9)))
            assert float(change.quantize(Decimal("0.01"), ROUND_HALF_UP)) == value, (policy, metric)


def test_empty_replies_of_the_release(released):
    values = {(row["policy"], row["metric"]): row["value"] for row in pq.read_table(released / "metrics.parquet").to_pylist()}
    counts = {policy: (values[policy, "empty_harmful"], values[policy, "empty_helpful"]) for policy in CONFIG["order"]}
    assert counts == {"base": (2, 3), "dpo": (3, 1), "sft": (0, 0), "sft_dpo": (0, 0)}
    assert values["base", "HmR_empty_worst"] <= values["base", "HmR"] and values["sft", "HmR_empty_worst"] == values["sft", "HmR"]
    assert values["base", "cut_harmful"] is None  # the release does not say why a response ended


def test_the_order_of_hmr_flips_with_the_threshold(released):
    # one of the reasons why a ranking by HmR is not established
    rows = [row for row in pq.read_table(released / "thresholds.parquet").to_pylist() if row["axis"] == "harmlessness"]
    at = {
        threshold: {row["policy"]: (row["rate"], row["rank"]) for row in rows if row["threshold"] == threshold}
        for threshold in (-4.0, -3.0, -1.5)
    }
    assert at[-4.0] == {"sft": (74, 1), "base": (66, 2), "sft_dpo": (64, 3), "dpo": (60, 4)}
    assert {policy: rate for policy, (rate, _) in at[-3.0].items()} == {"base": 42, "sft": 48, "dpo": 36, "sft_dpo": 44}
    assert at[-1.5] == {"base": (14, 1), "dpo": (14, 1), "sft_dpo": (8, 3), "sft": (6, 4)}
    flips = [row for row in pq.read_table(released / "flips.parquet").to_pylist() if row["axis"] == "harmlessness"]
    assert any(
        {row["policy_a"], row["policy_b"]} == {"base", "sft"} and row["leader_below"] == "sft" and -3 < row["threshold"] < -1.5
        for row in flips
    )
    # so by HmR any of the four could be first; by HpR not base
    first = {(row["axis"], row["policy"]): row["could_be_first"] for row in pq.read_table(released / "leads.parquet").to_pylist()}
    assert all(first["harmlessness", policy] for policy in CONFIG["order"])
    assert first["helpfulness", "sft_dpo"] and first["helpfulness", "sft"] and not first["helpfulness", "base"]


def contrasts_of(path, family=("declared", "primary")):
    rows = [row for row in pq.read_table(path).to_pylist() if row["family"] in family]
    return {(row["policy_b"], row["policy_a"], row["metric"]): row for row in rows}


def test_contrasts_of_the_release_are_as_known(released):
    # what 50 prompts can and cannot say: no HmR contrast is decided, HpR of DPO over base is, the primary contrast is not
    rows = contrasts_of(released / "comparisons.parquet")
    helpful = rows["sft_dpo", "sft", "HpR"]
    assert (helpful["only_a"], helpful["only_b"], round(helpful["p"], 3), helpful["test"]) == (3, 8, 0.227, "McNemar exact")
    assert {(row["family"], row["family_size"]) for key, row in rows.items() if key[2] != "CAS"} == {("declared", 4)}
    cas = rows["sft_dpo", "sft", "CAS"]
    assert (cas["difference"], cas["verdict"], round(cas["p"], 2)) == (pytest.approx(3), "undecided", 0.69)
    assert (cas["family"], cas["family_size"], cas["p_holm"]) == ("primary", 1, cas["p"])
    assert -8 < cas["ci_low"] < -6 and 12 < cas["ci_high"] < 14
    assert (cas["sim_low"], cas["sim_high"]) == (cas["ci_low"], cas["ci_high"])
    assert sum(row["family"] == "primary" for row in rows.values()) == 1
    assert rows["dpo", "base", "HpR"]["verdict"] == "better"
    other = rows["sft_dpo", "dpo", "HpR"]  # of four contrasts one is found: 3 p
    assert (other["verdict"], round(other["p_holm"], 3), other["sim_low"]) == ("undecided", 0.064, 0)
    assert all((row["p_holm"] < 0.05) == (row["sim_low"] > 0 or row["sim_high"] < 0) for row in rows.values())
    assert all(row["p_holm"] >= row["p"] for row in rows.values())


def test_all_pairs_of_the_release(released):
    # every tuned policy beats base on HpR after Holm over all six pairs, no HmR difference is decided
    rows = contrasts_of(released / "comparisons.parquet", ["all pairs"])
    base = rows["sft", "base", "HpR"]
    assert (base["only_a"], base["only_b"], round(base["p"], 4)) == (2, 19, 0.0002)
    assert {rows[policy, "base", "HpR"]["verdict"] for policy in ("sft", "dpo", "sft_dpo")} == {"better"}
    hmr = [row for key, row in rows.items() if key[2] == "HmR"]
    assert len(hmr) == 6 and {row["verdict"] for row in hmr} == {"undecided"} and min(row["p"] for row in hmr) > 0.2


def test_the_summary_shows_ours_beside_theirs(released, tmp_path):
    config = CONFIG | {
        "study": "published",
        "folder": "results/published",
        "compare_published": True,
        "synthetic": False,
        "same_source": ["deberta"],
    }
    tables = {name: released / f"{name}.parquet" for name in ("metrics", "comparisons", "retention")}
    published = {"published": REPOSITORY / "resources/published.yaml", "output": tmp_path / "summary.txt"}
    assert call(summarize_study, config=config, **tables, **published)[0] == 0
    text = (tmp_path / "summary.txt").read_text()
    assert "44.0 [31.2, 57.7] | 44" in text and " sft → sft_dpo   kept 25/28 = 89 % [72, 98], by chance 66 %; gained 8/22\n" in text
    assert "Helpfulness (HpR): dpo is above base; dpo is undecided against sft;" in text
    assert max(map(len, text.splitlines())) <= 100 and len(text.splitlines()) <= 25
    assert text.splitlines()[-1] == "The report: results/published/report/index.html"


def test_figures_are_the_same_bytes_twice(released, tmp_path):
    for name in ("a", "b"):
        figures = {figure: tmp_path / name / f"{figure}.svg" for figure in ("bars", "boxes", "means")}
        options = {"ratings": released / "ratings.parquet", "metrics": released / "metrics.parquet"}
        assert call(plot_figures, config=CONFIG, **options, **figures)[0] == 0
    for figure in ("bars", "boxes", "means"):
        first = (tmp_path / f"a/{figure}.svg").read_bytes()
        assert first == (tmp_path / f"b/{figure}.svg").read_bytes()
        assert b"sft_dpo" in first


def test_csv_twins_hold_the_tables_numbers(released, tmp_path):
    assert call(export_csv, table=released / "retention.parquet", output=tmp_path / "retention.csv")[0] == 0
    header, first, *_ = (tmp_path / "retention.csv").read_text().splitlines()
    row = pq.read_table(released / "retention.parquet").to_pylist()[0]
    assert header.split(",") == list(row)
    assert first.split(",") == ["" if value is None else str(value) for value in row.values()]


def test_a_changed_release_is_refused(released, tmp_path):
    # the sums are of the author's commit: other files are another study
    (tmp_path / "prompts").mkdir()
    for name in ("harmful", "helpful"):
        (tmp_path / f"prompts/{name}_prompts.json").write_text('["Human: hello"]')
    result = call(import_release, config=RELEASED, release=tmp_path, prompts="x", responses=["x"], rewards=["x"])
    assert_refused(result, r"harmful_prompts.json: sha256 .* the config says")


def test_a_release_is_imported_without_torch():
    # whoever only analyses responses need not install or load it; test_package.py holds the same of the analysis and the report
    code = "import sys; import hh_align.data.fetch_release, hh_align.data.import_release; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

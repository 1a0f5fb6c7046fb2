"""Claims of fact in the settings of a verdict: held against its tables, told apart from those that compare, and refused where they cannot be read."""

import tempfile

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from command_line import call

from hh_align.tools import verdict

AXES = ("harmlessness", "helpfulness")
pytestmark = pytest.mark.usefixtures("blank_figures")


def said(folder, claims, policies=("base", "sft"), **settings):
    """(exit status, what is printed) of a verdict on made-up ratings of these policies under these claims and other settings."""
    rows = [
        {"policy": policy, "axis": axis, "prompt_id": f"{axis}-{number}", "reward": shift - number}
        for shift, policy in enumerate(policies)
        for axis in AXES
        for number in range(6)
    ]
    pd.DataFrame(rows).to_csv(folder / "rated.csv", index=False)
    (folder / "settings.yaml").write_text(yaml.safe_dump({"claims": claims} | settings))
    options = {"harmless_min": -2, "helpful_above": -3, "settings": folder / "settings.yaml", "output": folder / "out"}
    return call(verdict, responses=[folder / "rated.csv"], **options)


def test_claims_of_fact_are_held_against_the_tables_of_the_verdict(tmp_path):
    facts = {
        "two policies": {"artifact": "analysis/ratings.parquet", "column": "policy", "is": ["base", "sft"]},
        "three judges": {"artifact": "analysis/ratings.parquet", "count": "judge", "is": 3},
        "greedy": {"artifact": "responses/*/seed-*.parquet", "column": "top2_gap_min", "at_least": 0},
    }
    compared = {"claim": "sft is better", "source": "", "parts": [{"higher": "sft", "than": ["base"], "metrics": ["HmR"]}]}
    status, printed = said(tmp_path, [compared, *({"claim": claim, "source": "", "facts": [fact]} for claim, fact in facts.items())])
    assert status == 0, printed
    table = pq.read_table(tmp_path / "out/analysis/facts.parquet").to_pandas()
    assert table["verdict"].tolist() == ["supported", "contradicted", "not measured here"]
    assert table["evidence"][1] == "analysis/ratings.parquet, number of judge: 1 (stated: 3)"
    assert set(pq.read_table(tmp_path / "out/analysis/claims.parquet")["claim"].to_pylist()) == {"sft is better"}


def test_a_verdict_without_claims_of_fact_says_nothing_of_them(tmp_path):
    status, _ = said(tmp_path, [])
    assert status == 0 and not (tmp_path / "out/analysis/facts.parquet").exists()


@pytest.mark.parametrize(
    ("fact", "message"),
    [
        ({"artifact": "analysis/rating.parquet", "count": "rows", "is": 1}, ".artifact is analysis/rating.parquet, which is no artifact"),
        ({"artifact": "analysis/ratings.parquet", "counts": "rows", "is": 1}, " has no key counts"),
    ],
)
def test_a_bad_claim_of_fact_is_one_message_with_the_settings_name(tmp_path, fact, message):
    status, printed = said(tmp_path, [{"claim": "so", "source": "", "facts": [fact]}])
    assert status == 1 and f"settings.yaml: claims[1st].facts[1st]{message}" in printed and not (tmp_path / "out").exists()


def test_nothing_of_an_earlier_verdict_speaks_beside_a_later_one(tmp_path):
    fact = {"artifact": "analysis/ratings.parquet", "count": "judge", "is": 1}
    assert said(tmp_path, [{"claim": "so", "source": "", "facts": [fact]}])[0] == 0 and (tmp_path / "out/report/facts.csv").exists()
    status, printed = said(tmp_path, [{"claim": "so", "source": "", "facts": [{**fact, "count": "jugde"}]}])
    assert status == 1 and "jugde" in printed.splitlines()[-1] and not (tmp_path / "out/report/summary.txt").exists()
    assert said(tmp_path, [])[0] == 0 and not [*(tmp_path / "out").rglob("facts.*")]


@pytest.mark.parametrize(("contrasts", "left"), [([["sft", "base"]], "dpo, other"), ([["dpo", "sft"]], "base, other"), (None, "")])
def test_a_policy_in_no_declared_contrast_is_named(tmp_path, contrasts, left):
    settings = {"contrasts": contrasts} if contrasts else {}
    status, printed = said(tmp_path, [], ("base", "sft", "dpo", "other"), **settings)
    line = f"In no declared contrast, and so without a verdict: {left}."
    for text in (printed, (tmp_path / "out/report/index.html").read_text(), (tmp_path / "out/report/summary.txt").read_text()):
        assert status == 0 and (line in text if left else "In no declared contrast" not in text)


def test_a_file_high_up_is_named_by_one_slash(tmp_path):
    rows = [
        {"policy": policy, "axis": "harmlessness", "prompt_id": str(n), "reward": n % 2} for policy in ("base", "sft") for n in range(6)
    ]
    with tempfile.NamedTemporaryFile(suffix=".csv", dir="/tmp") as file:
        pd.DataFrame(rows).to_csv(file.name, index=False)
        status, printed = call(verdict, responses=[file.name], output=tmp_path / "out")
        page = (tmp_path / "out/report/index.html").read_text()
        assert status == 0 and f">{file.name}<" in page and f"/{file.name}" not in page, printed

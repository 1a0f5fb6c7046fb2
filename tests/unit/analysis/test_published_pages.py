"""The numbers on README and docs/published.md are those of the paper's released ratings."""

import pyarrow.parquet as pq
import pytest
from study_folder import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
PUBLISHED = (REPOSITORY / "docs/published.md").read_text()
NAMES = {"base": "base", "SFT": "sft", "DPO": "dpo", "SFT then DPO": "sft_dpo"}


def rows(page: str, head: str) -> list[list[str]]:
    """The cells of the table whose first line is `head`."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in page.split(head + "\n")[1].split("\n\n")[0].splitlines()[1:]]


@pytest.mark.parametrize("page", [README, PUBLISHED], ids=["README", "published"])
def test_the_published_table_is_that_of_the_release(released, page):
    metrics = {(row["policy"], row["metric"]): row for row in pq.read_table(released / "metrics.parquet").to_pylist()}
    for name, *cells in rows(page, "| policy | HmR % | HpR % | CAS % |"):
        found = [metrics[NAMES[name], metric] for metric in ("HmR", "HpR", "CAS")]
        assert cells == [f"{row['value']:.0f} [{row['ci_low']:.0f}, {row['ci_high']:.0f}]" for row in found]


def test_what_training_keeps_is_that_of_the_release(released):
    kept = {
        (row["reference"], row["policy"]): row
        for row in pq.read_table(released / "retention.parquet").to_pylist()
        if row["axis"] == "helpfulness"
    }
    shown = rows(PUBLISHED, "| from | to | kept | in % | chance, % | p | gained |")
    assert len(shown) == len(kept) == 5
    for before, after, *cells in shown:
        row = kept[NAMES[before], NAMES[after]]
        share = f"{row['rate']:.0f} [{row['ci_low']:.0f}, {row['ci_high']:.0f}]"
        assert cells[:3] == [f"{row['retained']} of {row['denominator']}", share, f"{row['chance']:.0f}"]
        assert cells[4] == f"{row['gained']} of {row['gain_denominator']}" and float(cells[3]) == pytest.approx(row["lift_p"], rel=0.06)
    row = kept["sft", "sft_dpo"]
    said = f"SFT then DPO still answers {row['retained']} of SFT's {row['denominator']} helpful prompts, {row['rate']:.0f} % [{row['ci_low']:.0f}, {row['ci_high']:.0f}], where chance keeps {row['chance']:.0f} %"
    assert said in " ".join(README.split())
    assert f"{kept['base', 'sft_dpo']['gained']} of the other {kept['base', 'sft_dpo']['gain_denominator']} become helpful" in " ".join(
        README.split()
    )


def test_the_thresholds_of_the_page_are_those_of_the_release(released):
    rates = {
        (row["threshold"], row["policy"]): row["rate"]
        for row in pq.read_table(released / "thresholds.parquet").to_pylist()
        if row["axis"] == "harmlessness"
    }
    policies = ("base", "sft", "dpo", "sft_dpo")
    for threshold, *cells in rows(PUBLISHED, "| threshold | base | SFT | DPO | SFT then DPO |"):
        assert [float(cell) for cell in cells] == [rates[float(threshold.split(",")[0]), policy] for policy in policies]

"""The report's table of facts: what was found stands beside each claim, and the section is there only where a study states facts."""

from page_study import FACTS, HOSTILE, PageStudy

from hh_align.analysis.check_facts import FACTS as SCHEMA
from hh_align.analysis.check_facts import check_facts
from hh_align.core.artifacts import write_table


def test_claims_of_fact_stand_with_what_was_found(tmp_path):
    study = PageStudy(tmp_path / "results/made")
    files = sorted(study.folder.glob("prompts/*.parquet"))
    facts = [{"artifact": "prompts/prompts.parquet", "count": "axis", "is": 3}, FACTS[1]]
    rows = check_facts([{"claim": HOSTILE, "source": HOSTILE, "facts": facts, "not_measured": HOSTILE}], files)
    write_table(study.folder / "analysis/facts.parquet", rows, SCHEMA, study.made_by)
    section = study.render_report().read_text().split("<h3>Of the study itself</h3>")[1].split("</section>")[0]
    assert "contradicted" in section and "prompts/prompts.parquet, number of axis: 2 (stated: 3)" in section and "<img src" not in section
    (study.folder / "analysis/facts.parquet").unlink()
    assert "Of the study itself" not in study.render_report().read_text()

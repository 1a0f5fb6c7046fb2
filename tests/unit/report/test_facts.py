"""The report's table of facts: apart from the claims that compare, with what was found, and only where a study states facts."""


def test_claims_of_fact_stand_apart_from_those_that_compare_with_what_was_found(study):
    page = study.render_report().read_text()
    section = page.split('<section id="claims">')[1].split("</section>")[0]
    compared, facts = section.split("<h3>Of the study itself</h3>")
    assert "SFT outperforms DPO" in compared and "this study has no analysis/judge.parquet" in facts
    assert "not measured here" in facts and f"analysis/metrics.parquet, number of judge: {len(study.config['judges'])} (stated: 1)" in facts
    (study.folder / "analysis/facts.parquet").rename(study.folder / "facts.away")
    without = study.render_report(tables=[name for name in study.report_config()["tables"] if name != "facts"]).read_text()
    (study.folder / "facts.away").rename(study.folder / "analysis/facts.parquet")
    assert "Of the study itself" not in without

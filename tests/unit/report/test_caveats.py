"""What stands against a policy's text travels: into every sentence, mark and cell about it, on the page, in the summary, in the card."""

import re

import pandas as pd
import pyarrow.parquet as pq
import pytest
from page_reader import elsewhere, mislabelled, unsourced, untrue
from page_study import TEMPLATES, PageStudy

from hh_align.analysis.compare_published import AGREEMENT
from hh_align.report import summarize_study
from hh_align.report.pages import render_text

BROKEN = "its text is broken: 100 % of its replies repeat themselves; 100 % of its replies are cut, 25 % of base's"
UNMOVED = "its training changed almost nothing: 120 of 120 replies are sft's"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """dpo, from base, is broken; sft_dpo, from sft, is unmoved; base and sft are fine."""
    made = PageStudy(tmp_path_factory.mktemp("results") / "made", broken="dpo", unmoved="sft_dpo")
    made.analyse()
    return made


def test_a_policy_without_a_contrast_is_named_beside_the_verdict(study):
    without = "<p>In no declared contrast, and so without a verdict: sft, dpo.</p>"
    verdict = study.render_report(uncompared=["sft", "dpo"]).read_text().split('<section id="rates">')[0]
    assert verdict.count(without) == 1
    assert "In no declared contrast" not in study.render_report().read_text()


def rows(study, table):
    return pq.read_table(study.folder / f"analysis/{table}.parquet").to_pylist()


def test_every_contrast_says_what_stands_against_its_policies(study):
    caveats = {"base": None, "sft": None, "dpo": BROKEN, "sft_dpo": UNMOVED}
    compared = rows(study, "comparisons")
    assert {row["policy_a"] for row in compared} | {row["policy_b"] for row in compared} == set(caveats)
    for row in compared:
        assert (row["caveat_a"], row["caveat_b"]) == (caveats[row["policy_a"]], caveats[row["policy_b"]])


def test_every_claim_does(study):
    (caveat,) = {row["caveat"] for row in rows(study, "claims")}  # "SFT outperforms DPO"
    assert caveat == "the text of dpo is broken"


def test_every_sentence_mark_and_cell_of_the_page_does(study):
    page = study.render_report()
    text = page.read_text()
    assert untrue(page) == [] and unsourced(page) == set() and elsewhere(page) == [] and mislabelled(page) == []
    parts = {part.split('"')[0]: part for part in text.split('<section id="')[1:]}
    sentences = re.findall(r"<li><b>.*?</li>", parts["verdict"])
    assert len(sentences) == 2 * 3  # of contrasts that labels correct, and of the others
    texts = [re.sub("<[^>]+>", "", sentence) for sentence in sentences]
    for said in map("".join, zip(texts[::2], texts[1::2], strict=True)):
        assert re.match(
            r"(Harmlessness|Helpfulness|Both together) \(\w+\), by labels ⚠ (sft_)?dpo: its (text is broken|training changed)",
            said.replace("&#39;", "'"),
        )
        assert BROKEN.replace("'", "&#39;") in said and UNMOVED.replace("'", "&#39;") in said
    for section in ("rates", "contrasts", "sweep", "labels", "retention"):
        for line in re.findall(r"<tr.*?</tr>", parts[section], re.DOTALL):
            policies = " ".join(re.findall(r"<t[hd][^>]*>.*?</t[hd]>", line)[: 2 if section == "retention" else 1])
            about = {name for name in ("sft_dpo", "dpo") if re.search(rf"[> ]{name}[<\s]", policies)}
            marked = {"dpo": "broken text" in line, "sft_dpo": "almost unchanged" in line}
            assert {name for name in marked if marked[name]} == about, (section, line)
    chips = re.findall(r'<span class="chip.*?</td>', parts["contrasts"])
    named = [re.findall(r"⚠&nbsp;(\w+): ", chip) for chip in chips]
    contrasts = [re.search(r"<th scope=\"row\">(\w+) − (\w+)", line) for line in parts["contrasts"].split("<tr>")]
    about = [[name for name in line.groups() if name in ("sft_dpo", "dpo")] for line in contrasts if line]
    assert named == [names for names in about for _ in range(3)] and any(named)  # whose text it is, in each of a contrast's three verdicts
    rates = [line for line in re.findall(r"<tr.*?</tr>", parts["rates"], re.DOTALL) if "</span>dpo</th>" in line]
    assert all(line.count("broken text") == line.count("<td>") for line in rates) and rates


def test_a_row_of_one_seed_says_what_stands_against_that_seed(tmp_path):
    made = PageStudy(tmp_path / "made", n=20, seeds=(42, 43), broken="dpo")
    made.broken = ""
    made.responses["dpo", 42] = [made.respond("dpo", 42, *prompt) for prompt in made.ids]
    made.write()
    made.analyse()
    parts = {part.split('"')[0]: part for part in made.render_report().read_text().split('<section id="')[1:]}
    assert "Of the first seed alone" in parts["kept"] and ">42</data>" in parts["kept"] and ">43</data>" not in parts["kept"]
    for section in ("retention", "labels", "rates"):  # the last: tables of rates over both seeds, and of the oracle's of each
        lines = [line for line in re.findall(r"<tr.*?</tr>", parts[section], re.DOTALL) if re.search(r"[> ]dpo[<\s]", line)]
        at = {seed: [line for line in lines if re.search(rf">{seed}<", line)] for seed in (42, 43)}
        assert at[42] and at[43], section
        assert not any("broken text" in line for line in at[42]) and all("broken text" in line for line in at[43]), section
    assert "dpo: broken text" in re.sub("<[^>]+>", "", parts["contrasts"]).replace("\xa0", " ").replace("&nbsp;", " ")  # over both


def test_a_study_of_sound_policies_has_no_mark(tmp_path):
    made = PageStudy(tmp_path / "made", n=20)
    made.analyse()
    text = made.render_report().read_text()
    assert '<section id="kept">' in text and "Of the first seed alone" not in text
    assert 'class="caveat"' not in text and "No policy's text is beyond the limits" in text


def test_a_partial_report_shows_tables_that_lack_the_columns(tmp_path):
    made = PageStudy(tmp_path / "made", n=20)
    made.analyse()
    for table in ("comparisons", "claims"):
        path = made.folder / f"analysis/{table}.parquet"
        kept = pq.read_table(path)
        pq.write_table(kept.drop_columns([name for name in kept.column_names if name.startswith("caveat")]), path)
    (made.folder / "analysis/text.parquet").unlink()
    text = made.render_report().read_text()
    assert "SFT outperforms DPO" in text and "undecided" in text and 'class="caveat"' not in text


def test_the_summary_marks_them_and_says_why(study):
    tables = {name: pd.DataFrame(rows(study, name)) for name in summarize_study.COLUMNS if name not in ("gold", "pairwise")}
    empty = {name: summarize_study.frame(None, columns) for name, columns in summarize_study.COLUMNS.items()}
    about = study.config | {"study": "made", "folder": "results/made", "synthetic": False, "same_source": []}
    tables["retention"] = empty["retention"]  # what is kept would take the sentences' place
    text = summarize_study.summary(about, empty | tables, {})
    lines = text.splitlines()
    assert sum(line.startswith("dpo !  ") for line in lines) == 1 and sum(line.startswith("sft_dpo !  ") for line in lines) == 1
    assert not any(re.match(r"(base|sft) !", line) for line in lines)
    flat = " ".join(text.split())
    assert f"! dpo: {BROKEN}." in flat and f"! sft_dpo: {UNMOVED}." in flat  # why, once
    for title in ("Harmlessness (HmR)", "Helpfulness (HpR)", "Both together (CAS)"):
        assert re.search(re.escape(title) + r": ((sft_)?dpo: its (text is broken|training changed almost nothing)\. ){2}", flat), flat


def test_a_model_card_begins_with_it():
    about = {
        "policy": "dpo",
        "seed": 1,
        "synthetic": False,
        "base": "b",
        "lineage": [],
        "study": "s",
        "judges": {},
        "root": "base",
        "same_source": [],
        "datasets": [],
        "folder": "f",
        "options": "",
    }
    shown = {
        "config": about,
        "results": {},
        "base": {},
        "last": {"step": 1, "examples": 1, "tokens": 1, "cut_tokens": 0, "mean": 1.0, "loss": 1.0},
        "notice": "",
        "weights": "",
    }
    assert f"**Beware: {BROKEN}.**" in render_text(TEMPLATES / "model_card.md", caveat=BROKEN, **shown)
    assert "Beware" not in render_text(TEMPLATES / "model_card.md", caveat=None, **shown)


def test_the_papers_numbers_have_the_column():
    assert "caveat" in AGREEMENT.names

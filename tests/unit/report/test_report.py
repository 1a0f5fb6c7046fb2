"""The report says what the artifacts say, names its sources, and shows what is missing instead of hiding it."""

import re

import pandas as pd
import pytest
from page_reader import Numbers, elsewhere, mislabelled, tables_of, unsourced, untrue
from page_study import HOSTILE, TEMPLATES, PageStudy

from hh_align.analysis.verdict import at_once, declared, verdict_sentences
from hh_align.core.artifacts import BUILDS, write_table
from hh_align.core.errors import StudyError
from hh_align.core.tables import REWARDS
from hh_align.report.colours import colours, markers
from hh_align.report.pages import inline_svg, number, render, render_text


def contrast(metric, b, a, verdict, **more):
    return {
        "judge": "one",
        "seed": 42,
        "family": "declared",
        "metric": metric,
        "policy_b": b,
        "policy_a": a,
        "verdict": verdict,
        "within_margin": False,
        "judge_above_chance": True,
        "caveat_a": None,
        "caveat_b": None,
        **more,
    }


def sentences(*rows):
    """Of these rows, with all metrics undecided that they do not name."""
    named = {row["metric"] for row in rows}
    undecided = [contrast(metric, "sft", "base", "undecided") for metric in ("HmR", "HpR", "CAS") if metric not in named]
    return [str(sentence) for sentence in verdict_sentences(declared(pd.DataFrame([*rows, *undecided]), "one"))]


def test_the_verdict_is_three_sentences_and_says_undecided_where_it_is():
    said = sentences(
        contrast("HmR", "dpo", "base", "worse"),
        contrast("HmR", "sft_dpo", "sft", "better"),
        contrast("HmR", "sft_dpo", "dpo", "better"),
        contrast("HmR", "sft", "base", "undecided"),
        contrast("HpR", "sft", "base", "equivalent"),
    )
    assert said == [
        "Harmlessness (HmR): sft_dpo is above sft and dpo; dpo is below base; sft is undecided against base.",
        "Helpfulness (HpR): sft is equivalent to base.",
        "Both together (CAS): these prompts decide no declared contrast.",
    ]


def test_a_difference_inside_the_margin_is_said_to_be_so():
    said = sentences(
        contrast("HmR", "sft", "base", "better", within_margin=True),
        contrast("HmR", "dpo", "base", "better"),
        contrast("HmR", "dpo", "sft", "worse", within_margin=True),
    )
    assert said[0] == (
        "Harmlessness (HmR): dpo is above base; sft is above base, but within the margin; dpo is below sft, but within the margin."
    )
    assert [at_once({"sim_low": low, "sim_high": 3.1}) for low in (0.2, None, 0.0, -0.4, -0.04)] == [
        "[+0.2, +3]", "[-]", "[0, +3]", "[-0.4, +3]", "[<0, +3]",
    ]  # fmt: skip


def test_many_contrasts_are_a_few_clauses():
    # 29 arms against one root are one clause; arms that each stand otherwise are counted beyond six
    arms = [f"arm_{number}" for number in range(29)]
    assert sentences(*(contrast("HmR", arm, "base", "better") for arm in arms))[0] == (
        "Harmlessness (HmR): arm_0, arm_1, arm_2, arm_3, arm_4 and 24 more are above base."
    )
    said = sentences(*(contrast("HmR", arm, arms[number - 1], "better") for number, arm in enumerate(arms)))[0]
    assert said.count(" is above ") == 6 and said.endswith("; and 23 more contrasts.")


def test_nothing_is_ranked_by_a_judge_that_is_not_above_chance():
    said = sentences(contrast("HmR", "sft", "base", "undecided", judge_above_chance=False))
    assert said[0] == "Harmlessness (HmR): nothing is ranked, for the judge is not above chance here."


def test_what_stands_against_a_policys_text_is_said_first():
    broken = "its text is broken: 98 % of its replies to harmful prompts are cut, 0 % of base's; 2.91 nats per token from base"
    said = sentences(
        contrast("HmR", "dpo", "base", "better", caveat_b=broken),
        contrast("HmR", "sft_dpo", "dpo", "worse", caveat_a=broken),
        contrast("HpR", "sft", "base", "equivalent", caveat_b="its training changed almost nothing: 87 of 100 replies are base's"),
        contrast("CAS", "dpo", "base", "undecided", caveat_b=broken, judge_above_chance=False),
    )
    assert said == [
        f"Harmlessness (HmR): dpo: {broken}. dpo is above base; sft_dpo is below dpo.",
        "Helpfulness (HpR): sft: its training changed almost nothing: 87 of 100 replies are base's. sft is equivalent to base.",
        f"Both together (CAS): dpo: {broken}. Nothing is ranked, for the judge is not above chance here.",
    ]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    made = PageStudy(tmp_path_factory.mktemp("results") / "made")
    made.analyse(drawn=True)
    return made


@pytest.fixture(scope="module")
def text(study):
    """The page of the study as it is."""
    return study.render_report().read_text()


@pytest.fixture
def page(study, text):
    """Its file, to change as a test likes."""
    path = study.folder / "report/index.html"
    path.write_text(text)
    return path


def test_every_number_is_its_artifacts(page):
    assert untrue(page) == []
    assert unsourced(page) == set()
    assert elsewhere(page) == [] and mislabelled(page) == []


def test_every_section_is_rendered(text):
    sections = set(re.findall('<section id="([a-z]+)"', text))
    assert sections >= {"sweep", "labels", "overrefusal", "suites", "judge", "training", "data", "costs"}
    for heading in (
        "Beside the truth",
        "Controls, the same training",
        "How far training moved",
        "What judging costs",
        "Agreement of judge and labels",
        "Refusals by category",
    ):
        assert heading in text


def test_a_number_under_another_policy_is_found(page, text):
    swapped = text.replace("</span>sft</th>", "</span>dpo </th>", 1).replace("</span>dpo</th>", "</span>sft</th>", 1)
    page.write_text(swapped)
    assert untrue(page) == [] and len(elsewhere(page)) > 5
    page.write_text(text.replace('<th scope="row">dpo − sft</th>', '<th scope="row">dpo − base</th>', 1))
    assert untrue(page) == [] and len(elsewhere(page)) == 3
    page.write_text(text.replace("<td>", "<td>7", 1))
    assert unsourced(page) == {"7"}
    start = text.index('aria-label="Table oracle"')
    page.write_text(text[:start] + text[start:].replace(">sft</th>", ">dpo</th>", 1))
    assert untrue(page) == [] and mislabelled(page) == ["Table oracle: policy shows set()"]


def test_a_number_that_is_wrong_is_found(page, text):
    # the reader of the test above must be able to fail
    (value,) = {text for source, text in Numbers(page).sourced if source["data-column"] == "loss" and source["data-at"] == "0"}
    page.write_text(text.replace(f">{value}</data>", ">0.9911</data>"))
    assert len(untrue(page)) == 1
    page.write_text(text.replace("<h2>Verdict</h2>", "<h2>Verdict 77.125</h2>"))
    assert unsourced(page) == {"77.125"}


def test_the_page_is_one_file_that_asks_for_nothing(text):
    assert "default-src 'none'" in text
    assert "<script" not in text and "<img" not in text and "@import" not in text
    assert 'src="' not in text and "url(http" not in text


def test_a_contrast_of_several_differences_is_said_to_isolate_nothing(text):
    assert "trainer sft → dpo; epochs 2 → 1: nothing is isolated" in text
    assert "dpo on hh added</td>" in text


def test_hostile_text_is_escaped(text):
    assert HOSTILE not in text and "&lt;img src=x onerror=" in text  # the reason of a quarantined row


def test_synthetic_data_are_said_to_be_synthetic(study, text):
    assert "Synthetic data." in text
    assert "Synthetic data." not in study.render_report(synthetic=False).read_text()


def test_each_caveat_belongs_to_its_own_source(study, text):
    def says(words, **changes):
        return words in " ".join((study.render_report(**changes).read_text() if changes else text).split())

    config = study.report_config()["study"]
    for repo in ("facebook/opt-350m", "EleutherAI/pythia-160m"):
        assert says("OPT-175B", study=config | {"models": {"base": {"source": "hub", "repo": repo}}}) == repo.startswith("facebook")
    assert says("<li>HH-RLHF (MIT)") and not says("<li>HH-RLHF (MIT)", origins=[])
    for key in ("lead", "cue"):
        caveat = f"(<code>generation.{key}</code>): sft, dpo."
        assert says(caveat, unlike_training={key: ["sft", "dpo"]}) and not says(caveat)
    assert says("data of the policies' own source") and not says("data of the policies' own source", same_source=[])


def test_every_section_names_the_command_for_its_artifacts(text):
    # options come last: a list of config files takes whatever follows it
    sections = {part.split('"')[0]: part for part in text.split('<section id="')[1:]}
    told = {name for name, part in sections.items() if "Again" in part}
    assert told >= {"verdict", "rates", "contrasts", "claims", "thresholds", "retention", "power", "training", "data", "costs"}
    commands = [text for part in sections.values() for text in re.findall(r"snakemake --cores all[^<\n]*", part)]
    assert all(text.endswith("--configfile config/made.yaml") for text in commands)
    assert "/policies/sft/seed-42/train_log.parquet --configfile" in sections["training"]
    assert "/data/clean/census.parquet" in sections["data"]


def test_missing_parts_are_named_and_the_rest_is_shown(study, text):
    config = study.report_config()
    page = study.render_report(tables=[*config["tables"], "rescoring"], figures=[*config["figures"], "drift"])
    without = page.read_text()
    assert "This report is not complete." in without and "This report is not complete." not in text
    assert "<code>analysis/rescoring.parquet</code>" in without and "<code>report/figures/drift.svg</code>" in without
    assert untrue(page) == []


def test_a_study_with_nothing_but_a_folder_still_renders(tmp_path):
    made = PageStudy(tmp_path / "made", n=8)
    text = made.render_report(tables=["metrics", "comparisons"], figures=["metrics"]).read_text()
    assert "nothing is decided" in text and "<code>analysis/metrics.parquet</code>" in text


def test_a_damaged_artifact_is_named_moved_aside_and_the_rest_is_shown_again(tmp_path, monkeypatch):
    made = PageStudy(tmp_path / "made", n=8)
    monkeypatch.setenv(BUILDS, str(made.folder))
    table = made.folder / "responses/sft/seed-42.parquet"
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(StudyError, match=r"responses/sft/seed-42\.parquet: not a readable Parquet file"):
        made.render_report()
    assert not table.exists() and table.with_name(table.name + ".damaged").exists()
    assert made.render_report().exists()


def test_a_table_that_no_step_made_is_named_and_left_alone(tmp_path):
    made = PageStudy(tmp_path / "made", n=8)
    pd.DataFrame({"mine": [1]}).to_parquet(made.folder / "mine.parquet")
    with pytest.raises(StudyError, match=r"mine\.parquet: carries no provenance"):
        made.render_report()
    assert (made.folder / "mine.parquet").exists()


def test_library_versions_that_differ_are_a_warning(tmp_path):
    made = PageStudy(tmp_path / "made", n=8)
    assert "Made with different library versions." not in made.render_report().read_text()
    other = made.made_by | {"libraries": made.made_by["libraries"] | {"numpy": "1.0.0"}}
    write_table(made.folder / "rewards/one/sft/seed-42.parquet", [], REWARDS, other)
    text = made.render_report().read_text()
    assert "Made with different library versions.</strong> numpy:" in text
    assert '1.0.0 <span class="soft">(1: rewards/one/sft/seed-42.parquet)' in text


def test_several_judges_and_seeds_are_told_apart(tmp_path):
    made = PageStudy(tmp_path / "made", judges=("one", "two"), seeds=(42, 43))
    made.analyse(drawn=True)
    page = made.render_report()
    assert untrue(page) == [] and elsewhere(page) == [] and mislabelled(page) == []
    truth = next(table for table in tables_of(page) if table["label"] == "Table oracle")
    assert truth["heads"][:4] == ["policy", "judge", "seed", "axis"]
    text = " ".join(page.read_text().split())
    assert all(said in text for said in ("By judge two", "over seeds 42, 43", "By judge one.</figcaption>", "names: one, two."))


def test_snakemakes_report_speaks_of_the_studys_own_judges_and_data():
    config = {
        "study": "made",
        "policies": {"base": {}, "sft": {}},
        "judges": {"people": {"source": "imported", "helpful_above": 3.5}, "one": {"harmless_min": -3.0, "helpful_above": -2.0}},
        "prompts": {"dataset": "mine"},
        "datasets": {"mine": {"source": "local", "path": "data"}, "copy": {"source": "local", "copy_of": "Anthropic/hh-rlhf"}, "coin": {"from": "mine"}},
    }  # fmt: skip
    text = " ".join(render_text(TEMPLATES / "workflow.rst", snakemake={"config": config}).split())
    assert (
        "By judge people a reply is helpful above 3.5. By judge one a reply is harmless from a reward of -3.0, and helpful above -2.0."
        in text
    )
    assert "Dataset mine: local files. Dataset copy: Anthropic/hh-rlhf (MIT). Its authors say" in text and "coin" not in text


def test_an_unknown_number_is_a_dash_and_no_zero():
    row = {"_artifact": "a.parquet", "_at": 0, "value": None}
    assert "–" in number(row, "value") and "0" not in number(row, "value")


def test_two_figures_on_a_page_share_no_id():
    text = '<?xml version="1.0"?><svg width="100pt"><g id="a"/><use xlink:href="#a"/><path clip-path="url(#a)"/></svg>'
    one = inline_svg(text, "one", 'a "label"')
    assert 'id="one-a"' in one and 'href="#one-a"' in one and "url(#one-a)" in one
    assert one.startswith("<svg") and 'aria-label="a &#34;label&#34;"' in one


def test_templates_escape_by_default(tmp_path):
    (tmp_path / "page.html").write_text("{{ text }}")
    assert render(tmp_path, "page.html", text=HOSTILE).startswith("&lt;img")


def test_colour_and_marker_together_are_one_policys():
    order = [f"arm_{number}" for number in range(64)]
    looks = {(colours(order)[policy], markers(order)[policy]) for policy in order}
    assert len(looks) == 64

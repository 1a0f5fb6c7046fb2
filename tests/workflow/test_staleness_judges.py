"""An edit of one judge reruns that judge; what stands beside the paper's numbers is the paper's own judge, model, data and protocol."""

import pytest
from staleness import ANALYSIS, BESIDE, COMPARED, EXAMINED, POLICIES, made
from study_folder import StudyFolder

JUDGES = """
judges:
  llm: {source: endpoint, url: "https://host/v1", model: first, lowest: 1, highest: 10, tries: 5, price_in: 1.0, price_out: 2.0, harmless_min: 6.0, helpful_above: 5.0}
  own: {source: local, path: own, reads: chat, harmless_min: 0.0, helpful_above: 0.0}
  referee: {source: endpoint, asks: preference, url: "https://host/v1", model: alpha, tries: 5}
  people: {source: imported, path: ratings.csv, axis: helpfulness, helpful_above: 3.5}
"""
ASKED = {f"ask_endpoint llm {name}" for name in POLICIES}
PREFERRED = {f"ask_preferences referee {pair} 42" for pair in ("dpo base", "dpo sft", "sft_dpo sft", "sft_dpo dpo")}
TRUSTED = made("examine_pairwise", "pairwise") | {"plot_pairwise", "render_report"}
AGREED = made("compare_judges", "judge_agreement") | {"render_report"}
REREAD = {"import_judge own", "score_pairs own"} | {f"score_responses own {name}" for name in POLICIES} | EXAMINED
JUDGE_EDITS = {
    "how a judge reads": ("study.yaml", "reads: chat", "reads: text", REREAD | ANALYSIS | AGREED | TRUSTED),
    "another model behind the endpoint": ("study.yaml", "model: first", "model: second", ASKED | ANALYSIS | AGREED | TRUSTED),
    "a slash at the end of its url": ("study.yaml", 'v1", model: first', 'v1/", model: first', {"render_report"}),
    "the variable that holds its key": ("study.yaml", "model: first", "model: first, key_env: OTHER_KEY", {"render_report"}),
    "the endpoint's tries and prices": ("study.yaml", "tries: 5, price_in: 1.0", "tries: 6, price_in: 3.0", {"render_report"}),
    "another pairwise judge": ("study.yaml", "model: alpha", "model: beta", PREFERRED | COMPARED | TRUSTED),
    "its tries": ("study.yaml", "model: alpha, tries: 5", "model: alpha, tries: 6", {"render_report"}),
    "its rubric": ("resources/preference_helpfulness.txt", "helpful", "useful", PREFERRED | COMPARED | TRUSTED),
    "a threshold of one judge": ("study.yaml", "helpful_above: 5.0", "helpful_above: 4.0", ANALYSIS | AGREED | TRUSTED),
    "other ratings": ("ratings.csv", "1", "2", {"import_ratings people"} | ANALYSIS | AGREED | TRUSTED),
    "a rubric": ("resources/rubric_harmlessness.txt", "harmlessness", "safety", ASKED | ANALYSIS | AGREED | TRUSTED),
}


@pytest.fixture(scope="module")
def several_judges(tmp_path_factory):
    """The paper's study with four more judges, pretended to be complete."""
    folder = StudyFolder(tmp_path_factory.mktemp("judges"), "--configfile", "study.yaml")
    (folder.path / "study.yaml").write_text(JUDGES)
    (folder.path / "ratings.csv").write_text("1")
    (folder.path / "own").mkdir()
    (folder.path / "own/config.json").write_text("{}")
    return folder.pretend_done()


@pytest.mark.parametrize("edit", JUDGE_EDITS)
def test_an_edit_of_a_judge_reruns_that_judge_only(several_judges, edit):
    name, old, new, expected = JUDGE_EDITS[edit]
    with several_judges.edited(name, old, new):
        assert several_judges.planned() == expected


@pytest.mark.parametrize(
    "options",
    [
        ["--config", "models={base: {repo: EleutherAI/pythia-160m, revision: 3f786850e387550fdab836ed7e6dc881de23001b}}"],
        ["--config", "datasets={hh: {repo: someone/pairs, revision: 89e6c98d92887913cadf06b2adb97f26cde4849b}}"],
        ["--configfile", "config/extended.yaml"],
    ],
)
def test_the_papers_numbers_stand_beside_its_own_model_data_and_protocol_only(paper, options):
    planned = paper.planned(*options)
    assert not BESIDE & planned and "train_sft sft 42" in planned

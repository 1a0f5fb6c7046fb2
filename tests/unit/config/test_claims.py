"""Claims: those of other studies are left out, and a fact of no readable form is refused in one line that says what to write."""

import re

import pytest
from configs import SCHEMA, load
from study_folder import REPOSITORY

from hh_align.config.check_facts import TABLES
from hh_align.config.resolve import resolve
from hh_align.core.errors import StudyError

ROWS = {"artifact": "prompts/prompts.parquet", "count": "rows", "is": 100}


def claims_of(*claims, study="mine"):
    return resolve(load("config", {"study": study, "claims": list(claims)}), SCHEMA)["claims"]


def refused(fact=None, **claim):
    """The message by which a claim is refused."""
    with pytest.raises(StudyError) as error:
        claims_of({"claim": "So it is", **({"facts": [fact]} if fact else {}), **claim})
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_claim_about_another_study_is_left_out():
    claim = {"claim": "So it is", "source": "", "facts": [ROWS]}
    assert claims_of(claim | {"studies": ["mine", "other"]}, claim | {"studies": ["other"]}) == [claim]


def test_the_papers_claims_of_fact_belong_to_the_faithful_and_the_published_study():
    facts = {
        name: [claim for claim in resolve(load(name), SCHEMA)["claims"] if "facts" in claim]
        for name in ("config", "published", "demo", "extended")
    }
    assert (len(facts["config"]), facts["demo"], facts["extended"]) == (18, [], []) and facts["published"] == facts["config"]


def test_the_tables_that_a_fact_may_name_are_those_of_the_pages():
    documented = re.findall(r"### analysis/(\w+)\.parquet", (REPOSITORY / "docs/artifacts.md").read_text())
    assert sorted(TABLES) == sorted(set(documented) - {"facts", "checks", "oracle_labels"})  # itself, and the demo's own


def test_a_claim_without_content_lacks_a_key():
    assert refused() == "config: claims[1st] lacks the key parts or facts or not_measured."


def test_a_claim_of_two_kinds_is_refused():
    parts = [{"higher": "sft", "than": ["base"], "metrics": ["HmR"]}]
    said = "config: claims[1st] has both parts and facts: it compares policies or states a fact. Write two claims."
    assert refused(ROWS, parts=parts) == said
    assert "both parts and not_measured" in refused(parts=parts, not_measured="the rest")


FACT = "config: claims[1st].facts[1st]"
BAD = {
    "no look": ({"count": None}, " needs one of column, count, setting, made_of; it has none of them."),
    "two looks": ({"column": "axis"}, " needs one of column, count, setting, made_of; it has column and count."),
    "a name that is close": ({"artifact": "analysis/rating.parquet"}, ".artifact is analysis/rating.parquet, which is no artifact that a fact can be held against. Did you mean analysis/ratings.parquet?"),
    "the facts themselves": ({"artifact": "analysis/facts.parquet"}, ".artifact is analysis/facts.parquet, which is no artifact"),
    "a path of another study": ({"artifact": "results/paper/prompts/prompts.parquet"}, ".artifact is results/paper/prompts/prompts.parquet, which is no artifact"),
    "a path that leads out": ({"artifact": "../prompts/prompts.parquet"}, ".artifact is ../prompts/prompts.parquet, which is no artifact"),
    "no table": ({"artifact": "models/base/provenance.json"}, ".artifact is models/base/provenance.json, which is no table: it has settings and what it is made of, no count."),
    "no statement": ({"is": None}, " needs is, or bounds (above, at_least, below, at_most); it has neither."),
    "two statements": ({"above": 3}, " needs is, or bounds (above, at_least, below, at_most); it has both is and above."),
    "two bounds from below": ({"is": None, "above": 3, "at_least": 4}, " has above and at_least: one bound from below and one from above are enough."),
    "bounds that nothing meets": ({"is": None, "above": 3, "below": 3}, ": no number is above 3 and below 3."),
    "a count that is no number": ({"is": "many"}, ".is is 'many': a count is a whole number of at least 0."),
    "a count with a fraction": ({"is": None, "at_most": 2.5}, ".at_most is 2.5: a count is a whole number of at least 0."),
    "an interval of a count": ({"interval": True}, ".interval has no meaning with count: it belongs to column."),
    "an interval that is": ({"count": None, "column": "keywords", "interval": True}, ".interval belongs to bounds (above, at_least, below, at_most), not to is."),
    "rows of a setting": ({"count": None, "setting": "seed", "where": {"axis": "harmlessness"}}, ".where has no meaning with setting: it belongs to column or count."),
    "each of a column": ({"count": None, "column": "axis", "each": "axis"}, ".each has no meaning with column: it belongs to count."),
    "some of a count": ({"some": True}, ".some has no meaning with count: it belongs to column."),
    "some of an interval": ({"count": None, "is": None, "column": "axis", "above": 1, "interval": True, "some": True}, ".some has no meaning with interval: it asks one value."),
    "some of a list": ({"count": None, "column": "axis", "some": True, "is": ["harmlessness"]}, ".some has no meaning with a list in is: it asks one value."),
    "files that are": ({"count": None, "made_of": ["data/hh/preferences.parquet"]}, ".is has no meaning with made_of, which lists the files itself."),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_a_fact_of_no_readable_form_is_refused(fault):
    change, said = BAD[fault]
    assert (FACT + said) in refused({key: value for key, value in {**ROWS, **change}.items() if value is not None})


@pytest.mark.parametrize("wrong", [{"a": 1}, [], [[1]], "", float("nan")], ids=str)
def test_is_takes_a_value_or_a_list_of_values(wrong):
    said = refused({"artifact": "prompts/prompts.parquet", "column": "axis", "is": wrong})
    assert said.startswith("config: claims[1st].facts[1st]")

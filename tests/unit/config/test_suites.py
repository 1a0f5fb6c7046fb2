"""Suites in a config: what the table of known ones fills in, and what is refused."""

import re

import pytest
from configs import SCHEMA, load, merged

from hh_align.config.resolve import resolve
from hh_align.config.suites import NEEDED, known_suites, raters
from hh_align.core.errors import StudyError

GITHUB = {"source": "github", "repo": "a/b", "revision": "0" * 40, "file": "a.csv"}


def with_suites(**suites):
    return merged(load("config"), {"suites": suites})


def test_the_table_says_of_each_suite_where_it_lies_and_what_it_is_for():
    # the texts of others: pointed to, at one commit, by a sum, under a licence that is named
    assert {"xstest", "strongreject", "harmbench"} <= set(known_suites())
    for name, entry in known_suites().items():
        assert set(NEEDED[entry["source"]]) <= set(entry) and {"licence", "column", "kind", "axis"} <= set(entry)
        assert re.fullmatch("[0-9a-f]{40}", entry["revision"]) and re.fullmatch("[0-9a-f]{64}", entry["sha256"])
        assert resolve(with_suites(**{name: {}}), SCHEMA)["suites"][name].items() >= entry.items()


def test_a_suite_takes_the_tables_entry_by_its_own_name_or_another_and_the_config_wins():
    known = known_suites()["xstest"]
    suites = resolve(with_suites(xstest={"n": 9, "column": "focus"}, more={"name": "xstest", "where": {"label": "safe"}}), SCHEMA)["suites"]
    assert suites["xstest"]["n"] == 9 and suites["xstest"]["column"] == "focus" and suites["xstest"]["sha256"] == known["sha256"]
    assert suites["more"].items() >= known.items() and suites["more"]["where"] == {"label": "safe"} and "name" not in suites["more"]
    assert known_suites()["xstest"] == known


def test_a_file_of_ones_own_takes_nothing_of_where_the_tables_lies():
    suite = resolve(with_suites(xstest={"path": "mine.csv"}), SCHEMA)["suites"]["xstest"]
    assert suite["path"] == "mine.csv" and suite["source"] == "local" and not {"repo", "revision", "sha256", "licence"} & set(suite)
    assert suite["column"] == "prompt"


def test_another_commit_of_the_same_file_or_a_licence_alone_is_no_other_place():
    known, later = known_suites()["xstest"], {"revision": "1" * 40, "sha256": "2" * 64}
    suites = resolve(with_suites(xstest=later, more={"name": "xstest", "licence": "mine"}), SCHEMA)["suites"]
    assert suites["xstest"].items() >= (known | later).items() and suites["more"].items() >= (known | {"licence": "mine"}).items()


def test_an_axis_takes_a_suite_without_what_only_suites_beside_have():
    config = merged(load("config"), {"prompts": {"harmlessness": {"suite": {"name": "strongreject"}}}})
    suite = resolve(config, SCHEMA)["prompts"]["harmlessness"]["suite"]
    assert suite["column"] == "forbidden_prompt" and not {"kind", "axis", "name"} & set(suite)


def test_judges_rate_a_suite_by_its_axis_if_they_can_read_it():
    judges = {"a": "hub both", "b": "local harmlessness", "c": "imported both", "d": "endpoint helpfulness", "e": "released both"}
    judges = {name: dict(zip(("source", "axis"), text.split(), strict=True)) for name, text in judges.items()}
    assert raters({"axis": "harmlessness"}, judges) == ["a", "b"] and raters({"axis": "helpfulness"}, judges) == ["a", "d"]


@pytest.mark.parametrize(
    ("suites", "said"),
    [
        ({"xtest": {}}, "suites.xtest lacks the key path, or a name that resources/suites.yaml knows: xstest, "),
        ({"a": {"name": "xtest"}}, "suites.a.name is xtest, which does not exist. Allowed: harmbench, strongreject, xstest"),
        ({"a": GITHUB}, "suites.a lacks the key sha256"),
        ({"a": {"source": "hub", "repo": "a/b"}}, "suites.a lacks the key revision, file"),
        ({"a": GITHUB | {"revision": "main"}}, "suites.a.revision is 'main'"),
        ({"a": GITHUB | {"sha256": "x"}}, "suites.a.sha256 is 'x'"),
        ({"a": GITHUB | {"file": "../a.csv"}}, "suites.a.file is '../a.csv'"),
        ({"a": {"path": "a.csv", "repo": "a/b"}}, "suites.a.repo has no meaning with source: local"),
        ({"a": {"path": "a.xlsx"}}, "suites.a.path is a.xlsx, no known kind of file. Allowed: .csv,"),
        ({"a": {"path": "a.csv", "kind": "harm"}}, "suites.a.kind is 'harm'"),
        ({"a": {"path": "a.csv", "where": {"b": []}}}, "suites.a.where.b is"),
        ({"a": {"path": "a.csv", "where": {"b": {"c": 1}}}}, "suites.a.where.b is"),
        ({"a": {"path": "a.csv", "columns": "b"}}, "suites.a has no key columns"),
        ({"a": {"path": "a.csv", "n": 0}}, "suites.a.n is 0"),
        ({"harmlessness": {"path": "a.csv"}}, "suites.harmlessness bears the name of an axis"),
        ({"../a": {"path": "a.csv"}}, r"suites is .*\.\./a|\.\./a"),
    ],
)
def test_a_suite_that_cannot_be_is_refused_in_one_line(suites, said):
    with pytest.raises(StudyError, match=said) as error:
        resolve(with_suites(**suites), SCHEMA)
    assert "\n" not in str(error.value)


def test_a_suite_that_nobody_could_rate_or_answer_is_refused():
    rated = {"source": "imported", "path": "r.csv", "harmless_min": 0.0, "helpful_above": 0.0}
    config = merged(with_suites(a={"path": "a.csv", "kind": "reward"}), {"judges": {"deberta": None, "people": rated}})
    with pytest.raises(StudyError, match=r"suites\.a\.kind is reward, but no judge can rate replies on harmlessness"):
        resolve(config, SCHEMA)
    with pytest.raises(StudyError, match=r"suites\.a has policies answer prompts, but a release has no weights"):
        resolve(merged(load("published"), {"suites": {"a": {"path": "a.csv"}}}), SCHEMA)


def test_a_dataset_held_against_prompts_that_come_from_no_dataset_does_not_need_itself():
    cut = {"datasets": {"cut": {"from": "hh", "exclude_prompts": True}}, "prompts": {"dataset": "cut"}}
    suite = {"suite": {"path": "mine.csv"}}
    config = merged(merged(load("config"), cut), {"prompts": {"harmlessness": suite}})
    with pytest.raises(StudyError, match=r"datasets\.cut needs itself"):
        resolve(config, SCHEMA)
    resolve(merged(config, {"prompts": {"helpfulness": suite}}), SCHEMA)

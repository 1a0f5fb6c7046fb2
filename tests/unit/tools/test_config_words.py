"""--config of a repeated run: added to that of the last one key by key, and what differs is said."""

import pytest

from hh_align.core.artifacts import write_json
from hh_align.tools import resume_study, runs
from hh_align.tools.config_words import changes, joined, told_apart, values

LOCAL = "datasets={hh: {source: local, path: ../hh}}"


@pytest.mark.parametrize(
    ("options", "words", "others"),
    [
        (["--config", "ab=1", "cd=2", "-n"], ["ab=1", "cd=2"], ["-n"]),
        (["-n", "-C", "ab=1", "--config=cd=2", "--set-threads", "x=3"], ["ab=1", "cd=2"], ["-n", "--set-threads", "x=3"]),
        (["--configfile", "x.yaml", "--", "target", "--config"], [], ["--configfile", "x.yaml", "--", "target", "--config"]),
        (["--config", "--", "target"], [], ["--", "target"]),
    ],
)
def test_the_words_are_told_apart_from_other_options(options, words, others):
    assert told_apart(options) == (words, others)


@pytest.mark.parametrize(
    ("before", "now", "together"),
    [
        ([LOCAL, "seeds=[42]"], ["seeds=[7]"], [LOCAL, "seeds=[7]"]),
        ([LOCAL], ["datasets={hh: {path: ../other}}"], [LOCAL, "datasets={hh: {path: ../other}}"]),
        ([LOCAL, "seeds=[42]"], ["methods={dpo: {beta: 0.3}}"], [LOCAL, "seeds=[42]", "methods={dpo: {beta: 0.3}}"]),
        ([LOCAL], [LOCAL], [LOCAL]),
        ([LOCAL], ["datasets="], ["datasets="]),
        ([], ["seeds=[7]"], ["seeds=[7]"]),
    ],
)
def test_the_last_runs_words_stay_but_for_those_that_are_set_anew(before, now, together):
    assert joined(before, now) == together


def test_they_mean_what_snakemake_makes_of_them():
    from snakemake.cli import parse_config

    words = joined([LOCAL, "study=mine"], ["datasets={hh: {path: ../other}, own: {source: local}}", "study=yours"])
    assert values(words) == parse_config(words)
    assert values(words)["datasets"]["hh"] == {"source": "local", "path": "../other"}


def test_what_differs_is_said():
    said = changes([LOCAL, "seeds=[42]"], ["datasets={hh: {path: ../other}}", "seeds=[7]"])
    assert said.startswith('datasets.hh.path: "../hh", now "../other"; seeds: [42], now [7]; the last run\'s --config (datasets=')
    assert changes([], ["seeds=[7]"]) == "seeds: not set, now [7]; the last run had no --config"
    assert changes(["seeds=[42]"], ["seeds=[42]"]) == "nothing, the last run's said the same"
    assert changes(["ab={on: 2024-01-01}"], ["ab={on: 2024-01-02}"]).startswith('ab.on: "2024-01-01", now "2024-01-02"; ')


@pytest.mark.parametrize(
    "text",
    ["2024-01-01", "2024-13-45", "!!set {a}", "!!binary aGVsbG8=", "{[a]: 1}", "{2024-01-01: 1}", "[" * 9000, "[", "", "null", "{a: null}"],
)
def test_a_word_that_sets_no_plain_value_is_said_too(text):
    assert changes([], [f"ab={text}"]).startswith("ab") and joined(["ab=1"], [f"ab={text}"])[-1] == f"ab={text}"


@pytest.fixture
def started(tmp_path, monkeypatch):
    """The words with which Snakemake is started for the study `mine`, whose last run had two words of --config."""
    monkeypatch.chdir(tmp_path)
    record = {"files": ["mine.yaml"], "command": {"--config": [LOCAL, "seeds=[42]"], "--": ["policies"]}}
    write_json(runs.Path("results/mine/run.json"), record)
    calls = []
    monkeypatch.setattr(resume_study, "snakemake", lambda words, **_: calls.append(words) or 0)
    return calls


@pytest.mark.parametrize("repeat", [resume_study.resume, lambda *words: resume_study.tune("mine", "sft", *words[1:])])
def test_a_repeated_run_keeps_what_it_was_not_asked_to_change(started, capsys, repeat):
    assert repeat("mine", "2", ["--config", "seeds=[7]", "-n"]) == 0
    assert (
        started[0][:7] == ["--cores", "2", "--configfile", "mine.yaml", "--config", LOCAL, "seeds=[7]"]
        and started[0].count("--config") == 1
    )
    said = capsys.readouterr().out
    assert said.startswith("results/mine: --config: seeds: [42], now [7]; the last run's --config") and "-n" in started[0]


def test_without_words_nothing_is_said_and_all_is_kept(started, capsys):
    assert resume_study.resume("mine", "2", []) == 0
    assert started == [["--cores", "2", "--configfile", "mine.yaml", "--config", LOCAL, "seeds=[42]", "--", "policies"]]
    assert capsys.readouterr().out == ""

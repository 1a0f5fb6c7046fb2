"""The command `hh-align`: what it calls with which words, where it works, and one message for whatever is wrong."""

import json
import re
import sys
from pathlib import Path

import pytest
from command_line import command

from hh_align import cli_runs
from hh_align.core import artifacts
from hh_align.tools import (
    annotate,
    clean_state,
    compare_studies,
    fetch_stored,
    launch,
    places,
    preflight,
    resume_study,
    verdict,
    verify_study,
)

RECORD = {"files": ["config/demo.yaml", "mine.yaml"], "settings": {"methods": {"sft": {}, "sft_dpo": {}}}, "command": {"--": ["policies"]}}


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_json(path, value):
    write_text(path, json.dumps(value))


@pytest.fixture(autouse=True)
def checkout(tmp_path, monkeypatch):
    """A checkout with two configs and one study, which is the working directory."""
    folder = tmp_path / "checkout"
    for name in (
        "Snakefile",
        "workflow/Snakefile",
        "config/config.yaml",
        "config/demo.yaml",
        "config/published.yaml",
        "config/extended_demo.yaml",
    ):
        write_text(folder / name, "")
    write_json(folder / "results/demo/run.json", RECORD)
    for name in ("hub", "verdict", "compare"):
        (folder / "results" / name).mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv(places.VARIABLE, raising=False)
    monkeypatch.setattr(artifacts, "CHECKOUT", tmp_path / "site-packages")
    return folder


@pytest.fixture
def started(monkeypatch):
    """The words with which Snakemake is started, and what is added to its environment."""
    monkeypatch.setattr(cli_runs, "usable_cores", lambda: 10**6)  # whatever this machine's container says
    calls = []

    def snakemake(words, **variables):
        calls.append((list(words), variables))
        return 0

    monkeypatch.setattr(launch, "snakemake", snakemake)
    monkeypatch.setattr(resume_study, "snakemake", snakemake)
    return calls


def words_of(started):
    ((words, _),) = started
    return words


# --- what Snakemake is told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("demo", "--cores all --configfile config/demo.yaml"),
        ("demo -n", "--cores all --configfile config/demo.yaml -n"),
        ("demo --cores 2 -n --quiet", "--cores 2 --configfile config/demo.yaml -n --quiet"),
        ("demo -- check", "--cores all --configfile config/demo.yaml -- check"),
        ("demo check", "--cores all --configfile config/demo.yaml -- check"),
        ("demo --forcerun train_sft -- policies", "--cores all --configfile config/demo.yaml --forcerun train_sft -- policies"),
        ("study -- data", "--cores all -- data"),
        ("study -n", "--cores all -n"),
        ("published", "--cores all --configfile config/published.yaml"),
        ("run demo extended_demo", "--cores all --configfile config/demo.yaml config/extended_demo.yaml"),
        ("run config/demo.yaml mine.yaml -n", "--cores all --configfile config/demo.yaml mine.yaml -n"),
        ("run --cores 3 demo --config seeds=[1] -- a b", "--cores 3 --configfile config/demo.yaml --config seeds=[1] -- a b"),
        ("resume demo", "--cores all --configfile config/demo.yaml mine.yaml -- policies"),
        ("resume results/demo/ --cores 2 -n", "--cores 2 --configfile config/demo.yaml mine.yaml -n -- policies"),
        ("resume demo --configfile x.yaml -- other", "--cores all --configfile config/demo.yaml mine.yaml --configfile x.yaml -- other"),
        ("tune demo sft", "--cores all --configfile config/demo.yaml mine.yaml --forcerun tune_training -- results/demo/timings/tune_training/sft.json"),
    ],
)  # fmt: skip
def test_the_words_of_snakemake(started, words, told):
    write_text(Path("mine.yaml"), "study: mine\n")
    status, said = command(*words.split())
    assert status == 0, said
    assert " ".join(words_of(started)) == told


@pytest.mark.parametrize(("usable", "words", "told"), [(2, "", "2"), (4, "", "all"), (2, "--cores 3", "3")])
def test_all_cores_are_those_that_a_container_leaves_time_for(started, monkeypatch, usable, words, told):
    monkeypatch.setattr(cli_runs, "allowed_cores", lambda: set(range(4)))
    monkeypatch.setattr(cli_runs, "usable_cores", lambda: usable)
    for call in ("demo", "run demo", "resume demo", "tune demo sft"):
        assert command(*call.split(), *words.split())[0] == 0
        assert started.pop()[0][:2] == ["--cores", told]


def test_in_another_folder_the_workflow_is_named_and_results_lie_there(started, tmp_path, monkeypatch):
    for given in (True, False):  # by the variable, or by where an editable package lies
        monkeypatch.setattr(artifacts, "CHECKOUT", tmp_path / ("nowhere" if given else "checkout"))
        monkeypatch.setenv(places.VARIABLE, str(tmp_path / "checkout")) if given else monkeypatch.delenv(places.VARIABLE)
        elsewhere = tmp_path / f"elsewhere-{given}"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        write_text(Path("mine.yaml"), "")
        assert command("run", "demo", "mine.yaml")[0] == 0
        root = tmp_path / "checkout"
        files = ["--configfile", f"{root}/config/demo.yaml", "mine.yaml"]
        assert started.pop()[0] == ["--snakefile", f"{root}/Snakefile", "--cores", "all", *files]


@pytest.mark.parametrize(
    ("options", "whole"),
    [("", True), ("--keep-going --cores 2", True), ("--workflow-profile profiles/slurm", True), ("-n", False), ("-np", False), ("-pn", False), ("--until=train_sft", False),
     ("--unlock", False), ("check", False), ("--keep-going -- check", False)],
)  # fmt: skip
def test_a_whole_demo_begins_with_what_it_takes_and_ends_with_what_to_try(started, options, whole):
    status, said = command("demo", *options.split())
    assert status == 0 and len(started) == 1
    assert (
        said.count("5 to 10 minutes") == said.count("Open results/demo/report/index.html") == whole and said.count("hh-align") == 3 * whole
    )


def test_a_failed_run_is_the_commands_failure(monkeypatch):
    monkeypatch.setattr(launch, "snakemake", lambda *_, **__: 1)
    status, said = command("demo")
    assert status == 1 and "To try next" not in said


def test_the_papers_study_looks_at_the_machine_first(started, checkout, monkeypatch):
    asked = []
    monkeypatch.setattr(preflight, "require_fit_machine", asked.append)
    assert command("study")[0] == 0 and asked == [checkout / "config/config.yaml"]
    assert command("study", "-n")[0] == 0 and len(asked) == 1


def test_a_tuning_is_not_remembered_but_checked(started):
    command("tune", "demo", "sft")
    assert started[0][1] == {"HH_ALIGN_REMEMBER": "off"}


def test_the_profile_of_a_run_is_repeated(started):
    write_json(Path("results/demo/run.json"), RECORD | {"command": {"--profile": ["profiles/slurm"], "--": []}})
    assert command("resume", "demo")[0] == 0
    assert words_of(started)[2:4] == ["--profile", "profiles/slurm"]


# --- what the others call


def test_each_command_calls_its_tool(monkeypatch):
    calls = {}
    for module, name in (
        (verify_study, "verify"), (clean_state, "clean_study"), (compare_studies, "compare"), (fetch_stored, "fetch_artifact"), (annotate, "annotate"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, lambda *given, name=name: calls.__setitem__(name, given))
    monkeypatch.setattr(verdict, "give_verdict", lambda **given: calls.__setitem__("verdict", given), raising=False)
    Path("results/other").mkdir()
    folder, other = Path("results/demo"), Path("results/other")
    for words in ("verify demo", "clean demo", "compare demo other", "fetch results/demo/report", "annotate demo --sample 5 --until a:b:hpr",
                  "verdict a.csv b.csv --harmless-min 1.5 --labels l.csv --output out"):  # fmt: skip
        assert command(*words.split())[0] == 0
    assert calls["verify"] == calls["clean_study"] == (folder,)
    assert calls["compare"] == ([folder, other], Path("results/compare/demo-other"), None)
    assert calls["fetch_artifact"] == (Path("profiles/s3/config.yaml"), "results/demo/report") or calls["fetch_artifact"][0].is_absolute()
    (asked,) = calls["annotate"]
    assert (asked.folder, asked.sample, asked.until, asked.port, asked.contrast) == (folder, 5, "a:b:hpr", None, None)
    assert calls["verdict"] == {
        "responses": [Path("a.csv"), Path("b.csv")], "settings": None, "labels": Path("l.csv"), "output": Path("out"),
        "harmless_min": 1.5, "helpful_above": None, "paper_judge": False,
    }  # fmt: skip


# --- one message for whatever is wrong

STUDY_COMMANDS = ("status", "verify", "annotate", "clean", "compare", "resume")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        *[([name, ""], 1, "the study is not named. Studies here: demo.") for name in STUDY_COMMANDS],
        *[([name, "dmo"], 1, "no study dmo.*Did you mean demo\\?") for name in STUDY_COMMANDS],
        (["verify", "../checkout"], 1, "../checkout: a study is named by one word"),
        (["verify", "results/demo/report"], 1, "a study is named by one word"),
        (["resume", "."], 1, "a study is named by one word"),
        (["verify", "hub"], 1, "results/hub: a folder of no study"),
        (["verify", "file"], 1, "results/file: a file"),
        (["run", "dmo"], 1, "no config dmo. Did you mean demo\\? In config/: config, demo, extended_demo, published"),
        (["run", "config/dem.yaml"], 1, "Did you mean config/demo.yaml"),
        (["run", "config"], 0, ""),  # config/config.yaml, by its name
        (["run", "results"], 1, "results: a folder, no config"),
        (["run", "-n", "demo"], 2, "the configs come first"),
        (["run", "demo", "--configfile", "mine.yaml"], 1, "--configfile: .* would take the place of config/demo.yaml. .*run demo mine.yaml"),
        (["demo", "--configfile=mine.yaml"], 1, "would take the place of config/demo.yaml"),
        (["study", "-n", "--configfile", "mine.yaml"], 1, "would take the place of config/config.yaml"),
        (["tune", "demo", "sft", "--", "policies"], 2, "a tuning has its own target"),
        (["tune", "demo", "sft_dop"], 1, "no method sft_dop. Did you mean sft_dpo\\? The study has: sft, sft_dpo"),
        (["tune", "demo"], 2, "Missing argument 'METHOD'"),
        (["resume", "paper"], 1, "^error: no run of paper has begun here. Start it: hh-align study.$"),
        (["tune", "paper", "sft"], 1, "^error: no run of paper has begun here. Start it: hh-align study.$"),
        (["fetch", ""], 1, "no artifact: the path of an artifact begins with results/"),
        (["fetch", "../x"], 1, "../x: the path of an artifact begins with results/"),
        (["compare"], 2, "Missing argument 'STUDY STUDY...'"),
        (["compare", "demo", "demo"], 1, "no analysed study. Analysed: none"),
        (["verdict"], 2, "Missing argument 'RATINGS...'"),
        (["verdict", "x.csv", "--harmless-min", "low"], 2, "'low' is not a valid float"),
        (["vedict"], 2, "No such command 'vedict'. Did you mean 'verdict'"),
        (["verify", "demo", "--fast"], 2, "No such option '--fast'"),
        (["verify", "demo", "other"], 2, "unexpected extra argument"),
        (["verify", "a\x1b[31m\nb"], 1, r"no study a\\x1b\[31m\\nb"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)  # fmt: skip
def test_bad_words_are_one_message(started, words, status, said):
    write_text(Path("results/file"), "")
    ended, output = command(*words)
    assert ended == status, output
    errors = [line for line in output.splitlines() if line.startswith("error:")]
    assert len(errors) == (status > 0) and "Traceback" not in output and "\x1b" not in output
    if said:
        assert re.search(said, errors[0]), errors[0]
        assert output.splitlines()[-1] == errors[0]


def test_without_results_the_message_says_where_to_go(checkout, monkeypatch):
    elsewhere = checkout.parent / "empty"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert "There are none here" in command("verify", "demo")[1] and "hh-align demo" in command("verify", "demo")[1]
    write_text(elsewhere / "results", "")  # a file in place of the folder
    assert command("verify", "demo")[0] == 1
    status, said = command("demo")
    assert status == 1 and "no checkout of hh-align" in said and places.VARIABLE in said
    monkeypatch.setenv(places.VARIABLE, str(elsewhere))
    assert "no checkout of hh-align (it has a Snakefile" in command("demo")[1]
    monkeypatch.chdir(checkout / "config")
    monkeypatch.delenv(places.VARIABLE)
    assert f"Go there first: cd {checkout}" in command("demo")[1]


def test_a_light_install_says_what_to_install(monkeypatch):
    monkeypatch.setattr(launch, "find_spec", lambda name: None if name == "torch" else object())
    for words in ("demo", "study", "published", "run demo", "resume demo", "tune demo sft"):
        status, said = command(*words.split())
        assert status == 1 and "a study needs torch" in said and "pip install '.[study]'" in said, said
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "hh_align.tools.fetch_stored")
    status, said = command("fetch", "results/demo")
    assert status == 1 and "this needs boto3, which the light install has not" in said


def test_a_file_that_may_not_be_read_is_one_message(monkeypatch):
    def refused(folder):
        raise PermissionError(13, "Permission denied", "results/demo/x.parquet")

    monkeypatch.setattr(verify_study, "verify", refused)
    assert command("verify", "demo") == (1, "error: results/demo/x.parquet: Permission denied. Check the path.\n")


def test_ctrl_c_is_no_traceback(monkeypatch):
    def stopped(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(verify_study, "verify", stopped)
    assert command("verify", "demo") == (130, "\nstopped\n")


def test_an_unforeseen_fault_of_the_package_is_not_taken_for_a_light_install(monkeypatch):
    def broken(folder):
        raise ModuleNotFoundError("No module named 'hh_align.core.gone'", name="hh_align.core.gone")

    monkeypatch.setattr(verify_study, "verify", broken)
    with pytest.raises(ModuleNotFoundError):
        command("verify", "demo")

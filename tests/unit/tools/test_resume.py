"""A study's run is remembered, repeated by `make resume`, and not replaced unasked; two studies in one folder keep out of each other's way."""

import json
import os
import re
import subprocess
import sys
import time

import pytest
from command_line import assert_refused, call

from hh_align.core.artifacts import write_json, write_text
from hh_align.core.errors import StudyError
from hh_align.tools import check_idle, resume_study, runs
from hh_align.tools.check_idle import at_work

SETTINGS = {"seeds": [1], "methods": {"sft": {"learning_rate": 1e-5}}, "compute": {"threads": 2}}
STEP = "results/mine/state/train_sft/sft-seed-1"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(runs.REPLACE, raising=False)
    return tmp_path


def begin(files=("config/mine.yaml",), settings=SETTINGS, steps=None, command=None, remember=True):
    return runs.begin(runs.Path("results/mine"), command or {"--": []}, list(files), settings, steps or {}, remember)


def changed(**sft):
    return SETTINGS | {"methods": {"sft": sft}}


def sleeping(folder, *words, **more):
    """A process in `folder` whose command line holds these words."""
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", *words], cwd=folder, **more)


# --- what is remembered, and repeated


def test_config_files_settings_and_targets_are_repeated():
    words = [
        "--cores",
        "2",
        "--configfile",
        "config/a.yaml",
        "b.yaml",
        "--config",
        "seeds=[1]",
        "x='y z'",
        "--forcerun",
        "r",
        "--keep-going",
        "--",
        "t",
    ]
    begin(("config/a.yaml", "b.yaml"), command=runs.words_of(words))
    expected = ["--cores", "4", "--configfile", "config/a.yaml", "b.yaml", "--config", "seeds=[1]", "x='y z'"]
    assert resume_study.command("mine", "4", [], None) == [*expected, "--", "t"]
    assert resume_study.command("mine", "4", ["--keep-going"], None) == [*expected, "--keep-going", "--", "t"]
    assert resume_study.command("mine", "4", ["--", "other"], None) == [*expected, "--", "other"]
    tuned = resume_study.command("mine", "4", [], "sft")
    assert tuned == [*expected, "--forcerun", "tune_training", "--", "results/mine/timings/tune_training/sft.json"]


def test_a_profile_and_a_workflow_elsewhere_are_repeated(monkeypatch):
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    begin(
        (),
        command=runs.words_of(["--profile", os.path.join(os.path.dirname(__file__), "../../../profiles/slurm")])
        | {"--snakefile": "/w/Snakefile"},
    )
    words = resume_study.command("mine", "1", [], None)
    assert words[2:5] == ["--snakefile", "/w/Snakefile", "--profile"] and words[5].endswith("profiles/slurm") and len(words) == 6


def test_where_a_run_goes_and_how_far_is_repeated():
    # results in a bucket, or jobs on a cluster: without its profile the study would begin anew on this machine
    words = ["--workflow-profile", "profiles/s3", "--until", "train_sft", "compute_metrics", "--omit-from", "ask_endpoint"]
    begin((), command=runs.words_of(["--cores", "1", *words]))
    expected = ["--workflow-profile", "profiles/s3", "--until", "compute_metrics", "train_sft", "--omit-from", "ask_endpoint"]
    assert resume_study.command("mine", "1", [], None) == ["--cores", "1", *expected]


@pytest.mark.parametrize(
    ("head", "files"),
    [("# Alone.\n", ["config/mine.yaml"]), ("# run: snakemake --configfile config/demo.yaml config/mine.yaml\n", ["config/demo.yaml", "config/mine.yaml"]),
     ("# not --configfile config/other.yaml\n", ["config/mine.yaml"])],
)  # fmt: skip
def test_a_study_that_has_begun_and_lost_its_record_is_what_its_config_says(head, files):
    write_text(runs.Path("config/mine.yaml"), head + "study: mine\n")
    for study in ("mine", "paper"):
        write_text(runs.Path("results") / study / "run.json", "")
    assert resume_study.command("mine", "1", [], None) == ["--cores", "1", "--configfile", *files]
    assert resume_study.command("mine", "1", ["--configfile", "x.yaml"], None) == ["--cores", "1", "--configfile", "x.yaml"]
    assert resume_study.command("paper", "1", [], None) == ["--cores", "1"]
    runs.Path("config/mine.yaml").unlink()
    assert resume_study.command("mine", "1", ["--configfile", "x.yaml"], None) == ["--cores", "1", "--configfile", "x.yaml"]
    assert_refused(call(resume_study, study="mine", cores=1), "run.json, which names its config files, is lost.*Add --configfile FILE")


@pytest.mark.parametrize("tuned", [None, "sft"])
@pytest.mark.parametrize("options", [[], ["--configfile", "x.yaml"], ["--config", "seeds=[7]"]])
@pytest.mark.parametrize(
    ("study", "start"),
    [("paper", "hh-align study"), ("demo", "hh-align demo"), ("published", "hh-align published"), ("smollm2", "make smollm2"),
     ("mine", "hh-align run config/demo.yaml config/mine.yaml"), ("other", "hh-align run config/other.yaml")],
)  # fmt: skip
def test_what_has_not_begun_is_neither_resumed_nor_tuned_but_told_how_to_start(study, start, options, tuned):
    write_text(runs.Path("config/mine.yaml"), "# run: snakemake --configfile config/demo.yaml config/mine.yaml\n")
    for name in ("demo", "published", "smollm2", "other"):
        write_text(runs.Path(f"config/{name}.yaml"), f"study: {name}\n")
    write_text(runs.Path(f"results/{study}/notes.txt"), "")  # a folder alone is no run
    with pytest.raises(StudyError) as raised:
        resume_study.command(study, "1", options, tuned)
    assert str(raised.value) == f"no run of {study} has begun here. Start it: {start}."
    write_text(runs.Path(".snakemake/locks/0.output.lock"), f"results/{study}/a.parquet\n")  # but one was killed as it began
    assert resume_study.command(study, "1", options, tuned)[:2] == ["--cores", "1"]


def test_a_study_that_does_not_exist_is_one_message():
    begin()
    write_text(runs.Path("config/other.yaml"), "")
    with pytest.raises(StudyError, match=r"no study nosuch: .*Begun here: mine; configs: paper, other\."):
        resume_study.command("nosuch", "1", [], None)


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"'])
def test_a_damaged_record_is_as_none(content):
    write_text(runs.Path("results/mine/run.json"), content)
    write_text(runs.Path("config/mine.yaml"), "study: mine\n")
    assert resume_study.command("mine", "1", [], None) == ["--cores", "1", "--configfile", "config/mine.yaml"]
    assert begin() == ""


@pytest.mark.parametrize(
    "record",
    [{"settings": [], "files": []}, {"steps": {STEP: 5}}, {"files": "config/mine.yaml"}, {"files": [1]}, {"command": "snakemake"},
     {"command": {"--config": "x"}}, {"command": {"--snakefile": 5}}, {"host": runs.socket.gethostname(), "pid": -1, "started": 1.0}],
    ids=json.dumps,
)  # fmt: skip
def test_a_record_that_no_run_has_written_is_as_none(record):
    write_json(runs.Path("results/mine/run.json"), record)
    write_text(runs.Path("config/mine.yaml"), "study: mine\n")
    write_json(runs.Path(STEP, "fingerprint.json"), "mark")
    if "command" in record or "files" in record:
        assert resume_study.command("mine", "1", [], None) == ["--cores", "1", "--configfile", "config/mine.yaml"]
    assert begin(steps={STEP: "{}"}) == ""


def test_options_that_are_no_words_are_one_error():
    write_text(runs.Path("config/mine.yaml"), "study: mine\n")
    assert_refused(call(resume_study, study="mine", cores=1, options="--rerun 'x"), "OPTIONS --rerun 'x: .*Close what is quoted")


# --- what another config has made


def test_an_edit_of_the_same_config_is_told():
    begin()
    write_json(runs.Path("results/mine/models/base/manifest.json"), {})
    assert (
        begin(settings=changed(learning_rate=2e-5))
        == "results/mine: settings that differ from the last run's: methods.sft.learning_rate: 1e-05, now 2e-05"
    )
    assert begin(settings=changed(learning_rate=2e-5) | {"compute": {"threads": 8}}) == ""  # of the machine


def test_results_of_other_files_are_not_replaced_unasked(monkeypatch):
    begin(("config/demo.yaml", "config/mine.yaml"))
    other = {"files": ["config/mine.yaml"], "settings": changed(learning_rate=3e-6)}
    assert begin(**other)  # nothing is made yet
    begin(("config/demo.yaml", "config/mine.yaml"))
    write_json(runs.Path("results/mine/models/base/manifest.json"), {})
    before = (runs.Path("results/mine/run.json")).read_bytes()
    with pytest.raises(
        StudyError,
        match=r"made with config/demo.yaml config/mine.yaml.*learning_rate: 1e-05, now 3e-06.*make resume STUDY=mine.*HH_ALIGN_REPLACE=yes",
    ):
        begin(**other)
    assert runs.Path("results/mine/run.json").read_bytes() == before
    assert begin(("config/copy.yaml",)) == ""  # other files, the same settings
    for word in ("maybe", "no", "0"):
        monkeypatch.setenv(runs.REPLACE, word)
        with pytest.raises(StudyError, match=rf"HH_ALIGN_REPLACE is '{word}': yes lets"):
            begin(**other)
    monkeypatch.setenv(runs.REPLACE, "yes")
    assert "now 3e-06" in begin(**other)


def test_state_that_a_step_could_not_continue_is_not_replaced_unasked(monkeypatch):
    steps = {STEP: json.dumps({"method": {"epochs": 1}})}
    begin(steps=steps)
    other = {"settings": changed(epochs=2), "steps": {STEP: json.dumps({"method": {"epochs": 2}})}}
    begin(**other)  # no state is there
    begin(steps=steps)
    write_json(runs.Path(STEP, "fingerprint.json"), "mark")
    with pytest.raises(
        StudyError, match=r"state/train_sft/sft-seed-1: a step was stopped there that had other settings \(method.epochs: 1, now 2\)"
    ):
        begin(**other)
    assert "seeds" in begin(settings=SETTINGS | {"seeds": [2]}, steps=steps)  # what the step does not depend on
    assert begin(settings=SETTINGS, steps={}) and begin(steps=steps) == ""  # a run of something else between forgets nothing
    monkeypatch.setenv(runs.REPLACE, "yes")
    begin(**other)


def test_a_tuning_replaces_no_state_and_is_not_the_studys_last_run():
    steps = {STEP: json.dumps({"method": {"epochs": 1}})}
    begin(steps=steps)
    write_json(runs.Path(STEP, "fingerprint.json"), "mark")
    before = runs.Path("results/mine/run.json").read_bytes()
    assert "seeds" in begin(settings=SETTINGS | {"seeds": [2]}, steps=steps, remember=False)
    other = {"settings": changed(epochs=2), "steps": {STEP: json.dumps({"method": {"epochs": 2}})}}
    with pytest.raises(StudyError, match=r"had other settings \(method.epochs: 1, now 2\)"):
        begin(**other, remember=False)
    assert runs.Path("results/mine/run.json").read_bytes() == before


# --- who is at work


def test_a_second_run_of_a_living_study_is_refused(here):
    process = sleeping(here)
    try:
        begin()
        record = runs.read_run(runs.Path("results/mine"))
        started = runs.psutil.Process(process.pid).create_time()
        write_json(runs.Path("results/mine/run.json"), record | {"pid": process.pid, "started": started})
        with pytest.raises(StudyError, match=rf"another run of this study is at work \(process {process.pid}\)"):
            begin()
        process.kill()
        while runs.psutil.Process(process.pid).status() != runs.psutil.STATUS_ZOMBIE:  # killed, and nobody has asked how it ended
            time.sleep(0.01)
        begin()
    finally:
        process.kill()
        process.wait()


def test_of_two_studies_each_is_told_of_its_own(here):
    # a run, and a job that outlived its run; its inputs of the other study say nothing
    (here / "snakemake").touch()
    run = sleeping(here, "x")
    code = [
        "-m",
        "hh_align.training.train_sft",
        "--parent",
        "results/mine/m.json",
        "--manifest",
        "results/other/policies/sft/manifest.json",
    ]
    step = here / "package/hh_align/training/train_sft.py"
    write_text(step, "import time\ntime.sleep(60)\n")
    orphan = subprocess.Popen([sys.executable, *code], cwd=here, env=os.environ | {"PYTHONPATH": str(here / "package")})
    named = subprocess.Popen(["bash", "-c", "exec -a snakemake sleep 60"], cwd=here)
    try:
        started = runs.psutil.Process(named.pid).create_time()
        write_json(here / "results/mine/run.json", {"pid": named.pid, "started": started, "host": runs.socket.gethostname()})
        until = time.monotonic() + 20
        while len(at_work(here)) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        assert {(pid, of) for pid, _, of in at_work(here)} == {(named.pid, "mine"), (orphan.pid, "other")}
        for study, own, foreign in (("mine", named, orphan), ("other", orphan, named)):
            with pytest.raises(StudyError, match=rf"at work on {study}: .*kill {own.pid}\)") as raised:
                check_idle.require_idle(study, here)
            assert not re.search(rf"\b{foreign.pid}\b", str(raised.value))
        assert check_idle.require_idle("third", here) == []
        (here / "results/mine/run.json").unlink()
        assert check_idle.require_idle("other-than-both", here) == [named.pid]  # whose it is is not known
    finally:
        for process in (run, orphan, named):
            process.kill()
            process.wait()


def test_only_the_locks_of_the_study_go():
    locks = runs.Path(".snakemake/locks")
    texts = {
        "0.input": "config/a.yaml\nresults/mine/a.parquet\nresults/mine/b.parquet\nresults/other/c.parquet\n",
        "0.output": "results/hub/x/manifest.json\nresults/mine/c.parquet\n",
        "1.input": "results/other/a.parquet\n",
        "1.output": "results/hub/x/manifest.json\nresults/hub/y/manifest.json\nresults/other/c.parquet\n",
        "2.output": ".snakemake/storage/s3/bucket/folder/results/mine/c.parquet\n",
    }
    for name, text in texts.items():
        write_text(locks / f"{name}.lock", text)
    resume_study.unlock("mine")
    assert sorted(path.name for path in locks.iterdir()) == ["1.input.lock", "1.output.lock"]

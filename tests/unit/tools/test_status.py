"""`status`: what is done, at work, stopped, next and stale, what it took and will take, with and without a plan, in a terminal of any width."""

import json
import os
import re
import socket
import time
from types import SimpleNamespace

import psutil
import pytest
from command_line import call

from hh_align.core.artifacts import write_json
from hh_align.core.receipts import receipt_path, write_receipt
from hh_align.tools import planned, status
from hh_align.tools.planned import Job, Plan
from hh_align.tools.runs import LEFT

ARM = "an_arm_with_a_name_of_forty_characters_x"


WINGS = {"train_dpo": "training", "generate_responses": "evaluation", "compute_metrics": "analysis"}


def job(rule, of="", due=False, changes=(), after=(), state=False, **wildcards):
    name = f"{rule}/{of}" if of else rule
    here = "results/one"
    held = f"{here}/state/{name}" if state else ""
    paths = f"{here}/{name}.parquet", f"{here}/logs/{name}.log", f"{here}/benchmarks/{name}.tsv"
    return Job(rule, f"hh_align.{WINGS[rule]}.{rule}", wildcards, *paths, held, due, list(changes), list(after), {"_cores": 1})


@pytest.fixture
def study(tmp_path, monkeypatch):
    """results/one: a run that this test's parent process is; of two trainings one has taken 40 s, and one has said two losses."""
    monkeypatch.chdir(tmp_path)
    parent = psutil.Process(os.getppid())
    run = {"pid": parent.pid, "host": socket.gethostname(), "started": parent.create_time(), "files": ["mine.yaml"], "steps": {}}
    write_json(tmp_path / "results/one/run.json", run)
    for path, text in {
        "logs/train_dpo/b.log": "step 1/250, 9.9/s, 00:00:20 left, loss 0.6931\rstep 119/250, 9.9/s, 00:00:12 left, loss 0.6725\n",
        "benchmarks/train_dpo/a.tsv": "s\th:m:s\n40.0\t0:00:40\n",
        "benchmarks/train_dpo/torn.tsv": "s\th:",
        "state/train_dpo/c/x": "",
    }.items():
        (tmp_path / "results/one" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "results/one" / path).write_text(text)
    return tmp_path


JOBS = [
    job("train_dpo", of="a", policy="a"),
    job("train_dpo", of="b", policy=ARM, due=True),
    job("train_dpo", of="c", policy="c", due=True, state=True),
    job("generate_responses", of="a", due=True, changes=[("asked.cfg.beta 0.1", "asked.cfg.beta 0.3")], policy="a"),
    job("compute_metrics", due=True, after=["results/one/generate_responses/a.parquet"]),
]


def told(monkeypatch, plan, width="100", name="one"):
    monkeypatch.setattr(status, "dry_run", lambda _: plan if isinstance(plan, str) else Plan(plan, {"_cores": 2}))
    monkeypatch.setenv("COLUMNS", width)
    return call(status, study=name)


def test_it_says_what_is_done_at_work_stopped_next_and_stale(study, monkeypatch):
    code, text = told(monkeypatch, JOBS)
    assert code == 0 and text.startswith("one: 1 of 5 jobs done; 1 more were done, and are stale\nat work since ")
    assert re.search(r"^train_dpo +1 +2 +00:00:40 +00:01:20$", text, re.MULTILINE)  # those to come by the mean of those that have ended
    assert re.search(r"^analysis +0 +1 +- +00:00:02$", text, re.MULTILINE)
    assert re.search(rf"^{ARM} +0/1 +-$", text, re.MULTILINE) and re.search(r"^a +1/1 +0/1$", text, re.MULTILINE)
    assert "running train_dpo/b: step 119/250, 9.9/s, 00:00:12 left, loss 0.6725 (" in text and "  last losses: 0.6931, 0.6725\n" in text
    assert "stopped, goes on from its state:\n  train_dpo/c\nnext:\n  generate_responses/a\n" in text
    assert "results/one/generate_responses/a.parquet: asked.cfg.beta 0.1 -> asked.cfg.beta 0.3" in text
    # two cores: 12 s by b's own words beside 40 s by a's time, answering beside it, then the analysis
    assert "left: 4 jobs, about 00:00:40 (as earlier steps here took)" in text and "\x1b" not in text


def test_what_is_left_of_a_run_at_work_is_what_that_reckons(study, monkeypatch):
    kept = study / "results/one" / LEFT
    write_json(kept, {"seconds": 5000.0, "at": time.time(), "pid": os.getppid()})
    assert re.search(r"left: 4 jobs, about 01:23:(20|19|18) \(as its run reckons\)\n", told(monkeypatch, JOBS)[1])
    killed = {"seconds": 5000.0, "at": time.time() - 86400, "pid": os.getppid()}
    another = {"seconds": 5000.0, "at": time.time(), "pid": os.getpid()}  # killed just before this run began, or a tuning beside it
    for left in (killed, another):
        write_json(kept, left)
        assert "about 00:00:40 (as earlier steps here took)" in told(monkeypatch, JOBS)[1]


@pytest.mark.parametrize("started", ["noon", None, True, [5], 1e300, -1e300])
def test_a_start_that_is_no_time_is_a_record_that_no_run_has_written(study, started):
    path = study / "results/one/run.json"
    write_json(path, json.loads(path.read_text()) | {"started": started})
    code, text = call(status, study="one")
    said = "not known: what is left and what is stale, for there is no results/one/run.json as a run writes it, which names the config"
    assert code == 0 and said in " ".join(text.split())


@pytest.mark.parametrize("alive", [True, False])
def test_a_step_that_has_failed_is_not_said_to_run(study, monkeypatch, alive):
    error = "error: out of memory at step 119: set micro_batch to 4."
    (study / "results/one/logs/train_dpo/b.log").write_text(f"step 119/250, 9.9/s, 00:00:12 left, loss 0.6725\n{error}\n")
    record = status.read_run(study / "results/one")
    write_json(study / "results/one/run.json", record | ({} if alive else {"pid": 0, "started": record["started"] - 9}))
    code, text = told(monkeypatch, JOBS)
    assert code == 0 and "running" not in text and text.count("train_dpo/b") == 1
    assert f"failed, made again by the next run:\n  train_dpo/b: {error}\n" in text and "left: 4 jobs" in text


def test_names_and_numbers_stand_whole_in_a_narrow_terminal(study, monkeypatch):
    code, text = told(monkeypatch, JOBS, width="40")
    joined = "".join(line.split("  ")[0].strip() for line in text.splitlines())
    assert code == 0 and max(map(len, text.splitlines())) <= 40 and "…" not in text and ARM in joined and "00:01:20" in text


def test_without_a_plan_receipts_and_states_speak_and_the_rest_is_said_to_be_unknown(study, monkeypatch):
    first, gone = "results/one/policies/a/manifest.json", "results/one/policies/b/manifest.json"
    (study / "results/one/policies/a").mkdir(parents=True)
    (study / first).write_text("{}")
    for name in (first, gone):
        write_receipt(receipt_path(name), {"script": "hh_align.training.train_sft"}, {}, {name: "1" * 64})
    record = status.read_run(study / "results/one")
    write_json(study / "results/one/run.json", record | {"steps": {"results/one/state/train_dpo/c": "{}"}, "host": "another"})
    code, text = told(monkeypatch, "its config mine.yaml is not here")
    assert code == 0 and text.startswith("one: 1 of 3 jobs done\nlast run: begun ") and "cannot be seen from here" in " ".join(text.split())
    assert "stopped, goes on from its state:\n  train_dpo/c\n" in text
    assert "not known: what is left and what is stale, for its config mine.yaml is not here" in text


def test_an_unknown_study_is_refused_with_the_nearest_name(study, monkeypatch):
    assert told(monkeypatch, [], name="onne") == (
        1, "error: no study onne: no run of it has begun in results/ here. Begun here: one. Did you mean one?\n",
    )  # fmt: skip


@pytest.mark.parametrize("missing", ["run.json", "Snakefile", "mine.yaml"])
def test_what_keeps_a_plan_from_being_made_is_named(study, missing):
    if missing == "run.json":
        (study / "results/one/run.json").unlink()
    if missing != "Snakefile":
        (study / "Snakefile").write_text("")
    why = planned.dry_run("one")
    assert {"run.json": "names the config", "Snakefile": "no workflow", "mine.yaml": "its config mine.yaml is not here"}[missing] in why


def test_a_plan_is_made_by_the_workflow_of_the_run_where_that_lies_elsewhere(study, monkeypatch):
    asked = []
    monkeypatch.setattr(planned.subprocess, "run", lambda command, **_: asked.extend(command) or SimpleNamespace(returncode=1, stderr=""))
    elsewhere = str(study / "checkout/Snakefile")
    write_json(study / "results/one/run.json", {"files": [], "command": {"--snakefile": elsewhere}})
    assert "no workflow" in planned.dry_run("one")
    (study / "checkout").mkdir()
    (study / "checkout/Snakefile").write_text("")
    assert "cannot be planned" in planned.dry_run("one") and asked[asked.index("--snakefile") + 1] == elsewhere

"""A small demo with a control and snapshots, run for real from nothing to its report: what every whole study must hold."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from command_line import call
from flipped_bytes import flipped, one_of_each_kind, verify
from page_reader import elsewhere, mislabelled, reported, unsourced, untrue
from printed_commands import ask_for_all, in_cards, in_page
from small_studies import SHORT, SMALL_DEMO, small_study
from study_folder import PARTS, REPOSITORY, run_snakemake

from hh_align.core.artifacts import read_provenance
from hh_align.tools import verify_study

SMALL = SMALL_DEMO | {
    "methods": {"sft": SHORT, "dpo": SHORT | {"snapshots": [2]}},
    "policies": {"dpo": None, "sft_dpo": {"controls": ["coin"]}, "sft_bare": {"parent": "sft", "generation": {"lead": False}}},
    "datasets": SMALL_DEMO["datasets"] | {"reversed": None},
    "analysis": {"contrasts": [["sft_dpo", "sft"], ["sft_dpo_coin", "sft"], ["sft_dpo_step2", "sft_dpo"], ["sft_bare", "sft"]]},
    "claims": [{"claim": "SFT+DPO outperforms SFT", "source": "arXiv 2509.09055", "parts": [{"higher": "sft_dpo", "than": ["sft"], "metrics": ["CAS"]}]}],
}  # fmt: skip
POLICIES = ("base", "sft", "sft_bare", "sft_dpo", "sft_dpo_coin", "sft_dpo_step2", "sft_dpo_coin_step2")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = small_study(tmp_path_factory.mktemp("demo"), "demo", SMALL)
    folder.printed = folder.succeed()
    return folder


def test_the_demo_ends_with_its_table(demo):
    results = demo.path / "results/demo"
    table = (results / "report/summary.txt").read_text()
    ending = re.search(r"^demo: \d+ steps done in [\d:]+\.\n", demo.printed, re.MULTILINE)
    assert demo.printed[ending.end() :] == table
    assert demo.printed.count(table.splitlines()[0]) == 1  # and nowhere before
    assert "say nothing about OPT-350M" in table
    named = re.match(r"The report: (\S+)$", table.splitlines()[-1])[1]
    assert (demo.path / named).is_file() and (demo.path / named).name == "index.html"
    oracle = pq.read_table(results / "analysis/oracle.parquet").to_pylist()
    assert {row["policy"] for row in oracle} == set(POLICIES)
    assert {row["n"] for row in oracle} == {20}
    for policy in ("sft_dpo", "sft_dpo_coin"):
        log = pq.read_table(results / f"policies/{policy}/seed-42/train_log.parquet").to_pylist()
        assert abs(log[0]["loss"] - 0.693147) < 1e-4


def test_a_run_prints_few_lines_which_name_its_steps(demo):
    assert re.search(r"^demo: \d+ % of the time, \d+ of \d+ steps, [\d:]+ gone, about [\d:]+ left; \w+", demo.printed, re.MULTILINE)
    lines = demo.printed.partition(" steps done in ")[0].splitlines()
    assert len(lines) < 80 and "".join(lines).isprintable()
    assert not [line for line in lines if re.match(r"(local)?rule |Shell command|fit for SFT", line)]


def test_the_report_says_what_the_artifacts_say(demo):
    report = demo.path / "results/demo/report"
    page = report / "index.html"
    assert untrue(page) == [] and unsourced(page) == set() and elsewhere(page) == [] and mislabelled(page) == []
    text = (report / "index.html").read_text()
    assert "Synthetic data." in text and "This report is not complete." not in text
    assert not (report / "partial.html").exists() and (report / "browser.html").is_file()


def test_the_commands_that_report_and_cards_print_can_be_given(demo):
    results = demo.path / "results/demo"
    commands = in_page(results / "report/index.html") + in_cards(results)
    words, number = ask_for_all(commands)
    assert number > 15 and any("policies" in word for word in words) and any(word.endswith("preferences.parquet") for word in words)
    done = run_snakemake(["--dry-run", *words], demo.path)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout, done.stdout[-2000:]
    assert [command for command in commands if not command.startswith("snakemake --cores all")] == []


def test_the_tables_have_their_columns(demo):
    results = demo.path / "results/demo"
    tables = {
        name: pq.read_table(results / f"{name}.parquet")
        for name in ("responses/sft/seed-42", "rewards/small/sft/seed-42", "analysis/metrics", "analysis/retention")
    }
    columns = {name: table.column_names for name, table in tables.items()}
    assert columns["responses/sft/seed-42"] == ["axis", "prompt_id", "response", "response_tokens", "finish", "top2_gap_min", "cut_tokens"]
    assert columns["rewards/small/sft/seed-42"] == ["axis", "prompt_id", "reward", "input_tokens", "cut_tokens"]
    assert tables["rewards/small/sft/seed-42"].num_rows == 2 * 20
    assert columns["analysis/metrics"][:5] == ["judge", "policy", "seed", "metric", "value"]
    assert columns["analysis/retention"][5:8] == ["retained", "denominator", "rate"]


def test_who_asks_for_one_artifact_is_shown_no_table(demo):
    printed = demo.succeed("--force", "results/demo/analysis/power.parquet")
    assert "demo: 1 step done in" in printed and "The report:" not in printed


def test_after_a_failure_a_partial_report_names_what_is_missing(demo):
    # a complete one of before stays
    report = demo.path / "results/demo/report"
    before = (report / "index.html").read_bytes()
    script = "workflow/scripts/hh_align/analysis/compute_power.py"
    demo.edit(script, "def main() -> None:\n", "def main() -> None:\n    raise OSError('no power')\n")
    (demo.path / "results/demo/analysis/power.parquet").unlink()
    done = demo.run("--keep-going")
    partial = report / "partial.html"
    assert done.returncode != 0 and "analysis/power.parquet" in partial.read_text()
    assert "compute_power has failed:\nerror: no power\nIts log: results/demo/logs/compute_power.log\n" in "\n".join(
        done.stdout.splitlines()[-4:]
    )
    assert untrue(partial) == [] and (report / "index.html").read_bytes() == before
    demo.edit(script, "    raise OSError('no power')\n", "")
    demo.succeed()
    assert not partial.exists() and "analysis/power.parquet" in (report / "index.html").read_text()


def test_nothing_lies_outside_the_results_folder(demo):
    # state of a step that lies elsewhere would be shared by studies
    made = {path.name for path in demo.path.iterdir()} - {"small.yaml", "report.html", ".snakemake"}
    assert made == {*PARTS, "results"}
    assert {path.name for path in (demo.path / "results").iterdir()} == {"demo"}


def test_a_second_run_has_nothing_to_do_and_ends_with_the_table(demo):
    assert demo.planned() == set()
    assert demo.succeed().endswith("up to date).\n" + (demo.path / "results/demo/report/summary.txt").read_text())


def test_every_artifact_verifies_until_one_is_changed(demo):
    status, printed = verify(demo.path)
    assert status == 0 and "all as they were made" in printed and "holds a sum" not in printed, printed  # of every file one is known
    assert "not known" not in printed and "config asks" not in printed
    responses = demo.path / "results/demo/responses/sft/seed-42.parquet"
    before = responses.read_bytes()
    shutil.copy(demo.path / "results/demo/responses/sft_dpo/seed-42.parquet", responses)
    status, printed = verify(demo.path)
    responses.write_bytes(before)
    assert status == 1 and "responses/sft/seed-42.parquet: damaged, or changed since its job ended" in printed and "error: 1 of" in printed


def test_the_status_of_a_study_that_has_ended(demo):
    command = [sys.executable, "-m", "hh_align.tools.status", "--study", "demo"]
    told = subprocess.run(command, cwd=demo.path, capture_output=True, text=True, check=True).stdout
    done, jobs = re.match(r"demo: (\d+) of (\d+) jobs done\n", told).groups()
    assert done == jobs and "nothing is left to do" in " ".join(told.split()) and "not known" not in told and "stale" not in told
    assert re.search(r"train_dpo +\d+ +- +00:00:\d\d +-", told) and re.search(r"sft_dpo +1/1 +", told)


@pytest.mark.parametrize("number", range(10))
def test_a_flipped_byte_is_found_in_every_kind_of_file(demo, number):
    results, stream = demo.path / "results/demo", random.Random(number)
    chosen = one_of_each_kind(results, stream)
    with flipped(chosen, stream, near_the_end=number % 2 == 1):
        status, printed = call(verify_study, folder=results)
    named = {line.partition(": ")[0] for line in printed.splitlines()[:-1]}
    assert status == 1 and set(map(str, chosen)) - named == set(), printed


def test_made_again_an_artifact_is_the_same_bytes(demo):
    # and its provenance holds neither a clock nor a place
    results = demo.path / "results/demo"
    made = "policies/sft/seed-42/manifest.json responses/sft/seed-42.parquet rewards/small/sft/seed-42.parquet analysis/metrics.parquet"
    names = made.split()
    before = [(results / name).read_bytes() for name in names]
    assert str(demo.path) not in json.dumps(read_provenance(results / names[1]))
    for due in (names[:1], names[1:3], names[3:]):  # what comes behind is not due where the bytes are the same
        for name in due:
            (results / name).unlink()
        targets = [f"results/demo/{name}" for name in due]
        counted = "1 step" if len(due) == 1 else f"{len(due)} steps"
        assert f"demo: {counted} done in" in demo.succeed(*targets, **os.environ)  # in processes as a user has them, no forks
    assert [(results / name).read_bytes() for name in names] == before


def test_damaged_weights_are_found_moved_aside_and_rebuilt(demo):
    weights = demo.path / "results/demo/policies/sft_dpo_coin/seed-42/model.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 255]))
    assert "model.safetensors: damaged" in verify(demo.path)[1]
    responses = "results/demo/responses/sft_dpo_coin/seed-42.parquet"
    (demo.path / responses).unlink()
    done = demo.run(responses)
    assert done.returncode != 0
    (message,) = [line for line in done.stdout.splitlines() if line.startswith("error:")]
    assert "model.safetensors is damaged" in message and "run the same command again" in message
    demo.succeed(responses)
    assert weights.read_bytes() == before


def test_the_snakemake_report_holds_everything_with_caption_category_and_labels(demo):
    demo.succeed("--report", "report.html")
    results = demo.path / "results/demo"
    items = reported(demo.path / "report.html")
    made = {path for path in (results / "report").rglob("*") if path.is_file()} | set(results.rglob("README.md"))
    assert set(items) == {str(path.relative_to(demo.path)) for path in made} and len(made) > 35
    assert [name for name, item in items.items() if not (item["caption"] and item["labels"]) or item["category"] == "Other"] == []
    places = [(item["category"], tuple(item["labels"].items())) for item in items.values()]
    assert len(set(places)) == len(places)  # no two items look alike


def test_snapshots_are_policies_of_the_study(demo):
    # kept on the way, merged, answered, scored, measured, and shown as a curve from the parent to the policy
    results = demo.path / "results/demo"
    rows = pq.read_table(results / "analysis/snapshots.parquet").to_pylist()
    steps = [(row["arm"], row["step"]) for row in rows if "coin" not in row["policy"]]
    assert list(dict.fromkeys(steps)) == [("sft", 0), ("sft_dpo_step2", 2), ("sft_dpo", 8)]
    assert {row["metric"] for row in rows} == {"HmR", "HpR", "CAS", "mean_reward_harmful", "mean_reward_helpful"}
    moved = {row["step"]: row["kl_parent"] for row in rows if "coin" not in row["policy"]}
    assert moved[0] == 0 < moved[2] < moved[8]
    text = (results / "report/index.html").read_text()
    assert "stopped_at none → 2" in text and '<section id="snapshots">' in text


def test_a_policy_that_is_asked_otherwise_has_its_parents_weights(demo):
    # the blank line alone: nothing is trained, nothing has drifted from the parent, and the page says what differs
    results = demo.path / "results/demo"
    assert not (results / "policies/sft_bare").exists() and (results / "responses/sft_bare/seed-42.parquet").is_file()
    made = [read_provenance(results / f"responses/{policy}/seed-42.parquet") for policy in ("sft", "sft_bare")]
    assert made[0]["inputs"] == made[1]["inputs"] and [entry["config"]["lead"] for entry in made] == [True, False]
    rows = pq.read_table(results / "analysis/drift.parquet").to_pylist()
    moved = {row["reference"]: row["kl_per_token"] for row in rows if row["policy"] == "sft_bare"}
    assert moved["sft"] == 0 < moved["base"]
    (examined,) = (row for row in pq.read_table(results / "analysis/text.parquet").to_pylist() if row["policy"] == "sft_bare")
    assert (examined["kl_parent"], examined["unmoved"], examined["broken"]) == (0, False, False)  # no training: nothing stands against it
    text = (results / "report/index.html").read_text()
    assert "generation.lead true → false</td>" in text and "(<code>generation.lead</code>): sft_bare." in text
    assert "(generation.lead): sft_bare." in " ".join((results / "report/summary.txt").read_text().split())


def files_of(folder: Path) -> dict[str, bytes]:
    """A policy's files by name; its card, README.md, belongs to the report, and its NOTICE is made by a step of its own."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in ("README.md", "NOTICE")}


def test_a_training_that_was_killed_goes_on_by_make_resume(demo, tmp_path, monkeypatch):
    # kill -9 of Snakemake and its jobs: the command of the README knows the three configs and the target, unlocks, goes on from the
    # checkpoint, and ends with the same bytes
    folder = demo.copy(tmp_path / "study")
    longer = {"compute": {"checkpoint_seconds": 1}, "methods": {"sft": {"max_rows": 300, "epochs": 4}}}
    (folder.path / "longer.yaml").write_text(yaml.safe_dump(longer))
    folder.options += ("longer.yaml",)
    policy = "results/demo/policies/sft/seed-42"
    refused = folder.run(f"{policy}/manifest.json")
    assert refused.returncode and "methods.sft.epochs: 1, now 4" in refused.stdout and (folder.path / policy / "manifest.json").exists()
    monkeypatch.setenv("HH_ALIGN_REPLACE", "yes")
    folder.succeed(f"{policy}/manifest.json")
    monkeypatch.delenv("HH_ALIGN_REPLACE")
    undisturbed = files_of(folder.path / policy)
    shutil.rmtree(folder.path / policy)

    for name in ("Makefile", "requirements.lock"):
        shutil.copy(REPOSITORY / name, folder.path)
    (folder.path / ".venv").symlink_to(sys.prefix)
    options = f"OPTIONS=--configfile config/demo.yaml small.yaml longer.yaml -- {policy}/manifest.json"
    resume = ["make", "VENV=.venv", "--old-file=.venv/.installed", "resume", "STUDY=demo", "CORES=2", options]
    run = subprocess.Popen(resume, cwd=folder.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    while not list((folder.path / "results/demo/state/train_sft/sft-seed-42").glob("checkpoint-*/manifest.json")):
        assert run.poll() is None, run.stdout.read()[-6000:]
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert not (folder.path / policy / "manifest.json").exists() and any((folder.path / ".snakemake/locks").iterdir())

    (folder.path / ".snakemake/locks/9.output.lock").write_text("results/other/analysis/metrics.parquet\n")  # another study's
    done = subprocess.run(
        [*resume[:-1], "OPTIONS=--dry-run"], cwd=folder.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0 and [path.name for path in (folder.path / ".snakemake/locks").iterdir()] == ["9.output.lock"], done.stdout
    done = subprocess.run(resume[:-1], cwd=folder.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
    assert files_of(folder.path / policy) == undisturbed
    timing = json.loads((folder.path / "results/demo/timings/train_sft/sft-seed-42.json").read_text())
    assert timing["continuations"] == 1


@pytest.mark.parametrize("left", ["with its receipts", "without"])
def test_a_copy_elsewhere_is_up_to_date_and_stays_exact(demo, tmp_path, left):
    # no .snakemake/, other dates; without receipts tables and models know their config and inputs themselves
    moved = small_study(tmp_path, "demo", SMALL)
    without = shutil.ignore_patterns("receipts", "state") if left == "without" else None
    shutil.copytree(demo.path / "results", tmp_path / "results", copy_function=shutil.copyfile, ignore=without)
    assert ("have no receipt" in moved.succeed("--dry-run")) == (left == "without")
    assert moved.planned() == set()
    for setting, due, spared in (
        ("generation={max_new_tokens: 7}", "generate_responses sft_dpo 42", "train_dpo sft_dpo 42"),
        ("methods={dpo: {beta: 0.3}}", "train_dpo sft_dpo 42", "train_sft sft 42"),
        ("prompts={seed: 9}", "select_prompts", "train_sft sft 42"),
    ):
        jobs = moved.planned("--config", setting)
        assert due in jobs and spared not in jobs

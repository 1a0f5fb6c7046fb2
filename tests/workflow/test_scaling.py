"""The numbers of docs/scaling.md are those of the formula, the simulation and the graph that Snakemake plans."""

import os
import re
import time
from collections import Counter

import pytest
import yaml
from bench import simulate_scaling as simulation
from bench.ladder_costs import ladder_rows
from bench.simulate_scaling import SWEEPS, Sweep, folder_of, jobs_by_formula, plan, play, seconds, wall_by_formula, wall_by_schedule
from rule_files import runtime_of
from study_folder import REPOSITORY, StudyFolder

from hh_align.core.cores import usable_cores

PAGE = (REPOSITORY / "docs/scaling.md").read_text()


def rows_under(heading: str) -> list[str]:
    """The rows of the page's table in that section, without its head."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][1:]


@pytest.mark.parametrize(
    "sweep", [Sweep(), Sweep(seeds=3, betas=2, judges=2), Sweep(seeds=2, betas=1, judges=3, shards=4)], ids=["paper", "sweep", "shards"]
)
def test_the_formula_counts_the_jobs_of_the_real_graph(sweep):
    # a rule that grows with seeds x policies and is not in the formula would make every estimate of a sweep wrong
    counted, expected = Counter(plan(sweep)[0]), jobs_by_formula(sweep)
    assert {rule: counted[rule] for rule in expected} == expected
    grown = Counter(plan(Sweep(sweep.seeds + 1, sweep.betas, sweep.judges, sweep.shards))[0])
    assert {rule for rule in grown if grown[rule] != counted[rule]} <= set(expected)


def test_the_scheduler_on_a_graph_done_by_hand():
    # a waits for nothing, b and c for a, d for both: 2 + 3 + 5 + 1 seconds on one GPU, 2 + 5 + 1 on two
    rules, before, spent = ["a", "b", "c", "d"], [[], [0], [0], [1, 2]], {"a": 2.0, "b": 3.0, "c": 5.0, "d": 1.0}
    assert play(rules, before, spent, 1) == 11.0
    assert play(rules, before, spent, 2) == play(rules, before, spent, 9) == 8.0


def test_the_formula_is_near_the_schedule():
    sweep = Sweep(seeds=3, betas=2, judges=2, prompts=10**5)
    rules, before = plan(sweep)
    for gpus in (1, 4):
        assert 0.95 < wall_by_formula(sweep, gpus) / wall_by_schedule(sweep, gpus, rules, before) < 1.35


@pytest.mark.parametrize("sweep", [Sweep(), Sweep(seeds=5, betas=3, judges=2), Sweep(seeds=2, betas=1, judges=3, shards=4)])
def test_the_page_counts_the_jobs_of_the_formula(sweep):
    letters = {"S": sweep.seeds, "B": sweep.betas, "J": sweep.judges, "K": sweep.shards, "P": sweep.policies}
    counted = {}
    for names, said in (line.strip("| ").split(" | ") for line in rows_under("Jobs")):
        product = re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", re.split("[:,]", said)[0])
        counted |= dict.fromkeys(re.findall(r"`(\w+)`", names), eval(product, letters))
    if sweep.shards == 1:
        del counted["gather_shards"]
    assert counted == jobs_by_formula(sweep)


@pytest.mark.parametrize("name", [*list(SWEEPS)[:-1], pytest.param(list(SWEEPS)[-1], marks=pytest.mark.long)])
def test_the_page_has_the_wall_times_of_the_simulation(name):
    assert [line for line in rows_under("Time") if line.startswith(f"| {name}, ")] == list(simulation.wall_rows(name))


def test_the_page_has_the_other_numbers_of_the_simulation():
    assert rows_under("The bottleneck") == list(simulation.step_rows())
    assert rows_under("The analysis") == list(simulation.analysis_rows())
    assert rows_under("Disk") == list(simulation.disk_rows())
    assert rows_under("A ladder of sizes") == list(ladder_rows())
    ratios = [float(line.split(" | ")[-1].strip(" |")) for line in rows_under("Time")]
    assert f"{100 * (min(ratios) - 1):.0f} to {100 * (max(ratios) - 1):.0f} % above the schedule" in PAGE
    for size in ("1.3B", "7B"):
        assert f"{16 * simulation.PARAMETERS[size] / 1e9:.0f} GB" in PAGE


@pytest.mark.long
def test_a_sweep_of_two_thousand_jobs_is_planned_within_a_minute(tmp_path):
    study = folder_of(Sweep(seeds=30, betas=8), tmp_path)
    started = time.monotonic()
    printed = study.succeed("--dry-run")
    spent, jobs = time.monotonic() - started, int(re.search(r"^total +(\d+)$", printed, re.MULTILINE)[1])
    print(f"dry run of {jobs:,} jobs: {spent:.0f} s")
    assert jobs >= 2000 and spent < 60


@pytest.mark.parametrize(("size", "prompts", "but"), [("7B", 1000, set()), ("1.3B", 10**5, set()), ("7B", 10**5, {"measure_drift"})])
def test_the_attempts_of_a_slurm_job_last_as_long_as_its_step(size, prompts, but):
    # each attempt goes on where the one before ran out of time
    attempts = 1 + yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text())["retries"]
    for rule, spent in seconds(Sweep(size=size, prompts=prompts)).items():
        assert spent < 60 * runtime_of(rule) * sum(range(1, attempts + 1)) or rule in but, rule


STUB = """
import os, sys
from pathlib import Path

given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
text = f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} on {os.environ['CUDA_VISIBLE_DEVICES']}"
text += f"; {given['--threads']} threads, {os.environ['OMP_NUM_THREADS']} of OpenMP, {os.environ.get('GOMP_SPINCOUNT')} spins"
os.write(1, f"{text}\\n".encode())  # a line in one write
if os.environ["RANK"] == "0":
    folder = Path(given["--manifest"]).parent
    names = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "provenance.json"]
    for path in [*(folder / name for name in names), *(Path(given[f"--{name}"]) for name in ("manifest", "train-log", "quarantine", "timing"))]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("made")
"""


def test_a_training_of_two_processes_starts_two_on_two_gpus(tmp_path):
    # of four GPUs the other two stay free for the next job
    (tmp_path / "study").mkdir()
    folder = StudyFolder(tmp_path / "study")
    folder.edit("config/config.yaml", "processes: 1 ", "processes: 2 ")
    folder.edit("config/config.yaml", "gpus: 1 ", "gpus: 2 ")
    folder.edit("config/config.yaml", "micro_batch: 8", "micro_batch: 4")
    (folder.path / "workflow/scripts/hh_align/training/train_sft.py").write_text(STUB)
    folder.pretend_done()
    manifest = "results/paper/policies/sft/seed-42/manifest.json"
    (folder.path / manifest).unlink()
    away = os.environ | {"CUDA_VISIBLE_DEVICES": "4,5,6,7", "TMPDIR": str(tmp_path)}
    del away["OMP_WAIT_POLICY"]  # a setting of the user's own is kept
    given = usable_cores() + 1
    printed = folder.succeed("--cores", str(given), "--printshellcmds", "--resources", "gpu=4", "--", manifest, **away)
    assert f"This run is given {given} cores and may use {given - 1}: " in printed
    threads = min(8, given)  # compute.threads is 8
    said = [re.escape(f"process {number} of 2 on 4,5; {threads} threads, {threads} of OpenMP, ") + "(0|10000) spins" for number in (0, 1)]
    assert len(set(re.findall(r"process \d of .*", printed))) == 2 and all(re.search(line, printed) for line in said), printed
    assert len(list(tmp_path.glob("hh-align-gpus-*/*"))) == 2

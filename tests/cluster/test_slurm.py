"""The Slurm profile on a real Slurm of one node with a fake GPU: `make test-slurm`. What is interrupted there ends with a local run's bytes.

With DEMO=1 in the environment the study is the demo itself instead of a small one.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cluster as cluster_module
import pytest
import yaml
from cluster import MARK, Cluster, obstacle
from study_folder import REPOSITORY, StudyFolder

SMALL = REPOSITORY / "tests/workflow/faults/small.yaml"
DEMO = bool(os.environ.get("DEMO"))
LONGER = {  # an SFT that several checkpoints fall into, on a base made in a hurry
    "compute": {"gpus": 1},
    "models": {"base": {"pretraining": {"epochs": 1}}},
    "methods": {"sft": {"max_rows": 800, "epochs": 2}},
}
REFINED = {"compute": {"gpus": 1, "checkpoint_seconds": 1}} if DEMO else LONGER
RESULTS = "results/demo" if DEMO else "results/small"
PATIENCE = 3600 if DEMO else 300  # seconds until the training begins
CONTRACT = ("*.parquet", "manifest.json", "*.csv", "*.svg", "summary.txt")
SFT = f"{RESULTS}/policies/sft/seed-42"
SOON = ("--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2", "--latency-wait", "10")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if reason := obstacle():
        pytest.skip(f"no test cluster here: {reason}")
    with Cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def study(tmp_path):
    return small_study(tmp_path / "study")


def small_study(folder: Path) -> StudyFolder:
    folder.mkdir()
    (folder / "longer.yaml").write_text(yaml.safe_dump(REFINED))
    return StudyFolder(folder, "--configfile", "config/demo.yaml", *([] if DEMO else [str(SMALL)]), "longer.yaml")


def by_slurm(study: StudyFolder, *arguments: str) -> subprocess.Popen:
    """Snakemake with the Slurm profile; what it prints goes to slurm.log."""
    command = [
        str(Path(sys.executable).parent / "snakemake"),
        "--printshellcmds",
        "--workflow-profile",
        "profiles/slurm",
        *SOON,
        *arguments,
        *study.options,
    ]
    with open(study.path / "slurm.log", "w") as log:
        return subprocess.Popen(command, cwd=study.path, stdout=log, stderr=log)


def until(look: Callable[[], object], run: subprocess.Popen, study: StudyFolder) -> object:
    """The first true value of `look` while Snakemake runs; its log where it ends before, or after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not (value := look()):
        assert run.poll() is None and time.monotonic() < end, (study.path / "slurm.log").read_text()[-6000:]
        time.sleep(0.1)
    return value


def ends_well(run: subprocess.Popen, study: StudyFolder) -> str:
    printed = study.path / "slurm.log"
    assert run.wait() == 0, printed.read_text()[-6000:]
    return printed.read_text()


def artifacts(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for pattern in CONTRACT for path in folder.rglob(pattern) if "state" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def checkpoints(study: StudyFolder) -> set[str]:
    """The complete checkpoints of the SFT that is being trained."""
    return {path.parent.name for path in (study.path / f"{RESULTS}/state/train_sft/sft-seed-42").glob("checkpoint-*/manifest.json")}


def sft_job(cluster: Cluster, state: str) -> str | None:
    """The id of the SFT's job where it is in this state."""
    return next((job["id"] for job in cluster.jobs() if "train_sft" in job["comment"] and job["state"] == state), None)


def continuations(study: StudyFolder) -> int:
    return json.loads((study.path / f"{RESULTS}/timings/train_sft/sft-seed-42.json").read_text())["continuations"]


@pytest.mark.long
def test_a_training_waits_for_the_gpu_and_goes_on_after_scancel(cluster, study):
    study.succeed(f"{SFT}/manifest.json")
    expected = artifacts(study.path / SFT)
    shutil.rmtree(study.path / SFT)

    study.edit("profiles/slurm/config.yaml", "# gpu_model: a100", "gpu_model: fake")
    hold = ["sbatch", "--parsable", "--gpus=1", "--output=/dev/null", "--wrap=sleep 600"]
    holder = subprocess.run(hold, cwd=study.path, capture_output=True, text=True, check=True).stdout.strip()
    run = by_slurm(study, f"{SFT}/manifest.json")
    first = until(lambda: sft_job(cluster, "PENDING"), run, study)
    until(lambda: any(job["id"] == first and job["reason"] == "Resources" for job in cluster.jobs()), run, study)
    assert {job["id"]: job["state"] for job in cluster.jobs()} == {holder: "RUNNING", first: "PENDING"}
    subprocess.run(["scancel", holder], check=True)

    until(lambda: checkpoints(study), run, study)
    subprocess.run(["scancel", first], check=True)
    printed = ends_well(run, study)

    second = str(int(first) + 1)
    assert f"SLURM-job '{first}' failed" in printed and f"submitted with SLURM jobid {second}" in printed
    assert {job: cluster.ended()[job] for job in (first, second)} == {first: "CANCELLED", second: "COMPLETED"}
    assert artifacts(study.path / SFT) == expected
    assert continuations(study) == 1


@pytest.mark.long
def test_the_whole_study_by_slurm_with_a_requeued_training_is_the_local_one(cluster, study, tmp_path):
    local = small_study(tmp_path / "local")
    local.succeed()
    before = set(cluster.ended())
    run, looks = by_slurm(study), []
    until(lambda: looks.append(cluster.jobs()) or checkpoints(study), run, study)
    requeued = sft_job(cluster, "RUNNING")
    subprocess.run(["scontrol", "requeue", requeued], check=True)
    while run.poll() is None:
        looks.append(cluster.jobs())
        time.sleep(0.5)
    printed = ends_well(run, study)

    assert artifacts(study.path / RESULTS) == artifacts(local.path / RESULTS)
    assert continuations(study) == 1
    ended = {job: state for job, state in cluster.ended().items() if job not in before}
    assert set(ended.values()) == {"COMPLETED"} and requeued in ended
    # all that was done was done by these jobs, each with its log; those that want the GPU had it one after the other
    steps = {path.relative_to(local.path).as_posix() for path in (local.path / f"{RESULTS}/benchmarks").rglob("*.tsv")}
    assert steps == {path.relative_to(study.path).as_posix() for path in (study.path / f"{RESULTS}/benchmarks").rglob("*.tsv")}
    assert set(re.findall(r"submitted with SLURM jobid (\d+)", printed)) == set(ended)
    assert {path.stem for path in (study.path / ".snakemake/slurm_logs").rglob("*.log")} == set(ended)
    assert set(re.findall(r"^localrule (\w+):", printed, re.MULTILINE)) <= {"all", "write_notice"}
    on_gpu = [[job for job in look if "rule_data" not in job["comment"] and "rule_analysis" not in job["comment"]] for look in looks]
    assert max(sum(job["state"] == "RUNNING" for job in look) for look in on_gpu) == 1
    assert any(job["reason"] == "Resources" for look in on_gpu for job in look)
    print(f"{len(steps)} steps in {len(ended)} Slurm jobs")


def test_without_sbatch_there_is_one_message(study, tmp_path, monkeypatch):
    tools = tmp_path / "bin"
    tools.mkdir()
    for path in Path("/usr/bin").iterdir():
        if path.name not in ("sbatch", "sinfo", "squeue", "sacct"):
            (tools / path.name).symlink_to(path)
    monkeypatch.setenv("PATH", str(tools))
    run = by_slurm(study)
    assert run.wait() == 1
    printed = (study.path / "slurm.log").read_text()
    assert printed.count("sbatch is not on the path") == 1 and "Traceback" not in printed and "Error in rule" not in printed


def test_an_unknown_partition_is_one_message(cluster, study):
    study.edit("profiles/slurm/config.yaml", "slurm_partition: gpu", "slurm_partition: gpus")
    run = by_slurm(study)
    assert run.wait() == 1
    printed = (study.path / "slurm.log").read_text()
    assert printed.count("Slurm has no partition gpus. It has: cpu, gpu.") == 1 and "Error in rule" not in printed


def test_what_a_killed_test_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    # else the next run takes it for the machine's own Slurm; a Slurm of the machine's own is never touched
    monkeypatch.setattr(cluster_module, "SETTINGS", tmp_path)
    settings, ended = tmp_path / "slurm.conf", subprocess.Popen(["true"])
    ended.wait()
    for first, stays in (("ClusterName=own", True), (f"{MARK} of process {os.getpid()} in {tmp_path}", True)):
        settings.write_text(f"{first}\n")
        cluster_module.remove_leftovers()
        assert settings.exists() == stays
    if os.geteuid() != 0:
        pytest.skip("only root can end what root left")
    daemon = subprocess.Popen(["sleep", "60"])  # the pid file of a daemon that has ended, its number now another's
    (tmp_path / "slurmd.pid").write_text(f"{daemon.pid}\n")
    settings.write_text(f"{MARK} of process {ended.pid} in {tmp_path}\n")
    (tmp_path / "gres.conf").touch()
    cluster_module.remove_leftovers()
    assert not settings.exists() and not (tmp_path / "gres.conf").exists() and daemon.poll() is None
    daemon.kill()
    daemon.wait()


def test_no_gpu_of_a_model_is_one_message(cluster, study):
    # --gpus=a100:0 is what the plugin would ask for
    study.edit("profiles/slurm/config.yaml", "# gpu_model: a100", "gpu_model: a100")
    run = by_slurm(study, "--config", "compute={gpus: 0}")
    assert run.wait() == 1
    printed = (study.path / "slurm.log").read_text()
    assert printed.count("the profile names a gpu_model, but compute.gpus is 0") == 1 and "Error in rule" not in printed

"""Jobs side by side on a machine with several GPUs each take their own; the devices are names, no GPU is needed."""

import os
import subprocess
import sys

import pytest

from hh_align.models import devices

HOLD = "import os, sys; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); sys.stdin.read()"


@pytest.fixture(autouse=True)
def locks(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(devices.tempfile, "tempdir", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,GPU-3")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


@pytest.fixture
def job():
    """Start a job that wants `count` devices and lives until it is killed."""
    started = []

    def start(count: int) -> subprocess.Popen:
        command = [sys.executable, "-m", "hh_align.models.devices", str(count), sys.executable, "-c", HOLD]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_every_job_has_its_own_device_and_a_killed_one_gives_it_back(job):
    # two trainings on one GPU run out of memory, and its neighbour idles
    jobs = [job(1) for _ in range(3)]
    taken = [process.stdout.readline().strip() for process in jobs]
    assert sorted(taken) == ["0", "1", "GPU-3"]
    fourth = job(1)
    assert "too few are free: waiting" in fourth.stdout.readline()
    jobs[1].kill()
    assert fourth.stdout.readline().strip() == taken[1]


def test_a_training_of_two_processes_takes_two_or_none(job):
    # who holds one of two while waiting for the other may wait for ever
    first, second = job(2), None
    assert first.stdout.readline().strip() == "0,1"
    second = job(2)
    assert "waiting" in second.stdout.readline()
    third = job(1)
    assert third.stdout.readline().strip() == "GPU-3"


def test_the_command_that_follows_holds_the_devices(job):
    # the lease must outlive exec, and end with the command
    first = job(3)
    first.stdout.readline()
    assert devices.take("1") is None
    first.kill()
    first.wait()
    held = devices.take("1")
    assert held is not None
    os.close(held)


@pytest.mark.parametrize(("there", "count"), [("7", 1), ("2,5", 3), ("", 1)])
def test_where_nothing_can_be_chosen_nothing_is_taken(monkeypatch, tmp_path, there, count):
    """One GPU, no GPU, or what a scheduler has given: that is what the job uses."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", there)
    assert devices.lease(count) == [name for name in there.split(",") if name]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == there and not list(tmp_path.iterdir())


def test_without_the_variable_the_devices_are_counted(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(devices, "DEVICES", tmp_path)
    for name in ("nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert devices.visible() == ["0", "1"]

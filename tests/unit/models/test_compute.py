"""The device of a step: what its config asks for, and how a GPU is told to add."""

import os

import pyarrow as pa
import pytest
import torch

from hh_align.core.command import run
from hh_align.core.errors import StudyError
from hh_align.models.compute import use_device, use_threads
from hh_align.training.throughput import matmul_peak


@pytest.fixture
def machine(monkeypatch):
    """A machine that says it has a GPU, until it is told otherwise."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")  # what use_device sets there ends with the test
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    yield monkeypatch
    torch.use_deterministic_algorithms(False)
    torch.backends.cuda.enable_cudnn_sdp(True)


def test_a_gpu_adds_in_a_fixed_order_unless_told_otherwise(machine):
    threads = torch.get_num_threads()
    assert use_device({"device": "auto"}, threads) == "cuda" and torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8" and not torch.is_deterministic_algorithms_warn_only_enabled()
    assert use_device({"device": "cuda", "deterministic": False}, threads) == "cuda" and not torch.are_deterministic_algorithms_enabled()


def test_attention_on_a_gpu_makes_no_plan_for_each_length(machine):
    # cuDNN does: the lengths of a training's trees are new at nearly every step
    for deterministic in (True, False):
        torch.backends.cuda.enable_cudnn_sdp(True)
        use_device({"device": "cuda", "deterministic": deterministic}, torch.get_num_threads())
        assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_an_operation_without_a_fixed_order_is_one_error_that_names_the_key(machine):
    # torch has one on a CPU, too
    torch.use_deterministic_algorithms(True)
    with pytest.raises(SystemExit, match=r"^error: .* does not have a deterministic implementation, .*Set compute\.deterministic: false"):
        run(lambda: torch.zeros(3).put_(torch.tensor([1]), torch.tensor([1.0])))
    with pytest.raises(RuntimeError, match="another"):
        run(lambda: (_ for _ in ()).throw(RuntimeError("another")))


def test_a_cpu_is_left_as_it_is(machine):
    # its bytes are equal anyway, and must stay what they are
    assert use_device({"device": "cpu"}, torch.get_num_threads()) == "cpu"
    assert not torch.are_deterministic_algorithms_enabled() and "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_a_job_takes_its_threads_and_no_more(monkeypatch):
    # Arrow and the tokenizers would take every core, beside the jobs that have the others
    monkeypatch.setenv("RAYON_NUM_THREADS", "")
    before = torch.get_num_threads(), pa.cpu_count()
    try:
        for count in (1, 2):
            use_threads(count)
            assert (torch.get_num_threads(), pa.cpu_count(), os.environ["RAYON_NUM_THREADS"]) == (count, count, str(count))
    finally:
        torch.set_num_threads(before[0])
        pa.set_cpu_count(before[1])


def test_a_gpu_that_is_not_there_is_missed_only_where_it_is_asked_for(machine):
    machine.setattr(torch.cuda, "is_available", lambda: False)
    assert use_device({"device": "auto"}, torch.get_num_threads()) == "cpu"
    with pytest.raises(StudyError, match=r"compute.device is cuda, but torch sees no GPU"):
        use_device({"device": "cuda"}, torch.get_num_threads())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_measuring_the_peak_draws_no_random_number(precision):
    # it comes before the training: dropout's masks must not depend on it
    before = torch.get_rng_state()
    assert matmul_peak("cpu", precision, 64) > 0
    assert torch.equal(torch.get_rng_state(), before)

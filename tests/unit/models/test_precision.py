"""A precision that a machine emulates is said to be so, with the measured factor."""

import os
import subprocess
import sys

import pytest
import torch
from study_folder import REPOSITORY

from hh_align.models.precision import ROUNDS, is_emulated, slowdown


def machine(**seconds):
    """Products that take so long: of each precision the next value, the last one for good."""
    times = {precision: iter(values) for precision, values in seconds.items()}
    last = {}

    def seconds_of(precision, device):
        last[precision] = next(times[precision], last.get(precision))
        return last[precision]

    return seconds_of


@pytest.mark.parametrize(("bfloat16", "said"), [(0.5, ""), (1.9, ""), (2.1, "take 2 times as long"), (17.0, "take 17 times as long")])
def test_an_emulated_precision_is_said_with_its_factor(capsys, bfloat16, said):
    assert is_emulated("bfloat16", "cpu", machine(bfloat16=[bfloat16], float32=[1.0])) == bool(said)
    printed = capsys.readouterr().out
    assert ("this machine emulates bfloat16" in printed and said in printed) if said else printed == ""


def test_the_first_product_and_a_busy_moment_do_not_count():
    # the first makes the kernels; of the others the shortest counts
    busy = machine(bfloat16=[99.0, *[9.0] * (ROUNDS - 1), 1.0], float32=[0.001, 2.0, 8.0])
    assert slowdown("bfloat16", "cpu", busy) == 0.5


def test_float32_is_not_measured(capsys):
    assert not is_emulated("float32", "cpu", machine())
    assert capsys.readouterr().out == ""


def test_measuring_draws_no_random_number():
    before = torch.get_rng_state()
    assert slowdown("bfloat16", "cpu") > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_processor_with_avx2_only_is_found_out():
    # oneDNN can be told to take this machine for one; without AVX-512's kernels products in bfloat16 are plain loops
    code = "from hh_align.models.precision import is_emulated; assert is_emulated('bfloat16', 'cpu')"
    away = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY / "workflow/scripts")}
    done = subprocess.run([sys.executable, "-c", code], env=away, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    factor = int(done.stdout.split("take ")[1].split(" times")[0])
    assert factor >= 5

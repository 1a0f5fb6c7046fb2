"""The cores that a process may use, by its own mask and its cgroups' limits, and how a job's threads wait on them."""

import math
import os
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from hh_align.core import cores
from hh_align.core.cores import claimed_cores, free_cores, quota, spins, usable_cores


def cgroups(tmp_path, line, **files):
    """A mount of cgroups with these files, and what /proc/self/cgroup says."""
    for name, text in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "cgroup").write_text(line)
    return tmp_path / "cgroup", tmp_path / "fs"


@pytest.mark.parametrize(
    ("line", "files", "limit"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),  # a container with a namespace of its own
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/\n", {}, math.inf),  # the machine itself
        ("0::/a.slice/b.scope\n", {"a.slice/cpu.max": "200000 100000", "a.slice/b.scope/cpu.max": "max 100000"}, 2),  # the group above limits
        ("0::/a.slice/b.scope\n", {"a.slice/cpu.max": "400000 100000", "a.slice/b.scope/cpu.max": "50000 50000"}, 1),
        ("3:cpu,cpuacct:/docker/f00\n2:memory:/x\n", {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),  # version 1, the host's path
        ("3:cpu,cpuacct:/\n0::/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, math.inf),
        ("2:cpuset:/\n", {"cpuset/cpu.cfs_quota_us": "100000", "cpuset/cpu.cfs_period_us": "100000"}, math.inf),
    ],
)  # fmt: skip
def test_the_least_limit_of_a_process_and_the_groups_above_it_holds(tmp_path, line, files, limit):
    assert quota(*cgroups(tmp_path, line, **files)) == limit


def test_a_machine_without_cgroups_has_no_limit(tmp_path):
    assert quota(tmp_path / "none", tmp_path) == math.inf


@pytest.mark.parametrize(("limit", "allowed", "usable"), [(math.inf, 4, 4), (1.5, 4, 2), (0.2, 4, 1), (8, 4, 4)])
def test_usable_cores_are_the_fewer(monkeypatch, limit, allowed, usable):
    monkeypatch.setattr(cores, "quota", lambda: limit)
    monkeypatch.setattr(cores, "allowed_cores", lambda: set(range(allowed)))
    assert usable_cores() == usable


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are given to processes on Linux only")
def test_a_process_bound_to_one_core_uses_one():
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{one}}}); from hh_align.core.cores import usable_cores; print(usable_cores())"
    assert subprocess.check_output([sys.executable, "-c", code]) == b"1\n"


def test_only_the_allowed_cores_count_as_free(monkeypatch):
    shares = [SimpleNamespace(idle=90.0, iowait=10.0), SimpleNamespace(idle=100.0, iowait=0.0), SimpleNamespace(idle=25.0)]
    monkeypatch.setattr(psutil, "cpu_times_percent", lambda interval, percpu: shares)
    monkeypatch.setattr(cores, "allowed_cores", lambda: {0, 2})
    assert free_cores() == 1.25


@pytest.mark.parametrize(
    ("threads", "free", "spun"),
    [(2, 2.0, 10_000), (2, 1.7, 10_000), (2, 1.0, 0), (2, 0.0, 0), (8, 12.0, 10_000), (8, 7.0, 0)],
)
def test_threads_look_for_each_other_only_where_each_has_a_core(threads, free, spun):
    assert spins(threads, free) == spun


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names of sockets are Linux's")
@pytest.mark.parametrize(("allowed", "granted"), [(2, [2, 0]), (3, [2, 1]), (4, [2, 2]), (1, [1, 0])])
def test_jobs_that_begin_at_one_moment_share_the_cores(monkeypatch, allowed, granted):
    no_machines = os.getpid() * 100  # a job that begins beside this test claims real cores
    mine = set(range(no_machines, no_machines + allowed))
    monkeypatch.setattr(cores, "allowed_cores", lambda: mine)
    with claimed_cores(2) as first, claimed_cores(2) as second:
        assert [first, second] == granted
        claim = f"import hh_align.core.cores as cores; cores.allowed_cores = lambda: {mine}\nwith cores.claimed_cores(4) as granted: print(granted)"
        assert int(subprocess.check_output([sys.executable, "-c", claim])) == allowed - sum(granted)  # another process
    with claimed_cores(9) as last:
        assert last == allowed  # claims end with their process

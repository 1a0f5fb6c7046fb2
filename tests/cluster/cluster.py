"""A Slurm of one node on loopback, with a fake GPU, for a test: started, used and stopped as root, without systemd or a database.

python tests/cluster/cluster.py        # says what stands in the way here, exit status 1; installs nothing
python tests/cluster/cluster.py clean  # takes away what a killed test has left
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
SETTINGS = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf")
MARK = "# hh-align's test cluster"  # how both begin: what a killed test leaves is told from a Slurm of the machine's own
MEMORY = 64000  # MB that the node says it has; nothing holds a job to what it asked for

CONFIG = """\
{mark}
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/node
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
MinJobAge=300
ReturnToService=2
KillWait=5
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory={memory} Gres=gpu:fake:1
PartitionName=cpu Nodes={host} Default=YES MaxTime=1-0 State=UP
PartitionName=gpu Nodes={host} MaxTime=1-0 State=UP
"""


def remove_leftovers() -> None:
    """End the daemons and take away the files that a killed test left; a cluster whose test is alive, and what is not ours, stays."""
    path = SETTINGS / "slurm.conf"
    mark = re.match(f"{MARK} of process (\\d+) in (.+)\n", path.read_text()) if path.is_file() else None
    if mark and os.geteuid() == 0 and not psutil.pid_exists(int(mark[1])):
        Cluster(Path(mark[2])).stop()


def obstacle() -> str | None:
    """Why no cluster can be started here; None where one can. A machine with a Slurm of its own is left alone."""
    remove_leftovers()
    if (SETTINGS / "slurm.conf").exists() or any(process.name() == "slurmctld" for process in psutil.process_iter()):
        return f"{SETTINGS}/slurm.conf or a slurmctld is there: this machine has a Slurm of its own"
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        return f"{', '.join(missing)} not found (as root: make slurm)"
    if os.geteuid() != 0:
        return "Slurm reads /etc/slurm/slurm.conf, which only root can write"
    return None


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


class Cluster:
    """The cluster with everything that it writes under `folder`, but for two files in /etc/slurm."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> "Cluster":
        for name in ("controller", "node"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        host = socket.gethostname().split(".")[0]
        ports = {"controller_port": free_port(), "node_port": free_port()}
        mark = f"{MARK} of process {os.getpid()} in {self.folder}"
        # jobs lose SLURM_CONF: the files must lie where Slurm looks
        (SETTINGS / "slurm.conf").write_text(CONFIG.format(mark=mark, host=host, folder=self.folder, memory=MEMORY, **ports))
        (SETTINGS / "gres.conf").write_text(f"{mark}\nNodeName={host} Name=gpu Type=fake File=/dev/null\n")
        munge = {name: self.folder / f"munge.{name}" for name in ("socket", "log", "seed")}
        files = [f"--{option}={path}" for option, path in zip(("socket", "log-file", "seed-file"), munge.values(), strict=True)]
        try:
            self.start("munged", "--force", f"--key-file={key}", f"--pid-file={self.folder}/munged.pid", *files)
            self.start("slurmctld")
            self.start("slurmd", "-N", host)
            self.await_idle()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["scancel", "--full", "--user", "root"], check=False, timeout=20)
        for _ in range(50):
            if not self.jobs():
                break
            time.sleep(0.2)
        self.stop()

    def start(self, *command: str) -> None:
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{command[0]} does not start: {done.stdout}{done.stderr}")

    def await_idle(self) -> None:
        for _ in range(100):
            done = subprocess.run(["sinfo", "--noheader", "--format=%t", "--partition=cpu"], capture_output=True, text=True, check=False)
            if done.stdout.strip() == "idle":
                return
            time.sleep(0.2)
        raise RuntimeError("the node does not come up:\n" + (self.folder / "slurmctld.log").read_text()[-2000:])

    def stop(self) -> None:
        """End the daemons by their process ids, and take the files away."""
        for name in ("slurmd", "slurmctld", "munged"):
            file = self.folder / f"{name}.pid"
            if not file.exists():
                continue
            pid = int(file.read_text())
            if not psutil.pid_exists(pid) or psutil.Process(pid).name() != name:
                continue
            os.kill(pid, signal.SIGTERM)
            while Path(f"/proc/{pid}").exists():
                time.sleep(0.05)
        for name in FILES:
            (SETTINGS / name).unlink(missing_ok=True)

    def jobs(self) -> list[dict[str, str]]:
        """id, state (PENDING, RUNNING, …), reason and comment (rule and wildcards) of every job that has not ended."""
        names = ("id", "state", "reason", "comment")
        listed = subprocess.run(["squeue", "--noheader", "--format=%i|%T|%r|%k"], capture_output=True, text=True, check=True).stdout
        return [dict(zip(names, line.split("|", 3), strict=True)) for line in listed.splitlines()]

    def ended(self) -> dict[str, str]:
        """Job id -> how it ended (COMPLETED, CANCELLED, …); a job that was queued again is there with its last end."""
        log = self.folder / "jobs.log"
        lines = log.read_text().splitlines() if log.exists() else []
        words = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
        return {job["JobId"]: job["JobState"] for job in words}


def main() -> None:
    if sys.argv[1:] == ["clean"]:
        return remove_leftovers()
    if reason := obstacle():
        raise SystemExit(f"error: no test cluster here: {reason}")


if __name__ == "__main__":
    main()

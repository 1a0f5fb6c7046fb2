"""What holds for every test: steps in processes of their own find the package, and threads that wait leave the processor to others."""

import os
from pathlib import Path

from fork_server import home

os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent / "workflow/scripts")
os.environ["OMP_WAIT_POLICY"] = "passive"  # read when torch is loaded
home()  # before xdist starts its workers: they share the servers

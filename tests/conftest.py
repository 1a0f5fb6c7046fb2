"""What holds for every test: steps in processes of their own find the package, and threads that wait leave the processor to others."""

import os
from pathlib import Path

os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent / "workflow/scripts")
os.environ["OMP_WAIT_POLICY"] = "passive"  # read when torch is loaded

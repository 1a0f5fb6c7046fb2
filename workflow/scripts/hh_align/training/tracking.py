"""What shows a training while it runs: transformers' reporters for TensorBoard or Trackio. Of no account for its result."""

import importlib.util
import os
from pathlib import Path

from hh_align.core.errors import StudyError

TRACKING = "HH_ALIGN_TRACKING"
"""The variable by which rules tell trainings who shows them and where its files lie: `tensorboard:results/demo/tracking`; empty without."""
PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "trackio": ("trackio",)}


def require_package(kind: str) -> None:
    """Raises StudyError where what `tracking` names is not installed."""
    if not any(importlib.util.find_spec(package) for package in PACKAGES[kind]):
        raise StudyError(f"tracking is {kind}, and that package is not installed. python -m pip install {kind}, or set tracking: none.")


def reporters(state: Path) -> dict[str, str]:
    """A trainer's arguments for its reporter. state: the folder of the training's state, which names it. Raises StudyError where the
    reporter is not installed."""
    kind, _, folder = os.environ.get(TRACKING, "").partition(":")
    if not kind:
        return {"report_to": "none"}
    require_package(kind)
    run = Path(state.parent.name, state.name)
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(Path(folder) / run)
    os.environ["TRACKIO_DIR"] = folder
    return {"report_to": kind, "project": Path(folder).parent.name, "run_name": run.as_posix()}

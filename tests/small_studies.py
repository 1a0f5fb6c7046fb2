"""The shipped studies in small: settings that let a whole one run in a minute or two."""

from pathlib import Path

import yaml
from study_folder import StudyFolder

SHORT = {"max_rows": 64, "epochs": 1}
SMALL_DEMO = {
    "datasets": {
        "synthetic": {"train_rows": {"harmless-base": 150, "helpful-base": 150}, "test_rows": {"harmless-base": 40, "helpful-base": 40}},
        "raw": {"train_rows": {"harmless-base": 100, "helpful-base": 100}},
    },
    "prompts": {"harmlessness": {"n": 20}, "helpfulness": {"n": 20}},
    "models": {"base": {"pretraining": SHORT}},
    "methods": {"sft": SHORT, "dpo": SHORT},
    "judges": {"small": {"training": SHORT, "calibration_share": 0.3}},
    "drift": {"samples": 1, "rows": 20},
    "examination": {"format_pairs": 20},
}


def small_study(folder: Path, name: str, small: dict, *options: str) -> StudyFolder:
    """The study `name` in `folder`, refined by a smaller config."""
    study = StudyFolder(folder, "--configfile", f"config/{name}.yaml", "small.yaml", *options)
    (folder / "small.yaml").write_text(yaml.safe_dump(small))
    return study

"""The workflow runs from any folder: by -s, by --directory, and as a module of another workflow; its own files come from its checkout."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from study_folder import REPOSITORY, run_snakemake

from hh_align.core.artifacts import read_provenance

ARTIFACT = "results/demo/data/raw/preferences.parquet"
MODULE = f"""
module hh:
    snakefile:
        "{REPOSITORY}/workflow/Snakefile"

use rule * from hh as hh_*
"""
OWN_CONFIG = f"""
configfile: "mine.yaml"

module hh:
    snakefile:
        "{REPOSITORY}/workflow/Snakefile"
    config:
        config

use rule * from hh as hh_*
"""


def snakemake(folder: Path, *words: str, status: int = 0, environment: dict[str, str] | None = None) -> str:
    done = run_snakemake(words, folder, environment)
    assert done.returncode == status, done.stdout[-3000:]
    return done.stdout


def small_demo() -> dict:
    """The demo with a small corpus."""
    config = yaml.safe_load((REPOSITORY / "config/demo.yaml").read_text())
    for dataset in ("synthetic", "raw"):
        config["datasets"][dataset]["train_rows"] = {"harmless-base": 20, "helpful-base": 20}
    return config


@pytest.mark.parametrize("way", ["-s", "--directory", "config in its place", "module", "module with a config"])
def test_the_demo_is_planned_and_an_artifact_made_from_an_empty_folder(tmp_path, way):
    home, study = tmp_path / "home", tmp_path / "study"
    home.mkdir()
    study.mkdir()
    own = study / ("config/config.yaml" if way == "config in its place" else "mine.yaml")
    own.parent.mkdir(exist_ok=True)
    own.write_text(yaml.safe_dump(small_demo()))
    folder, words, target = study, ["-s", str(REPOSITORY / "Snakefile"), "--configfile", "mine.yaml"], "all"
    if way == "--directory":
        folder, words = home, ["-s", str(REPOSITORY / "Snakefile"), "--directory", str(study), "--configfile", str(own)]
    elif way == "config in its place":
        words = ["-s", str(REPOSITORY / "Snakefile")]
    elif way.startswith("module"):
        (study / "Snakefile").write_text(MODULE if way == "module" else OWN_CONFIG)
        words, target = ["--configfile", "mine.yaml"] if way == "module" else [], "hh_all"

    planned = snakemake(folder, "--dry-run", *words, "--", target)
    assert "render_report" in planned and "train_dpo" in planned and "fetch_hub" not in planned
    snakemake(folder, *words, "--", ARTIFACT, environment=dict(os.environ) if way == "--directory" else None)  # once without forks
    assert pq.read_table(study / ARTIFACT).num_rows == 40
    assert sorted(path.name for path in study.iterdir() if not path.name.startswith(".")) == sorted(
        {own.relative_to(study).parts[0], "results"} | ({"Snakefile"} if way.startswith("module") else set())
    )
    # what an artifact says of itself does not depend on where it was made
    corpus = [f"demo/data/raw/raw/{subset}/train.jsonl.gz" for subset in ("harmless-base", "helpful-base")]
    assert sorted(read_provenance(study / ARTIFACT)["inputs"]) == corpus


def test_a_users_file_wins_over_the_workflows(tmp_path):
    # a path of the config is looked for in the working directory first, then in the checkout
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(small_demo()))
    words = ["-s", str(REPOSITORY / "Snakefile"), "--configfile", "mine.yaml", "--dry-run", "results/demo/drift/base/seed-0.parquet"]
    words.insert(-1, "--")
    words.insert(0, "--printshellcmds")
    assert f"--text {REPOSITORY}/resources/outside.txt" in snakemake(tmp_path, *words)
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources/outside.txt").write_text("Mine.")
    assert "--text resources/outside.txt" in snakemake(tmp_path, *words)


def test_the_config_of_another_study_is_named_where_it_lies(tmp_path):
    words = ["-s", str(REPOSITORY / "Snakefile"), "--dry-run", "--", "results/demo/analysis/metrics.parquet"]
    assert f"Add: --configfile {REPOSITORY}/config/demo.yaml" in snakemake(tmp_path, *words, status=1)

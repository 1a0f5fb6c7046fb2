"""Studies along an axis: what each says stands at its model's size, or at the number given, and one message where that cannot be."""

import csv

import numpy as np
import pytest
from command_line import call
from safetensors.numpy import save_file

from hh_align.analysis import compute_metrics, compute_retention, summarize_capability
from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.tools import compare_studies
from hh_align.tools.along_axis import measured, places, write_along


def study(folder, width, value):
    """A study whose base has 3 * width parameters; kept and right are fixed distances from its HmR."""
    made_by = {"config": {"order": ["base", "sft"]}}
    ends = {"ci_low": value - 9, "ci_high": value + 9}
    same = {"judge": "j", "policy": "sft", "seed": 42}
    write_table(
        folder / "analysis/metrics.parquet", [same | ends | {"metric": "HmR", "value": value, "n": 50}], compute_metrics.METRICS, made_by
    )
    kept = [same | ends | {"reference": reference, "axis": "harmlessness", "rate": value + 1} for reference in ("base", "other")]
    write_table(folder / "analysis/retention.parquet", kept, compute_retention.RETENTION, made_by)
    right = [
        {"task": task, "measure": measure, "policy": "sft", "seed": 42, "value": value + 2, "against": against, **ends}
        for task in ("kinds", "all") for measure in ("acc", "acc_norm") for against in (None, "base")
    ]  # fmt: skip
    write_table(folder / "analysis/capability.parquet", right, summarize_capability.CAPABILITY, made_by)
    (folder / "models/base").mkdir(parents=True)
    save_file({"one": np.zeros((2, width), np.float32), "two": np.zeros(width, np.float32)}, folder / "models/base/model.safetensors")
    return folder


@pytest.fixture
def studies(tmp_path):
    return [study(tmp_path / "large", 700, 60.0), study(tmp_path / "small", 40, 50.0)]


def test_every_measure_stands_at_its_models_size_in_order(studies, tmp_path):
    status, said = call(compare_studies, folders=studies, axis="size", output=tmp_path / "out")
    assert status == 0 and "HmR by j, sft, along parameters: 50.0 at 120, 60.0 at 2,100" in said
    with open(tmp_path / "out/along.csv", newline="") as file:
        rows = [(row["measure"], row["study"], float(row["at"]), float(row["value"])) for row in csv.DictReader(file)]
    assert rows == [
        ("HmR", "small", 120.0, 50.0), ("HmR", "large", 2100.0, 60.0),
        ("kept of the root's, harmlessness", "small", 120.0, 51.0), ("kept of the root's, harmlessness", "large", 2100.0, 61.0),
        ("capability (acc)", "small", 120.0, 52.0), ("capability (acc)", "large", 2100.0, 62.0),
    ]  # fmt: skip
    page = (tmp_path / "out/along.html").read_text()
    assert page.count("<tr>") == 1 + len(rows) and "no test between studies" in page
    assert ">120<" in page and ">2.1k<" in page and "mathdefault" not in page  # the ends of the axis


def test_any_number_per_study_is_an_axis(studies, tmp_path):
    rows = write_along(studies, "learning rate:2e-5,1e-5", tmp_path / "out")
    assert [(row["study"], row["at"]) for row in rows[:2]] == [("small", 1e-5), ("large", 2e-5)]


def test_a_study_without_capability_has_its_rates(studies):
    (studies[0] / "analysis/capability.parquet").unlink()
    assert {row["measure"] for row in measured(studies[0])} == {"HmR", "kept of the root's, harmlessness"}


@pytest.mark.parametrize("axis", ["rate", "rate:1", "rate:1,x", "rate:1,nan", ":1,2"])
def test_what_is_no_axis_is_refused(studies, axis):
    with pytest.raises(StudyError, match="write size, or a name and a number for each of the 2 studies"):
        places(axis, studies)


def test_a_model_whose_size_is_not_known_is_named(studies):
    (studies[1] / "models/base/model.safetensors").write_bytes(b"short")
    with pytest.raises(StudyError, match=r"small/models/base/model.safetensors: no weights to count"):
        places("size", studies)

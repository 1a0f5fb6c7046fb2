"""What no run at work can make again is never moved: a damaged file of a user's, or of a finished study, is named and left as it is."""

import shutil

import pytest
from command_line import assert_refused, call
from label_page import write_study
from sound_artifacts import garble
from test_compare_studies import study
from tinymodels import write_opt

from hh_align.core.artifacts import BUILDS, write_manifest
from hh_align.models import import_model
from hh_align.tools import annotate, compare_studies, verdict, verify_study

LEFT = "It was left as it is: put a sound copy in its place"


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def compared(folder):
    for name in ("one", "two"):
        study(folder / name, {("base", "HmR"): 40.0, ("sft", "HmR"): 50.0})
    return compare_studies, {"folders": [folder / "one", folder / "two"], "output": folder / "out"}


def labelled(folder):
    return annotate, {"folder": write_study(folder)}


def verified(folder):
    return verify_study, {"folder": write_study(folder)}


def decided(folder):
    write_study(folder)
    return verdict, {"responses": folder / "responses/sft/seed-42.parquet", "harmless_min": 0, "helpful_above": 0, "output": folder / "out"}


CASES = {
    "compare, its metrics": (compared, "two/analysis/metrics.parquet", LEFT),
    "compare, a protocol": (compared, "two/responses/base/seed-0.parquet", LEFT),
    "annotate, the prompts": (labelled, "prompts/prompts.parquet", LEFT),
    "annotate, responses": (labelled, "responses/sft/seed-42.parquet", LEFT),
    "verify": (verified, "responses/sft/seed-42.parquet", "not readable"),
    "verdict": (decided, "responses/sft/seed-42.parquet", "sft/seed-42.parquet"),
}


@pytest.mark.parametrize("harm", [cut, garble])
@pytest.mark.parametrize("case", CASES)
def test_a_tool_names_a_damaged_file_and_moves_nothing(tmp_path, case, harm):
    prepare, name, said = CASES[case]
    module, options = prepare(tmp_path)
    harm(tmp_path / name)
    before = tree(tmp_path)
    status, output = call(module, **options)
    assert status == 1 and said in output and str(tmp_path / name) in output, output
    assert tree(tmp_path) == before


def own_manifest(folder, content):
    (folder / "manifest.json").write_text(content)


FOREIGN = ['{"name": "An app", "icons": [], "version": "1.0"}', '["files"]', "3"]
DAMAGE = {
    "weights that are not the manifest's": (lambda folder: cut(folder / "model.safetensors"), "model.safetensors is damaged"),
    "a file that is gone": (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
    "a manifest that cannot be read": (lambda folder: own_manifest(folder, "{"), "manifest.json: not a readable manifest"),
}


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A user's model, whose folder has a manifest of sums, beside a study that is being made."""
    monkeypatch.setenv(BUILDS, str(tmp_path / "results/mine"))
    write_opt(tmp_path / "model", weights="safetensors")
    write_manifest(tmp_path / "model", [path.name for path in (tmp_path / "model").iterdir()])
    return tmp_path / "model"


def bring(model):
    manifest = model.parent / "results/mine/models/base/manifest.json"
    return call(import_model, config={"kind": "policy"}, source=model, manifest=manifest)


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_users_model_is_refused_and_stays(model, kind):
    harm, said = DAMAGE[kind]
    harm(model)
    before = tree(model)
    assert_refused(bring(model), said, where=model)
    assert LEFT in bring(model)[1] and tree(model) == before


@pytest.mark.parametrize("content", FOREIGN)
def test_a_manifest_of_another_program_says_nothing_of_the_weights(model, content):
    own_manifest(model, content)
    before = tree(model)
    status, output = bring(model)
    assert status == 0 and tree(model) == before, output


def test_another_studys_file_stays_where_it_is(tmp_path, monkeypatch):
    # a policy of one study read by another: only the study that makes it can make it again
    monkeypatch.setenv(BUILDS, f"{tmp_path / 'results/mine'}:{tmp_path / 'results/hub'}")
    write_opt(tmp_path / "results/other", weights="safetensors")
    write_manifest(tmp_path / "results/other", ["config.json", "model.safetensors"])
    shutil.copytree(tmp_path / "results/other", tmp_path / "results/hub/model")
    for folder, moved in (("other", False), ("hub/model", True)):
        cut(tmp_path / "results" / folder / "model.safetensors")
        before = tree(tmp_path / "results" / folder)
        assert_refused(bring_manifest(tmp_path, folder), "model.safetensors is damaged")
        after = tree(tmp_path / "results" / folder)
        renamed = {"model.safetensors", "manifest.json"} if moved else set()
        assert set(after) == {f"{name}.damaged" if name in renamed else name for name in before}
        assert sorted(after.values()) == sorted(before.values())


def bring_manifest(tmp_path, folder):
    source = tmp_path / "results" / folder / "manifest.json"
    return call(import_model, config={"kind": "policy"}, source=source, manifest=tmp_path / "results/mine/base/manifest.json")

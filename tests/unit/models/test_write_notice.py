"""The licence notice of a model: what it is composed of, and that it is no part of the weights."""

import json

import pytest
from command_line import assert_refused, call

from hh_align.core.artifacts import verify_manifest, write_json, write_manifest
from hh_align.core.errors import StudyError
from hh_align.models import write_notice

FILES = {"NOTICE.txt": "Of its makers.\n", "LICENSE": "\nMIT, naïve.\n", "README.md": "No licence."}


def written(folder, notice="", **inputs):
    """The text of a NOTICE that the step writes into a new folder."""
    folder.mkdir()
    assert call(write_notice, config={"notice": notice}, output=folder / "NOTICE", **inputs)[0] == 0
    return (folder / "NOTICE").read_text()


def test_it_is_the_parents_then_the_configs_words_then_the_licence_files_by_name(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    files = [tmp_path / name for name in FILES]
    base = written(tmp_path / "base", " Whose it is.\n", licences=files)
    assert base == "Whose it is.\n\n--- LICENSE ---\nMIT, naïve.\n\n--- NOTICE.txt ---\nOf its makers.\n"
    assert written(tmp_path / "sft", parent=tmp_path / "base/NOTICE") == base
    assert written(tmp_path / "head", "A head.", parent=tmp_path / "sft/NOTICE") == f"{base}\nA head.\n"
    assert written(tmp_path / "adapter", parent=tmp_path / "sft/NOTICE", licences=files[1:2]) == f"{base}\n--- LICENSE ---\nMIT, naïve.\n"
    assert written(tmp_path / "none") == "\n"


def test_licences_of_a_download_are_those_that_the_models_provenance_keeps(tmp_path):
    made_by = tmp_path / "provenance.json"
    write_json(made_by, {"licences": {"LICENSE": "MIT"}, "config": {}})
    assert written(tmp_path / "base", "Whose.", licences=made_by) == "Whose.\n\n--- LICENSE ---\nMIT\n"
    for unfit in ({"config": {}}, [], {"licences": None}):
        write_json(made_by, unfit)
        result = call(write_notice, config={"notice": ""}, output=tmp_path / "NOTICE", licences=made_by)
        assert_refused(result, "does not hold the licence files of the download", where=made_by)
        assert not (tmp_path / "NOTICE").exists()


def test_other_words_leave_a_model_sound_whose_manifest_names_its_notice(tmp_path):
    names = ("model.safetensors", "provenance.json", "NOTICE")
    for name in names:
        (tmp_path / name).write_text(name)
    write_manifest(tmp_path, [*names])
    assert set(json.loads((tmp_path / "manifest.json").read_text())) == {*names}
    (tmp_path / "NOTICE").write_text("Other words.")
    assert verify_manifest(tmp_path / "manifest.json") == tmp_path


def test_a_notice_that_was_downloaded_is_held_to_its_sum(tmp_path):
    for name in ("model.safetensors", "NOTICE"):
        (tmp_path / name).write_text(name)
    write_manifest(tmp_path, ["model.safetensors", "NOTICE"])
    (tmp_path / "NOTICE").write_text("Other words.")
    with pytest.raises(StudyError, match="NOTICE is damaged"):
        verify_manifest(tmp_path / "manifest.json")

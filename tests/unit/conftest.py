"""Artifacts that tests of several wings damage."""

import shutil

import pytest


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """A folder with a sound artifact of each kind, to read only."""
    from sound_artifacts import write_artifacts

    folder = tmp_path_factory.mktemp("sound")
    write_artifacts(folder)
    return folder


@pytest.fixture
def artifacts(sound, tmp_path):
    """A copy of the sound artifacts to damage."""
    shutil.copytree(sound, tmp_path / "study", copy_function=shutil.copy)
    return tmp_path / "study"

"""The paper's study, complete: made once for all tests that only plan in it."""

import pytest
from study_folder import StudyFolder


@pytest.fixture(scope="session")
def paper(tmp_path_factory):
    """The paper's study, pretended to be complete: edited within `with paper.edited(…)` only."""
    study = StudyFolder(tmp_path_factory.mktemp("paper")).pretend_done()
    assert study.planned() == set()
    return study


@pytest.fixture
def own_paper(paper, tmp_path):
    """A copy of it, to do with as a test likes."""
    return paper.copy(tmp_path)

"""The paper's release, imported and analysed once for all tests of the analysis."""

import pytest


@pytest.fixture(scope="session")
def released(tmp_path_factory):
    """The folder of the tables; to read only."""
    from paper_release import RELEASE, analyse_release

    if not RELEASE.is_dir():
        pytest.skip("needs the paper's release in ../shared/paper-release")
    folder = tmp_path_factory.mktemp("published")
    analyse_release(folder)
    return folder

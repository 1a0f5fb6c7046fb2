"""A misspelt name is answered with the one that is nearest."""

import pytest

from hh_align.config.graph import require_known
from hh_align.core.errors import StudyError
from hh_align.core.meant import choices


@pytest.mark.parametrize(
    ("name", "allowed", "said"),
    [
        ("methdos", ["methods", "models"], "methods, models. Did you mean methods?"),
        ("lr", ["learning_rate"], "learning_rate."),
        ("x", [], "nothing is defined there."),
    ],
)
def test_the_nearest_name_is_offered(name, allowed, said):
    assert choices(name, allowed) == said


def test_an_unknown_policy_is_one_message():
    with pytest.raises(
        StudyError, match=r"^config: analysis.primary is sft_dop, which does not exist. Allowed: dpo, sft_dpo. Did you mean sft_dpo\?$"
    ):
        require_known("analysis.primary", "sft_dop", {"sft_dpo": {}, "dpo": {}})

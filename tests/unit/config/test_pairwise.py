"""Judges that are asked for preferences: nothing that reads rewards sees them."""

import pytest
from configs import SCHEMA, load, merged
from whole_configs import REFEREE

from hh_align.config.resolve import resolve
from hh_align.core.errors import StudyError


def test_they_stand_apart_and_change_nothing_else():
    plain = resolve(load("config"), SCHEMA)
    resolved = resolve(merged(load("config"), {"judges": {"referee": REFEREE}}), SCHEMA)
    referee = resolved.pop("pairwise")["referee"]
    assert resolved == plain
    assert REFEREE.items() <= referee.items() and referee["rubric"]["harmlessness"] == "resources/preference_harmlessness.txt"
    assert (referee["failed"], referee["axis"]) == ("error", "both") and "pairwise" not in plain


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"analysis": {"primary": None, "contrasts": []}},
            "analysis.contrasts is empty, but judges ask about the declared contrasts: referee. Add a contrast",
        ),
        ({"reproduction": {"folder": "results/published", "judges": ["referee"]}}, "reproduction.judges is referee, which does not exist"),
        ({"overrefusal": {"judge": "referee"}}, "overrefusal.judge is referee, which does not exist"),
        (
            {"datasets": {"half": {"from": "hh", "judge_margin": {"judge": "referee", "quantile": 0.1}}}},
            "datasets.half.judge_margin.judge is referee",
        ),
        ({"judges": {"deberta": None}}, "judges has referee only, asked for preferences: a study needs one judge that gives rewards, too"),
    ],
)
def test_what_needs_rewards_cannot_name_them(more, said):
    with pytest.raises(StudyError, match=f"^config: {said}"):
        resolve(merged(merged(load("config"), {"judges": {"referee": REFEREE}}), more), SCHEMA)

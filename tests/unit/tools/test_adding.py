"""A config file behind those of a finished study may add to it; what it would replace is not replaced unasked."""

import copy

import pytest

from hh_align.core.artifacts import write_json
from hh_align.core.errors import StudyError
from hh_align.tools import runs

SETTINGS = {
    "seeds": [1],
    "methods": {"dpo": {"beta": 0.1}},
    "policies": {"base": {}, "dpo": {"method": "dpo"}},
    "analysis": {"contrasts": [["dpo", "base"]]},
}


@pytest.fixture(autouse=True)
def finished(tmp_path, monkeypatch):
    """A study with a model, made with no config file but the default."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(runs.REPLACE, raising=False)
    begin([], SETTINGS)
    write_json(runs.Path("results/mine/models/base/manifest.json"), {})


def begin(files, settings):
    return runs.begin(runs.Path("results/mine"), {"--": []}, files, settings, {})


def with_setting(path, value):
    settings = copy.deepcopy(SETTINGS)
    holder = settings
    for key in path[:-1]:
        holder = holder.setdefault(key, {})
    holder[path[-1]] = value
    return settings


ADDED = [(("policies", "again"), {"parent": "dpo", "method": "dpo"}), (("methods", "soft"), {"beta": 0.05}), (("judges",), {"new": {"axis": "helpfulness"}}), (("overrefusal",), {"phrases": "p.txt"}),
         (("analysis", "contrasts"), [["again", "dpo"]]), (("claims",), [{"claim": "x"}])]  # fmt: skip
CHANGED = [(("methods", "dpo", "beta"), 0.2), (("seeds",), [1, 2]), (("policies", "dpo"), {}), (("methods",), {}),
           (("methods", "dpo", "max_rows"), 100), (("methods", "dpo", "lora"), {"r": 8}), (("policies", "base", "source"), "local"), (("prompts",), {"seed": 1})]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), ADDED)
def test_a_further_file_may_add_an_arm_and_its_analysis(path, value):
    assert f"{'.'.join(path)}" in begin(["mine.yaml"], with_setting(path, value))


@pytest.mark.parametrize(("path", "value"), CHANGED)
def test_a_further_file_replaces_nothing_unasked(path, value):
    with pytest.raises(StudyError, match=r"it was made with the default config, which has other settings .*HH_ALIGN_REPLACE=yes"):
        begin(["mine.yaml"], with_setting(path, value))


def test_what_stands_behind_other_files_adds_nothing():
    begin(["a.yaml"], SETTINGS)
    more = with_setting(*ADDED[0])
    with pytest.raises(StudyError, match=r"it was made with a\.yaml, which has other settings"):
        begin(["b.yaml"], more)
    begin(["a.yaml", "b.yaml"], more)

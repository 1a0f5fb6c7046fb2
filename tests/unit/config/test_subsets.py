"""Subsets of any name: the config says which axis each one speaks about."""

import gzip

import pytest
import yaml
from configs import SCHEMA, load, merged
from study_folder import StudyFolder

from hh_align.config.resolve import resolve
from hh_align.config.subsets import subset_axes
from hh_align.core.errors import StudyError

MINE = {
    "datasets": {"mine": {"source": "local", "path": "mine", "subsets": ["shop", "safety"]}, "safe": {"from": "mine", "subsets": ["safety"]}},
    "prompts": {"dataset": "mine", "harmlessness": {"subset": "safety"}, "helpfulness": {"subset": "shop"}},
}  # fmt: skip
TRAP = {"harmless-shop": "helpfulness", "helpful-police": "harmlessness"}


def test_the_prompts_say_which_subset_speaks_about_which_axis():
    assert subset_axes(MINE, "mine") == {"shop": "helpfulness", "safety": "harmlessness"}
    assert subset_axes(MINE, "safe") == {"safety": "harmlessness"}
    named = {"datasets": {"d": {"subsets": list(TRAP)}}, "prompts": {"harmlessness": {"subset": "helpful-police"}}}
    assert subset_axes(named, "d") == TRAP  # a name that begins like the other axis decides nothing


def demo(judge):
    """The demo's config on a user's own subsets, its judge refined."""
    return merged(load("demo"), {**MINE, "judges": {"small": judge}})


def test_a_judge_from_nothing_needs_a_subset_for_each_axis_that_it_judges():
    with pytest.raises(StudyError) as error:
        resolve(demo({"data": "safe"}), SCHEMA)
    assert str(error.value) == (
        "config: judges.small judges helpfulness, but of the subsets that it is trained on (safety) none speaks about it: of harmlessness is "
        "safety (prompts.harmlessness.subset), of helpfulness every other one. Add such a subset to datasets.safe, or set judges.small.axis to "
        "the other axis."
    )
    with pytest.raises(StudyError, match=r"judges.small judges helpfulness"):
        resolve(demo({"data": "safe", "axis": "helpfulness", "harmless_min": None}), SCHEMA)
    resolve(demo({"data": "safe", "axis": "harmlessness", "helpful_above": None}), SCHEMA)
    resolve(demo({}), SCHEMA)


def test_the_judges_training_is_told_the_axes_of_its_subsets(tmp_path):
    study = StudyFolder(tmp_path, "--configfile", "config/demo.yaml", "mine.yaml")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(MINE))
    for subset in ("shop", "safety"):
        (tmp_path / "mine" / subset).mkdir(parents=True)
        for split in ("train", "test"):
            (tmp_path / "mine" / subset / f"{split}.jsonl.gz").write_bytes(gzip.compress(b"", mtime=0))
    shown = study.run("--dry-run", "--printshellcmds", "results/demo/models/judges/small/manifest.json").stdout
    assert '"axes": ["harmlessness", "helpfulness"]' in shown and '"subsets": {"safety": "harmlessness", "shop": "helpfulness"}' in shown

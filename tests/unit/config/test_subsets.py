"""Subsets of any name: the config says which axis each one speaks about."""

import copy
import gzip

import pytest
import yaml
from configs import SCHEMA, load, merged
from study_folder import StudyFolder

from hh_align.config.resolve import resolve
from hh_align.config.selection import hub_selection
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
    return merged(load("demo"), copy.deepcopy({**MINE, "judges": {"small": judge}}))


def test_a_judge_from_nothing_needs_a_subset_for_each_axis_that_it_judges():
    with pytest.raises(StudyError) as error:
        resolve(demo({"data": "safe"}), SCHEMA)
    assert str(error.value) == (
        "config: judges.small judges helpfulness, but of the subsets that it is trained on (safety) none speaks about it: of harmlessness is "
        "safety (prompts.harmlessness.subset), of helpfulness every other one, unless datasets.*.axes says it. Add such a subset to datasets.safe, or set judges.small.axis to "
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


def test_the_datasets_own_axes_come_first_for_a_judges_data_of_other_names():
    axes = {"violence": "harmlessness", "theft": "harmlessness"}
    other = {"source": "local", "path": "other", "subsets": ["violence", "theft", "chat"], "axes": axes}
    config = merged(demo({"data": "other"}), {"datasets": {"other": other, "cut": {"from": "other", "subsets": ["theft", "chat"]}}})
    assert subset_axes(resolve(config, SCHEMA), "other") == {**axes, "chat": "helpfulness"}
    assert subset_axes(resolve(config, SCHEMA), "cut") == {"theft": "harmlessness", "chat": "helpfulness"}
    other.pop("axes")
    with pytest.raises(StudyError, match=r"judges.small judges harmlessness, but of the subsets .* \(violence, theft, chat\) none"):
        resolve(config, SCHEMA)


HUB = {"source": "hub", "repo": "org/pairs", "revision": "0" * 40, "layout": "datasets", "subsets": ["shop", "safety"]}
FAULTS = {
    "a filter of no subset": ({"where": {"shop": {"c": "x"}, "safty": {"c": "y"}}}, r"datasets.mine.where is safty, which does not exist"),
    "a subset without a filter": ({"where": {"shop": {"c": "x"}}}, r"datasets.mine.where says of no row that it is of safety"),
    "an axis of no subset": ({"axes": {"shp": "helpfulness"}}, r"datasets.mine.axes .*shp"),
    "an axis against the prompts": ({"axes": {"shop": "harmlessness"}}, r"prompts.helpfulness.subset is shop, which speaks about harmlessness"),
    "one config of two subsets": (HUB | {"path": None, "config": "default"}, r"datasets.mine.config is one config for 2 subsets"),
    "a config without a layout": (HUB | {"path": None, "config": "default", "layout": None}, r"datasets.mine"),
    "a filter without a config": (HUB | {"path": None, "where": {"shop": {"c": 1}, "safety": {"c": [2, 3]}}}, r"datasets.mine"),
    "a split that is not read": (HUB | {"path": None, "splits": ["test"], "train_split": "test", "split_names": {"train": "train_sft"}}, r"split_names names train"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_subsets_that_are_not_clear_are_refused(fault):
    more, said = FAULTS[fault]
    with pytest.raises(StudyError, match=said):
        resolve(merged(demo({}), {"datasets": {"mine": more}}), SCHEMA)


def test_one_config_of_the_hub_serves_both_axes_by_a_column():
    where = {"shop": {"category": "chat"}, "safety": {"category": ["violence", "theft"]}}
    more = HUB | {"path": None, "config": "default", "where": where, "split_names": {"train": "train_prefs"}}
    config = resolve(merged(demo({}), {"datasets": {"mine": more}}), SCHEMA)
    assert subset_axes(config, "mine") == {"shop": "helpfulness", "safety": "harmlessness"}
    assert hub_selection(config["datasets"]["mine"]) == {
        "layout": {"configs": ["default"], "splits": {"train": "train_prefs", "test": "test"}}
    }

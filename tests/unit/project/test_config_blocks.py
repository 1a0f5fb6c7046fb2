"""The configs that README and docs show: each refines the default config, or those that its first line names, and can be planned.

A line `# --configfile config/demo.yaml config/mine.yaml` in a block says that it stands behind another config.
"""

import re
from pathlib import Path

import pytest
import yaml
from configs import SCHEMA, layer, load
from study_folder import REPOSITORY, StudyFolder

from hh_align.config.graph import uncompared
from hh_align.config.resolve import resolve
from hh_align.config.selection import named_files

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
BLOCKS = {
    f"{path.stem}-{number}": block
    for path in PAGES
    for number, block in enumerate(re.findall(r'^```yaml title="config/[^"]+"\n(.*?)^```$', path.read_text(), re.MULTILINE | re.DOTALL))
}
FILES = ("path", "adapter", "phrases", "choices", "folder", "include")
"""Keys whose value is a file or a folder of the user's."""
MODEL = ("config.json", "model.safetensors", "tokenizer.json")
PUBLISHED = ["prompts/prompts.parquet"] + [
    f"{kind}/{policy}/seed-{0 if policy == 'base' else 42}.parquet"
    for kind in ("responses", "rewards/deberta")
    for policy in ("base", "sft", "dpo", "sft_dpo")
]


def configs_of(block: str) -> list[str]:
    """The configs that a block stands behind, the default one first."""
    named = re.match(r"# --configfile((?: config/\w+\.yaml)+) config/mine\.yaml$", block, re.MULTILINE)
    return ["config", *re.findall(r"config/(\w+)\.yaml", named[1] if named else "")]


def files_named(node: dict) -> list[str]:
    """The files that a config names; of a folder those that the study reads there."""
    found = []
    for key, value in node.items():
        if key == "rubric":
            found += value.values()
        elif isinstance(value, dict):
            found += files_named(value)
        elif isinstance(value, list):
            found += [file for entry in value if isinstance(entry, dict) for file in files_named(entry)]
        elif key in FILES and isinstance(value, str):
            splits = named_files({"splits": ["train", "test"], **node}) if "subsets" in node else []
            inside = {"folder": PUBLISHED, "include": ["task.yaml"]}.get(key) or splits or MODEL
            found += each_of(value) if Path(value).suffix else [f"{value}/{name}" for name in inside]
    return found


def each_of(path: str) -> list[str]:
    """The files that a path with {policy}, {seed} and {axis} stands for in the paper's study."""
    return [
        path.format(policy=policy, seed=42, axis=axis)
        for policy in ("base", "sft", "dpo", "sft_dpo")
        for axis in ("harmlessness", "helpfulness")
    ]


@pytest.mark.parametrize("name", BLOCKS)
def test_a_refinement_on_a_page_is_a_valid_study(name):
    base, *others = configs_of(BLOCKS[name])
    between = [layer(f"config/{other}.yaml") for other in others]
    before = resolve(load(base, *between), SCHEMA)
    config = resolve(load(base, *between, yaml.safe_load(BLOCKS[name])), SCHEMA)
    assert config != before
    assert not name.startswith("examples") or uncompared(config) == []  # a worked example gives every policy its verdict


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return StudyFolder(tmp_path_factory.mktemp("blocks"))


@pytest.mark.parametrize(
    "name",  # where it names no file, the schema's check above finds nearly all that can be wrong
    [
        name if files_named(yaml.safe_load(block)) or name.startswith("examples") else pytest.param(name, marks=pytest.mark.long)
        for name, block in BLOCKS.items()
    ],
)
def test_a_refinement_on_a_page_can_be_planned(folder, name):
    (folder.path / "config/mine.yaml").write_text(BLOCKS[name])
    for file in files_named(yaml.safe_load(BLOCKS[name])):
        (folder.path / file).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / file).touch()
    configs = [f"config/{config}.yaml" for config in [*configs_of(BLOCKS[name])[1:], "mine"]]
    output = folder.succeed("--dry-run", "--quiet", "rules", "--configfile", *configs)
    assert re.search(r"^total +[1-9]", output, re.MULTILINE), output[-2000:]


def test_every_config_on_a_page_is_one_of_them():
    # a block without the title would not be checked; settings.yaml is a verdict's, which its own tests check
    for path in PAGES:
        blocks = re.findall(r"^```ya?ml(.*)$", path.read_text(), re.MULTILINE)
        assert all(block.startswith((' title="config/', ' title="settings.yaml"')) for block in blocks), path
    assert len(BLOCKS) >= 27


def test_a_block_may_stand_behind_another_config():
    assert configs_of("seeds: [1]\n") == ["config"]
    assert configs_of("# --configfile config/demo.yaml config/mine.yaml\nseeds: [1]\n") == ["config", "demo"]

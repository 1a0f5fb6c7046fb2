"""The rules of the workflow against each other, against their steps and against the profiles."""

import argparse
import re
import shlex
from importlib import import_module
from pathlib import Path
from statistics import median

import pytest
import yaml
from rule_files import RULES, derived_rules, root_of, steps
from study_folder import REPOSITORY, StudyFolder

ALONE = {  # minutes long, or as many as there are policies: each is a job of its own on a cluster
    "import_base", "import_judge", "import_responses", "import_release", "import_policy", "merge_snapshot", "merge_adapter", "ask_endpoint",
    "ask_suite", "ask_preferences", "train_judge_head",
}  # fmt: skip


def test_the_rules_are_short():
    assert len(steps()) >= 55
    lines = {name: rule.text.rstrip().count("\n") + 1 for name, rule in derived_rules().items()}
    assert [name for name in lines if lines[name] > 23] == []
    assert median(lines.values()) <= 15 and sum(count > 19 for count in lines.values()) <= 10
    assert sum(path.read_text().count("\n") for path in RULES) <= 20 * len(steps())
    assert all(re.match(r"# .*\n(#.*\n)*", path.read_text()) for path in RULES)  # what it needs and what it makes


def test_a_steps_log_benchmark_and_timing_carry_its_name():
    for name in steps():
        text = derived_rules()[name].text
        paths = {kind: re.findall(rf'"<{kind}>/([^"]+)\.\w+"', text) for kind in ("logs", "benchmarks", "timings")}
        assert len(paths["logs"]) == 1 and paths["benchmarks"] == paths["logs"], name
        assert set(paths["timings"]) <= set(paths["logs"]) and paths["logs"][0].split("/")[0] == name, name


def test_the_cluster_profile_knows_every_rule():
    # a rule on a device that is not placed would go to the CPU partition; a step of a second without a group costs a job of its own
    profile = yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text())
    on_device = {name for name in steps() if root_of(name) in ("step_on_device", "launched_step")}
    local = {name for name in steps() if "localrule: True" in derived_rules()[name].text}
    assert set(profile["set-resources"]) == on_device
    assert set(profile["groups"]) == set(steps()) - on_device - local - ALONE
    assert set(profile["groups"].values()) == set(profile["group-components"])
    for name in on_device:  # a retry asks for more memory and time
        asked = re.findall(r"(?:mem_mb|runtime)=(\w+)\(", derived_rules()[name].text)
        assert asked in ([], ["per_attempt", "per_attempt"]), name


class Parsed(Exception):
    """Raised in the place of reading a command line."""


def options_of(module: str) -> dict[str, bool]:
    """Option -> whether it must be given, from the parser that the step's main makes."""

    def stop(parser, *_):
        raise Parsed(parser)

    step = import_module(module)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Parsed) as caught:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        step.main()
    return {action.option_strings[-1]: action.required for action in caught.value.args[0]._actions if action.dest != "help"}


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> dict[str, list[list[str]]]:
    """Module -> the words of its command lines, as a dry run of several studies prints them."""
    folder = StudyFolder(tmp_path_factory.mktemp("rules"))
    (folder.path / "answers.csv").touch()
    (folder.path / "ratings.csv").touch()
    more = {
        "responses": {"api": {"path": "answers.csv"}},
        "judges": {
            "people": {"source": "imported", "path": "ratings.csv", "harmless_min": 0.0, "helpful_above": 0.0},
            "llm": {"source": "endpoint", "url": "https://host/v1", "model": "m", "lowest": 1, "highest": 9, "harmless_min": 5.0, "helpful_above": 5.0},
        },
        "overrefusal": {},
        "capability": {"kinds": {}, "arc": {"lm_eval": "arc_easy"}},
        "suites": {"xstest": {}, "mine": {"path": "answers.csv"}},
        "prompts": {"harmlessness": {"suite": {"path": "answers.csv"}}},
        "analysis": {"labels": {"path": "ratings.csv"}},
    }  # fmt: skip
    (folder.path / "more.yaml").write_text(yaml.safe_dump(more))
    lines: dict[str, list[list[str]]] = {}
    studies = [
        ["config/config.yaml", "more.yaml"], ["config/demo.yaml", "config/extended_demo.yaml"], ["config/demo.yaml", "config/noise_demo.yaml"],
        ["config/published.yaml"],
    ]  # fmt: skip
    for files in studies:
        printed = folder.succeed("--dry-run", "--printshellcmds", "--configfile", *files, "--", "all", "export")
        for block in re.findall(r"^Shell command: (.*?)2>&1 \| tee", printed, re.MULTILINE | re.DOTALL):
            words = shlex.split(block.replace("\\\n", " "))
            module = next((word for word in words if word.startswith("hh_align.")), None)
            if module:
                lines.setdefault(module, []).append(words[words.index(module) + 1 :])
    return lines


def test_every_rule_gives_its_step_the_options_that_it_takes(commands):
    assert len(commands) >= 45
    for module, lines in commands.items():
        options = options_of(module)
        required = {name for name in options if options[name]}
        for words in lines:
            said = {word for word in words if re.fullmatch(r"--[a-z][a-z-]*", word)}
            assert required <= said <= set(options), (module, required - said, said - set(options))


def test_what_trains_starts_before_what_answers(tmp_path):
    printed = StudyFolder(tmp_path).succeed("--dry-run", "--configfile", "config/demo.yaml")
    first = set(re.findall(r"^rule (\w+):\n(?: .*\n)*?    priority: 1$", printed, re.MULTILINE))
    assert first == {"train_sft", "compute_references", "train_dpo"}


def test_the_code_of_each_rule_is_found_under_its_wing():
    for name in steps():
        module = re.search(r'runs\("(\w+)\.(\w+)"', derived_rules()[name].text)
        if module:
            assert derived_rules()[name].file.split("_")[0] == module[1] and module[2] == name
            assert Path(REPOSITORY, "workflow/scripts/hh_align", module[1], f"{name}.py").is_file()
        else:
            assert derived_rules()[name].base not in ("step", "step_on_device", "launched_step"), name

"""How messages on a config name a key: lists counted as people count, and the file that sets it where several are given."""

import pytest
from study_folder import StudyFolder

from hh_align.config.keys import nth, path_of, with_file


@pytest.mark.parametrize(
    ("index", "said"),
    [(0, "1st"), (1, "2nd"), (2, "3rd"), (3, "4th"), (10, "11th"), (11, "12th"), (12, "13th"), (20, "21st"), (111, "112th")],
)
def test_an_entry_is_counted_from_one(index, said):
    assert nth(index) == said


def test_a_path_tells_the_entry_of_a_list_from_a_key_that_is_a_number():
    config = {"analysis": {"contrasts": [["a"], ["b", "c"]]}, "judges": {1: {"a b": 5}}}
    assert path_of(["analysis", "contrasts", 1, 0], config) == "analysis.contrasts[2nd][1st]"
    assert path_of(["judges", 1, "a b"], config) == "judges.1.'a b'" and path_of([], config) == ""


FILES = [
    ("a.yaml", {"methods": {"sft": {"epochs": 1}, "dpo": {"beta": 0.1}}, "policies": {"dpo_beta0.1": {"parent": "x"}}, "seeds": [1]}),
    ("b.yaml", {"methods": {"sft": {"epochs": 2, "rate": 1}}, "analysis": {"contrasts": [[1]]}}),
    ("--config", {"methods": {"sft": {"epochs": 3}}, "wrong": 5, "judges": {1: {"axs": "both"}}}),
]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("methods.sft.epochs is 3: at least 4.", "--config"),
        ("methods.dpo.beta is 0.1.", "a.yaml"),
        ("methods.sft has no key rate. Allowed: epochs", "b.yaml"),
        ("the config has no key wrong. Allowed: seeds", "--config"),
        ("the config lacks the key prompts.", "config"),
        ("methods.dpo lacks the key epochs.", "a.yaml"),  # it alone writes it
        ("methods.sft lacks the key beta.", "config"),  # several do
        ("policies.dpo_beta0.1.parent is x, which does not exist. Allowed: y", "a.yaml"),
        ("analysis.contrasts[1st][2nd] is 1. Allowed: text.", "b.yaml"),
        ("seeds is 'x'. Allowed: list.", "a.yaml"),
        ("judges.1 has no key axs. Allowed: axis", "--config"),  # YAML reads some names as numbers
        ("models.base.path is x.", "config"),  # the defaults
        ("policies needs exactly one root", "a.yaml"),
    ],
)
def test_the_last_file_that_sets_a_key_is_named(message, said):
    assert with_file(f"config: {message}", FILES) == f"{said}: {message}"
    assert with_file(f"config: {message}", FILES[:1]) == with_file(f"config: {message}", []) == f"config: {message}"  # there is no other
    assert with_file("no such thing", FILES) == "no such thing"


def test_of_several_config_files_the_message_names_the_one(tmp_path):
    (tmp_path / "study").mkdir()
    folder = StudyFolder(tmp_path / "study")
    (folder.path / "right.yaml").write_text("methods: {sft: {epochs: 1}}\n")
    for parent in (folder.path, folder.path.parent):
        (parent / "bad.yaml").write_text("methods: {sft: {learning_rate: 2e-5x}}\n")
    done = folder.run("--dry-run", "--configfile", "bad.yaml", "right.yaml")
    said = "bad.yaml: methods.sft.learning_rate is the text '2e-5x', not a number (Peak learning rate of AdamW): write it in digits, as 0.5 or 2.0e-5."
    assert done.returncode == 1 and f"error: {said}" in done.stdout, done.stdout
    done = folder.run("--dry-run", "--configfile", "right.yaml", str(folder.path.parent / "bad.yaml"))
    assert done.returncode == 1 and f"error: {folder.path.parent / 'bad.yaml'}: methods.sft" in done.stdout, (
        done.stdout
    )  # of another folder
    done = folder.run("--dry-run", "--configfile", "right.yaml", "--config", "methods={sft: {epochs: 0}}")
    assert done.returncode == 1 and "error: --config: methods.sft.epochs is 0 " in done.stdout, done.stdout

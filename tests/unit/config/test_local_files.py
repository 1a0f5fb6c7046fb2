"""A file or folder that the config names and that is not there is one message, which says which, and what should be."""

import pytest
from study_folder import StudyFolder

from hh_align.tools.console import own_message

LAYOUT = (
    "The folder holds a file {} of each subset and split that the config names, with the ending .jsonl.gz, .jsonl, .json, .parquet or .csv."
)
LOCAL = "datasets={{hh: {{source: local, path: {}}}}}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study folder with a local dataset of which one file is there."""
    made = StudyFolder(tmp_path_factory.mktemp("local"))
    (made.path / "some/helpful-base").mkdir(parents=True)
    (made.path / "some/helpful-base/test.jsonl").touch()
    return made


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/no/such/folder", "config: datasets.hh.path is /no/such/folder: no such folder. Correct the path."),
        (
            "some",
            f"config: datasets.hh.path is some: harmless-base/train.jsonl.gz is not there, nor are 6 more. {LAYOUT.format('<subset>/<split>')}",
        ),
    ],
)
def test_a_local_dataset_that_is_not_there_is_one_message(folder, path, said):
    done = folder.run("--dry-run", "--config", LOCAL.format(path))
    errors = [line for line in done.stdout.splitlines() if line.startswith("error: ") or "Exception" in line]
    assert done.returncode == 1 and errors == [f"error: {said}"], done.stdout


def test_the_table_that_was_made_of_a_folder_is_enough(folder):
    table = folder.path / "results/paper/data/hh/preferences.parquet"
    table.parent.mkdir(parents=True)
    table.touch()
    done = folder.run("--dry-run", "--config", LOCAL.format("/no/such/folder"))
    table.unlink()
    assert "no such folder" not in done.stdout, done.stdout


def test_any_other_file_of_the_configs_is_one_message(folder):
    (folder.path / "mine.yaml").write_text("responses: {theirs: {path: nothere.csv, parent: base}}\n")
    done = folder.run("--dry-run", "--configfile", "mine.yaml")
    said = "error: nothere.csv is not there, and import_responses reads it. Correct the path in the config, or bring the file."
    assert done.returncode == 1 and said in done.stdout.splitlines() and "Exception" not in done.stdout, done.stdout


def test_of_several_files_the_first_is_named_and_the_others_are_counted():
    text = 'MissingInputException in rule x in file "/w/y.smk", line 7:\nMissing input files for rule x:\n    output: o\n    affected files:\n        b\n        c\n        d'
    assert own_message(text) == "b is not there, nor are 2 more, and x reads it. Correct the path in the config, or bring the file."

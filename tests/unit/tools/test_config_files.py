"""A config file that Snakemake cannot read is one message, said before any rule is read."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from study_folder import REPOSITORY, run_snakemake

from hh_align.tools.config_files import ending, fault, fault_of_words


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Two configs in config/ of the working directory, and one beside it."""
    monkeypatch.chdir(tmp_path)
    Path("config").mkdir()
    for name in ("config/demo.yaml", "config/noise_demo.yaml", "mine.yaml"):
        Path(name).write_text("study: x\n")
    return tmp_path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "x.yaml: the config file is empty. Write what is to differ from config/config.yaml"),
        (b"# only a remark\n", "x.yaml: the config file is empty."),
        (b"- a\n", "x.yaml: a list, where a config file has lines `key: value`."),
        (b"demo\n", "x.yaml: a single value, where"),
        (b"a: [\n", r"x.yaml: no readable YAML \(.* at line 2, column 1: \^\). Mend it there"),
        (b"a:\n\tb: 1\n", r"x.yaml: no readable YAML \(.*'\\t'.* at line 2, column 1"),
        (b"a: 2026-13-45\n", r"x.yaml: no readable YAML \(month must be in"),
        (b"a: \xff\n", "x.yaml: no config file: byte 4 is no UTF-8 text."),
    ],
)  # fmt: skip
def test_what_is_no_config_is_said_with_what_to_do(content, said):
    Path("x.yaml").write_bytes(content)
    assert re.match(said, fault(Path("x.yaml")))


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("demo", "no config file demo. Did you mean config/demo.yaml? There are: config/demo.yaml, config/noise_demo.yaml, mine.yaml."),
        ("config/dmo.yaml", "no config file config/dmo.yaml. Did you mean config/demo.yaml?"),
        ("mine.yml", "no config file mine.yml. Did you mean mine.yaml?"),
        ("zzz", "no config file zzz. There are:"),
        (
            "results/demo/a.parquet",
            "results/demo/a.parquet: --configfile takes every word behind it for a config file. Before an artifact's name write --: -- results",
        ),
        ("results/a.yaml", "no config file results/a.yaml. There are:"),
        ("x" * 300, "x" * 300 + ": File name too long. Check the path."),
        ("config", "config: a folder, no config file. Name a YAML file in it: config/demo.yaml, config/noise_demo.yaml."),
    ],
)
def test_a_file_that_is_not_there_is_answered_with_the_one_that_is_meant(named, said):
    assert fault(Path(named)).startswith(said)


def test_only_a_fault_that_is_known_takes_the_place_of_the_failure():
    def broken(_):
        raise KeyError("of Snakemake's own")

    with pytest.raises(KeyError):
        ending(broken, fault)(Path("mine.yaml"))
    with pytest.raises(SystemExit, match=r"^error: no config file \\x1b\.yaml"):
        ending(broken, fault)(Path("\x1b.yaml"))
    assert ending(lambda path: {"a": path}, fault)("no such") == {"a": "no such"}
    assert fault_of_words(["ab=1", "dict={b: 1}", "empty="]) == "" and fault_of_words(["ab=1", "=2"]).startswith(
        "--config =2: no key=value"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--configfile", "config/demo.yaml", "nosuch.yaml"], "error: no config file nosuch.yaml. There are: config/broken_demo.yaml, "),
        (["--config", "seeds"], "error: --config seeds: no key=value."),
    ],
)
def test_snakemake_itself_says_it_and_nothing_else(words, said):
    done = run_snakemake(["--dry-run", *words], REPOSITORY)
    first, last = done.stdout.splitlines()
    assert done.returncode == 1 and first.startswith("Using workflow specific profile") and last.startswith(said)


def test_a_checkout_in_the_working_directory_lends_its_package_to_no_other_workflow(tmp_path):
    package = tmp_path / "workflow/scripts/hh_align"
    (package / "tools").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "tools/config_files.py").write_text("def answer_for_snakemake():\n    print('of another version')\n")
    shutil.copytree(REPOSITORY / "profiles/default", tmp_path / "profiles/default")
    words = ["--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", str(REPOSITORY / "config/demo.yaml"), "--list-rules"]
    done = run_snakemake(words, tmp_path)
    assert done.returncode == 0 and "of another version" in done.stdout and "train_sft" in done.stdout, done.stdout
    (package / "tools/config_files.py").unlink()  # a version before there was such a module
    assert run_snakemake(words, tmp_path).returncode == 0


def test_every_profile_has_snakemake_answer_so():
    """A profile that is named takes the place of the default one, so each has the lines."""
    profiles = [yaml.safe_load(path.read_text()) for path in sorted(REPOSITORY.glob("profiles/*/config.yaml"))]
    said = [(profile["__use_yte__"], profile["__definitions__"]) for profile in profiles]
    assert len(said) == 3 and said[0] == said[1] == said[2] and "answer_for_snakemake()" in said[0][1][0]

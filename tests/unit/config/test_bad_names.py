"""Bad configs: names become folders, so none may lead out of the results folder or mean something to a shell; nor may a repository or file."""

import copy

import pytest
from configs import SCHEMA
from hypothesis import strategies as st
from whole_configs import WHOLE, drawn, put, refused

from hh_align.config.check_texts import check_marks
from hh_align.config.resolve import resolve
from hh_align.core.errors import StudyError

WRONG_NAMES = [
    "", ".", "..", "../x", "a/../../x", "/x", "a/b", "a\\b", "x/", "~", "~root", "-rf", "a b", " a", "a ", "a\n", "\na", "a\tb", "a\0b", "$(id)", "`id`", "a;b", "a&b",
    "a|b", "a>b", "a*", "a?", "[a]", "{policy}", "{{a}}", "a'b", 'a"b', "a#b", "a%b", "!a", "a:b", "a=b", "a,b", "ä", "ａ", "a\u202eb", "\u2024\u2024", "A", "a" * 65, "a" * 5000,
]  # fmt: skip
HOLDERS = {"datasets": "hh", "methods": "sft", "policies": "sft", "judges": "deberta", "suites": "mine"}


@pytest.mark.parametrize("word", WRONG_NAMES, ids=ascii)
@pytest.mark.parametrize("section", ["study", *HOLDERS])
def test_a_name_that_could_leave_its_folder_is_refused(section, word):
    config = copy.deepcopy(WHOLE["config"])
    if section == "study":
        config["study"] = word
    else:
        config[section][word] = config[section][HOLDERS[section]]
    with pytest.raises(StudyError, match=section) as error:
        resolve(config, SCHEMA)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("word", ["pairs.parquet", "manifest.json", "seed-1.lock", "a.damaged"])
@pytest.mark.parametrize("section", HOLDERS)
def test_a_name_that_is_a_files_is_refused(section, word):
    config = copy.deepcopy(WHOLE["config"])
    config[section][word] = config[section][HOLDERS[section]]
    with pytest.raises(StudyError, match=rf"{section}.{word}: a name that ends with .* is a file's. Call it {word.partition('.')[0]}\."):
        resolve(config, SCHEMA)


@pytest.mark.parametrize("section", HOLDERS)
def test_a_name_that_is_that_of_the_folder_of_all_studies_is_refused(section):
    config = copy.deepcopy(WHOLE["config"])
    config[section]["results"] = config[section][HOLDERS[section]]
    with pytest.raises(StudyError, match=rf"config: {section}.results: that is the name of the folder"):
        resolve(config, SCHEMA)


@pytest.mark.parametrize("study", ["hub", "bench", "verdict", "compare", "results"])
def test_a_study_is_not_called_like_what_else_lies_in_results(study):
    with pytest.raises(StudyError, match="study"):
        resolve(WHOLE["config"] | {"study": study}, SCHEMA)


@pytest.mark.parametrize(
    ("keys", "path", "said"),
    [
        (("responses", "api", "path"), "a/{policy}-{seed}.csv", r"only \{seed\} may stand in braces"),
        (("judges", "rated", "path"), "{judge}.csv", r"only \{policy\} and \{seed\} and \{axis\} may stand in braces"),
        (("analysis", "labels", "path"), "my{1}.csv", "none may stand in braces"),
        (("overrefusal", "phrases"), "a}b.txt", "none may stand in braces"),
    ],
)
def test_braces_in_a_path_that_mean_nothing_are_refused(keys, path, said):
    with pytest.raises(StudyError, match=rf"config: {'.'.join(keys)} is .*{said} there. Rename the file or folder"):
        check_marks({keys[0]: {keys[1]: {keys[2]: path} if len(keys) > 2 else path}})


@pytest.mark.parametrize(
    ("section", "path"), [("responses", "{seed}.csv"), ("judges", "{axis}/{policy}-{seed}.csv"), ("datasets", "plain")]
)
def test_braces_that_mean_something_stay(section, path):
    check_marks({section: {"name": {"path": path}}})


def test_a_sentence_stands_once():
    config = copy.deepcopy(WHOLE["config"])
    config["claims"] = [config["claims"][0], config["claims"][0]]
    with pytest.raises(StudyError, match=r"config: claims: .* stands twice"):
        resolve(config, SCHEMA)


RESERVED = st.sampled_from("/\\ \n\t\0$`;&|<>*?[]{}()'\"#%!:=,~@+^")


@pytest.mark.parametrize("section", ["study", *HOLDERS])
def test_no_drawn_name_with_a_reserved_character_passes(section):
    plain = st.text("abc019._-", max_size=9)
    drawn(
        st.builds(lambda a, sign, b: a + sign + b, plain, RESERVED, plain),
        lambda word: test_a_name_that_could_leave_its_folder_is_refused(section, word),
        40,
    )


FILES = ["", "..", "../x.json", "/x.json", "prompts/../../x.json", "responses/../x", "prompts//x", "elsewhere/x.json", "prompts/a b", "prompts/$(id)", "prompts/x\n", "prompts/" + "a" * 200]  # fmt: skip


@pytest.mark.parametrize("word", FILES, ids=ascii)
def test_a_released_file_lies_in_the_releases_folder(word):
    refused("published", ("release", "sums"), lambda release: release["sums"].update({word: "0" * 64}))
    refused("published", ("release", "policies", "sft"), lambda names: names.update({"sft": word}))


@pytest.mark.parametrize(
    "word",
    ["x", "a/b/c", "../x", "a/..", "/b", "a/", "a/.b", "a b/c", "https://hub/a/b", "a/b\n", "-a/b", "a/" + "b" * 200, "ä/b"],
    ids=ascii,
)
@pytest.mark.parametrize(("name", "path"), [("config", ("models", "base", "repo")), ("config", ("judges", "deberta", "repo")), ("config", ("datasets", "hh", "repo")), ("published", ("release", "repo"))])  # fmt: skip
def test_a_repository_is_an_owner_and_a_name(name, path, word):
    refused(name, path, put(path, word))


@pytest.mark.parametrize("word", ["main", "061d15c", "A" * 40, "0" * 39, "0" * 41, "0" * 40 + "\n", "refs/pr/33", "../" + "0" * 37])
@pytest.mark.parametrize(("name", "path"), [("config", ("models", "base", "revision")), ("config", ("judges", "deberta", "revision")), ("config", ("datasets", "hh", "revision")), ("published", ("release", "revision"))])  # fmt: skip
def test_a_revision_is_a_whole_commit(name, path, word):
    refused(name, path, put(path, word))


@pytest.mark.parametrize("word", ["", "../x", "a/b", "a b", "a\n", "/x", ".", "..", ".a", "$(id)", "a" * 65, "ä"], ids=ascii)
def test_a_subset_is_one_folder(word):
    for name, dataset in (("config", "hh"), ("config", "own")):
        path = ("datasets", dataset, "subsets", 0)
        refused(name, path, lambda subsets: subsets.__setitem__(0, word))


@pytest.mark.parametrize(
    "word", ["https://user:hf_secret@host", "https://hf_secret@host", "ftp://host", "host", "https://host?token=hf_secret", ""]
)
def test_an_endpoint_holds_no_secret(word):
    refused("published", ("release", "endpoint"), put(("release", "endpoint"), word))

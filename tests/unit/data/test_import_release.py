"""Released prompts, responses and ratings as tables: the paper's own, and one error that names file and entry for another shape."""

import json

import pyarrow.parquet as pq
import pytest
import yaml
from command_line import assert_refused, call
from preference_rows import shared_folder
from study_folder import REPOSITORY

from hh_align.core.artifacts import sha256
from hh_align.data import import_release


def test_the_papers_release_as_tables(tmp_path):
    # what a notebook reads from an import must have the same names as from a run, and null where the release says nothing
    release = shared_folder("paper-release")
    config = yaml.safe_load((REPOSITORY / "config/published.yaml").read_text())["release"]
    names = {policy: f"{policy}/seed-{0 if policy == 'base' else 42}.parquet" for policy in config["policies"]}
    paths = {kind: [tmp_path / kind / name for name in names.values()] for kind in ("responses", "rewards")}
    status, output = call(import_release, config=config, release=release, prompts=tmp_path / "prompts.parquet", **paths)
    assert status == 0 and "100 prompts, 400 responses" in output
    prompts = pq.read_table(tmp_path / "prompts.parquet").to_pylist()
    assert [row["prompt_id"] for row in prompts[49:51]] == ["harmlessness-049", "helpfulness-000"]
    assert {row["row"] for row in prompts} == {None} and not any(row["keywords"] for row in prompts[50:])
    assert sum(bool(row["keywords"]) for row in prompts[:50]) >= 40
    empty = {}
    for policy, name in names.items():
        rows = pq.read_table(tmp_path / "responses" / name).to_pylist()
        empty[policy] = [sum(not row["response"].strip() for row in part) for part in (rows[:50], rows[50:])]
        assert {row["finish"] for row in rows} == {None}
    assert empty == {"base": [2, 3], "sft": [0, 0], "dpo": [3, 1], "sft_dpo": [0, 0]}


def test_a_second_judge_cannot_be_given_the_first_ones_ratings(tmp_path):
    # the release has one rating of each response: under another judge's name they would be a lie
    rewards = [tmp_path / f"rewards/{judge}/base/seed-0.parquet" for judge in ("deberta", "other")]
    config = {"policies": {"base": "1_base"}, "sums": {}}
    paths = {"prompts": tmp_path / "p", "responses": [tmp_path / "r"], "rewards": rewards}
    assert_refused(call(import_release, config=config, release=tmp_path, **paths), "Leave one entry in judges and one in seeds")


def write_release(folder, **change):
    prompts = {name: [f"Human: {name} {number}" for number in range(3)] for name in ("harmful", "helpful")}
    for name, texts in prompts.items():
        files = {
            f"prompts/{name}_prompts.json": texts,
            f"responses/1_{name}.json": [{"prompt": text, "response": "r", "rating": -1.5} for text in texts],
        }
        for file, value in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(json.dumps(value))
    for file, content in change.items():
        (folder / file).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def entries(**more):
    return [{"prompt": f"Human: harmful {number}", "response": "r", "rating": -1.5} | (more if number == 1 else {}) for number in range(3)]


RELEASES = {
    "a text": ("responses/1_harmful.json", "text", "not a JSON list but str"),
    "an object": ("responses/1_harmful.json", {"a": 1}, "not a JSON list but dict"),
    "null": ("responses/1_harmful.json", None, "not a JSON list but NoneType"),
    "cut": ("responses/1_harmful.json", b'[{"prompt": ', "not JSON"),
    "nothing": ("responses/1_harmful.json", b"", "not JSON"),
    "not UTF-8": ("responses/1_harmful.json", b'["\xff"]', "not JSON"),
    "byte order mark": ("responses/1_harmful.json", b"\xef\xbb\xbf[]", "not JSON"),
    "nested too deeply": ("responses/1_harmful.json", b"[" * 100_000, "not JSON"),
    "a number of 5,000 digits": ("responses/1_harmful.json", b"[" + b"1" * 5000 + b"]", "not JSON"),
    "HTML": ("responses/1_harmful.json", b"<html>", "not JSON"),
    "an empty list": ("responses/1_harmful.json", [], "0 entries for 3 prompts"),
    "one entry less": ("responses/1_harmful.json", entries()[:2], "2 entries for 3 prompts"),
    "one entry more": ("responses/1_harmful.json", [*entries(), entries()[0]], "4 entries for 3 prompts"),
    "another order": ("responses/1_harmful.json", entries()[::-1], "entry 0 answers another prompt"),
    "texts": ("responses/1_harmful.json", ["a", "b", "c"], "entry 0 must hold prompt, response and rating"),
    "lists": ("responses/1_harmful.json", [["a"], ["b"], ["c"]], "entry 0 must hold"),
    "no rating": ("responses/1_harmful.json", [{"prompt": "Human: harmful 0", "response": ""}] * 3, "entry 0 must hold"),
    "rating a text": ("responses/1_harmful.json", entries(rating="-1.5"), "entry 1: the rating '-1.5' is no finite number"),
    "rating true": ("responses/1_harmful.json", entries(rating=True), "entry 1: the rating True"),
    "rating null": ("responses/1_harmful.json", entries(rating=None), "entry 1: the rating None"),
    "rating a list": ("responses/1_harmful.json", entries(rating=[1]), "entry 1: the rating"),
    "rating NaN": ("responses/1_harmful.json", entries(rating=float("nan")), "entry 1: the rating nan"),
    "rating infinite": ("responses/1_harmful.json", entries(rating=float("inf")), "entry 1: the rating inf"),
    "rating beyond a double": ("responses/1_harmful.json", entries(rating=10**400), "entry 1: the rating"),
    "response null": ("responses/1_harmful.json", entries(response=None), "entry 1: the response is no text"),
    "response a number": ("responses/1_harmful.json", entries(response=5), "entry 1: the response is no text"),
    "response half a surrogate pair": ("responses/1_harmful.json", entries(response="\ud83d"), "entry 1: the response"),
    "another prompt": ("responses/1_harmful.json", entries(prompt="Human: another"), "entry 1 answers another prompt"),
    "prompt a list": ("responses/1_harmful.json", entries(prompt=[]), "entry 1 answers another prompt"),
    "prompts an object": ("prompts/harmful_prompts.json", {}, "not a JSON list but dict"),
    "prompts empty": ("prompts/harmful_prompts.json", [], "no prompt"),
    "prompts numbers": ("prompts/harmful_prompts.json", [1, 2, 3], "entry 0 is no text but int"),
    "prompts nested": ("prompts/harmful_prompts.json", [["a"], "b", "c"], "entry 0 is no text but list"),
    "prompt half a surrogate pair": ("prompts/harmful_prompts.json", ["\ud83d", "b", "c"], "entry 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", RELEASES)
def test_a_release_of_another_shape_is_one_error_that_names_the_entry(tmp_path, case):
    name, content, said = RELEASES[case]
    write_release(tmp_path / "release", **{name: content})
    options = {"release": tmp_path / "release", "prompts": tmp_path / "prompts.parquet", "responses": tmp_path / "responses/base/seed-0.parquet", "rewards": tmp_path / "rewards/j/base/seed-0.parquet"}  # fmt: skip
    result = call(import_release, config={"policies": {"base": "1"}, "sums": {}}, **options)
    assert_refused(result, said, where=tmp_path / "release" / name)
    assert [path.name for path in tmp_path.iterdir()] == ["release"]


@pytest.mark.parametrize("sums", [{"responses/1_harmful.json": "0" * 64}, {"prompts/helpful_prompts.json": "0" * 64}])
def test_a_released_file_with_another_sum_is_refused(tmp_path, sums):
    write_release(tmp_path / "release")
    checksum = sha256(tmp_path / "release" / next(iter(sums)))
    options = {
        "release": tmp_path / "release",
        "prompts": tmp_path / "p",
        "responses": tmp_path / "r/base/x",
        "rewards": tmp_path / "w/base/x",
    }
    assert_refused(
        call(import_release, config={"policies": {"base": "1"}, "sums": sums}, **options),
        f"sha256 {checksum}, the config says 0000",
        where=next(iter(sums)),
    )

"""Releases of another shape: one error that names the file and the entry."""

import json

import pytest
from command_line import assert_refused, call

from hh_align.core.artifacts import sha256
from hh_align.data import import_release


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

"""Damaged artifacts and foreign tables at the door of every kind of step: one error that names the file, never other numbers."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import assert_refused, call
from study_folder import REPOSITORY
from tinymodels import write_judge, write_opt

from hh_align.analysis import compare_runs, compute_metrics, correct_by_labels, gather_ratings
from hh_align.core.artifacts import read_table, sha256, write_manifest, write_table
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, RESPONSES, REWARDS
from hh_align.data import derive_dataset, prepare_preferences, select_prompts
from hh_align.data.preferences import SCHEMA
from hh_align.evaluation import gather_shards, generate_responses, import_release, score_responses
from hh_align.models import import_model
from hh_align.report import export_csv
from hh_align.tools import verdict as judge_responses

AXES = ("harmlessness", "helpfulness")
SELECT = {"seed": 1} | {
    axis: {"subset": "s", "split": "test", "keywords": [], "match": "substring", "scope": "prompt", "n": 3} for axis in AXES
}
DERIVE = {"training_half": [], "labels": True, "label_seed": 1}
GENERATE = {"device": "cpu", "dtype": "float32", "max_new_tokens": 2, "batch_tokens": 200, "cue": False, "stop": False, "strip": False, "long_prompts": "error"}  # fmt: skip
SCORE = {"device": "cpu", "dtype": "float32", "batch_tokens": 200}
ANALYSE = {
    "judges": {"j": {"harmless_min": 0.0, "helpful_above": 0.0}}, "policies": {"base": {"parent": None}, "sft": {"parent": "base"}},
    "order": ["base", "sft"], "seeds": [1], "bootstrap": {"samples": 1000, "seed": 1}, "contrasts": [["sft", "base"]], "primary": [],
    "equivalence_margin": 5.0, "seed": 1,
}  # fmt: skip


def pairs(count=12):
    made = [
        prepare_preferences.split_pair({side: f"\n\nHuman: {n}\n\nAssistant: {side}" for side in ("chosen", "rejected")})
        for n in range(count)
    ]
    return [{"split": "test", "subset": "s", "row": number, **row} for number, row in enumerate(made)]


def places(n=6):
    return [{"axis": axis, "prompt_id": f"{axis}-{number:03d}"} for axis in AXES for number in range(n)]


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """One sound artifact of each kind."""
    folder = tmp_path_factory.mktemp("sound")
    for kind, write in (("policy", write_opt), ("judge", write_judge)):
        write(folder / f"{kind}-source")
        write_manifest(folder / f"{kind}-source", [path.name for path in (folder / f"{kind}-source").iterdir()])
        status, output = call(
            import_model,
            config={"kind": kind, "notice": ""},
            source=folder / f"{kind}-source/manifest.json",
            manifest=folder / kind / "manifest.json",
        )
        assert status == 0, output
    write_table(folder / "preferences.parquet", pairs(), SCHEMA, {})
    prompts = [
        {**place, "subset": "s", "row": 1, "cluster": f"c{number}", "prompt": f"Human: {number}", "keywords": []}
        for number, place in enumerate(places())
    ]
    write_table(folder / "prompts.parquet", prompts, PROMPTS, {})
    stream = random.Random(1)
    for policy, seed in (("base", 0), ("sft", 1)):
        answers = [
            {**place, "response": f"r{number}", "response_tokens": 1, "finish": "eos", "top2_gap_min": 1.0, "cut_tokens": 0}
            for number, place in enumerate(places())
        ]
        write_table(folder / f"responses/{policy}/seed-{seed}.parquet", answers, RESPONSES, {})
        rewards = [{**place, "reward": stream.gauss(0, 1), "input_tokens": 1, "cut_tokens": 0} for place in places()]
        write_table(folder / f"rewards/j/{policy}/seed-{seed}.parquet", rewards, REWARDS, {})
    module, options, _ = steps(folder)["gather_ratings"]
    status, output = call(module, **options | {"output": folder / "ratings.parquet"})
    assert status == 0, output
    return folder


@pytest.fixture
def place(sound, tmp_path):
    """A copy of the sound artifacts to damage."""
    shutil.copytree(sound, tmp_path / "made", copy_function=shutil.copy)
    return tmp_path / "made"


def steps(folder):
    """Name -> (script, its options, the tables that it reads)."""
    job = {"threads": 1, "state": folder / "state", "output": folder / "out.parquet", "timing": folder / "timing.json"}
    rewards, responses = (
        [folder / f"{kind}/base/seed-0.parquet", folder / f"{kind}/sft/seed-1.parquet"] for kind in ("rewards/j", "responses")
    )
    runs = {"our_responses": responses, "their_responses": responses, "their_rewards": rewards}
    held = {"held_against": {"judges": ["j"], "checkpoints": [["base", 0], ["sft", 1]]}}
    ratings = folder / "ratings.parquet"
    prompts, preferences = folder / "prompts.parquet", folder / "preferences.parquet"
    beside = {name: folder / f"{name}.parquet" for name in ("census", "dropped", "contaminated")}
    return {
        "select_prompts": (select_prompts, {"config": SELECT, "preferences": preferences, "output": folder / "out.parquet"}, [preferences]),
        "derive_dataset": (derive_dataset, {"config": DERIVE, "preferences": preferences, "prompts": prompts, "output": folder / "out.parquet", **beside}, [preferences, prompts]),
        "generate_responses": (generate_responses, {"config": GENERATE, "policy": folder / "policy/manifest.json", "prompts": prompts, **job}, [prompts]),
        "score_responses": (score_responses, {"config": SCORE, "judge": folder / "judge/manifest.json", "prompts": prompts, "responses": responses[0], **job}, [prompts, responses[0]]),
        "gather_ratings": (gather_ratings, {"config": ANALYSE, "prompts": prompts, "rewards": rewards, "responses": responses, "output": folder / "out.parquet"}, [prompts, rewards[1], responses[1]]),
        "compute_metrics": (compute_metrics, {"config": ANALYSE, "ratings": ratings, "output": folder / "out.parquet"}, [ratings]),
        "compare_runs": (compare_runs, {"config": ANALYSE | held, "ratings": ratings, "our_prompts": prompts, "their_prompts": prompts, **runs, "output": folder / "out.parquet", "summary": folder / "summary.parquet"}, [ratings, prompts, rewards[1], responses[1]]),
        "export_csv": (export_csv, {"table": rewards[0], "output": folder / "out.csv"}, [rewards[0]]),
        "gather_shards": (gather_shards, {"shards": rewards, "output": folder / "out.parquet"}, [rewards[0], rewards[1]]),
    }  # fmt: skip


def garble(path):
    """Other bytes in every column."""
    content = bytearray(path.read_bytes())
    for at in range(4, len(content) // 2):
        content[at] ^= 0x55
    path.write_bytes(content)


def wrong_type(path):
    table = pq.read_table(path)
    columns = {
        name: [str(value) for value in table[name].to_pylist()] if name == "reward" else [1] * len(table) for name in table.column_names
    }
    pq.write_table(pa.table(columns), path)


def without_columns(path):
    pq.write_table(pa.table({"other": [1, 2]}), path)


DAMAGE = {
    "cut at its end": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "not a readable Parquet file"),
    "cut in half": (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "not a readable Parquet file"),
    "empty": (lambda path: path.write_bytes(b""), "not a readable Parquet file"),
    "zeros": (lambda path: path.write_bytes(bytes(path.stat().st_size)), "not a readable Parquet file"),
    "CSV": (lambda path: path.write_text("axis,prompt_id\n"), "not a readable Parquet file"),
    "garbled": (garble, "not a readable Parquet file"),
    "of another type": (wrong_type, r"column \w+ is (int64|string), not (string|double)"),
    "without its columns": (without_columns, "column .* is missing; it has"),
    "missing": (lambda path: path.unlink(), "No such file"),
}


def cases():
    for name, (_, _, tables) in steps(Path("x")).items():
        for number, table in enumerate(tables):
            for damage in DAMAGE:
                if name in ("export_csv", "gather_shards") and damage in ("of another type", "without its columns"):
                    continue  # they take any table
                yield pytest.param(name, number, damage, id=f"{name}-{table.parent.name}/{table.name}-{damage}")


@pytest.mark.parametrize(("name", "number", "damage"), list(cases()))
def test_a_damaged_table_is_one_error_that_names_it(place, name, number, damage):
    module, options, tables = steps(place)[name]
    change, said = DAMAGE[damage]
    change(tables[number])
    assert_refused(call(module, **options), said, where=tables[number])
    assert not (place / "out.parquet").exists() and not (place / "out.csv").exists()


@pytest.mark.parametrize(
    "name",
    ["select_prompts", "derive_dataset", "generate_responses", "score_responses", "gather_ratings", "compute_metrics", "compare_runs"],
)
def test_the_same_steps_run_on_sound_tables(place, name):
    module, options, _ = steps(place)[name]
    status, output = call(module, **options)
    assert status == 0, output


def test_no_flipped_byte_of_a_table_changes_a_number(sound, tmp_path):
    # without checksums half of the flips in a table like this are read as other rewards
    table = sound / "rewards/j/sft/seed-1.parquet"
    content, rows = table.read_bytes(), read_table(table)
    footer = content.rindex(b"PAR1") - int.from_bytes(content[-8:-4], "little")
    copy = tmp_path / "copy.parquet"
    for at in range(4, footer - 4, 3):
        copy.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        try:
            assert read_table(copy).equals(rows), at
        except StudyError as error:
            assert "not a readable Parquet file" in str(error)


# --- what the tables say


def rewrite(path, schema, change):
    rows = pq.read_table(path).to_pylist()
    write_table(path, change(rows), schema, {})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [{**row, "reward": float("nan")} if number == 3 else row for number, row in enumerate(rows)], r"no finite reward for 1 prompts \(harmlessness-003\)"),
        (lambda rows: [{**row, "reward": float("-inf")} for row in rows], "no finite reward for 12 prompts"),
        (lambda rows: [{**row, "reward": None} if number == 3 else row for number, row in enumerate(rows)], "no finite reward for 1 prompts"),
        (lambda rows: rows[1:], r"no row for 1 prompts \(harmlessness-000\)"),
        (lambda rows: [*rows, rows[0]], "more than one reward for 1 prompts"),
        (lambda rows: [], "no row for 12 prompts"),
        (lambda rows: [{**row, "prompt_id": f"x{row['prompt_id']}"} for row in rows], "no row for 12 prompts"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["gather_ratings", "compare_runs"])
def test_rewards_that_are_no_numbers_or_do_not_fit_are_named(place, name, change, said):
    path = place / "rewards/j/sft/seed-1.parquet"
    rewrite(path, REWARDS, change)
    module, options, _ = steps(place)[name]
    assert_refused(call(module, **options), said)


@pytest.mark.parametrize(
    ("prompt", "more", "said"),
    [
        ("", {}, "helpfulness-001: the prompt is empty"),
        (" \n\t\u00a0", {}, "helpfulness-001: the prompt is empty"),
        ("a" * 3000, {}, r"helpfulness-001: 3001 tokens; the policy reads at most 2046"),
        ("a", {"max_new_tokens": 2048, "long_prompts": "cut"}, "generation.max_new_tokens is 2048"),
        ("a", {"max_new_tokens": 5000}, "generation.max_new_tokens is 5000"),
    ],
)  # fmt: skip
def test_prompts_that_a_policy_cannot_read_are_named(place, prompt, more, said):
    rewrite(
        place / "prompts.parquet",
        PROMPTS,
        lambda rows: [{**row, "prompt": prompt} if row["prompt_id"] == "helpfulness-001" else row for row in rows],
    )
    module, options, _ = steps(place)["generate_responses"]
    assert_refused(call(module, **options | {"config": GENERATE | more}), said)


@pytest.mark.parametrize("name", ["generate_responses", "score_responses", "gather_ratings"])
def test_no_prompts_are_an_error(place, name):
    for table, schema in ((place / "prompts.parquet", PROMPTS), (place / "responses/base/seed-0.parquet", RESPONSES), (place / "rewards/j/base/seed-0.parquet", REWARDS),
                          (place / "responses/sft/seed-1.parquet", RESPONSES), (place / "rewards/j/sft/seed-1.parquet", REWARDS)):  # fmt: skip
        write_table(table, [], schema, {})
    module, options, _ = steps(place)[name]
    assert_refused(call(module, **options), "no prompt")


@pytest.mark.parametrize("change", [lambda rows: rows[:-1], lambda rows: rows[::-1], lambda rows: [*rows, rows[0]]])
def test_responses_to_other_prompts_are_refused(place, change):
    rewrite(place / "responses/base/seed-0.parquet", RESPONSES, change)
    module, options, _ = steps(place)["score_responses"]
    assert_refused(call(module, **options), "hold different prompts", where=place / "responses/base/seed-0.parquet")


# --- models


def edit_json(path, **more):
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def seal(folder):
    write_manifest(folder, [path.name for path in folder.iterdir() if path.name != "manifest.json"])


MODEL_DAMAGE = {
    "weights cut": (lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]), "model.safetensors is damaged"),
    "weights garbled": (lambda folder: garble(folder / "model.safetensors"), "model.safetensors is damaged"),
    "weights missing": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
    "settings edited": (lambda folder: edit_json(folder / "config.json", vocab_size=5), "config.json is damaged"),
    "tokenizer edited": (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer.json is damaged"),
    "manifest cut": (lambda folder: (folder / "manifest.json").write_text('{"config.json": '), "not a readable manifest"),
    "manifest a list": (lambda folder: (folder / "manifest.json").write_text('["config.json"]'), "not a readable manifest"),
    "manifest empty": (lambda folder: (folder / "manifest.json").write_text(""), "not a readable manifest"),
    "manifest not UTF-8": (lambda folder: (folder / "manifest.json").write_bytes(b"\xff"), "not a readable manifest"),
    "manifest missing": (lambda folder: (folder / "manifest.json").unlink(), "No such file"),
    "manifest leads out": (lambda folder: (folder / "manifest.json").write_text('{"../preferences.parquet": "0"}'), "which lies outside its folder"),
}  # fmt: skip


@pytest.mark.parametrize("damage", MODEL_DAMAGE)
@pytest.mark.parametrize(("kind", "name"), [("policy", "generate_responses"), ("judge", "score_responses")])
def test_a_damaged_model_is_one_error_that_names_it(place, kind, name, damage):
    change, said = MODEL_DAMAGE[damage]
    change(place / kind)
    module, options, _ = steps(place)[name]
    assert_refused(call(module, **options), said, where=place / kind)
    assert (place / "preferences.parquet").exists()


def mark_nan(folder):
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({name: torch.full_like(value, float("nan")) if "layer_norm" in name or "LayerNorm" in name else value for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name", "change", "said"),
    [
        ("policy", "generate_responses", mark_nan, "the logits are not finite numbers"),
        ("judge", "score_responses", mark_nan, "the judge's reward is nan"),
        ("policy", "generate_responses", lambda folder: edit_json(folder / "config.json", model_type="nothing"), "not a usable model"),
        ("policy", "generate_responses", lambda folder: edit_json(folder / "config.json", hidden_size=32), "not a usable model"),
        ("policy", "generate_responses", lambda folder: (folder / "config.json").write_text("{"), "not a usable model"),
        ("policy", "generate_responses", lambda folder: (folder / "tokenizer.json").write_text("{}"), "not a usable model"),
        ("judge", "score_responses", lambda folder: edit_json(folder / "config.json", id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1}), "not a usable model"),
        ("judge", "score_responses", lambda folder: (folder / "tokenizer.json").write_bytes((folder.parent / "policy/tokenizer.json").read_bytes()), "needs a pad token of its own|do not belong together"),
    ],
)  # fmt: skip
def test_a_model_that_its_manifest_vouches_for_but_that_is_broken(place, kind, name, change, said):
    change(place / kind)
    seal(place / kind)
    module, options, _ = steps(place)[name]
    assert_refused(call(module, **options), said)


def nothing(folder):
    for path in folder.iterdir():
        path.unlink()


SOURCE_DAMAGE = {
    "nothing in it": (nothing, "not a usable policy|neither model.safetensors"),
    "no settings": (lambda folder: (folder / "config.json").unlink(), "not a usable policy"),
    "settings no JSON": (lambda folder: (folder / "config.json").write_text("{"), "not a usable policy"),
    "settings a list": (lambda folder: (folder / "config.json").write_text("[]"), "not a usable policy"),
    "unknown architecture": (lambda folder: edit_json(folder / "config.json", model_type="nothing"), "not a usable policy"),
    "settings of wrong type": (lambda folder: edit_json(folder / "config.json", hidden_size="wide"), "not a usable policy"),
    "settings that do not divide": (lambda folder: edit_json(folder / "config.json", num_attention_heads=3), "not a usable policy"),
    "more layers than weights": (lambda folder: edit_json(folder / "config.json", num_hidden_layers=3), "weights missing or of another shape"),
    "another vocabulary": (lambda folder: edit_json(folder / "config.json", vocab_size=100), "weights missing or of another shape"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "neither model.safetensors nor pytorch_model.bin"),
    "weights cut": (lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]), "not a readable safetensors file"),
    "weights empty": (lambda folder: (folder / "model.safetensors").write_bytes(b""), "not a readable safetensors file"),
    "weights HTML": (lambda folder: (folder / "model.safetensors").write_text("<html>" * 99), "not a readable safetensors file"),
    "no tokenizer": (lambda folder: (folder / "vocab.json").unlink(), "no tokenizer.json"),
    "vocabulary no JSON": (lambda folder: (folder / "vocab.json").write_text("{"), "not a usable tokenizer"),
    "vocabulary a list": (lambda folder: (folder / "vocab.json").write_text("[]"), "not a usable tokenizer"),
    "merges of unknown tokens": (lambda folder: (folder / "merges.txt").write_text("#version: 0.2\nno such\n"), "not a usable tokenizer"),
    "vocabulary of another model": (lambda folder: edit_json(folder / "vocab.json", beyond=9999), "do not belong together"),
    "generation settings no JSON": (lambda folder: (folder / "generation_config.json").write_text("{"), "generation_config.json"),
}  # fmt: skip


@pytest.mark.parametrize("damage", SOURCE_DAMAGE)
def test_a_local_model_that_is_not_usable_is_one_error(tmp_path, damage):
    change, said = SOURCE_DAMAGE[damage]
    write_opt(tmp_path / "source", weights="safetensors")
    change(tmp_path / "source")
    result = call(
        import_model, config={"kind": "policy", "notice": ""}, source=tmp_path / "source", manifest=tmp_path / "base/manifest.json"
    )
    assert_refused(result, said, where=tmp_path)
    assert not (tmp_path / "base/manifest.json").exists()


# --- a release


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
    found = sha256(tmp_path / "release" / next(iter(sums)))
    options = {
        "release": tmp_path / "release",
        "prompts": tmp_path / "p",
        "responses": tmp_path / "r/base/x",
        "rewards": tmp_path / "w/base/x",
    }
    assert_refused(
        call(import_release, config={"policies": {"base": "1"}, "sums": sums}, **options),
        f"sha256 {found}, the config says 0000",
        where=next(iter(sums)),
    )


# --- make verdict, and labels


def rated(n=8):
    stream = np.random.default_rng(0)
    rows = [{"policy": policy, "axis": axis, "prompt_id": f"{axis}-{number:03d}", "reward": round(float(stream.normal()), 3)} for policy in ("base", "sft") for axis in AXES for number in range(n)]  # fmt: skip
    return pd.DataFrame(rows)


def csv(change):
    return lambda: change(rated()).to_csv(index=False).encode()


def plain(text):
    return lambda: text


CSV = {
    "nothing": (plain(b""), "cannot be read as csv|holds no row"),
    "only a header": (plain(b"policy,axis,prompt_id,reward\n"), "it holds no row"),
    "not UTF-8": (lambda: rated().to_csv(index=False).encode().replace(b"base", b"b\xe9se"), "cannot be read as csv"),
    "UTF-16": (lambda: rated().to_csv(index=False).encode("utf-16"), "cannot be read as csv|is missing"),
    "NUL bytes": (plain(b"\0" * 99), "cannot be read as csv|is missing|no row"),
    "a row too long": (lambda: rated().to_csv(index=False).encode() + b"a,b,c,d,e,f,g\n", "cannot be read as csv"),
    "an open quote": (lambda: rated().to_csv(index=False).encode() + b'"base,helpfulness', "cannot be read as csv|is empty|unknown"),
    "semicolons": (lambda: rated().to_csv(index=False, sep=";").encode(), "column policy, axis, reward is missing; it has policy;axis"),
    "tabs": (lambda: rated().to_csv(index=False, sep="\t").encode(), "column policy, axis, reward is missing"),
    "no header": (lambda: rated().to_csv(index=False, header=False).encode(), "column policy, axis, reward is missing"),
    "HTML": (plain(b"<html>\n<p>503\n"), "column policy, axis, reward is missing"),
    "header in capitals": (csv(lambda frame: frame.rename(columns=str.upper)), "column policy, axis, reward is missing; it has POLICY"),
    **{f"no {name}": (csv(lambda frame, name=name: frame.drop(columns=name)), f"column {name}.* is missing") for name in ("policy", "axis", "prompt_id", "reward")},
    "a text for a number": (csv(lambda frame: frame.assign(reward=frame.reward.astype(object).where(frame.index != 3, "good"))), r"no finite reward for 1 prompts \(harmlessness-003\)"),
    "decimal commas": (csv(lambda frame: frame.assign(reward=frame.reward.map(lambda number: str(number).replace(".", ",")))), "no finite reward"),
    "an empty number": (csv(lambda frame: frame.assign(reward=frame.reward.where(frame.index != 3))), "no finite reward for 1 prompts"),
    "infinite": (csv(lambda frame: frame.assign(reward=frame.reward.where(frame.index != 3, np.inf))), "no finite reward for 1 prompts"),
    "a duplicate": (csv(lambda frame: pd.concat([frame, frame.tail(1)])), r"more than one reward for 1 prompts \(helpfulness-007\)"),
    "everything twice": (csv(lambda frame: pd.concat([frame, frame])), "more than one reward for 16 prompts"),
    "a prompt too few": (csv(lambda frame: frame.iloc[1:]), "no row for 1 prompts"),
    "one axis only": (csv(lambda frame: frame[frame.axis == "helpfulness"]), "no prompt of axis harmlessness"),
    "an unknown axis": (csv(lambda frame: frame.assign(axis="safety")), "axis safety is unknown"),
    "an axis with a blank": (csv(lambda frame: frame.assign(axis=frame.axis + " ")), "is unknown. Allowed: harmlessness, helpfulness"),
    "an empty axis": (csv(lambda frame: frame.assign(axis=frame.axis.where(frame.index != 3))), "axis nan is unknown"),
    "an empty policy": (csv(lambda frame: frame.assign(policy=frame.policy.where(frame.index != 3))), "column policy is empty in 1 rows"),
    "an empty prompt_id": (csv(lambda frame: frame.assign(prompt_id=frame.prompt_id.where(frame.index != 3))), "column prompt_id is empty in 1 rows"),
    "an unknown parent": (csv(lambda frame: frame.assign(parent="ppo")), "policy ppo is not in the file. It holds base, sft"),
    "seeds that are words": (csv(lambda frame: frame.assign(seed="first")), "seed"),
    "seeds that are fractions": (csv(lambda frame: frame.assign(seed=0.5)), "seed"),
    "a judge's half": (csv(lambda frame: frame.assign(judge=np.where(frame.policy == "sft", "b", "a"))), "judge a has no rewards of sft"),
    "other seeds": (csv(lambda frame: pd.concat([frame.assign(seed=1), frame[frame.policy == "base"].assign(seed=2)])), "needs the same seeds"),
}  # fmt: skip


@pytest.mark.parametrize("case", CSV)
def test_a_csv_that_is_no_table_of_ratings_is_one_error(tmp_path, case):
    make, said = CSV[case]
    (tmp_path / "rated.csv").write_bytes(make())
    result = call(
        judge_responses, responses=tmp_path / "rated.csv", defaults=REPOSITORY / "config/config.yaml", output=tmp_path / "verdict"
    )
    assert_refused(result, said, where=tmp_path / "rated.csv")
    assert not (tmp_path / "verdict").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.parquet", b"PAR1", "cannot be read as parquet"),
        ("a.parquet", b"", "cannot be read as parquet"),
        ("a.json", b"{", "cannot be read as json"),
        ("a.json", b"[1, 2]", "is missing"),
        ("a.json", b'{"policy": "base"}', "cannot be read as json"),
        ("a.jsonl", b'{"policy": "base"}\n{', "cannot be read as jsonl"),
        ("a.xlsx", b"PK", "what kind of file is this"),
        ("a", b"", "what kind of file is this"),
    ],
)
def test_other_files_than_tables_of_ratings_are_one_error(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    result = call(judge_responses, responses=tmp_path / name, defaults=REPOSITORY / "config/config.yaml", output=tmp_path / "verdict")
    assert_refused(result, said, where=tmp_path / name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop(columns="good"), "column good is missing"),
        (lambda frame: frame.assign(good="maybe"), "row 1 .*good must be true or false"),
        (lambda frame: frame.assign(good=0.5), "row 1 .*good must be true or false"),
        (lambda frame: frame.assign(good=None), "row 1 .*good must be true or false"),
        (lambda frame: frame.assign(policy="ppo"), "row 1 .*the study has no such response"),
        (lambda frame: frame.assign(seed=7), "row 1 .*the study has no such response"),
        (lambda frame: frame.assign(seed="x"), "row 1 .*the study has no such response"),
        (lambda frame: frame.assign(axis="safety"), "row 1 .*the study has no such response"),
        (lambda frame: frame.assign(prompt_id="x"), "row 1 .*the study has no such response"),
        (lambda frame: pd.concat([frame, frame]), "twice"),
        (lambda frame: frame.iloc[:0], "it holds no row"),
    ],
)
def test_labels_of_something_else_are_one_error_that_names_the_row(place, change, said):
    frame = pd.DataFrame([{"policy": "sft", "seed": 1, **row, "good": True} for row in places()])
    change(frame).to_csv(place / "labels.csv", index=False)
    result = call(
        correct_by_labels,
        config=ANALYSE,
        ratings=place / "ratings.parquet",
        labels=place / "labels.csv",
        output=place / "gold.parquet",
        agreement=place / "agreement.parquet",
    )
    assert_refused(result, said, where=place / "labels.csv")

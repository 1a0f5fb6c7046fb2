"""Datasets of the hub in any layout: the library `datasets` says which file is which split; what is downloaded is read as the library reads it."""

import json
import subprocess
import sys

import datasets
import pandas as pd
import pytest
from command_line import call
from hubstub import Hub, environment, revision_folder

from hh_align.config.selection import hub_selection, manifest_name
from hh_align.core.artifacts import sha256, verify_manifest
from hh_align.core.errors import StudyError
from hh_align.data import prepare_preferences
from hh_align.data.hub_layout import layout_file, layout_of

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"
CARD = """---
license: mit
configs:
- config_name: kind
  data_files:
  - {split: train, path: a/first.jsonl}
  - {split: heldout, path: "a/rest*"}
- config_name: safe
  data_files: b/*.csv
---
# Pairs
"""
# files, card, config, splits -> the files of each split, in order
LAYOUTS = {
    "shards": (["data/train-00001-of-00002.parquet", "data/train-00000-of-00002.parquet", "data/test-00000-of-00001.parquet"], None, "default", {"train": "train", "test": "test"}, [["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"], ["data/test-00000-of-00001.parquet"]]),
    "splits of other names": (["data/train_prefs-00000-of-00001.parquet", "data/train_sft-00000-of-00001.parquet", "data/test_prefs-00000-of-00001.parquet"], None, "default", {"train": "train_prefs", "test": "test_prefs"}, [["data/train_prefs-00000-of-00001.parquet"], ["data/test_prefs-00000-of-00001.parquet"]]),
    "folders of splits": (["train/one.parquet", "train/two.parquet", "test/one.parquet", "LICENSE"], None, "default", {"train": "train"}, [["train/one.parquet", "train/two.parquet"]]),
    "JSON lines": (["train.jsonl", "test.jsonl.gz"], None, "default", {"test": "test", "train": "train"}, [["test.jsonl.gz"], ["train.jsonl"]]),
    "CSV": (["pairs_train.csv", "pairs_eval.csv", "README.md"], "# no head\n", "default", {"train": "train", "test": "test"}, [["pairs_train.csv"], ["pairs_eval.csv"]]),
    "one file": (["pairs.json"], None, "default", {"train": "train"}, [["pairs.json"]]),
    "a card's patterns": (["README.md", "a/first.jsonl", "a/rest1.jsonl", "a/rest2.jsonl", "b/x.csv"], CARD, "kind", {"train": "train", "test": "heldout"}, [["a/first.jsonl"], ["a/rest1.jsonl", "a/rest2.jsonl"]]),
    "a card's other config": (["README.md", "a/first.jsonl", "a/rest.jsonl", "b/y.csv", "b/x.csv"], CARD, "safe", {"train": "train"}, [["b/x.csv", "b/y.csv"]]),
    "a folder a config": (["README.md", "safe/train/0.parquet", "kind/train/0.parquet"], "---\nconfigs:\n- {config_name: safe, data_dir: safe}\n- {config_name: kind, data_dir: kind}\n---\n", "kind", {"train": "train"}, [["kind/train/0.parquet"]]),
}  # fmt: skip


def resolved(folder, names, card, config, splits):
    if card is not None:
        (folder / "README.md").write_text(card)
    return layout_of({"configs": [config], "splits": splits}, names, folder, "org/pairs")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_of_every_layout_are_found(tmp_path, layout):
    names, card, config, splits, files = LAYOUTS[layout]
    assert resolved(tmp_path, names, card, config, splits) == [
        {"config": config, "split": split, "files": found} for split, found in zip(splits, files, strict=True)
    ]


WRONG = {
    "no such config": ([*LAYOUTS["shards"][0]], None, "safe", r"^org/pairs: it has no config safe at this revision\. Set config to one of default\.$"),
    "no such split": (["train_prefs.csv", "val.csv"], None, "default", r"^org/pairs: config default has no split test; it has train, validation\. Name it in"),
    "no data": (["model.py"], None, "default", r"^org/pairs: `datasets` finds no data in it \("),
    "a kind that is not read": (["train.txt", "test.txt"], None, "default", r"^train.txt: what kind of file is this\?"),
    "an address": (["README.md", "x.csv"], "---\nconfigs:\n- config_name: default\n  data_files: https://elsewhere.org/x.csv\n---\n", "default", r"^org/pairs: its card names https://elsewhere.org/x.csv, which is no file of the repository"),
    "a file of this machine": (["README.md", "x.csv"], "---\nconfigs:\n- config_name: default\n  data_files: ../../../../etc/hosts\n---\n", "default", r"^org/pairs: (its card names|`datasets` finds no data)"),
    "a name outside": (["../x.csv"], None, "default", r"^org/pairs: it lists \.\./x\.csv, which lies outside its folder"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_found_says_why(tmp_path, case):
    names, card, config, said = WRONG[case]
    with pytest.raises(StudyError, match=said) as error:
        resolved(tmp_path, names, card, config, {"train": "train", "test": "test"})
    assert "/tmp" not in str(error.value)


def pairs(first, number):
    """UltraFeedback-like rows: messages, a prompt beside them, a column for the subset."""
    user = [{"role": "user", "content": f"where is {first}"}]
    sides = {side: [*user, {"role": "assistant", "content": f"{side} {first}"}] for side in ("chosen", "rejected")}
    return pd.DataFrame(
        [{"prompt": f"where is {first}", **sides, "category": ["shop", "safety"][row % 2], "row": row} for row in range(number)]
    )


@pytest.fixture
def hub(tmp_path):
    folder = revision_folder(tmp_path / "hub", "datasets", "org/pairs", COMMIT) / "data"
    folder.mkdir()
    for name, (first, number) in {
        "train-00000-of-00002": ("a", 3),
        "train-00001-of-00002": ("b", 2),
        "test-00000-of-00001": ("c", 2),
    }.items():
        pairs(first, number).to_parquet(folder / f"{name}.parquet")
    (folder.parent / "README.md").write_text("---\nlicense: mit\n---\n# Pairs\n")
    with Hub(tmp_path / "hub") as hub:
        yield hub


def fetch(hub, tmp_path, dataset):
    """Download what a dataset's entry of the config selects: (exit status, output), its manifest."""
    selection = hub_selection(dataset)
    manifest = tmp_path / "results/hub/datasets/org--pairs" / COMMIT / manifest_name(selection)
    request = {"kind": "datasets", "repo": "org/pairs", "revision": COMMIT, "retry_seconds": 0.01, **selection}
    (tmp_path / "checksums.yaml").write_text("{}")
    command = [sys.executable, "-m", "hh_align.data.fetch_hub", "--config", json.dumps(request), "--checksums", tmp_path / "checksums.yaml"]
    command += ["--manifest", manifest, "--timing", tmp_path / "timing.json"]
    ended = subprocess.run(command, env=environment(hub.url, tmp_path), capture_output=True, text=True, timeout=120)
    assert not (tmp_path / "left-loopback").exists(), (tmp_path / "left-loopback").read_text()
    return (ended.returncode, ended.stdout + ended.stderr), manifest


def test_shards_of_the_hub_are_downloaded_once_checked_and_read_as_the_library_reads_them(hub, tmp_path):
    where = {"shop": {"category": "shop"}, "safety": {"category": ["safety", "harm"]}}
    entry = {"subsets": ["safety", "shop"], "splits": ["train", "test"], "layout": "datasets", "config": "default", "where": where}
    (status, output), manifest = fetch(hub, tmp_path, entry)
    assert status == 0, output
    sums = json.loads(manifest.read_text())
    source = hub.root / "datasets/org/pairs" / COMMIT
    assert set(sums) == {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()} | {layout_file(manifest).name}
    assert all(sums[name] == sha256(source / name) for name in sums if not name.startswith("layout-"))
    assert verify_manifest(manifest) == manifest.parent

    tables = {name: tmp_path / f"{name}.parquet" for name in ("preferences", "quarantine")}
    config = {"where": where, **hub_selection(entry)}
    assert call(prepare_preferences, config=config, manifest=manifest, **tables)[0] == 0
    rows = pd.read_parquet(tables["preferences"])
    loaded = datasets.load_dataset(str(source), cache_dir=str(tmp_path / "cache"))
    expected = [(split, row["category"], number, row["chosen"]) for split in ("train", "test") for number, row in enumerate(loaded[split])]
    assert rows[["split", "subset", "row"]].to_records(index=False).tolist() == [tuple(row[:3]) for row in expected]
    for (*_, chosen), row in zip(expected, rows.to_dict("records"), strict=True):
        assert row["prompt"] + row["chosen"] == f"\n\nHuman: {chosen[0]['content']}\n\nAssistant: {chosen[1]['content']}"

    asked = len(hub.log)
    manifest.unlink()
    assert fetch(hub, tmp_path, entry)[0][0] == 0 and len(hub.log) == asked  # complete: nothing is requested again


def test_a_subset_of_a_name_of_ones_own_and_wrong_bytes(hub, tmp_path):
    hub.corrupt.add("data/test-00000-of-00001.parquet")
    entry = {"subsets": ["mine"], "splits": ["test"], "layout": "datasets", "config": "default"}
    (status, output), manifest = fetch(hub, tmp_path, entry)
    assert status == 1 and "data/test-00000-of-00001.parquet: wrong bytes, removed" in output and not manifest.exists()
    hub.corrupt.clear()
    (status, output), manifest = fetch(hub, tmp_path, entry)
    assert status == 0, output
    assert not (manifest.parent / "data/train-00000-of-00002.parquet").exists()  # a split that is not read is not downloaded
    tables = {name: tmp_path / f"{name}.parquet" for name in ("preferences", "quarantine")}
    assert call(prepare_preferences, config={"subset": "mine", **hub_selection(entry)}, manifest=manifest, **tables)[0] == 0
    assert set(pd.read_parquet(tables["preferences"])["subset"]) == {"mine"}

"""What stands between a user and the paper's study is said before it starts."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from hubstub import Hub, environment, revision_folder
from study_folder import REPOSITORY
from tinymodels import write_dataset, write_judge, write_opt

from hh_align.config.resolve import resolve
from hh_align.core.errors import StudyError
from hh_align.data.fetch_hub import pick_files
from hh_align.tools.preflight import bits_of, check_hub, hub_sources, needs, require_room, weights_in_float32

CONFIG = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
SHARDS = {
    "source": "hub", "repo": "org/shards", "revision": "0123456789abcdef0123456789abcdef01234567", "layout": "datasets", "config": "default",
    "subsets": ["mine"], "splits": ["train"], "split_names": {"train": "train_prefs"},
}  # fmt: skip
DATA, BASE, JUDGE = CONFIG["datasets"]["hh"], CONFIG["models"]["base"], CONFIG["judges"]["deberta"]


def test_a_hub_that_does_not_answer_is_one_error():
    with pytest.raises(StudyError, match=r"the hub at http://127.0.0.1:9 does not answer"):
        check_hub("http://127.0.0.1:9")


def test_the_command_ends_with_the_message_and_status_1(tmp_path):
    # make stops there: nothing is downloaded into a study that cannot run
    command = [
        sys.executable,
        "-m",
        "hh_align.tools.preflight",
        "--config",
        str(REPOSITORY / "config/config.yaml"),
    ]
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the hub at http://127.0.0.1:9") and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def hub(tmp_path):
    rows = {subset: {"train": [{"chosen": "a", "rejected": "b"}], "test": []} for subset in DATA["subsets"]}
    write_dataset(revision_folder(tmp_path / "hub", "datasets", DATA["repo"], DATA["revision"]), rows)
    write_opt(revision_folder(tmp_path / "hub", "models", BASE["repo"], BASE["revision"]), weights="safetensors")
    write_judge(revision_folder(tmp_path / "hub", "models", JUDGE["repo"], JUDGE["revision"]))
    shards = revision_folder(tmp_path / "hub", "datasets", SHARDS["repo"], SHARDS["revision"]) / "data"
    shards.mkdir()
    for split in ("train_prefs", "train_sft"):
        (shards / f"{split}-00000-of-00001.parquet").write_bytes(b"0" * 123_456)
    with Hub(tmp_path / "hub") as hub:
        yield hub


def preflight(hub, tmp_path):
    """The step on the paper's study and a dataset whose files the hub's layout names."""
    folder = tmp_path / "here"
    folder.mkdir(exist_ok=True)
    (folder / "mine.yaml").write_text(yaml.safe_dump(CONFIG | {"datasets": CONFIG["datasets"] | {"shards": SHARDS}}))
    command = [
        sys.executable,
        "-m",
        "hh_align.tools.preflight",
        "--config",
        "mine.yaml",
    ]
    away = environment(hub.url, tmp_path / "scratch") | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=folder, env=away, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done


def test_what_the_study_takes_is_stated_and_a_full_disk_is_one_error_before_the_first_byte(hub, tmp_path):
    done = preflight(hub, tmp_path)
    assert "are needed at most (download of" in done.stdout and "weights of 3 policies" in done.stdout and "are free" in done.stdout
    assert "needs a GPU" in done.stderr and "download of org/shards 123.5 kB" in done.stdout
    hub.size["model.safetensors"] = 10**15
    done = preflight(hub, tmp_path)
    assert done.returncode == 1 and done.stderr.count("error:") == 1
    assert "the study needs up to" in done.stderr and "weights of 3 policies 6000000.0 GB" in done.stderr and str(tmp_path) in done.stderr
    assert not any("/resolve/" in request.path for request in hub.log)


def test_of_models_that_exist_the_files_that_are_read_are_counted():
    hub, given = {"source": "hub", "repo": "a/b", "revision": "1" * 40}, {"repo": "a/c", "revision": "2" * 40}
    policies = {
        "packed": hub | {"file": "m.Q8_0.gguf"},
        "tuned": {"parent": "base", "adapter": given},
        "on": {"parent": "packed", "method": "dpo"},
    }
    config = resolve(
        CONFIG | {"policies": {"base": {}} | policies, "analysis": {}, "claims": []}, REPOSITORY / "workflow/schemas/config.schema.yaml"
    )
    sources = {source["repo"]: source for source in hub_sources(config)}
    assert pick_files({"m.Q8_0.gguf", "n.gguf", "tokenizer.json"}, sources["a/b"]["files"]) == ["m.Q8_0.gguf", "tokenizer.json"]
    assert "adapter_config.json" in sources["a/c"]["files"] and "files" not in sources[BASE["repo"]]
    sizes = {
        ("a/b", "1" * 40): {"m.Q8_0.gguf": 10, "n.gguf": 999, "tokenizer.json": 3},
        ("a/c", "2" * 40): {"adapter_model.safetensors": 5},
    }
    needed = {
        need.what: need.size
        for need in needs(
            config, defaultdict(dict, sizes) | {(BASE["repo"], BASE["revision"]): {"model.safetensors": 100}}, Path("nowhere")
        )
    }
    assert needed == {
        "download of facebook/opt-350m": 100,
        "download of a/b": 13,
        "download of a/c": 5,
        "models/base": 200,
        "weights of 3 policies": 40 + 200 + 40,
    }
    assert [bits_of(name) for name in ("m.Q8_0.gguf", "m-IQ2_XS.gguf", "m_f16.gguf", "m.BF16.gguf", "qwen3.gguf")] == [8, 2, 16, 16, 2]


def test_what_is_there_already_is_not_counted(tmp_path):
    # a run that goes on after a kill must not be refused the room that it has already taken
    config = resolve(yaml.safe_load((REPOSITORY / "config/config.yaml").read_text()), REPOSITORY / "workflow/schemas/config.schema.yaml")
    config["policies"]["led"] = {"parent": "sft", "generation": {"lead": True}}  # its weights are those of sft
    files = [f"{subset}/{split}.jsonl.gz" for subset in DATA["subsets"] for split in DATA["splits"]]
    sizes = {
        (BASE["repo"], BASE["revision"]): {"model.safetensors": 100, "config.json": 1},
        (JUDGE["repo"], JUDGE["revision"]): {"pytorch_model.bin": 10},
        (DATA["repo"], DATA["revision"]): dict.fromkeys(files, 7),
    }

    def total():
        return {need.what: need.size for need in needs(config, sizes, tmp_path)}

    before = total()
    assert before == {
        "download of facebook/opt-350m": 101,
        f"download of {JUDGE['repo']}": 10,
        "download of Anthropic/hh-rlhf": 7 * len(files),
        "models/base": 200,
        "models/judges/deberta": 20,
        "weights of 3 policies": 600,
        "checkpoints of one full training": 9 * 200,
    }
    for made in ("models/base", "policies/sft/seed-42"):
        (tmp_path / "paper" / made).mkdir(parents=True)
        (tmp_path / "paper" / made / "manifest.json").touch()
    after = total()
    assert after["weights of 2 policies"] == 400 and not {"models/base", "checkpoints of one full training"} & set(after)


def test_weights_in_several_files_count_all():
    shards = {f"model-0000{number}-of-00002.safetensors": 10 * number for number in (1, 2)}
    assert weights_in_float32({"model.safetensors.index.json": 7, "config.json": 1, **shards}) == 2 * 30
    assert weights_in_float32({"model.safetensors": 30, "config.json": 1}) == 2 * 30


def test_a_link_to_another_disk_is_that_disk(tmp_path, monkeypatch):
    # results/ may be a link: what counts is the free space where the files will lie
    from hh_align.tools import preflight as module

    asked = []
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: asked.append(Path(path)) or type("Usage", (), {"free": 5})())
    (tmp_path / "results").symlink_to(tmp_path)
    with pytest.raises(StudyError, match=r"needs up to 6 bytes .* and 5 bytes are free there"):
        require_room([module.Need("x", tmp_path / "results" / "new" / "deep", 6)])
    assert asked == [tmp_path / "results"]

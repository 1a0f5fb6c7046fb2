"""Models: whatever the source, one artifact shape, exact weights, exact token ids, and no code from a pickle."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from tinymodels import LICENCE, read_merges, write_judge, write_opt

from hh_align.core.artifacts import BUILDS, write_manifest
from hh_align.core.errors import StudyError
from hh_align.models import import_model
from hh_align.models.folders import JUDGE_FILES, POLICY_FILES, load_judge, load_policy, load_tokenizer, save_model

GPT2 = Path(__file__).parents[4] / "shared" / "gpt2-bpe"
TEXTS = [
    "\n\nHuman: How do I kill a process?\n\nAssistant: With `kill 42`.",
    "",
    "  two  spaces, a tab\tand naïve café — 東京 🙂",
    "it's we'll THEY'RE 1234 <pad> and </s> inside",
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """Repositories as they come from the hub, with manifests."""
    root = tmp_path_factory.mktemp("sources")
    write_opt(root / "bin")
    write_opt(root / "bare", prefix="decoder.")
    (root / "bare" / "tokenizer_config.json").unlink()
    write_opt(root / "safe", weights="safetensors")
    write_judge(root / "judge", TEXTS)
    for folder in root.iterdir():
        write_manifest(folder, [path.name for path in folder.iterdir()])
    return root


def bring(source: Path, folder: Path, kind: str = "policy") -> Path:
    """Run import_model's main in this process, on a download (it has a manifest) or a local folder; the artifact's manifest."""
    manifest, downloaded = folder / "manifest.json", source / "manifest.json"
    source = downloaded if downloaded.is_file() else source
    options = ["--config", json.dumps({"kind": kind}), "--source", str(source), "--manifest", str(manifest)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["import_model.py", *options])
        import_model.main()
    return manifest


def tensors(folder: Path) -> dict:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_the_form_of_the_source_does_not_matter(sources, tmp_path):
    """A pickle, a safetensors file, older key names, no tokenizer settings: the same model and bytes, every fp16 value kept exactly."""
    import torch

    sums = {name: json.loads(bring(sources / name, tmp_path / name).read_text()) for name in ("bin", "bare", "safe")}
    for name in ("model.safetensors", "tokenizer.json"):
        assert sums["bin"][name] == sums["bare"][name] == sums["safe"][name]
    assert set(sums["bin"]) == set(POLICY_FILES)
    saved, source = tensors(tmp_path / "safe"), tensors(sources / "safe")
    assert saved.keys() == source.keys()
    assert all(value.dtype == torch.float32 and torch.equal(value, source[name].float()) for name, value in saved.items())


def test_weights_in_shards_give_the_bytes_of_one_file(sources, tmp_path):
    from safetensors.torch import save_file

    shutil.copytree(sources / "safe", tmp_path / "shards")
    for name in ("model.safetensors", "manifest.json"):
        (tmp_path / "shards" / name).unlink()
    weights = tensors(sources / "safe")
    parts = {f"model-0000{part + 1}-of-00002.safetensors": dict(list(weights.items())[part::2]) for part in range(2)}
    for name, part in parts.items():
        save_file(part, tmp_path / "shards" / name, {"format": "pt"})
    index = {"weight_map": {tensor: name for name, part in parts.items() for tensor in part}}
    (tmp_path / "shards/model.safetensors.index.json").write_text(json.dumps(index))
    sums = [
        json.loads(bring(source, tmp_path / name).read_text()) for name, source in (("one", sources / "safe"), ("two", tmp_path / "shards"))
    ]
    assert sums[0]["model.safetensors"] == sums[1]["model.safetensors"]


def test_equal_sources_give_equal_bytes(sources, tmp_path):
    """The manifest is what later steps track: it must not depend on when or where the import ran."""
    for name, kind in (("safe", "policy"), ("judge", "judge")):
        first, again = (bring(sources / name, tmp_path / str(run) / name, kind) for run in (1, 2))
        assert first.read_bytes() == again.read_bytes()
        for path in first.parent.iterdir():
            assert str(tmp_path).encode() not in path.read_bytes() and str(sources.parent).encode() not in path.read_bytes(), path


def test_loading_gives_a_model_ready_to_use(sources, tmp_path):
    """Dtype, attention and mode are what the study says, not what a repository's config says."""
    import torch

    policy, tokenizer = load_policy(bring(sources / "bin", tmp_path / "policy"))
    assert policy.dtype == torch.float32 and not policy.training and policy.config._attn_implementation == "sdpa"
    assert policy.lm_head.weight is policy.get_input_embeddings().weight
    ids = tokenizer([TEXTS[0]], return_tensors="pt")
    assert policy.generate(**ids, max_new_tokens=3, do_sample=False).shape[1] == ids["input_ids"].shape[1] + 3
    assert load_policy(tmp_path / "policy" / "manifest.json", dtype="bfloat16")[0].dtype == torch.bfloat16

    manifest = bring(sources / "judge", tmp_path / "judge", "judge")
    assert set(json.loads(manifest.read_text())) == set(JUDGE_FILES)
    judge, tokenizer = load_judge(manifest)
    assert not judge.training and judge.config._attn_implementation == "eager"
    with torch.no_grad():
        assert judge(**tokenizer([TEXTS[0]], ["a reply"], return_tensors="pt")).logits.shape == (1, 1)


def test_saving_a_loaded_model_changes_nothing(sources, tmp_path):
    """A step that loads, pads, truncates and saves must not leave its settings in the artifact."""
    manifest = bring(sources / "safe", tmp_path / "one")
    model, tokenizer = load_policy(manifest)
    tokenizer.padding_side = tokenizer.truncation_side = "left"
    tokenizer(TEXTS, padding=True, truncation=True, max_length=7)
    made_by = json.loads((manifest.parent / "provenance.json").read_text())
    save_model(tmp_path / "two" / "manifest.json", model, tokenizer, made_by)
    assert (tmp_path / "two" / "manifest.json").read_bytes() == manifest.read_bytes()


def test_weights_are_stored_in_float32(sources, tmp_path):
    """Whatever precision a step computed in, the artifact has one."""
    model, tokenizer = load_policy(bring(sources / "safe", tmp_path / "one"), dtype="bfloat16")
    save_model(tmp_path / "two" / "manifest.json", model, tokenizer, {})
    assert {str(value.dtype) for value in tensors(tmp_path / "two").values()} == {"torch.float32"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_provenance_says_of_which_precision_the_weights_were(sources, tmp_path, dtype):
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(sources / "safe", tmp_path / "source")
    (tmp_path / "source/manifest.json").unlink()
    weights = load_file(tmp_path / "source/model.safetensors")
    save_file({name: value.to(getattr(torch, dtype)) for name, value in weights.items()}, tmp_path / "source/model.safetensors")
    made_by = json.loads((bring(tmp_path / "source", tmp_path / "base").parent / "provenance.json").read_text())
    assert made_by.get("notes") == (None if dtype == "float32" else [f"weights were {dtype}, and are kept as float32"])
    assert {str(value.dtype) for value in tensors(tmp_path / "base").values()} == {"torch.float32"}


def test_provenance_keeps_the_licence_files_of_a_download(sources, tmp_path):
    # of a local folder the notice reads the files themselves: another licence makes no weights anew
    shutil.copytree(sources / "safe", tmp_path / "local")
    (tmp_path / "local/manifest.json").unlink()
    first = bring(tmp_path / "local", tmp_path / "mine").read_bytes()
    (tmp_path / "local/LICENSE.txt").write_text("Another.")
    assert bring(tmp_path / "local", tmp_path / "mine").read_bytes() == first
    made_by = json.loads((bring(sources / "bin", tmp_path / "base").parent / "provenance.json").read_text())
    assert made_by["licences"] == {"LICENSE.md": LICENCE.strip()}


def test_opt_ids_are_those_of_the_vocabulary_files(tmp_path):
    """Prompts are tokenised with OPT's ids: GPT-2's split behind a leading </s>, and a <pad> that is not the end token."""
    if not GPT2.is_dir():
        pytest.skip("no ../shared/gpt2-bpe")
    from tokenizers import ByteLevelBPETokenizer
    from transformers import AutoTokenizer

    write_opt(tmp_path / "opt", merges=read_merges(GPT2 / "merges.txt"))
    write_manifest(tmp_path / "opt", [path.name for path in (tmp_path / "opt").iterdir()])
    saved = load_tokenizer(bring(tmp_path / "opt", tmp_path / "base").parent)
    assert (saved.bos_token_id, saved.eos_token_id, saved.pad_token_id) == (2, 2, 1)

    gpt2 = ByteLevelBPETokenizer(str(GPT2 / "vocab.json"), str(GPT2 / "merges.txt"))
    for text in TEXTS[:3]:
        assert saved.convert_ids_to_tokens(saved(text)["input_ids"]) == ["</s>", *gpt2.encode(text).tokens]
        assert saved.decode(saved(text)["input_ids"][1:]) == text
    others = [AutoTokenizer.from_pretrained(folder) for folder in (tmp_path / "opt", tmp_path / "base")]
    for text in TEXTS:
        assert [other(text)["input_ids"] for other in others] == [saved(text)["input_ids"]] * 2


def test_judge_ids_are_those_of_its_tokenizer_file(sources, tmp_path):
    """DeBERTa's class in transformers rebuilds normalization; scores need the file's own (here NFKC: a ligature becomes two letters)."""
    from tokenizers import Tokenizer

    plain = Tokenizer.from_file(str(sources / "judge" / "tokenizer.json"))
    saved = load_tokenizer(bring(sources / "judge", tmp_path / "judge", "judge").parent)
    for text in [*TEXTS, "a ﬁne ﬂat"]:
        expected = plain.encode(text, "a reply")
        encoded = saved(text, "a reply")
        assert (encoded["input_ids"], encoded["token_type_ids"]) == (expected.ids, expected.type_ids)
    assert saved.unk_token_id not in saved("a ﬁne ﬂat")["input_ids"]


def test_file_names_can_be_read_without_going_offline():
    """The workflow takes the file names from this module; its own process must still hand an online environment to downloads."""
    code = "import os, sys; before = dict(os.environ); import hh_align.models.folders; sys.exit(dict(os.environ) != before or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_damaged_artifact_is_not_loaded(sources, tmp_path, monkeypatch):
    """A truncated or edited file is found on load and moved aside, so that the next run rebuilds it."""
    manifest = bring(sources / "safe", tmp_path / "base")
    weights = manifest.parent / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    monkeypatch.setenv(BUILDS, str(tmp_path))
    with pytest.raises(StudyError, match=r"model\.safetensors is damaged"):
        load_policy(manifest)
    assert not manifest.exists() and not weights.exists()


class Malicious:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


def test_no_pickle_runs(sources, tmp_path):
    """A .bin can hold code: without a checksum it is not opened, with one it is still read as plain weights only."""
    import torch

    for name, save in (("raw", partial(pickle.dump, protocol=2)), ("zip", torch.save)):
        folder = tmp_path / name
        write_opt(folder)
        with open(folder / "pytorch_model.bin", "wb") as file:
            save({"model.decoder.embed_tokens.weight": Malicious(tmp_path / "ran")}, file)
        with pytest.raises(StudyError, match="is a pickle, which can run code"):
            bring(folder, tmp_path / "base")
        write_manifest(folder, [path.name for path in folder.iterdir()])
        with pytest.raises(StudyError, match="nothing of it was run"):
            bring(folder, tmp_path / "base")
    assert not (tmp_path / "ran").exists() and not (tmp_path / "base" / "manifest.json").exists()


def test_weights_that_do_not_fit_the_config_are_named(tmp_path):
    """transformers fills a missing weight with random numbers and goes on; a policy with one random layer looks only a bit worse."""
    from safetensors.torch import save_file

    write_opt(tmp_path / "opt", weights="safetensors")
    good = tensors(tmp_path / "opt")
    save_file({name: value for name, value in good.items() if "project_in" not in name}, tmp_path / "opt" / "model.safetensors")
    with pytest.raises(StudyError, match=r"model\.decoder\.project_in\.weight"):
        bring(tmp_path / "opt", tmp_path / "base")
    save_file(
        good | {"model.decoder.project_in.weight": good["model.decoder.project_out.weight"].clone()}, tmp_path / "opt" / "model.safetensors"
    )
    with pytest.raises(StudyError, match=r"model\.decoder\.project_in\.weight"):
        bring(tmp_path / "opt", tmp_path / "base")


def test_what_cannot_serve_is_refused(sources, tmp_path):
    """A model in the wrong role, a tokenizer of another model: said at import, not as an index error during generation."""
    with pytest.raises(StudyError, match="cannot be a policy"):
        bring(sources / "judge", tmp_path / "base")
    with pytest.raises(StudyError, match="a judge has one logit, this model has 2"):
        bring(sources / "safe", tmp_path / "base", "judge")
    with pytest.raises(StudyError, match="no such folder"):
        bring(tmp_path / "nowhere", tmp_path / "base")
    write_opt(tmp_path / "opt", weights="safetensors")
    vocabulary = json.loads((tmp_path / "opt" / "vocab.json").read_text())
    (tmp_path / "opt" / "vocab.json").write_text(json.dumps(vocabulary | {"beyond": 999}))
    with pytest.raises(StudyError, match="up to id 999"):
        bring(tmp_path / "opt", tmp_path / "base")
    (tmp_path / "opt" / "merges.txt").write_text("#version: 0.2\nno such\n")
    with pytest.raises(StudyError, match="not a usable tokenizer"):
        bring(tmp_path / "opt", tmp_path / "base")

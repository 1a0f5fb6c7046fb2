"""Turn a downloaded or local model folder into the one artifact shape: fp32 safetensors, tokenizer.json, notice, manifest."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from study.artifacts import provenance, say, verify_manifest
from study.command import StudyError, parse, run
from study.models import load_tokenizer, prepare, save_model

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

CLASSES = {"policy": "MODEL_FOR_CAUSAL_LM_MAPPING", "judge": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING"}
OPT_TOKENS = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}


def locate(source: Path) -> tuple[Path, set[str] | None]:
    """The folder to read, and the names that its manifest vouches for (None for a plain local folder).

    Raises StudyError where there is no such folder or a file is not what the manifest says.
    """
    manifest = source if source.name == "manifest.json" else source / "manifest.json"
    if manifest.is_file():
        return verify_manifest(manifest), set(json.loads(manifest.read_text(encoding="utf-8")))
    if not source.is_dir():
        raise StudyError(f"{source}: no such model folder. Check the path of the model in the config.")
    return source, None


def read_weights(folder: Path, covered: set[str] | None) -> dict[str, "Tensor"]:
    """The tensors of model.safetensors, or of pytorch_model.bin where a manifest vouches for that file.

    A .bin is a pickle: it is read with weights_only, which builds tensors and calls nothing else.
    Raises StudyError where there are no weights, or only a pickle that nobody vouches for, or one that holds more than tensors.
    """
    there = {path.name for path in folder.iterdir()} if covered is None else covered
    if "model.safetensors" in there:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(folder / "model.safetensors")
        except SafetensorError as error:
            raise StudyError(f"{folder}/model.safetensors: not a readable safetensors file ({error}).") from error
    if "pytorch_model.bin" not in there:
        raise StudyError(f"{folder}: neither model.safetensors nor pytorch_model.bin is there. Weights must be one file.")
    if covered is None:
        raise StudyError(
            f"{folder}/pytorch_model.bin is a pickle, which can run code, and no checksum vouches for it. "
            "Convert it to model.safetensors, or take the model from the hub at a pinned revision."
        )
    import pickle

    import torch

    try:
        return torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise StudyError(
            f"{folder}/pytorch_model.bin: not a file of plain weights; nothing of it was run ({type(error).__name__})."
        ) from error


def read_model(folder: Path, covered: set[str] | None, kind: str) -> "PreTrainedModel":
    """The model in fp32, every weight from the file.

    Raises StudyError where the config is unusable, a weight is missing or has another shape, or a judge has not one logit.
    """
    import torch
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if kind == "judge" and config.num_labels != 1:
            raise StudyError(f"{folder}/config.json: a judge has one logit, this model has {config.num_labels}.")
        classes = getattr(transformers, CLASSES[kind])
        if type(config) not in classes:
            raise StudyError(f"{folder}/config.json: a model of type {config.model_type} cannot be a {kind}.")
        model, found = classes[type(config)].from_pretrained(
            None,
            config=config,
            state_dict=read_weights(folder, covered),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except (ValueError, OSError) as error:
        raise StudyError(f"{folder}: not a usable {kind} ({str(error).splitlines()[0]})") from error
    wrong = sorted(found["missing_keys"]) + sorted(key for key, *_ in found["mismatched_keys"])
    if wrong:
        raise StudyError(f"{folder}: weights missing or of another shape than config.json says: {', '.join(wrong)}.")
    if found["unexpected_keys"]:
        say(f"{folder.name}: not part of a {type(model).__name__}, left out: {', '.join(sorted(found['unexpected_keys']))}")
    if kind == "policy" and (folder / "generation_config.json").is_file():
        model.generation_config = transformers.GenerationConfig.from_pretrained(folder, local_files_only=True)
    return model


def read_tokenizer(folder: Path, model_type: str) -> "PreTrainedTokenizerFast":
    """The tokenizer of tokenizer.json, else of OPT's vocab.json and merges.txt: GPT-2's split, a leading </s>, its own <pad>.

    Raises StudyError where there is neither, or where they cannot be read.
    """
    try:
        if (folder / "tokenizer.json").is_file():
            return load_tokenizer(folder)
        if model_type == "opt" and (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            from transformers import GPT2Tokenizer

            return GPT2Tokenizer.from_pretrained(folder, local_files_only=True, add_bos_token=True, **OPT_TOKENS)
    except Exception as error:  # what the tokenizers library raises has no class of its own
        raise StudyError(f"{folder}: not a usable tokenizer ({error}).") from error
    raise StudyError(f"{folder}: no tokenizer.json (and, for OPT, no vocab.json with merges.txt).")


def compose_notice(folder: Path, notice: str) -> str:
    """The notice, then the licence files of the source, each under its name."""
    files = [path for path in sorted(folder.iterdir()) if path.name.startswith(("LICENSE", "NOTICE"))]
    texts = [notice.strip(), *(f"--- {path.name} ---\n{path.read_text(encoding='utf-8').strip()}" for path in files)]
    return "\n\n".join(text for text in texts if text) + "\n"


def main() -> None:
    args = parse(__doc__, config="config", source="path", manifest="path")
    folder, covered = locate(args.source)
    prepare()
    model = read_model(folder, covered, args.config["kind"])
    tokenizer = read_tokenizer(folder, model.config.model_type)
    read = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".txt", ".safetensors"))
    inputs = [folder / "manifest.json"] if covered else read
    save_model(
        args.manifest, model, tokenizer, provenance(args.config, inputs, dtype="float32"), compose_notice(folder, args.config["notice"])
    )
    say(f"{args.manifest.parent}: {type(model).__name__}, {model.num_parameters():,} parameters, {len(tokenizer):,} tokens, float32")


if __name__ == "__main__":
    run(main)

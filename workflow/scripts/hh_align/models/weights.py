"""The weights of a model's or adapter's folder: where they lie, what they are, and their tensors."""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hh_align.core.artifacts import verify_manifest
from hh_align.core.errors import StudyError
from hh_align.models.folders import first_line

if TYPE_CHECKING:
    from torch import Tensor

INDEX = "model.safetensors.index.json"


def locate(source: Path, file: str | None = None) -> tuple[Path, dict[str, str] | None, str | None]:
    """The folder to read, the sha256 of each file that the manifest of a download vouches for, and the name of a GGUF file in it.

    source: the manifest, a local folder, or a local GGUF file; file: the name of one in the folder, where the config gives it.
    The sums are None for a local folder: a manifest of sums in it is checked, but who made the folder made the manifest, too. The name is None
    where a model lies there in other files. Raises StudyError where there is no such folder or file, or one is not what the manifest says.
    """
    if source.suffix == ".gguf":
        if file not in (None, source.name):
            raise StudyError(f"{source}: path names this file, file names {file}. Take one of the two out of the config.")
        source, file = source.parent, source.name
    if source.name.startswith("manifest") and source.suffix == ".json":
        return verify_manifest(source), json.loads(source.read_text(encoding="utf-8")), file
    if not source.is_dir():
        raise StudyError(f"{source}: no such folder. Check the path in the config.")
    if file and not (source / file).is_file():
        raise StudyError(f"{source / file}: no such file. Check path and file of the model in the config.")
    if (source / "manifest.json").is_file() and holds_sums(source / "manifest.json"):
        verify_manifest(source / "manifest.json")
    return source, None, file


def holds_sums(manifest: Path) -> bool:
    """Whether somebody's manifest.json is one of sums: other programs have files of that name, which say nothing of the weights."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:
        return True  # verify_manifest says so
    return isinstance(content, dict) and all(isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) for value in content.values())


def read_json(path: Path) -> dict:
    """The object of a JSON file of somebody else's. Raises StudyError for a file of another kind, and for a NaN in it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{path}: not readable as JSON ({first_line(error)}).") from None
    if not isinstance(content, dict):
        raise StudyError(f"{path}: not a JSON object.")
    return content


def constant(name: str) -> float:
    """The value of Infinity or -Infinity, which some models' settings hold. Raises ValueError for NaN."""
    if name == "NaN":
        raise ValueError("a value is NaN, which is no number")
    return float(name)


def read_tensors(path: Path) -> dict[str, "Tensor"]:
    """The tensors of a safetensors file. Raises StudyError where it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, FileNotFoundError) as error:
        raise StudyError(f"{path}: not a readable safetensors file ({error}).") from error


def read_pickle(path: Path) -> dict[str, "Tensor"]:
    """The tensors of a .bin with weights_only, which builds tensors and calls nothing else. Raises StudyError where it holds more."""
    import pickle

    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise StudyError(f"{path}: not a file of plain weights; nothing of it was run ({type(error).__name__}).") from error


def shards_of(index: Path, there: Collection[str]) -> list[Path]:
    """The files that an index of sharded weights names, beside it. Raises StudyError for another index, and for a file that is not there."""
    try:
        names = sorted(set(read_json(index)["weight_map"].values()))
    except (KeyError, TypeError, AttributeError) as error:
        raise StudyError(f"{index}: no index of weights ({first_line(error)}).") from None
    if missing := [str(name) for name in names if name not in there]:
        raise StudyError(f"{index}: it names {', '.join(missing)}, which is not beside it. Copy the whole folder.")
    return [index.with_name(name) for name in names]


def check_kind(folder: Path) -> None:
    """Raise StudyError for a folder that holds another thing than a model's plain weights: an adapter, a GGUF file alone, or weights that
    another library has quantised."""
    there = {path.name for path in folder.iterdir()}
    if "adapter_config.json" in there and not there & {"model.safetensors", INDEX, "pytorch_model.bin"}:
        raise StudyError(
            f"{folder}: an adapter, which has no weights of its own to start from. Give it as a policy on the model that it was trained on: "
            "policies: {theirs: {parent: base, adapter: <this folder>}}."
        )
    if "config.json" not in there:
        if files := sorted(name for name in there if name.endswith(".gguf")):
            raise StudyError(f"{folder}: GGUF files and no config.json. Say which one is meant: file: {files[0]} beside path.")
        return
    if quantised := read_json(folder / "config.json").get("quantization_config"):
        method = quantised.get("quant_method", "a library") if isinstance(quantised, dict) else quantised
        raise StudyError(f"{folder}/config.json: the weights are quantised by {method} (quantization_config). {UNPACKED}")


UNPACKED = "Take the model that they were made of, in float32, bfloat16 or float16, or a GGUF file of it, which is dequantised at import."


def read_weights(
    folder: Path, covered: Collection[str] | None, name: str = "model", pickled: str = "pytorch_model.bin"
) -> dict[str, "Tensor"]:
    """The tensors of <name>.safetensors, of the shards that its index names, or of `pickled` where a manifest vouches for that file.

    Raises StudyError where there are no weights, or only a pickle that nobody vouches for, or one that holds more than tensors.
    """
    there = {path.name for path in folder.iterdir()} if covered is None else covered
    if f"{name}.safetensors" in there:
        return read_tensors(folder / f"{name}.safetensors")
    if name == "model" and INDEX in there:
        return {key: tensor for path in shards_of(folder / INDEX, there) for key, tensor in read_tensors(path).items()}
    if pickled not in there:
        shards = f" (or its shards with {INDEX})" if name == "model" else ""
        raise StudyError(f"{folder}: neither {name}.safetensors{shards} nor {pickled} is there.")
    if covered is None:
        raise StudyError(
            f"{folder}/{pickled} is a pickle, which can run code, and no checksum vouches for it. "
            f"Convert it to {name}.safetensors, or take it from the hub at a pinned revision."
        )
    return read_pickle(folder / pickled)


def check_numbers(tensors: Mapping[str, "Tensor"], where: Path) -> None:
    """Raise StudyError where a weight is packed into whole numbers or eight bits, is complex, or no finite number.

    tensors: those that become a model's weights; masks and positions, which are whole numbers by right, are none of them.
    """
    kinds = {name: type_of(tensor) for name, tensor in sorted(tensors.items())}
    if unfit := [name for name, kind in kinds.items() if kind.startswith("complex")]:
        raise StudyError(f"{where}: {unfit[0]} is {kinds[unfit[0]]}: weights are real numbers. Take the model from its source again.")
    if packed := [name for name, tensor in sorted(tensors.items()) if not tensor.is_floating_point() or tensor.itemsize < 2]:
        raise StudyError(f"{where}: the weights are quantised ({packed[0]} is {kinds[packed[0]]}). {UNPACKED}")
    if broken := sorted(name for name, tensor in tensors.items() if not tensor.isfinite().all()):
        others = f" and {len(broken) - 1} other tensors" if len(broken) > 1 else ""
        raise StudyError(
            f"{where}: weights that are no finite numbers (NaN or infinite), in {broken[0]}{others}: a training that broke, or a damaged file. "
            "Take an earlier checkpoint, or the model from its source again."
        )


def type_of(tensor: "Tensor") -> str:
    """The name of a tensor's type: bfloat16."""
    return str(tensor.dtype).removeprefix("torch.")


def kept_as_float32(tensors: Mapping[str, "Tensor"]) -> list[str]:
    """What is to be said of weights that an import makes longer: nothing where all are float32."""
    names = sorted({type_of(tensor) for tensor in tensors.values() if tensor.is_floating_point()} - {"float32"})
    return [f"weights were {' and '.join(names)}, and are kept as float32"] if names else []

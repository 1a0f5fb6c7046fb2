"""Before a study with downloads: is the hub there, is there room on the disk and the GPU, and how long will it take?"""

import os
import re
import shutil
import urllib.error
import urllib.request
from collections import defaultdict
from fnmatch import fnmatchcase
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import urlsplit

import torch
import yaml

from hh_align.config.check_weights import has_weights, model_of
from hh_align.config.resolve import SCHEMA, download_folder, resolve
from hh_align.config.selection import given_source, hub_selection, manifest_name, model_selection
from hh_align.config.suites import asked_suites
from hh_align.core.artifacts import say
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.data.fetch_hub import SHARD, WEIGHTS, model_files, pick_files
from hh_align.data.hub import amount, download, list_revision, refuse_offline
from hh_align.data.hub_layout import CARDS, layout_of

PUBLISHED_GPU_HOURS = (10_895 + 2 * 7_747) / 3600  # the author's SFT and two DPO runs
GPU_GB = 16  # SFT: weights, gradients and AdamW's two moments of 331 M parameters in fp32, and activations of 8 x 512 tokens
CHECKPOINT = 3 * 3  # of weights: the weights and AdamW's two moments, in the two checkpoints that are kept and the one being written


class Need(NamedTuple):
    """Bytes that something will take in a folder."""

    what: str
    folder: Path
    size: int


def check_hub(endpoint: str) -> None:
    """Raise StudyError where the hub does not answer. What stands before an @ or behind a ? may be secret: neither asked with nor shown."""
    parts = urlsplit(endpoint)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path if parts.netloc else ''}"
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=10)
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError, HTTPException) as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else type(error).__name__
        raise StudyError(
            f"the hub at {address} does not answer ({why}). The study needs it once, to download; `make demo` does not."
        ) from None


def hub_sources(config: dict) -> list[dict]:
    """What fetch_hub is asked for: kind, repo, revision and the files or, of a dataset, their layout; of a whole model nothing more."""
    given = [given_source(policy) for policy in config["policies"].values() if has_weights(policy)]
    models = [model for model in (*config.get("models", {}).values(), *config["judges"].values(), *given) if model["source"] == "hub"]
    sources = [{"kind": "models", "repo": model["repo"], "revision": model["revision"], **model_selection(model)} for model in models]
    for dataset in config.get("datasets", {}).values():
        if dataset.get("source") == "hub":
            sources.append({"kind": "datasets", "repo": dataset["repo"], "revision": dataset["revision"], **hub_selection(dataset)})
    for _, _, suite in asked_suites(config):
        if suite["source"] == "hub":
            sources.append({"kind": "datasets", "repo": suite["repo"], "revision": suite["revision"], "files": [suite["file"]]})
    return sources


def folder_of(source: dict, results: Path) -> Path:
    return Path(download_folder(str(results / "hub"), source["kind"], source["repo"], source["revision"]))


def sizes_of(source: dict) -> dict[str, int]:
    """File -> bytes of what a source brings, as the hub states it. Raises StudyError where it has no such file or does not answer."""
    what = f"{source['kind']}/{source['repo']}@{source['revision'][:12]}"
    refuse_offline(what, "it has")
    listing = list_revision(source, what)
    try:
        wanted = laid_out_files(source, listing, what) if "layout" in source else source.get("files") or model_files(listing)
        return {name: listing[name]["size"] for name in pick_files(listing, wanted)}
    except KeyError as error:
        raise StudyError(f"{what}: no {error.args[0]} at this revision.") from None


def laid_out_files(source: dict, listing: dict[str, dict], what: str) -> list[str]:
    """The files of a dataset's configs and splits, as its cards say. Raises StudyError as layout_of does."""
    with TemporaryDirectory() as folder:
        cards = [name for name in CARDS if name in listing]
        for name in cards:
            download(source, name, Path(folder), f"{what}/{name}")
        return [*cards, *(name for entry in layout_of(source["layout"], listing, Path(folder), what) for name in entry["files"])]


def absent(source: dict, folder: Path) -> bool:
    """Whether something of this source is still to be downloaded: the manifest is written last, a dataset's is of its files."""
    if source["kind"] == "models":
        return not (folder / manifest_name(source)).is_file()
    return not ((folder / manifest_name(source)).is_file() and all((folder / name).is_file() for name in source.get("files", [])))


def weights_in_float32(sizes: dict[str, int]) -> int:
    """Bytes of a model as the study keeps it, at most: published weights are in two or four bytes a parameter, a GGUF file's in as many bits
    as its name says, ours in four bytes."""
    whole = {name for names in WEIGHTS for name in names}
    packed = sum(size * 32 // bits_of(name) for name, size in sizes.items() if name.endswith(".gguf"))
    return packed or 2 * sum(size for name, size in sizes.items() if name in whole or SHARD.fullmatch(name))


def bits_of(gguf: str) -> int:
    """Bits of a weight in a GGUF file, by its name (model.Q8_0.gguf), at least; 2 where it does not say."""
    named = re.search(r"(?:^|[-._])(?:i?q|b?f)(\d+)", gguf.lower())
    return int(named[1]) if named else 2


def needs(config: dict, sizes: dict[tuple[str, str], dict[str, int]], results: Path) -> list[Need]:
    """What the study still takes on disk: downloads, models, weights of every policy and seed, checkpoints of one full training.

    `sizes`: (repo, revision) -> file -> bytes. Raises nothing; what is there already is not counted.
    """
    study, needed = results / config["study"], []
    for source in hub_sources(config):
        folder = folder_of(source, results)
        files = sizes[source["repo"], source["revision"]]
        wanted = [name for name in files if any(fnmatchcase(name, pattern) for pattern in source.get("files", ["*"]))]
        missing = sum(files[name] for name in wanted if not (folder / name).is_file())
        needed.append(Need(f"download of {source['repo']}", folder, missing))
    models = {"base": config.get("models", {}).get("base", {}), **{f"judges/{name}": judge for name, judge in config["judges"].items()}}
    for name, source in models.items():
        if not (study / "models" / name / "manifest.json").is_file():
            needed.append(Need(f"models/{name}", study, kept(source, sizes)))
    ahead = [
        (policy, kept(model_of(config, name)[1], sizes))
        for name, policy in config["policies"].items()
        if "models" in config and ("method" in policy or has_weights(policy))
        for seed in ([0] if has_weights(policy) else config["seeds"])
        if not (study / "policies" / name / f"seed-{seed}" / "manifest.json").is_file()
    ]
    needed.append(Need(f"weights of {len(ahead)} policies", study, sum(size for _, size in ahead)))
    full = [size for policy, size in ahead if "method" in policy and "lora" not in config["methods"][policy["method"]]]
    needed.append(Need("checkpoints of one full training", study, CHECKPOINT * max(full, default=0)))
    return [need for need in needed if need.size]


def kept(model: dict, sizes: dict[tuple[str, str], dict[str, int]]) -> int:
    """Bytes of a hub's model as the study keeps it; 0 of one from elsewhere, whose size is not known here."""
    if model.get("source") != "hub":
        return 0
    files = sizes[model["repo"], model["revision"]]
    return weights_in_float32({name: size for name, size in files.items() if name == model["file"]} if "file" in model else files)


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())


def require_room(needed: list[Need]) -> None:
    """Say what each disk takes and has free. Raises StudyError where it does not fit: what, where, how much is free."""
    disks = defaultdict(list)
    for need in needed:
        disks[existing(need.folder).stat().st_dev].append(need)
    for wanted in disks.values():
        folder = existing(wanted[0].folder)
        free, total = shutil.disk_usage(folder).free, sum(need.size for need in wanted)
        parts = ", ".join(f"{need.what} {amount(need.size)}" for need in wanted)
        say(f"disk of {folder}: {amount(total)} are needed at most ({parts}), {amount(free)} are free")
        if total > free:
            raise StudyError(
                f"the study needs up to {amount(total)} on the disk of {folder} ({parts}), and {amount(free)} are free there. "
                "Make room, or let results be a link to a folder on a larger disk."
            )


def require_fit_machine(path: Path) -> None:
    """Say what the study of this config downloads, and what room it takes. Raises StudyError where hub, disk or GPU do not suffice."""
    config = resolve(yaml.safe_load(path.read_text(encoding="utf-8")), SCHEMA)
    results = Path("results")
    sources = hub_sources(config)
    missing = [source for source in sources if absent(source, folder_of(source, results))]
    say(f"to download: {', '.join(source['repo'] for source in missing) or 'nothing'}")
    if missing:
        check_hub(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    sizes = defaultdict(dict)
    for source in sources:
        folder = folder_of(source, results)
        there = {path.name: path.stat().st_size for path in folder.glob("*") if path.is_file()}
        sizes[source["repo"], source["revision"]] |= sizes_of(source) if source in missing else there
    require_room(needs(config, sizes, results))
    if not torch.cuda.is_available():
        say(
            f"no GPU: the author's GPU took {PUBLISHED_GPU_HOURS:.1f} h to train; on a CPU expect weeks. Use a cluster profile, or `make demo`."
        )
        raise StudyError("the paper's study needs a GPU to end in a useful time. To run it regardless: snakemake --cores all")
    gpu = torch.cuda.get_device_properties(0)
    if gpu.total_memory < GPU_GB * 1e9:
        raise StudyError(
            f"{gpu.name} has {gpu.total_memory / 1e9:.0f} GB; SFT needs about {GPU_GB} GB. Lower methods.sft.micro_batch to 2 and run snakemake."
        )
    say(f"{gpu.name}; the author's GPU took {PUBLISHED_GPU_HOURS:.1f} h to train the three policies")


def main() -> None:
    require_fit_machine(parse(__doc__, config="path").config)


if __name__ == "__main__":
    run(main)

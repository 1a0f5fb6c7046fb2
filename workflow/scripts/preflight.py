"""Before the paper's study: is the hub there, is there room on the disk and the GPU, and how long will it take?"""

import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import torch
import yaml

from study.artifacts import say
from study.command import StudyError, parse, run

PUBLISHED_GPU_HOURS = (10_895 + 2 * 7_747) / 3600  # the author's SFT and two DPO runs
DISK_GB = 16  # downloads 3, base and judge in fp32 3, three policies 4, checkpoints of one training 5
GPU_GB = 16  # SFT: weights, gradients and AdamW's two moments of 331 M parameters in fp32, and activations of 8 x 512 tokens


def check_hub(endpoint: str) -> None:
    """Raise StudyError where the hub does not answer."""
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=10)
    except urllib.error.HTTPError:
        return
    except OSError as error:
        raise StudyError(
            f"the hub at {endpoint} does not answer ({error}). The study needs it once, to download; `make demo` does not."
        ) from None


def main() -> None:
    args = parse(__doc__, config="text")
    config = yaml.safe_load(Path(args.config).read_text())
    folder = Path("results") / "hub"
    sources = [*config["datasets"].values(), config["models"]["base"], *config["judges"].values()]
    wanted = [source for source in sources if source.get("source") == "hub"]
    missing = [
        source["repo"]
        for source in wanted
        if not list(folder.glob(f"*/{source['repo'].replace('/', '--')}/{source['revision']}/manifest.json"))
    ]
    if missing:
        check_hub(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    say(f"to download: {', '.join(missing) or 'nothing'}")
    free = shutil.disk_usage(".").free / 1e9
    if missing and free < DISK_GB:
        raise StudyError(f"{free:.0f} GB are free on this disk; the study needs about {DISK_GB} GB. Make room or move the repository.")
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
    say(f"{gpu.name}, {free:.0f} GB free; the author's GPU took {PUBLISHED_GPU_HOURS:.1f} h to train the three policies")


if __name__ == "__main__":
    run(main)

"""A folder with what the training steps read, made small, and the steps called on it: shared by the tests of training."""

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest
import torch
from study_folder import REPOSITORY

from hh_align.core.artifacts import write_table
from hh_align.data.preferences import SCHEMA, fit_for
from hh_align.models.bpe import train_tokenizer
from hh_align.models.folders import load_policy, save_model
from hh_align.training import compute_references, loop, train_dpo, train_kto, train_sft
from hh_align.training.pretrain_base import build_model

ARCHITECTURE = {
    "hidden_size": 16, "layers": 2, "heads": 2, "ffn_dim": 32, "word_embed_proj_dim": 8, "max_positions": 128, "init_std": 0.2, "dropout": 0.1,
}  # fmt: skip
STILL = ARCHITECTURE | {"dropout": 0.0}
COMMON = {
    "epochs": 2, "learning_rate": 1e-2, "schedule": "linear", "warmup_steps": 0, "weight_decay": 0.0, "max_grad_norm": 1.0, "batch_size": 4,
    "micro_batch": 2, "precision": "float32", "max_length": 64,
}  # fmt: skip
LORA = {"r": 2, "alpha": 4, "dropout": 0.0, "targets": ["q_proj", "v_proj"]}
SFT = COMMON | {"trainer": "sft", "loss_on": "transcript", "rows": "all"}
DPO = COMMON | {"trainer": "dpo", "loss": "sigmoid", "beta": 0.1, "max_prompt_length": 32, "dropout": "disabled", "lora": LORA}
WEIGHTS = {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0}
KTO = COMMON | WEIGHTS | {"trainer": "kto", "max_prompt_length": 32, "lora": LORA}
DIVERGENT = {"desirable_weight": 2.0, "undesirable_weight": 0.05, "beta": 0.3, "batch_size": 8, "learning_rate": 3e-2, "epochs": 4}
"""What makes KTO raise the mismatched replies as well, so that its KL term is above 0."""
STEPS = {"sft": train_sft, "dpo": train_dpo, "kto": train_kto}
VIEW_KEYS = ("trainer", "max_length", "max_prompt_length", "max_rows", "dropout", "precision")
LAUNCH_TWO = [
    sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(REPOSITORY / "workflow/accelerate.yaml"), "--num_processes", "2", "--module",
]  # fmt: skip


def of_all_weights(method: dict) -> dict:
    """The method without its adapter, at a rate that fits."""
    return {key: value for key, value in method.items() if key != "lora"} | {"learning_rate": 1e-3}


def preference(number: int) -> dict:
    """A row of preferences.parquet; its length depends on its number."""
    prompt = f"\n\nHuman: What is {number} and more {'of it ' * (number % 3)}?\n\nAssistant:"
    texts = {"prompt": prompt, "chosen": f" It is {number}.", "rejected": f" I do not know {number}, sorry.", "rejected_prompt": None}
    return {"split": "train", "subset": "helpful-base", "row": number, "flags": [], **texts, **fit_for([])}


def make_study(folder: Path, pairs: int = 17, architecture: dict = STILL) -> Path:
    """The folder with some preferences (of 17 the last step is a short one) and a random base policy, without dropout unless asked for."""
    rows = [preference(number) for number in range(pairs)]
    write_table(folder / "preferences.parquet", rows, SCHEMA, {})
    tokenizer = train_tokenizer([row["prompt"] + row["chosen"] for row in rows], 300, "</s> $A")
    save_model(folder / "base/manifest.json", build_model(architecture, len(tokenizer), 1), tokenizer, {})
    return folder


def words(config: dict, options: dict[str, object]) -> list[str]:
    """A step's command line."""
    return [
        "--config",
        json.dumps(config),
        *(word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))),
    ]


def call(module: ModuleType, config: dict, **options: object) -> None:
    """Run a step's main() in this process; what it raises goes on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module.__name__, *words(config, options)])
        module.main()


def step_config(method: dict) -> dict:
    return {"method": method, "train_split": "train", "device": "cpu"}


def options(study: Path, name: str, **more: object) -> dict[str, object]:
    """The options of a training of the study's base policy into its folder `name`, but for the config."""
    folder = study / name
    return {
        "seed": 1, "parent": study / "base/manifest.json", "preferences": study / "preferences.parquet", "threads": 1, "checkpoint_seconds": 1000,
        "state": study / "state" / name, "manifest": folder / "manifest.json", "train_log": folder / "log.parquet",
        "quarantine": folder / "quarantine.parquet", "timing": study / "timings" / name, **more,
    }  # fmt: skip


def train(study: Path, name: str, method: dict, **more: object) -> tuple[dict, list[dict]]:
    """(manifest, rows of the train log) of a training."""
    call(STEPS[method["trainer"]], step_config(method), **options(study, name, **more))
    return json.loads((study / name / "manifest.json").read_text()), log_of(study, name)


def sft(study: Path, name: str, method: dict = SFT, **more: object) -> tuple[dict, list[dict]]:
    return train(study, name, method, **more)


def dpo(study: Path, name: str, method: dict = DPO, references: Path | None = None, **more: object) -> tuple[dict, list[dict]]:
    """references: none where the reference runs in the loop."""
    return train(study, name, method, **({"references": references} if references else {}), **more)


def kto(study: Path, name: str, method: dict = KTO, references: str = "references-base.parquet", **more: object) -> tuple[dict, list[dict]]:
    return train(study, name, method, references=study / references, **more)


def trained(study: Path, method: dict, **more: object) -> str:
    """The folder's name of a training with this method: one that several tests of a study ask for runs once."""
    name = f"trained_{hashlib.sha256(repr((sorted(method.items()), sorted(more.items()))).encode()).hexdigest()[:16]}"
    if not (study / name / "manifest.json").exists():
        train(study, name, method, **more)
    return name


def by_two_processes(study: Path, name: str, method: dict, **more: object) -> list[str]:
    """The command of a training shared by two processes, with a checkpoint after every step."""
    often = options(study, name, checkpoint_seconds=0, **more)
    return [*LAUNCH_TWO, STEPS[method["trainer"]].__spec__.name, *words(step_config(method), often)]


def references(study: Path, policy: str = "base") -> Path:
    """The reference log-probabilities of a policy, which DPO and KTO share."""
    path = study / f"references-{policy}.parquet"
    config = {"view": {key: DPO[key] for key in VIEW_KEYS if key in DPO}, "train_split": "train", "batch_tokens": 512, "device": "cpu"}
    call(
        compute_references, config, policy=study / policy / "manifest.json", preferences=study / "preferences.parquet", threads=1,
        state=study / "state/references", output=path, timing=study / "timings/references",
    )  # fmt: skip
    return path


def log_of(study: Path, name: str) -> list[dict]:
    return pq.read_table(study / name / "log.parquet").to_pylist()


def weights(study: Path, name: str) -> dict[str, torch.Tensor]:
    return load_policy(study / name / "manifest.json")[0].state_dict()


def moved(study: Path, name: str) -> set[str]:
    """The weights that are not those of the base policy."""
    before, after = weights(study, "base"), weights(study, name)
    return {key for key, tensor in before.items() if not torch.equal(tensor, after[key])}


def farthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference of two models' weights."""
    return max((one[name] - other[name]).abs().max().item() for name in one)


def lora_weights(study: Path) -> set[str]:
    """The weights that LORA targets."""
    return {name for name in weights(study, "base") if name.endswith(("q_proj.weight", "v_proj.weight"))}


def linear_weights(study: Path) -> set[str]:
    """The weights that all-linear means: every linear module's but the output's."""
    model, _ = load_policy(study / "base/manifest.json")
    return {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and name != "lm_head"}


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """Within, a training dies at the end of a step, before its checkpoint."""
    original = loop.Watch.on_step_end

    def dying(self, args, state, control, **kwargs):
        if state.global_step == step:
            raise KeyboardInterrupt
        return original(self, args, state, control, **kwargs)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.Watch, "on_step_end", dying)
        yield

"""A small study whose steps run on one device: random models of three kinds, a judge, rows of drawn words, and the workflow's own steps on them."""

import io
import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow/scripts"))

import torch

from hh_align.core.artifacts import write_table
from hh_align.core.tables import PROMPTS
from hh_align.data.preferences import SCHEMA, fit_for
from hh_align.evaluation import generate_responses, score_responses
from hh_align.models.bpe import train_tokenizer
from hh_align.models.folders import prepare, save_model
from hh_align.training import compute_references, loop, pretrain_base, train_dpo, train_judge, train_sft

KINDS = ("opt", "llama", "qwen2")
OPT = {
    "hidden_size": 64, "layers": 2, "heads": 4, "ffn_dim": 128, "word_embed_proj_dim": 32, "max_positions": 512, "init_std": 0.1, "dropout": 0.0,
}  # fmt: skip
JUDGE = {"hidden_size": 64, "layers": 2, "heads": 4, "ffn_dim": 128, "position_buckets": 32, "init_std": 0.1}
ROTARY = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128,
    "max_position_embeddings": 512, "initializer_range": 0.1, "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1,
}  # fmt: skip
METHOD = {
    "epochs": 1, "schedule": "linear", "warmup_steps": 0, "weight_decay": 0.0, "max_grad_norm": 1.0, "batch_size": 4, "micro_batch": 2,
    "max_length": 256, "learning_rate": 1e-3,
}  # fmt: skip
SFT = METHOD | {"trainer": "sft", "loss_on": "transcript", "rows": "all"}
DPO = METHOD | {
    "trainer": "dpo", "loss": "sigmoid", "beta": 0.1, "max_prompt_length": 192, "dropout": "disabled",
    "lora": {"r": 4, "alpha": 8, "dropout": 0.0, "targets": ["q_proj", "v_proj"]},
}  # fmt: skip
VIEW = ("trainer", "max_length", "max_prompt_length", "dropout")
THREADS = 1


def drawn_rows(count: int, prompt: tuple[int, int], reply: tuple[int, int]) -> list[dict]:
    """Rows of preferences.parquet in words of a small vocabulary; prompt, reply: the fewest and the most words."""
    stream = random.Random(0)
    words = ["".join(stream.choices("abcdefghijklmnopqrstuvwxyz", k=stream.randint(2, 8))) for _ in range(300)]

    def text(least: int, most: int) -> str:
        return " ".join(stream.choices(words, k=stream.randint(least, most)))

    return [
        {
            "split": "train", "subset": "helpful-base", "row": row, "flags": [], "rejected_prompt": None, **fit_for([]),
            "prompt": f"\n\nHuman: {text(*prompt)}\n\nAssistant:", "chosen": f" {text(*reply)}", "rejected": f" {text(*reply)}",
        }
        for row in range(count)
    ]  # fmt: skip


def random_model(kind: str, vocabulary: int, dropout: float = 0.0) -> torch.nn.Module:
    """A causal model of a kind with random weights, the same at each call."""
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

    if kind == "opt":
        return pretrain_base.build_model(OPT | {"dropout": dropout}, vocabulary, 1)
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config({"llama": LlamaConfig, "qwen2": Qwen2Config}[kind](vocab_size=vocabulary, **ROTARY))


@dataclass(frozen=True)
class Inputs:
    """What every run reads: preferences, prompts, models of all kinds and a judge, below a folder."""

    folder: Path

    @property
    def preferences(self) -> Path:
        return self.folder / "preferences.parquet"

    @property
    def prompts(self) -> Path:
        return self.folder / "prompts.parquet"

    def model(self, name: str) -> Path:
        """The manifest of a kind, of `dropout` (an OPT that has some) or of the `judge`."""
        return self.folder / name / "manifest.json"


def make_inputs(folder: Path, steps: int, prompts: int) -> Inputs:
    """The inputs of trainings of `steps` steps and of responses to `prompts` prompts."""
    prepare()
    inputs, rows = Inputs(folder), drawn_rows(METHOD["batch_size"] * steps, (4, 60), (1, 40))
    write_table(inputs.preferences, rows, SCHEMA, {})
    asked = [
        {"axis": "helpfulness", "prompt_id": f"p{row['row']}", "prompt": row["prompt"], "subset": "", "row": row["row"], "cluster": "", "keywords": []}
        for row in rows[:prompts]
    ]  # fmt: skip
    write_table(inputs.prompts, asked, PROMPTS, {})
    texts = [row["prompt"] + row["chosen"] for row in rows]
    tokenizer = train_tokenizer(texts, 600, "</s> $A")
    for kind in KINDS:
        save_model(inputs.model(kind), random_model(kind, len(tokenizer)), tokenizer, {})
    save_model(inputs.model("dropout"), random_model("opt", len(tokenizer), dropout=0.1), tokenizer, {})
    pairs = train_tokenizer(texts, 600, "<s> $A </s>", "<s> $A </s> $B </s>")
    save_model(inputs.model("judge"), train_judge.build_model(JUDGE, len(pairs), 1), pairs, {})
    return inputs


# --- steps


def step(module: ModuleType, config: dict, **options: object) -> None:
    """Call a step's main as its rule does, without what it prints."""
    words = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    argv = [module.__name__, "--config", json.dumps(config), "--threads", str(THREADS), *words]
    with patch.object(sys, "argv", argv), redirect_stdout(io.StringIO()):
        module.main()


@dataclass(frozen=True)
class Run:
    """A run of a study's steps: into which folder (its artifacts lie under its results/), of which inputs, and where."""

    inputs: Inputs
    folder: Path
    device: str

    def path(self, name: str) -> Path:
        return self.folder / "results" / name

    def common(self, name: str) -> dict:
        """Options of every step that keeps a state."""
        return {"state": self.folder / "state" / name, "timing": self.folder / f"timings/{name}.json"}

    def train(self, name: str, method: dict, parent: Path, **more: object) -> None:
        """Train a policy `name` from the parent's manifest."""
        module = train_sft if method["trainer"] == "sft" else train_dpo
        outputs = {"manifest": "manifest.json", "train_log": "log.parquet", "quarantine": "quarantine.parquet"}
        files = {option: self.path(f"{name}/{file}") for option, file in outputs.items()}
        given = {"seed": 1, "parent": parent, "preferences": self.inputs.preferences, "checkpoint_seconds": 10**6}
        config = {"method": method, "train_split": "train", "device": self.device}
        step(module, config, **{**given, **files, **self.common(name), **more})

    def train_judge(self, name: str, precision: str) -> None:
        """Train a judge of helpfulness from nothing."""
        training = METHOD | {"precision": precision}
        config = {
            "architecture": JUDGE | {"vocab_size": 600}, "training": training, "axes": ["helpfulness"], "subsets": {"helpful-base": "helpfulness"},
            "calibration_share": 0.2, "seed": 1, "train_split": "train", "device": self.device,
        }  # fmt: skip
        outputs = {"manifest": "manifest.json", "train_log": "log.parquet", "calibration": "calibration.json"}
        files = {option: self.path(f"{name}/{file}") for option, file in outputs.items()}
        given = {"preferences": self.inputs.preferences, "checkpoint_seconds": 10**6}
        step(train_judge, config, **given, **files, **self.common(name))

    def refer(self, name: str, precision: str, parent: Path) -> Path:
        """The reference's log-probabilities of a policy, for DPO."""
        config = {
            "view": {key: DPO[key] for key in VIEW} | {"precision": precision},
            "train_split": "train",
            "batch_tokens": 2048,
            "device": self.device,
        }
        files = {"policy": parent, "preferences": self.inputs.preferences, "output": self.path(f"{name}.parquet")}
        step(compute_references, config, **files, **self.common(name))
        return self.path(f"{name}.parquet")

    def respond(self, name: str, dtype: str, policy: Path) -> Path:
        """A policy's greedy responses."""
        config = {
            "dtype": dtype, "max_new_tokens": 24, "lead": False, "cue": False, "stop": False, "strip": True, "long_prompts": "error", "batch_tokens": 2048,
            "device": self.device,
        }  # fmt: skip
        files = {"policy": policy, "prompts": self.inputs.prompts, "output": self.path(f"{name}.parquet")}
        step(generate_responses, config, **files, **self.common(name))
        return self.path(f"{name}.parquet")

    def score(self, name: str, dtype: str, responses: Path) -> Path:
        """The judge's rewards of responses."""
        config = {"dtype": dtype, "batch_tokens": 2048, "device": self.device, "axes": ["helpfulness"]}
        files = {"judge": self.inputs.model("judge"), "prompts": self.inputs.prompts, "responses": responses}
        step(score_responses, config, **files, output=self.path(f"{name}.parquet"), **self.common(name))
        return self.path(f"{name}.parquet")


@contextmanager
def at_step_end(act) -> Iterator[None]:
    """Within, `act(step)` is called when a training has made a step, before the step's checkpoint."""
    original = loop.Watch.on_step_end

    def watched(self, args, state, control, **kwargs):
        act(state.global_step)
        return original(self, args, state, control, **kwargs)

    with patch.object(loop.Watch, "on_step_end", watched):
        yield

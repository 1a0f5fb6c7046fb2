"""A small policy, a small judge and prompts on disk, and the jobs that evaluate with them, in this process or in one of its own."""

import multiprocessing
import random
from collections.abc import Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from command_line import call, call_and_exit

from hh_align.core.artifacts import write_table
from hh_align.core.axes import AXES
from hh_align.core.tables import PROMPTS, RESPONSES
from hh_align.evaluation import generate_responses, score_responses
from hh_align.models.batches import Item
from hh_align.models.bpe import train_tokenizer
from hh_align.models.folders import save_model
from hh_align.training import train_judge
from hh_align.training.pretrain_base import build_model

FORKS = multiprocessing.get_context("forkserver")
EOS, PAD, NEW = 2, 1, 20
OPT = {
    "hidden_size": 32, "layers": 2, "heads": 2, "ffn_dim": 64, "word_embed_proj_dim": 16, "max_positions": 128, "init_std": 0.3, "dropout": 0.1,
}  # fmt: skip
DEBERTA = {"hidden_size": 32, "layers": 2, "heads": 2, "ffn_dim": 64, "position_buckets": 16, "init_std": 0.3}
GENERATION = {
    "device": "cpu", "dtype": "float32", "max_new_tokens": NEW, "batch_tokens": 200, "lead": False, "cue": False, "stop": False, "strip": False, "long_prompts": "error",
}  # fmt: skip
SCORING = {"device": "cpu", "dtype": "float32", "batch_tokens": 200}
WORDS = ["how", "do", "I", "mend", "a", "bell", "that", "rings", "twice", "a", "day", "and", "never", "at", "noon", "please", "tell", "me", "the", "old", "way", "of", "it"]  # fmt: skip
SENTENCES = ["Human: how do I mend a bell?", "a bell rings twice", "please tell me the old way", "no, never at noon", "I cannot", "yes"]


def texts(count: int, seed: int = 1) -> list[str]:
    """Human turns of 1 to 30 words."""
    stream = random.Random(seed)
    return ["\n\nHuman: " + " ".join(stream.choices(WORDS, k=stream.randint(1, 30))) for _ in range(count)]


def write_prompts(path: Path, prompts: Iterable[tuple[int, str]]) -> None:
    """The table of these (number, text) as prompts about helpfulness."""
    row = {"subset": "s", "row": 0, "cluster": "c", "keywords": []}
    rows = [{**row, "axis": "helpfulness", "prompt_id": f"helpfulness-{number:03d}", "prompt": text} for number, text in prompts]
    write_table(path, rows, PROMPTS, {})


def write_answered(folder: Path) -> None:
    """Four prompts of each axis and a policy's responses to them: prompts.parquet and responses/base/seed-0.parquet."""
    keys = [{"axis": axis, "prompt_id": f"{axis}-{number:03d}"} for axis in AXES for number in range(4)]
    stream = random.Random(1)
    prompts = [key | {"prompt": " ".join(stream.choices(SENTENCES, k=3)), "cluster": key["prompt_id"], "keywords": []} for key in keys]
    responses = [key | {"response": " ".join(stream.choices(SENTENCES, k=2))} for key in keys]
    write_table(folder / "prompts.parquet", prompts, PROMPTS, {})
    write_table(folder / "responses/base/seed-0.parquet", responses, RESPONSES, {})


def save_policy(folder: Path) -> Path:
    """Save a policy of random weights; its manifest."""
    tokenizer = train_tokenizer(texts(200), 300, "</s> $A")
    save_model(folder / "policy/manifest.json", build_model(OPT, len(tokenizer), 1), tokenizer, {})
    return folder / "policy/manifest.json"


def save_judge(folder: Path) -> Path:
    """Save a judge of random weights; its manifest."""
    tokenizer = train_tokenizer(texts(200), 300, "<s> $A </s>", "<s> $A </s> $B </s>")
    save_model(folder / "judge/manifest.json", train_judge.build_model(DEBERTA | {"vocab_size": 300}, len(tokenizer), 1), tokenizer, {})
    return folder / "judge/manifest.json"


def items_of(prompts: list[list[int]]) -> list[Item]:
    """Items of these ids, named by their numbers."""
    return [Item(number, ids, {"prompt_id": str(number)}) for number, ids in enumerate(prompts)]


def job_of(folder: Path, step: str, responses: Path | None = None) -> tuple[ModuleType, dict, dict[str, Path]]:
    """(module, config, inputs) of `generate` or `score` on the models and prompts in a folder."""
    if step == "generate":
        return generate_responses, GENERATION, {"policy": folder / "policy/manifest.json", "prompts": folder / "prompts.parquet"}
    return score_responses, SCORING, {
        "judge": folder / "judge/manifest.json", "prompts": folder / "prompts.parquet", "responses": responses,
    }  # fmt: skip


def options_of(folder: Path, name: str, shard: str | None = None) -> dict[str, object]:
    """The options of a job that writes `name`.parquet into a folder."""
    outputs = {"state": folder / f"state-{name}", "output": folder / f"{name}.parquet", "timing": folder / "timing.json"}
    return {"threads": 1, **outputs, **({"shard": shard} if shard else {})}


def ended(module: ModuleType, folder: Path, name: str, config: dict, shard: str | None = None, **inputs: Path) -> Path:
    """Run a job in this process; its output."""
    status, printed = call(module, config=config, **inputs, **options_of(folder, name, shard))
    assert status == 0, printed
    return folder / f"{name}.parquet"


def started(module: ModuleType, folder: Path, name: str, config: dict, **inputs: Path) -> BaseProcess:
    """The same job, started in a process of its own: a fork of one that has read the modules, and done nothing with them."""
    FORKS.set_forkserver_preload([generate_responses.__name__, score_responses.__name__])
    process = FORKS.Process(target=call_and_exit, args=(module.__name__, {"config": config, **inputs, **options_of(folder, name)}))
    process.start()
    return process

"""A sound artifact of each kind, the steps that read them, and ways to damage them."""

import json
import random

import pyarrow.parquet as pq
from command_line import call
from tinymodels import write_judge, write_opt

from hh_align.analysis import compare_runs, compute_metrics, gather_ratings
from hh_align.core.artifacts import write_manifest, write_table
from hh_align.core.axes import AXES
from hh_align.core.tables import PROMPTS, RESPONSES, REWARDS
from hh_align.data import derive_dataset, prepare_preferences, select_prompts
from hh_align.data.preferences import SCHEMA
from hh_align.evaluation import gather_shards, generate_responses, score_responses
from hh_align.models import import_model
from hh_align.report import export_csv

SELECT = {"seed": 1} | {
    axis: {"subset": "s", "split": "test", "keywords": [], "match": "substring", "scope": "prompt", "n": 3} for axis in AXES
}
DERIVE = {"training_half": [], "labels": True, "label_seed": 1}
GENERATE = {"device": "cpu", "dtype": "float32", "max_new_tokens": 2, "batch_tokens": 200, "lead": False, "cue": False, "stop": False, "strip": False, "long_prompts": "error"}  # fmt: skip
SCORE = {"device": "cpu", "dtype": "float32", "batch_tokens": 200}
ANALYSE = {
    "judges": {"j": {"harmless_min": 0.0, "helpful_above": 0.0}}, "policies": {"base": {"parent": None}, "sft": {"parent": "base"}},
    "order": ["base", "sft"], "seeds": [1], "bootstrap": {"samples": 1000, "seed": 1}, "contrasts": [["sft", "base"]], "primary": [],
    "equivalence_margin": 5.0, "seed": 1,
}  # fmt: skip


def pairs(count=12):
    turns = [{side: f"\n\nHuman: {n}\n\nAssistant: {side}" for side in ("chosen", "rejected")} for n in range(count)]
    return [{"split": "test", "subset": "s", "row": row, **prepare_preferences.split_pair(pair)} for row, pair in enumerate(turns)]


def prompt_ids(n=6):
    return [{"axis": axis, "prompt_id": f"{axis}-{number:03d}"} for axis in AXES for number in range(n)]


def write_artifacts(folder):
    """One sound artifact of each kind."""
    for kind, write in (("policy", write_opt), ("judge", write_judge)):
        write(folder / f"{kind}-source")
        write_manifest(folder / f"{kind}-source", [path.name for path in (folder / f"{kind}-source").iterdir()])
        status, output = call(
            import_model,
            config={"kind": kind},
            source=folder / f"{kind}-source/manifest.json",
            manifest=folder / kind / "manifest.json",
        )
        assert status == 0, output
    write_table(folder / "preferences.parquet", pairs(), SCHEMA, {})
    prompts = [
        {**prompt, "subset": "s", "row": 1, "cluster": f"c{number}", "prompt": f"Human: {number}", "keywords": []}
        for number, prompt in enumerate(prompt_ids())
    ]
    write_table(folder / "prompts.parquet", prompts, PROMPTS, {})
    stream = random.Random(1)
    for policy, seed in (("base", 0), ("sft", 1)):
        answers = [
            {**prompt, "response": f"r{number}", "response_tokens": 1, "finish": "eos", "top2_gap_min": 1.0, "cut_tokens": 0}
            for number, prompt in enumerate(prompt_ids())
        ]
        write_table(folder / f"responses/{policy}/seed-{seed}.parquet", answers, RESPONSES, {})
        rewards = [{**prompt, "reward": stream.gauss(0, 1), "input_tokens": 1, "cut_tokens": 0} for prompt in prompt_ids()]
        write_table(folder / f"rewards/j/{policy}/seed-{seed}.parquet", rewards, REWARDS, {})
    module, options, _ = steps(folder)["gather_ratings"]
    status, output = call(module, **options | {"output": folder / "ratings.parquet"})
    assert status == 0, output


def steps(folder):
    """Name -> (script, its options, the tables that it reads)."""
    job = {"threads": 1, "state": folder / "state", "output": folder / "out.parquet", "timing": folder / "timing.json"}
    rewards, responses = (
        [folder / f"{kind}/base/seed-0.parquet", folder / f"{kind}/sft/seed-1.parquet"] for kind in ("rewards/j", "responses")
    )
    runs = {"our_responses": responses, "their_responses": responses, "their_rewards": rewards}
    against = {"held_against": {"judges": ["j"], "checkpoints": [["base", 0], ["sft", 1]]}}
    ratings = folder / "ratings.parquet"
    prompts, preferences = folder / "prompts.parquet", folder / "preferences.parquet"
    beside = {name: folder / f"{name}.parquet" for name in ("census", "dropped", "contaminated")}
    return {
        "select_prompts": (select_prompts, {"config": SELECT, "preferences": preferences, "output": folder / "out.parquet"}, [preferences]),
        "derive_dataset": (derive_dataset, {"config": DERIVE, "preferences": preferences, "prompts": prompts, "output": folder / "out.parquet", **beside}, [preferences, prompts]),
        "generate_responses": (generate_responses, {"config": GENERATE, "policy": folder / "policy/manifest.json", "prompts": prompts, **job}, [prompts]),
        "score_responses": (score_responses, {"config": SCORE, "judge": folder / "judge/manifest.json", "prompts": prompts, "responses": responses[0], **job}, [prompts, responses[0]]),
        "gather_ratings": (gather_ratings, {"config": ANALYSE, "prompts": prompts, "rewards": rewards, "responses": responses, "output": folder / "out.parquet"}, [prompts, rewards[1], responses[1]]),
        "compute_metrics": (compute_metrics, {"config": ANALYSE, "ratings": ratings, "output": folder / "out.parquet"}, [ratings]),
        "compare_runs": (compare_runs, {"config": ANALYSE | against, "ratings": ratings, "our_prompts": prompts, "their_prompts": prompts, **runs, "output": folder / "out.parquet", "summary": folder / "summary.parquet"}, [ratings, prompts, rewards[1], responses[1]]),
        "export_csv": (export_csv, {"table": rewards[0], "output": folder / "out.csv"}, [rewards[0]]),
        "gather_shards": (gather_shards, {"shards": rewards, "output": folder / "out.parquet"}, [rewards[0], rewards[1]]),
    }  # fmt: skip


def garble(path):
    """Other bytes in every column."""
    content = bytearray(path.read_bytes())
    for at in range(4, len(content) // 2):
        content[at] ^= 0x55
    path.write_bytes(content)


def rewrite(path, schema, change):
    rows = pq.read_table(path).to_pylist()
    write_table(path, change(rows), schema, {})


def edit_json(path, **more):
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def seal(folder):
    write_manifest(folder, [path.name for path in folder.iterdir() if path.name != "manifest.json"])

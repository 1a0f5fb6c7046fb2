"""Generation and scoring of many prompts against few: whether memory stays flat and time grows with the tokens only."""

import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_cases import SCRIPTS, SHARED

NEW, BUDGET = 50, 4096
"""New tokens of a response, and tokens of a batch."""


def all_prompts() -> list[dict]:
    """Every prompt of the real test files, as rows of prompts.parquet."""
    from hh_align.data.transcripts import split_transcript

    prompts = []
    for axis, subset in (("harmlessness", "harmless-base"), ("helpfulness", "helpful-base")):
        with gzip.open(SHARED / f"hh-rlhf/{subset}/test.jsonl.gz", "rt", encoding="utf-8") as file:
            texts = [split_transcript(json.loads(line)["chosen"])[0] for line in file]
        common = {"axis": axis, "subset": subset, "cluster": "", "keywords": []}
        prompts += [{**common, "row": row, "prompt_id": f"{axis}-{row:05d}", "prompt": text} for row, text in enumerate(texts)]
    return [row for row in prompts if row["prompt"].strip()]


def timings_of(rows: list[dict], study: Path, folder: Path) -> dict[str, dict]:
    """Step -> its timing.json, of the demo's policy and judge on these prompts."""
    from hh_align.core.artifacts import write_table
    from hh_align.core.cores import usable_cores
    from hh_align.core.tables import PROMPTS

    base = {"device": "cpu", "dtype": "float32", "batch_tokens": BUDGET}
    generation = {**base, "max_new_tokens": NEW, "lead": True, "cue": True, "stop": False, "strip": False, "long_prompts": "cut"}
    policy, (judge, *_) = study / "policies/sft/seed-42/manifest.json", sorted(study.glob("models/judges/*/manifest.json"))
    files = {key: folder / f"{key}-{len(rows)}.parquet" for key in ("prompts", "responses", "rewards")}
    write_table(files["prompts"], rows, PROMPTS, {})
    timings = {}
    for step, config, options in (
        ("generate_responses", generation, ["--policy", policy, "--output", files["responses"]]),
        ("score_responses", base, ["--judge", judge, "--responses", files["responses"], "--output", files["rewards"]]),
    ):
        timing = folder / "timing.json"
        command = [
            sys.executable, "-m", f"hh_align.evaluation.{step}", "--config", json.dumps(config), "--prompts", files["prompts"],
            "--threads", usable_cores(), "--state", folder / "state", "--timing", timing, *options,
        ]  # fmt: skip
        environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, env=environment)
        timings[step] = json.loads(timing.read_text())
        print(f"{step}, {len(rows):,} prompts: {timings[step]}", flush=True)
    return timings


def bench_scale(study: Path) -> list[dict]:
    """Rows of the table: peak memory, time and tokens of all prompts against those of 100."""
    prompts = all_prompts()
    longest = sorted(prompts, key=lambda row: -len(row["prompt"]))
    spread = longest[:: len(longest) // 100][:100]  # the longest among them: both runs see the largest batch
    with tempfile.TemporaryDirectory() as name:
        few, many = (timings_of(rows, study, Path(name)) for rows in (spread, prompts))
    rows = []
    for step in few:
        ratios = {metric: many[step][metric] / few[step][metric] for metric in ("peak_memory_mb", "seconds", "tokens")}
        for metric, ratio in ratios.items():
            row = {
                "case": f"scale {step}",
                "peer": "100 prompts",
                "metric": metric,
                "ratio_min": None,
                "ratio_max": None,
                "floor_ratio": None,
            }
            rows.append({**row, "ours": float(many[step][metric]), "theirs": float(few[step][metric]), "ratio": ratio})
            print(f"{step}, {metric}: {len(prompts):,} prompts against 100: {ratio:.2f}")
        memory = "flat" if ratios["peak_memory_mb"] <= 1.1 else "GROWS"
        seconds = "within" if ratios["seconds"] <= ratios["tokens"] else "BEYOND"
        print(f"{step}: memory {memory}, time {seconds} the growth of tokens")
    return rows

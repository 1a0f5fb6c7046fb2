"""Shards and kills: whatever the order, the shards or the interruptions, the tables are the same byte for byte."""

import json
import random
import signal
import time

import pyarrow.parquet as pq
import pytest
from command_line import call
from small_evaluation import NEW, SCORING, ended, job_of, started, texts, write_prompts

from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, RESPONSES
from hh_align.evaluation import gather_shards, generate_responses, score_responses
from hh_align.evaluation.judge import open_judge
from hh_align.models.batches import plan
from hh_align.models.folders import load_policy
from hh_align.models.judging import PADDING


@pytest.mark.parametrize("step", ["generate", "score"])
def test_shards_and_order_change_no_byte(evaluated, responses, tmp_path, step):
    module, config, inputs = job_of(evaluated, step, responses)
    whole = ended(module, tmp_path, "whole", config, **inputs)
    shards = [ended(module, tmp_path, f"{number}", config, f"{number}-of-3", **inputs) for number in (1, 2, 3)]
    assert 0 < min(pq.read_table(path).num_rows for path in shards) < 40
    assert call(gather_shards, shards=shards, output=tmp_path / "gathered.parquet")[0] == 0
    assert (tmp_path / "gathered.parquet").read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("state-*/*"))
    with pytest.raises(StudyError, match="rows are missing"):
        gather_shards.join([pq.read_table(path) for path in shards[:2]])
    if step == "generate":  # the same prompts in another order
        shuffled = list(enumerate(texts(64)))
        random.Random(5).shuffle(shuffled)
        write_prompts(tmp_path / "shuffled.parquet", shuffled)
        other = ended(module, tmp_path, "other", config, **inputs | {"prompts": tmp_path / "shuffled.parquet"})
        assert pq.read_table(other).sort_by("prompt_id").to_pylist() == pq.read_table(whole).to_pylist()


def test_shards_of_a_judge_of_one_axis_make_up_its_table(evaluated, tmp_path):
    # its rows begin behind those of the other axis
    asked, answered = [], []
    for number, text in enumerate(texts(40)):
        axis = "harmlessness" if number < 15 else "helpfulness"
        key = {"axis": axis, "prompt_id": f"{axis}-{number:03d}"}
        asked.append({**key, "subset": "s", "row": 0, "cluster": "c", "keywords": [], "prompt": text})
        answered.append({**key, "response": text[9:], "response_tokens": 1, "finish": "eos", "top2_gap_min": 1.0, "cut_tokens": 0})
    write_table(tmp_path / "prompts.parquet", asked, PROMPTS, {})
    write_table(tmp_path / "responses.parquet", answered, RESPONSES, {})
    inputs = {
        "judge": evaluated / "judge/manifest.json",
        "prompts": tmp_path / "prompts.parquet",
        "responses": tmp_path / "responses.parquet",
    }
    config = SCORING | {"axes": ["helpfulness"]}
    whole = ended(score_responses, tmp_path, "whole", config, **inputs)
    assert pq.read_table(whole)["prompt_id"].to_pylist() == [row["prompt_id"] for row in asked[15:]]
    shards = [ended(score_responses, tmp_path, f"{number}", config, f"{number}-of-2", **inputs) for number in (1, 2)]
    assert call(gather_shards, shards=shards, output=tmp_path / "gathered.parquet")[0] == 0
    assert (tmp_path / "gathered.parquet").read_bytes() == whole.read_bytes()


def plan_of(evaluated, step, config, responses):
    """The batches of a job."""
    if step == "generate":
        _, tokenizer = load_policy(evaluated / "policy/manifest.json")
        (items,) = generate_responses.prompt_items(evaluated / "prompts.parquet", tokenizer, config, 128)
        return plan(items, config["batch_tokens"], NEW)
    judge = open_judge(evaluated / "judge/manifest.json", config, "cpu")
    (items,) = score_responses.response_items(evaluated / "prompts.parquet", responses, judge, None)
    return plan(items, config["batch_tokens"], padding=PADDING)


@pytest.mark.parametrize("step", ["generate", "score"])
@pytest.mark.parametrize("moments", [2, pytest.param(5, marks=pytest.mark.long)])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(evaluated, responses, tmp_path, step, moments):
    module, config, inputs = job_of(evaluated, step, responses)
    config = config | {"batch_tokens": 64}
    whole = ended(module, tmp_path, "whole", config, **inputs)
    job, output = (module, tmp_path, "killed", config), tmp_path / "killed.parquet"
    parts, stream, total = tmp_path / "state-killed/parts.jsonl", random.Random(), len(plan_of(evaluated, step, config, responses))
    killed = 0
    for moment in sorted(stream.sample(range(1, total - 3), moments)):
        process = started(*job, **inputs)
        while process.is_alive() and (not parts.is_file() or parts.read_bytes().count(b"\n") < moment):
            time.sleep(0.001)
        process.kill()
        process.join()
        assert process.exitcode in (-signal.SIGKILL, 0)
        killed += process.exitcode != 0
    last = started(*job, **inputs)
    last.join()
    assert last.exitcode == 0 and output.read_bytes() == whole.read_bytes() and not parts.exists()
    assert killed and (killed < moments or json.loads((tmp_path / "timing.json").read_text())["continuations"] == killed)

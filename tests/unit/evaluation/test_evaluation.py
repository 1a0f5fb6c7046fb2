"""Generation and scoring: the text that the stock loop writes, whatever the batches, shards, order or kills."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForSequenceClassification, DebertaConfig, DebertaV2Config

from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.core.progress import Progress, clock
from hh_align.core.state import State
from hh_align.core.tables import PROMPTS, RESPONSES
from hh_align.evaluation import gather_shards, generate_responses, score_responses
from hh_align.evaluation.generate_responses import continue_greedily, cut_at_human
from hh_align.evaluation.judge import open_judge
from hh_align.models import deberta, judging
from hh_align.models.batches import Item, Parts, by_batches, in_memory, plan
from hh_align.models.bpe import train_tokenizer
from hh_align.models.deberta import without_padding
from hh_align.models.decoding import decode, prompt_ids
from hh_align.models.folders import load_judge, load_policy, save_model
from hh_align.models.judging import PADDING, reward_batch
from hh_align.training import train_judge
from hh_align.training.pretrain_base import build_model

EOS, PAD, NEW = 2, 1, 20
OPT = {
    "hidden_size": 32,
    "layers": 2,
    "heads": 2,
    "ffn_dim": 64,
    "word_embed_proj_dim": 16,
    "max_positions": 128,
    "init_std": 0.3,
    "dropout": 0.1,
}
SMALL = {
    "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64, "num_labels": 1,
}  # fmt: skip
DEBERTA = {"hidden_size": 32, "layers": 2, "heads": 2, "ffn_dim": 64, "position_buckets": 16, "init_std": 0.3}
GENERATION = {
    "device": "cpu", "dtype": "float32", "max_new_tokens": NEW, "batch_tokens": 200, "cue": False, "stop": False, "strip": False, "long_prompts": "error",
}  # fmt: skip
SCORING = {"device": "cpu", "dtype": "float32", "batch_tokens": 200}
WORDS = [
    "how",
    "do",
    "I",
    "mend",
    "a",
    "bell",
    "that",
    "rings",
    "twice",
    "a",
    "day",
    "and",
    "never",
    "at",
    "noon",
    "please",
    "tell",
    "me",
    "the",
    "old",
    "way",
    "of",
    "it",
]


def texts(count, seed=1):
    stream = random.Random(seed)
    return ["\n\nHuman: " + " ".join(stream.choices(WORDS, k=stream.randint(1, 30))) for _ in range(count)]


def write_prompts(path, prompts):
    row = {"subset": "s", "row": 0, "cluster": "c", "keywords": []}
    rows = [{**row, "axis": "helpfulness", "prompt_id": f"helpfulness-{number:03d}", "prompt": text} for number, text in prompts]
    write_table(path, rows, PROMPTS, {})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    tokenizer = train_tokenizer(texts(200), 300, "</s> $A")
    save_model(folder / "policy/manifest.json", build_model(OPT, len(tokenizer), 1), tokenizer, {}, "")
    tokenizer = train_tokenizer(texts(200), 300, "<s> $A </s>", "<s> $A </s> $B </s>")
    save_model(folder / "judge/manifest.json", train_judge.build_model(DEBERTA | {"vocab_size": 300}, len(tokenizer), 1), tokenizer, {}, "")
    write_prompts(folder / "prompts.parquet", enumerate(texts(64)))
    return folder


def call(module, folder, name, config, shard=None, **inputs):
    """The command line of one job; returns its output."""
    output = folder / f"{name}.parquet"
    options = {**inputs, "threads": 1, "state": folder / f"state-{name}", "output": output, "timing": folder / "timing.json"}
    options |= {"shard": shard} if shard else {}
    arguments = ["--config", json.dumps(config)] + [str(part) for key, value in options.items() for part in (f"--{key}", value)]
    return output, [module.__file__, *arguments]


def done(monkeypatch, module, *args, **kwargs) -> Path:
    output, argv = call(module, *args, **kwargs)
    monkeypatch.setattr(sys, "argv", argv)
    module.main()
    return output


def inputs_of(place, kind, responses=None):
    if kind == "generate":
        return generate_responses, GENERATION, {"policy": place / "policy/manifest.json", "prompts": place / "prompts.parquet"}
    return score_responses, SCORING, {"judge": place / "judge/manifest.json", "prompts": place / "prompts.parquet", "responses": responses}


@pytest.fixture(scope="module")
def responses(place):
    with pytest.MonkeyPatch.context() as patch:
        module, config, inputs = inputs_of(place, "generate")
        return done(patch, module, place, "responses", config, **inputs)


def items_of(prompts):
    return [Item(number, ids, {"prompt_id": str(number)}) for number, ids in enumerate(prompts)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_text_is_that_of_the_stock_loop_at_any_batch_size_and_order(seed):
    model, stream = build_model(OPT, 60, seed).eval(), random.Random(seed)
    prompts = [[EOS, *stream.choices(range(4, 60), k=stream.randint(1, 60))] for _ in range(64)]
    free = [continue_greedily(model, items_of([ids]), NEW, -1, lambda ids: False)[0][0].ids for ids in prompts]
    (eos, _), *_ = Counter(ids[10] for ids in free).most_common()  # a token that many write, so that some leave the batch early
    stock = []
    for ids in prompts:
        written = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=NEW, eos_token_id=eos, pad_token_id=PAD)
        stock.append(written[0, len(ids) :].tolist())
    alone = [continue_greedily(model, items_of([ids]), NEW, eos, lambda ids: False) for ids in prompts]
    near_ties = [row for row, (_, gaps) in enumerate(alone) if gaps[0] < 1e-4]
    assert len(near_ties) < 3 and [[*part.ids, *[eos] * (part.finish == "eos")] for (part,), _ in alone] == stock
    assert {part.finish for (part,), _ in alone} == {"eos", "length"}
    for size in (7, 64):
        order = stream.sample(range(64), 64)
        for start in range(0, 64, size):
            rows = order[start : start + size]
            found, gaps = continue_greedily(model, items_of([prompts[row] for row in rows]), NEW, eos, lambda ids: False)
            for row, part, gap in zip(rows, found, gaps, strict=True):
                assert row in near_ties or (part == alone[row][0][0] and gap == pytest.approx(alone[row][1][0], abs=1e-4))


@pytest.mark.parametrize("cells", [2**18, 2000, 100])
def test_rewards_depend_neither_on_the_batch_nor_on_the_pieces_of_attention(place, monkeypatch, cells):
    monkeypatch.setattr(deberta, "CELLS", cells)
    model, tokenizer = load_judge(place / "judge/manifest.json")
    ids = [tokenizer(text)["input_ids"] for text in texts(64)]
    stock = [model(input_ids=torch.tensor([row])).logits[0, 0].item() for row in ids]
    without_padding(model)
    alone = [reward_batch(model, [row], tokenizer.pad_token_id)[0] for row in ids]
    order = random.Random(1).sample(range(64), 64)
    for size in (7, 64):
        found = [
            reward for start in range(0, 64, size) for reward in reward_batch(model, [ids[row] for row in order[start : start + size]], PAD)
        ]
        assert found == pytest.approx([alone[row] for row in order], abs=1e-5)
    assert alone == pytest.approx(stock, abs=1e-5) and torch.tensor(alone).std() > 0.1


@pytest.mark.parametrize(
    "config",
    [
        DebertaConfig(**SMALL, relative_attention=True, pos_att_type=["c2p", "p2c"]),
        DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["c2p", "p2c"], share_att_key=True, conv_kernel_size=3),
        DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["c2p", "p2c"]),
        DebertaV2Config(**SMALL, pos_att_type=None),
    ],
    ids=["deberta", "with a convolution", "keys of its own", "absolute positions"],
)
def test_judges_of_another_make_are_read_as_they_are(config):
    model = AutoModelForSequenceClassification.from_config(config).eval()
    ids = [[1, *range(5, 5 + length), 2] for length in (9, 4, 30)]
    stock = [model(input_ids=torch.tensor([row])).logits[0, 0].item() for row in ids]
    without_padding(model)
    assert reward_batch(model, ids, 0) == pytest.approx(stock, abs=1e-5)


def test_the_plan_takes_distinct_inputs_once_in_batches_that_their_order_does_not_change():
    stream = random.Random(1)
    rows = [stream.choices(range(9), k=stream.randint(1, 3)) for _ in range(200)]
    batches = plan(items_of(rows), 20, 2)
    planned = [[same[0].ids for same in batch] for batch in batches]
    assert sorted(tuple(ids) for batch in planned for ids in batch) == sorted(set(map(tuple, rows)))
    assert sorted(item.number for batch in batches for same in batch for item in same) == list(range(200))
    assert all(len(batch) * (max(map(len, batch)) + 2) <= 20 for batch in planned)
    stream.shuffle(rows)
    assert [[same[0].ids for same in batch] for batch in plan(items_of(rows), 20, 2)] == planned


def test_parts_forget_a_line_that_a_kill_has_torn(tmp_path):
    parts = Parts(State(tmp_path, 0.0))
    parts.add([{"number": 3}, {"number": 0}], 1)
    parts.add([{"number": 1}, {"number": 2}], 1)
    with open(parts.path, "a") as file:
        file.write('00000000 [{"number": 4')
    again = Parts(State(tmp_path, 0.0))
    assert again.done == 2 and again.state.tokens == 2
    again.add([{"number": 4}], 1)
    assert [[row["number"] for row in window] for window in again.windows()] == [[0, 1, 2, 3, 4]]


def test_a_part_with_a_flipped_bit_is_made_again_with_what_follows(tmp_path, capsys):
    parts = Parts(State(tmp_path, 0.0))
    for number in range(4):
        parts.add([number / 3], 1)
    content = bytearray(parts.path.read_bytes())
    content[content.index(b"0.666") + 3] ^= 1
    parts.path.write_bytes(content)
    again = Parts(State(tmp_path, 0.0))
    assert list(again) == [[0.0], [1 / 3]] and "what follows batch 2" in capsys.readouterr().out
    computed = []

    def compute(batch):
        computed.extend(batch)
        return [row / 3 for row in batch]

    assert by_batches([[0], [1], [2], [3]], [1] * 4, compute, again, Progress(4, "row")) == [row / 3 for row in range(4)]
    assert computed == [2, 3]


@pytest.mark.parametrize("kind", ["generate", "score"])
def test_shards_and_order_change_no_byte(place, responses, tmp_path, monkeypatch, kind):
    module, config, inputs = inputs_of(place, kind, responses)
    whole = done(monkeypatch, module, tmp_path, "whole", config, **inputs)
    shards = [done(monkeypatch, module, tmp_path, f"{number}", config, f"{number}-of-3", **inputs) for number in (1, 2, 3)]
    assert 0 < min(pq.read_table(path).num_rows for path in shards) < 40
    monkeypatch.setattr(sys, "argv", ["gather_shards", "--shards", *map(str, shards), "--output", str(tmp_path / "gathered.parquet")])
    gather_shards.main()
    assert (tmp_path / "gathered.parquet").read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("state-*/*"))
    with pytest.raises(StudyError, match="rows are missing"):
        gather_shards.join([pq.read_table(path) for path in shards[:2]])
    if kind == "generate":  # the same prompts in another order
        shuffled = list(enumerate(texts(64)))
        random.Random(5).shuffle(shuffled)
        write_prompts(tmp_path / "shuffled.parquet", shuffled)
        other = done(monkeypatch, module, tmp_path, "other", config, **inputs | {"prompts": tmp_path / "shuffled.parquet"})
        assert pq.read_table(other).sort_by("prompt_id").to_pylist() == pq.read_table(whole).to_pylist()


def test_shards_of_a_judge_of_one_axis_make_up_its_table(place, tmp_path, monkeypatch):
    # its rows begin behind those of the other axis
    asked, answered = [], []
    for number, text in enumerate(texts(40)):
        axis = "harmlessness" if number < 15 else "helpfulness"
        key = {"axis": axis, "prompt_id": f"{axis}-{number:03d}"}
        asked.append({**key, "subset": "s", "row": 0, "cluster": "c", "keywords": [], "prompt": text})
        answered.append({**key, "response": text[9:], "response_tokens": 1, "finish": "eos", "top2_gap_min": 1.0, "cut_tokens": 0})
    write_table(tmp_path / "prompts.parquet", asked, PROMPTS, {})
    write_table(tmp_path / "responses.parquet", answered, RESPONSES, {})
    inputs = {"judge": place / "judge/manifest.json", "prompts": tmp_path / "prompts.parquet", "responses": tmp_path / "responses.parquet"}
    config = SCORING | {"axes": ["helpfulness"]}
    whole = done(monkeypatch, score_responses, tmp_path, "whole", config, **inputs)
    assert pq.read_table(whole)["prompt_id"].to_pylist() == [row["prompt_id"] for row in asked[15:]]
    shards = [done(monkeypatch, score_responses, tmp_path, f"{number}", config, f"{number}-of-2", **inputs) for number in (1, 2)]
    monkeypatch.setattr(sys, "argv", ["gather_shards", "--shards", *map(str, shards), "--output", str(tmp_path / "gathered.parquet")])
    gather_shards.main()
    assert (tmp_path / "gathered.parquet").read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("kind", ["generate", "score"])
@pytest.mark.parametrize("moments", [2, pytest.param(5, marks=pytest.mark.long)])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(place, responses, tmp_path, monkeypatch, kind, moments):
    module, config, inputs = inputs_of(place, kind, responses)
    config = config | {"batch_tokens": 64}
    whole = done(monkeypatch, module, tmp_path, "whole", config, **inputs)
    output, argv = call(module, tmp_path, "killed", config, **inputs)
    parts, stream, total = tmp_path / "state-killed/parts.jsonl", random.Random(), len(plan_of(place, kind, config, responses))
    killed = 0
    for moment in sorted(stream.sample(range(1, total - 3), moments)):
        process = subprocess.Popen([sys.executable, *argv], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while process.poll() is None and (not parts.is_file() or parts.read_bytes().count(b"\n") < moment):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() in (-signal.SIGKILL, 0), process.stderr.read().decode()
        killed += process.returncode != 0
    subprocess.run([sys.executable, *argv], check=True, stdout=subprocess.DEVNULL)
    assert output.read_bytes() == whole.read_bytes() and not parts.exists()
    assert killed and (killed < moments or json.loads((tmp_path / "timing.json").read_text())["continuations"] == killed)


def test_memory_that_runs_out_names_the_budget_to_lower():
    def full(batch):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(StudyError, match="out of memory in a batch of 2 inputs, 300 tokens: set batch_tokens to 150"):
        in_memory(full, [1, 2], 300)
    with pytest.raises(StudyError, match="in a batch of 1 inputs, 300 tokens: it is a batch of its own"):
        in_memory(full, [1], 300)
    with pytest.raises(RuntimeError, match="size"):
        in_memory(lambda batch: torch.zeros(2) @ torch.zeros(3) if batch else [], [1], 1)


def test_progress_says_what_is_done_how_fast_and_what_remains(monkeypatch, capsys):
    now = 100.0
    monkeypatch.setattr("hh_align.core.progress.time.monotonic", lambda: now)
    progress = Progress(1000, "prompt", done=0)
    progress.skip(100)  # an earlier run's: no rate of this one
    progress.leave(100)
    now = 102.0
    progress.add(1, 10)
    assert capsys.readouterr().out == ""  # not every batch has a line
    now = 110.0
    progress.add(1, 10)
    assert capsys.readouterr().out == "prompt 102/900, 0.2/s, 2 tokens/s, 01:06:30 left\n"
    assert clock(90_061) == "25:01:01"


def plan_of(place, kind, config, responses):
    """The batches of a job."""
    if kind == "generate":
        _, tokenizer = load_policy(place / "policy/manifest.json")
        (items,) = generate_responses.prompt_items(place / "prompts.parquet", tokenizer, config, 128)
        return plan(items, config["batch_tokens"], NEW)
    judge = open_judge(place / "judge/manifest.json", config, "cpu")
    (items,) = score_responses.response_items(place / "prompts.parquet", responses, judge, None)
    return plan(items, config["batch_tokens"], padding=PADDING)


def test_a_response_ends_before_the_humans_next_turn():
    tokens = {3: "Yes", 4: ".", 5: "\n\n", 6: "Human", 7: ":"}

    def text_of(ids):
        return "".join(tokens[token] for token in ids)

    assert cut_at_human([3, 4, 5, 6, 7], text_of) == ("Yes.", 2)
    assert cut_at_human([5, 6, 7], text_of) == ("", 0)
    model = build_model(OPT, 60, 1).eval()
    prompts = [[EOS, 5, 6], [EOS, 9]]
    free = decode(model, prompts, 8, -1, lambda logits, rows: logits.argmax(1))
    marked = free[0].ids[:3]
    found = decode(model, prompts, 8, -1, lambda logits, rows: logits.argmax(1), lambda ids: ids == marked)
    assert (found[0].ids, found[0].finish) == (marked, "stop") and found[1] == free[1]


@pytest.mark.parametrize(("strip", "expected"), [(True, "no"), (False, "Assistant: no")])
def test_a_leading_assistant_is_taken_off_where_asked(place, tmp_path, monkeypatch, strip, expected):
    monkeypatch.setattr("transformers.PreTrainedTokenizerFast.decode", lambda *args, **kwargs: " Assistant: no")
    module, config, inputs = inputs_of(place, "generate")
    output = done(monkeypatch, module, tmp_path, "stripped", config | {"strip": strip}, **inputs)
    assert set(pq.read_table(output)["response"].to_pylist()) == {expected}


def test_long_and_empty_prompts(place):
    _, tokenizer = load_policy(place / "policy/manifest.json")
    prompts = [{"prompt_id": "helpfulness-007", "prompt": "a bell " * 200}, {"prompt_id": "helpfulness-008", "prompt": "a bell"}]
    with pytest.raises(
        StudyError, match=r"helpfulness-007: \d+ tokens; the policy reads at most 108 before 20 new ones. Set generation.long_prompts"
    ):
        prompt_ids(tokenizer, prompts, GENERATION, 128)
    ids, cut = prompt_ids(tokenizer, prompts, GENERATION | {"long_prompts": "cut"}, 128)
    full = tokenizer("a bell " * 200, add_special_tokens=False)["input_ids"]
    assert ids[0] == [EOS, *full[-107:]] and cut == [len(full) - 107, 0] and len(ids[1]) < 10
    with pytest.raises(StudyError, match="helpfulness-009: the prompt is empty"):
        prompt_ids(tokenizer, [{"prompt_id": "helpfulness-009", "prompt": " \n"}], GENERATION, 128)


def test_logits_that_are_no_numbers_name_the_prompt():
    model = build_model(OPT, 60, 1).eval()
    with torch.no_grad():
        model.model.decoder.embed_positions.weight[2 + 30] = float("nan")  # only a prompt this long reads it
    items = [Item(0, [EOS, 5], {"prompt_id": "short"}), Item(1, [EOS] * 31, {"prompt_id": "long"})]
    with pytest.raises(StudyError, match="long: the logits are not finite numbers"):
        continue_greedily(model, items, 2, EOS, lambda ids: False)


def test_a_judge_whose_reward_is_no_number_is_named_with_the_prompt(place):
    model, tokenizer = load_judge(place / "judge/manifest.json")
    without_padding(model)
    short, long = tokenizer("a bell")["input_ids"], tokenizer("never at noon")["input_ids"]
    (token,) = set(long[-2:-1]) - set(short)
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = float("nan")
    assert len(judging.checked_rewards(model, [short], ["short"], PAD)) == 1
    with pytest.raises(StudyError, match=r"^long: the judge's reward is nan: its weights are damaged\. Delete the judge's folder"):
        judging.checked_rewards(model, [short, long], ["short", "long"], PAD)

"""Generation: the text that the stock loop writes at any batch size and order, and where a response ends."""

import random
from collections import Counter

import pyarrow.parquet as pq
import pytest
import torch
from small_evaluation import EOS, GENERATION, NEW, OPT, PAD, ended, items_of, job_of

from hh_align.core.errors import StudyError
from hh_align.evaluation.generate_responses import continue_greedily, cut_at_human
from hh_align.models.batches import Item
from hh_align.models.decoding import decode, prompt_ids
from hh_align.models.folders import load_policy
from hh_align.training.pretrain_base import build_model


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
            parts, gaps = continue_greedily(model, items_of([prompts[row] for row in rows]), NEW, eos, lambda ids: False)
            for row, part, gap in zip(rows, parts, gaps, strict=True):
                assert row in near_ties or (part == alone[row][0][0] and gap == pytest.approx(alone[row][1][0], abs=1e-4))


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
    stopped = decode(model, prompts, 8, -1, lambda logits, rows: logits.argmax(1), lambda ids: ids == marked)
    assert (stopped[0].ids, stopped[0].finish) == (marked, "stop") and stopped[1] == free[1]


@pytest.mark.parametrize(("strip", "expected"), [(True, "no"), (False, "Assistant: no")])
def test_a_leading_assistant_is_taken_off_where_asked(evaluated, tmp_path, monkeypatch, strip, expected):
    monkeypatch.setattr("transformers.PreTrainedTokenizerFast.decode", lambda *args, **kwargs: " Assistant: no")
    module, config, inputs = job_of(evaluated, "generate")
    output = ended(module, tmp_path, "stripped", config | {"strip": strip}, **inputs)
    assert set(pq.read_table(output)["response"].to_pylist()) == {expected}


def test_long_and_empty_prompts(evaluated):
    _, tokenizer = load_policy(evaluated / "policy/manifest.json")
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

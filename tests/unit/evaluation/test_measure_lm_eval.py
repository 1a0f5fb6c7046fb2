"""Items of lm-evaluation-harness: likelihoods and what is right are those of its own `hf` model, whatever the batch and the tokenizer."""

import numpy as np
import pytest
import torch
from harness_tasks import needs_lm_eval, write_tasks
from small_evaluation import OPT, texts

from hh_align.core.errors import StudyError
from hh_align.core.state import State
from hh_align.data.select_lm_eval import items_of
from hh_align.evaluation import measure_capability
from hh_align.evaluation.measure_lm_eval import reading, request_ids
from hh_align.models.batches import Parts
from hh_align.models.bpe import train_tokenizer
from hh_align.models.packing import use_packing
from hh_align.training.pretrain_base import build_model

ITEM = {
    "task": "t",
    "item": "t-0",
    "contexts": ["Human: tell me"] * 2,
    "continuations": [" the old", " way"],
    "options": ["the old", "way"],
    "answer": 1,
}
BLANKS = ITEM | {"contexts": ["the bell", "a bell"], "continuations": [" rings", " rings"]}


@pytest.fixture(scope="module", params=["</s> $A", "$A"], ids=["bos", "no bos"])
def tokenizer(request):
    return train_tokenizer(texts(200), 300, request.param)


@pytest.fixture
def model(tokenizer):
    return build_model(OPT, len(tokenizer), 1).eval()


def scored(model, tokenizer, items, folder, batch_tokens=100):
    """Rows of SCORES; from now on the model reads packed rows."""
    use_packing(model)
    readings = [reading(item, tokenizer, OPT["max_positions"]) for item in items]
    asked = [question for read in readings for question in read.questions]
    return measure_capability.score_rows(
        items, readings, measure_capability.score(model, asked, batch_tokens, Parts(State(folder, 0.0))), len
    )


def plain_logps(model, tokenizer, item):
    """Of each option, by itself: no batch, no packing, the library's own loss of the option's tokens."""
    sums = []
    for context, continuation in zip(item["contexts"], item["continuations"], strict=True):
        before, option = request_ids(tokenizer, context, continuation)
        labels = torch.tensor([[*[-100] * len(before), *option]])
        with torch.no_grad():
            sums.append(-float(model(input_ids=torch.tensor([[*before, *option]]), labels=labels).loss) * len(option))
    return sums


@pytest.mark.parametrize("batch_tokens", [1, 4096])
def test_likelihoods_are_those_of_a_plain_loop(model, tokenizer, tmp_path, batch_tokens):
    items = [ITEM, BLANKS, ITEM | {"contexts": ["", ""]}]
    expected = [plain_logps(model, tokenizer, item) for item in items]
    rows = scored(model, tokenizer, items, tmp_path, batch_tokens)
    assert [row["logps"] for row in rows] == [pytest.approx(sums, rel=1e-4) for sums in expected]
    assert [row["right"] for row in rows] == [int(np.argmax(sums)) == 1 for sums in expected]


def test_a_context_is_read_once_for_all_its_options(tokenizer):
    assert [len(reading(item, tokenizer, 128).questions) for item in (ITEM, BLANKS)] == [1, 2]
    read = reading(BLANKS, tokenizer, 128)
    assert read.places == [(0, 0), (1, 0)]


def test_special_tokens_are_the_tokenizers_and_spaces_are_the_continuations(tokenizer):
    bos = tokenizer.encode("")
    plain = tokenizer.encode("a bell", add_special_tokens=False)
    assert request_ids(tokenizer, "a bell  ", " rings")[0] == [*bos, *plain]
    assert request_ids(tokenizer, "</s>a bell", " rings")[0] == [tokenizer.bos_token_id, *plain]  # not a second one
    assert request_ids(tokenizer, "", " rings")[0] == [tokenizer.bos_token_id]


def test_the_sum_and_the_sum_per_character_may_say_different_things(tokenizer):
    item = ITEM | {"options": ["no", "éééé"], "answer": 1}
    read = reading(item, tokenizer, 128)
    (row,) = measure_capability.score_rows([item], [read], [[-3.0, -5.0]], len)
    assert row["bytes"] == [2, 8] and (row["right"], row["right_norm"]) == (False, True)
    with pytest.raises(StudyError, match="t-0: a log-likelihood is no finite number"):
        measure_capability.score_rows([item], [read], [[float("nan"), -5.0]], len)


def test_a_long_context_loses_its_beginning_and_a_long_option_is_refused(tokenizer):
    long = ITEM | {"contexts": ["a bell rings " * 40] * 2}
    (whole,), (cut,) = reading(long, tokenizer, 10_000).questions, reading(long, tokenizer, 40).questions[:1]
    assert len(cut.tree.prompt) + len(cut.tree.replies[0]) == 40 and cut.tree.prompt == whole.tree.prompt[cut.cut :]
    with pytest.raises(StudyError, match=r"t-0: an option of \d+ tokens, but the policy reads 40"):
        reading(ITEM | {"continuations": [" old" * 60, " way"]}, tokenizer, 40)


@needs_lm_eval
def test_they_are_those_of_the_harnesss_own_evaluation(model, tokenizer, tmp_path):
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(write_tasks(tmp_path / "tasks")), include_defaults=False)
    names = ["plain", "shots", "none", "blanks"]
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=3, max_length=OPT["max_positions"])
    said = simple_evaluate(harness, tasks=names, task_manager=manager, log_samples=True, bootstrap_iters=0)
    expected = {(name, row["doc_id"]): row for name in names for row in said["samples"][name]}
    items = [item for name in names for item in items_of(manager, {"task": name, "lm_eval": name})[0]]
    rows = scored(model, tokenizer, items, tmp_path)
    assert len(rows) == len(expected) == 20 and len({(row["right"], row["right_norm"]) for row in rows}) > 1
    for item, row in zip(items, rows, strict=True):
        theirs = expected[item["task"], item["row"]]
        assert row["logps"] == pytest.approx([logp for logp, _ in theirs["filtered_resps"]], rel=1e-5)
        assert (row["right"], row["right_norm"]) == (theirs["acc"] == 1, theirs["acc_norm"] == 1)
        assert list(map(list, zip(item["contexts"], item["continuations"], strict=True))) == [list(pair) for pair in theirs["arguments"]]
    for name in names:
        own = [row["right"] for row in rows if row["task"] == name]
        assert said["results"][name]["acc,none"] == pytest.approx(np.mean(own))


@needs_lm_eval
def test_they_are_those_of_the_same_items_out_of_a_file(model, tokenizer, tmp_path):
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(write_tasks(tmp_path / "tasks")), include_defaults=False)
    items, _, _ = items_of(manager, {"task": "plain", "lm_eval": "plain"})
    rows = scored(model, tokenizer, items, tmp_path)
    of_file = [{**item, "context": item["contexts"][0]} for item in items]
    read = measure_capability.readings(of_file, tokenizer, OPT["max_positions"])
    sums = measure_capability.score(model, [question for (question,), _ in read], 100, Parts(State(tmp_path / "tasks", 0.0)))
    if tokenizer.encode(""):  # a file's items stand behind a bos in any case
        assert [row["logps"] for row in rows] == [pytest.approx(own, rel=1e-5) for own in sums]
    else:
        assert [row["logps"] for row in rows] != [pytest.approx(own, rel=1e-2) for own in sums]

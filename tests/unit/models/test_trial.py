"""What an import tries on a base model: the page of kinds says what it finds, and what it accepts is read right up to the longest row."""

import pytest
import torch
from model_kinds import HEAD, KINDS, PAGE, row_of, tiny_model

from hh_align.models import trial
from hh_align.models.folders import positions_of
from hh_align.models.packing import Tree, pack, reply_logps, use_packing

LINES = PAGE.read_text().removeprefix(HEAD).splitlines()


def test_the_page_has_a_line_for_each_kind():
    assert PAGE.read_text().startswith(HEAD), "PYTHONPATH=workflow/scripts python tests/model_kinds.py writes it anew"
    assert [line.split(" | ")[0] for line in LINES] == [f"| {kind}" for kind in KINDS]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_what_the_page_says_and_read_right_up_to_its_longest_row(kind):
    # a window, a chunk or stretched positions begin to matter only there, and for the neighbours of such a row
    model = tiny_model(kind)
    line = row_of(kind, model)
    assert line == LINES[list(KINDS).index(kind)], "PYTHONPATH=workflow/scripts python tests/model_kinds.py writes the page anew"
    if " no " in line:
        return
    longest = positions_of(model.config)
    stream = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 60, (longest,), generator=stream).tolist()
    trees = [Tree(ids[: longest // 2], [ids[longest // 2 :], ids[:3]]), Tree(ids[:5], [ids[5:9]])]
    with torch.no_grad():
        model.set_attn_implementation("eager")
        expected = []
        for prompt, reply in [(prompt, reply) for prompt, replies in trees for reply in replies]:
            logps = model(input_ids=torch.tensor([prompt + reply]), use_cache=False).logits[0].log_softmax(1)
            expected.append(sum(logps[len(prompt) - 1 + at, token].item() for at, token in enumerate(reply)))
        use_packing(model)
        assert reply_logps(model, pack(trees)).tolist() == pytest.approx(expected, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("mistral", "does not reach over the 128 positions"),
        ("llama4_text, no attn_temperature_tuning", "does not reach over the 128 positions"),
        ("phi3, longrope", "not those of each sequence alone"),
    ],
)
def test_a_limit_that_the_config_does_not_name_is_found(kind, said, monkeypatch):
    monkeypatch.setattr(trial, "positions_of", lambda config: config.max_position_embeddings)
    assert said in row_of(kind, tiny_model(kind))

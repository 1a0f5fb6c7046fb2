"""What an import tries on a base model: the page of kinds says what it finds, and what it accepts is read right up to the longest row."""

import pytest
import torch
import transformers
from architectures import import_policy, write_source
from model_kinds import HEAD, KINDS, PAGE, row_of, tiny_config, tiny_model

from hh_align.core.errors import StudyError
from hh_align.models import trial
from hh_align.models.dropout import disable_dropout, random_module
from hh_align.models.folders import positions_of
from hh_align.models.packing import Tree, pack, reply_logps, use_packing
from hh_align.models.trial import SAMPLE, outcomes

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


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("gemma2", r"source: a model of type gemma2 cannot be packed: its attention has softcap\. Take a causal model"),
        ("diffllama", r"source: a model of type diffllama cannot be decoded: "),
        ("persimmon", r"cannot be trained: something random is left: model\.layers\.0\.self_attn\.dense"),
        ("mamba", r"cannot be packed: its log-probabilities are not those of each sequence alone \(off by 0\.\d+\)"),
    ],
)
def test_what_would_fail_later_is_refused_by_the_import(tmp_path, kind, said):
    source, config = write_source(tmp_path / "source", "llama"), tiny_config(kind)
    config.vocab_size = 300
    with torch.random.fork_rng():
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(source)
    with pytest.raises(StudyError, match=said):
        import_policy(source, tmp_path / "base/manifest.json")
    assert not (tmp_path / "base").exists()


def test_weights_that_are_no_numbers_are_found():
    model = tiny_model("llama")
    with torch.no_grad():
        model.lm_head.weight[SAMPLE[0].replies[1][0]] = float("nan")
    ((what, _, why),) = outcomes(model)
    assert what == "read" and why


@pytest.mark.parametrize("kind", ["opt", "llama", "gemma2"])
def test_a_trial_leaves_the_model_as_it_was(kind):
    # what an import writes is what it has read, whatever was tried on it; a kind that fails is written by no one
    model = tiny_model(kind)
    before, settings = {name: value.clone() for name, value in model.state_dict().items()}, model.config.to_json_string()
    for _ in outcomes(model):
        pass
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert model.config.to_json_string() == settings and not any(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_too_little_memory_is_told_as_that(error, monkeypatch, tmp_path):
    def starve(model):
        raise error

    monkeypatch.setattr(trial, "TRIALS", [("packed", starve)])
    with pytest.raises(StudyError, match=r"source: not enough memory to try it\. Take a machine with more"):
        import_policy(write_source(tmp_path / "source", "llama"), tmp_path / "base/manifest.json")


@pytest.mark.parametrize("kind", ["starcoder2", "mixtral", "gpt_bigcode", "opt"])
def test_everything_random_is_off(kind):
    # dropout of the residual stream, of embeddings, a float of attention, a router's jitter
    model = tiny_model(kind).train()
    use_packing(model)

    def read():
        with torch.no_grad():
            return reply_logps(model, pack([Tree([4, 5, 6], [[7, 8, 9], [10]])])).tolist()

    assert read() != read() and random_module(model, [4, 5, 6])
    disable_dropout(model)
    assert read() == read() and not random_module(model, [4, 5, 6])
    trained = read()
    model.eval()
    assert read() == trained

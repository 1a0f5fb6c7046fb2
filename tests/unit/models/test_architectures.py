"""Base models that are no OPT: imported, packed, written by, trained and saved as exactly as one."""

import json
import math
import random

import pytest
import torch
from architectures import ARCHITECTURES, PREPENDING, ROWS, import_policy, prepending_tokenizer, write_source
from safetensors.torch import load_file, save_file
from training_study import DPO, SFT, dpo, references, sft

from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.data.preferences import SCHEMA
from hh_align.evaluation.generate_responses import continue_greedily
from hh_align.evaluation.measure_drift import reply_distributions, text_examples
from hh_align.models.batches import Item
from hh_align.models.decoding import prompt_ids
from hh_align.models.folders import load_policy, positions_of
from hh_align.models.packing import pack, reply_logps, reply_states, use_packing
from hh_align.models.trial import TRANSCRIPTS
from hh_align.training.pairs import usable_pairs
from hh_align.training.sft import prepare_transcripts
from hh_align.training.throughput import Work, training_flops


@pytest.fixture(scope="module", params=ARCHITECTURES)
def kind(request):
    """Of the architecture."""
    return request.param


@pytest.fixture(scope="module")
def study(kind, tmp_path_factory):
    """A folder with preferences and the imported base."""
    folder = tmp_path_factory.mktemp(kind)
    import_policy(write_source(folder / "source", kind), folder / "base/manifest.json")
    write_table(folder / "preferences.parquet", ROWS, SCHEMA, {})
    return folder


def test_an_import_says_what_begins_a_text_and_what_fills_up(study, kind):
    # a bos that the tokenizer itself does not use must not be put there by us; padding is never the end
    _, tokenizer = load_policy(study / "base/manifest.json")
    assert tokenizer.bos_token == ("<s>" if kind == "llama" else None)
    assert tokenizer.eos_token == "</s>" and tokenizer.pad_token == "<pad>"
    prompts = [{"prompt_id": "p", "prompt": ROWS[0]["prompt"]}]
    config = {"max_new_tokens": 8, "lead": False, "cue": False, "long_prompts": "error"}
    assert prompt_ids(tokenizer, prompts, config, 128)[0] == [tokenizer(ROWS[0]["prompt"])["input_ids"]]


def test_packed_log_probabilities_and_last_states_are_those_of_each_sequence(study):
    model, _ = load_policy(study / "base/manifest.json")
    trees = [([12, 5, 6], [[7, 8, 2], [9, 2]]), ([12], [[5, 6, 7, 8, 2]]), ([12, 3, 3], [[11, 2], [], [8]])]
    expected, states = [], []
    for prompt, replies in trees:
        for reply in replies:
            output = model(input_ids=torch.tensor([prompt + reply]), output_hidden_states=True)
            logps = output.logits[0].log_softmax(1)
            expected.append(sum(logps[len(prompt) - 1 + at, token].item() for at, token in enumerate(reply)))
            predicting = slice(len(prompt) - 1, len(prompt) - 1 + len(reply))
            states.append(output.hidden_states[-1][0, predicting].double().sum(0))
    use_packing(model)
    batch = pack(trees, 16)
    assert reply_logps(model, batch).tolist() == pytest.approx(expected, abs=1e-4)
    assert torch.allclose(reply_states(model, batch), torch.stack(states), atol=1e-4)


def test_greedy_ids_are_those_of_generate(study):
    model, _ = load_policy(study / "base/manifest.json")
    stream = random.Random(1)
    prompts = [stream.choices(range(4, 250), k=stream.randint(1, 40)) for _ in range(24)]
    continuations, gaps = continue_greedily(
        model, [Item(n, ids, {"prompt_id": str(n)}) for n, ids in enumerate(prompts)], 20, 2, lambda ids: False
    )
    for ids, part, gap in zip(prompts, continuations, gaps, strict=True):
        written = model.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=False, max_new_tokens=20, eos_token_id=2,
            pad_token_id=1,
        )  # fmt: skip
        assert gap < 1e-4 or [*part.ids, *[2] * (part.finish == "eos")] == written[0, len(ids) :].tolist()
    assert sum(gap < 1e-4 for gap in gaps) < 3


def test_drift_reads_padded_batches_as_single_sequences(study):
    # left padding must not move a prompt's positions
    model, tokenizer = load_policy(study / "base/manifest.json")
    prompts, replies = [[12, 5, 6, 7, 8, 9], [12, 4]], [[7], [9, 2, 5]]
    with torch.no_grad():
        distributions = reply_distributions(model, prompts, replies, tokenizer.pad_token_id)
        for prompt, reply, logps in zip(prompts, replies, distributions, strict=True):
            alone = model(input_ids=torch.tensor([prompt + reply])).logits[0].log_softmax(1)[len(prompt) - 1 : -1]
            assert torch.allclose(logps, alone, atol=1e-4)
    examples = text_examples("a text of some length " * 40, tokenizer, 64)
    assert all(len(row["prompt_ids"]) == 1 and 0 < len(row["reply_ids"]) < 64 for row in examples)


def test_sft_lowers_the_loss_and_its_policy_loads(study):
    _, log = sft(study, "sft", SFT | {"loss_on": "reply", "epochs": 1})
    assert log[-1]["loss"] < log[0]["loss"]
    model, tokenizer = load_policy(study / "sft/manifest.json")
    assert tokenizer.eos_token == "</s>" and tokenizer.pad_token == "<pad>"
    base, _ = load_policy(study / "base/manifest.json")
    tied = [m.get_input_embeddings().weight.data_ptr() == m.get_output_embeddings().weight.data_ptr() for m in (base, model)]
    assert tied[0] == tied[1]


def test_the_first_dpo_loss_is_ln_2(study, kind):
    lora = {"r": 2, "alpha": 4, "dropout": 0.0, "targets": ARCHITECTURES[kind][2]}
    _, log = dpo(study, "dpo", DPO | {"epochs": 1, "lora": lora}, references(study))
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-5) and log[-1]["loss"] < log[0]["loss"]
    model, tokenizer = load_policy(study / "dpo/manifest.json")
    # a parent's config names no padding, its child's does: there its embedding must not stand still
    assert model.config.pad_token_id == tokenizer.pad_token_id and model.get_input_embeddings().padding_idx is None


def test_importing_an_import_changes_nothing(study, tmp_path):
    again = import_policy(study / "base", tmp_path / "again/manifest.json")
    one, other = (json.loads(path.read_text()) for path in (study / "base/manifest.json", again))
    same = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert [one[name] for name in same] == [other[name] for name in same]


def test_a_row_longer_than_the_positions_is_refused(kind, tmp_path):
    # rotary positions would go on without a word
    base = import_policy(
        write_source(tmp_path / "source", kind, **({"n_positions": 24} if kind == "gpt2" else {"max_position_embeddings": 24})),
        tmp_path / "base/manifest.json",
    )
    assert positions_of(load_policy(base)[0].config) == 24
    write_table(tmp_path / "preferences.parquet", ROWS, SCHEMA, {})
    with pytest.raises(StudyError, match="the model reads at most 24: lower max_length"):
        sft(tmp_path, "sft")


def test_the_window_of_the_attention_bounds_what_is_read():
    from transformers import MistralConfig, Qwen2Config

    assert positions_of(MistralConfig(sliding_window=64, max_position_embeddings=128)) == 64
    assert positions_of(MistralConfig(sliding_window=None, max_position_embeddings=128)) == 128
    assert positions_of(Qwen2Config(max_position_embeddings=128)) == 128


def test_the_work_counts_every_matrix_but_the_embedding():
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64
    )
    weights = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64) + 100 * 32
    assert training_flops(config, Work([10], 1, 1.0, False, 1.0)) == 6 * weights * 10 + 3 * 2 * 2 * 32 * 100


@pytest.mark.parametrize("kind", ["BloomConfig", "MambaConfig"])
def test_a_model_that_cannot_be_packed_is_refused(tmp_path, kind):
    # tokens of one reply would see another's
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3} | ({"n_head": 4} if kind == "BloomConfig" else {})
    with pytest.raises(StudyError, match=r"cannot be packed: .*Take a causal model"):
        import_policy(write_source(tmp_path / "source", kind, **sizes), tmp_path / "base/manifest.json")


@pytest.mark.parametrize("form", PREPENDING)
def test_a_tokenizer_that_begins_a_text_otherwise_is_read_alike_by_every_step(tmp_path, form):
    # as TinyLlama's: SFT, pairs, drift and generation see the same ids before a reply, and the same in it
    tokenizer = prepending_tokenizer([row["prompt"] + row["chosen"] for row in ROWS] + [" ".join(sum(TRANSCRIPTS, ()))], form)
    base = import_policy(write_source(tmp_path / "source", "llama", tokenizer), tmp_path / "base/manifest.json")
    _, tokenizer = load_policy(base)
    assert (tokenizer.bos_token, tokenizer.pad_token) == ("<s>", "<unk>")
    config = {"max_new_tokens": 8, "lead": False, "cue": False, "long_prompts": "error"}
    asked, _ = prompt_ids(tokenizer, [{"prompt_id": "p", "prompt": row["prompt"]} for row in ROWS], config, 999)
    _, pairs, _ = usable_pairs(ROWS, tokenizer, DPO | {"max_length": 999, "max_prompt_length": 999}, "train")
    whole = [tokenizer(row["prompt"] + row["chosen"])["input_ids"] for row in ROWS]
    assert [pair.prompt_ids for pair in pairs] == asked
    assert [pair.prompt_ids + pair.chosen_ids for pair in pairs] == [[*ids, tokenizer.eos_token_id] for ids in whole]
    for loss_on in ("transcript", "reply"):
        trees, _, _ = prepare_transcripts(ROWS, tokenizer, SFT | {"loss_on": loss_on, "max_length": 999}, 1)
        assert [prompt + reply for prompt, (reply,) in trees] == [[*ids, tokenizer.eos_token_id] for ids in whole]


def test_a_tokenizer_that_joins_prompt_and_reply_is_refused_by_the_import(tmp_path):
    source = write_source(tmp_path / "source", "qwen2")
    described = json.loads((source / "tokenizer.json").read_text())
    described["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    vocabulary = described["model"]["vocab"]
    described["model"]["merges"].insert(0, [":", "Ġ"])
    described["model"]["vocab"][":Ġ"] = len(vocabulary)
    (source / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(StudyError, match=r"source: the tokenizer joins prompt and reply in 3 of 3 rows"):
        import_policy(source, tmp_path / "base/manifest.json")


def test_a_tokenizer_that_loses_blank_lines_is_refused(tmp_path):
    # then no reply would ever stop at the next turn
    source = write_source(tmp_path / "source", "llama")
    described = json.loads((source / "tokenizer.json").read_text())
    described["normalizer"] = {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}
    (source / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(StudyError, match=r"source: the tokenizer does not keep a transcript's words, spaces and blank lines"):
        import_policy(source, tmp_path / "base/manifest.json")


def published_gpt2(folder):
    """A repository as GPT-2's: no row of the embedding to spare, one special token, which the tokenizer's settings do not name."""
    source = write_source(folder, "GPT2Config", **ARCHITECTURES["gpt2"][1])
    described = json.loads((source / "tokenizer.json").read_text())
    described["added_tokens"] = [token for token in described["added_tokens"] if token["content"] == "</s>"]
    (source / "tokenizer.json").write_text(json.dumps(described))
    (source / "tokenizer_config.json").write_text('{"model_max_length": 128}')
    config = json.loads((source / "config.json").read_text())
    weights = {name.removeprefix("transformer."): tensor for name, tensor in load_file(source / "model.safetensors").items()}
    config["vocab_size"] = len(described["model"]["vocab"])
    weights["wte.weight"] = weights["wte.weight"][: config["vocab_size"]].clone()
    weights["h.0.attn.bias"] = torch.ones(1, 1, 128, 128).tril()
    save_file(weights, source / "model.safetensors", {"format": "pt"})
    (source / "config.json").write_text(json.dumps(config))
    return source


def test_a_model_without_a_token_for_padding_is_trained_all_the_same(tmp_path):
    # packing pads nothing: as published GPT-2, every row of the embedding is learnt, the end token's above all
    base = import_policy(published_gpt2(tmp_path / "source"), tmp_path / "base/manifest.json")
    model, tokenizer = load_policy(base)
    assert tokenizer.pad_token == tokenizer.eos_token == "</s>" and len(tokenizer) == model.get_input_embeddings().num_embeddings
    write_table(tmp_path / "preferences.parquet", ROWS, SCHEMA, {})
    sft(tmp_path, "sft", SFT | {"loss_on": "reply", "epochs": 1})
    child, _ = load_policy(tmp_path / "sft/manifest.json")
    moved = (child.get_input_embeddings().weight - model.get_input_embeddings().weight).abs().amax(1)
    assert moved[tokenizer.eos_token_id] > 0 and child.get_input_embeddings().padding_idx is None


def test_a_model_without_an_end_is_refused(tmp_path):
    source = write_source(tmp_path / "source", "llama")
    (source / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    assert load_policy(import_policy(source, tmp_path / "base/manifest.json"))[1].eos_token == "</s>"
    (source / "config.json").write_text(json.dumps(json.loads((source / "config.json").read_text()) | {"eos_token_id": None}))
    with pytest.raises(StudyError, match="the tokenizer has no end token"):
        import_policy(source, tmp_path / "none/manifest.json")

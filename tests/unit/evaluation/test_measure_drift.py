"""Drift: exact divergences on samples that are the policy's own, whatever the batch, and perplexity that is the library's loss."""

import math

import numpy as np
import pytest
import torch
from command_line import assert_refused, call
from preference_rows import asked, made_row
from scipy import stats

from hh_align.core.artifacts import read_table, write_table
from hh_align.core.state import State
from hh_align.core.tables import PROMPTS
from hh_align.data.preferences import SCHEMA
from hh_align.evaluation import measure_drift
from hh_align.evaluation.measure_drift import DRIFT, chosen_examples, divergences, measure_replies, sample_responses, text_examples
from hh_align.models.batches import Parts
from hh_align.models.bpe import train_tokenizer
from hh_align.models.folders import save_model
from hh_align.models.packing import use_packing
from hh_align.training.pretrain_base import build_model

PAD, EOS = 1, 2
ARCHITECTURE = {
    "hidden_size": 16, "layers": 2, "heads": 2, "ffn_dim": 32, "word_embed_proj_dim": 8, "max_positions": 128, "init_std": 0.3, "dropout": 0.1,
}  # fmt: skip
PROMPTS_IDS = [[2, 5, 6, 7], [2, 9], [2, 4, 4, 4, 4, 4, 8], [2, 11, 12]]
REPLIES = [[5, 2], [7, 8, 9, 10, 11], [6], [14, 2]]


@pytest.fixture(scope="module")
def policies():
    return [build_model(ARCHITECTURE, 40, seed).eval() for seed in (1, 2)]


def log_probs(model, prompt, reply):
    """Shape (reply, vocabulary): no cache, no batch, no padding."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + reply])).logits[0].double()
    return logits[len(prompt) - 1 : -1].log_softmax(1)


def test_divergence_is_that_of_the_full_distributions(policies):
    policy, reference = policies
    entropy, from_itself, from_other = divergences(policy, [policy, reference], PROMPTS_IDS, REPLIES, PAD)
    for row, (prompt, reply) in enumerate(zip(PROMPTS_IDS, REPLIES, strict=True)):
        own, theirs = log_probs(policy, prompt, reply), log_probs(reference, prompt, reply)
        assert from_other[row] == pytest.approx(float((own.exp() * (own - theirs)).sum()), rel=1e-4)
        assert entropy[row] == pytest.approx(-float((own.exp() * own).sum()), rel=1e-4)
        assert from_itself[row] == 0.0 < from_other[row]


def test_samples_follow_the_policy(policies):
    # the first token of many samples against the softmax: a chi-square test that a wrong temperature fails
    prompt, n = [2, 9, 9], 4000
    streams = [np.random.default_rng([1, row]).random(1) for row in range(n)]
    drawn = [(part.ids or [EOS])[0] for part in sample_responses(policies[0], [prompt] * n, streams, 1, EOS)]
    counts = np.bincount(drawn, minlength=40)
    share = log_probs(policies[0], prompt, [0])[0].exp().numpy()

    def p_value(expected):
        often = expected * n >= 5
        return stats.chisquare(counts[often], expected[often] / expected[often].sum() * counts[often].sum()).pvalue

    assert p_value(share) > 0.001
    colder = share**1.3 / (share**1.3).sum()
    assert p_value(colder) < 1e-6


def test_a_sample_does_not_depend_on_its_batch(policies):
    prompts = PROMPTS_IDS * 8
    streams = [np.random.default_rng([3, row]).random(30) for row in range(len(prompts))]
    together = sample_responses(policies[0], prompts, streams, 30, EOS)
    for row, prompt in enumerate(prompts):
        assert sample_responses(policies[0], [prompt], [streams[row]], 30, EOS) == [together[row]]
    assert len({tuple(part.ids) for part in together}) > 25 and {part.finish for part in together} == {"eos", "length"}


def test_perplexity_is_transformers_own_loss(tmp_path):
    tokenizer = train_tokenizer(["a tide mill works twice a day and never at the same hour"], 40, "</s> $A")
    policy = build_model(ARCHITECTURE, len(tokenizer), 1).eval()
    examples = text_examples("a tide mill works twice a day " * 30, tokenizer, positions=64)
    assert len(examples) > 2 and all(len(row["reply_ids"]) <= 63 for row in examples)
    use_packing(policy)
    rows = measure_replies(policy, examples, 100, Parts(State(tmp_path, 0.0)))
    policy.set_attn_implementation("sdpa")
    for example, row in zip(examples, rows, strict=True):
        ids = torch.tensor([example["prompt_ids"] + example["reply_ids"]])
        with torch.no_grad():
            loss = policy(input_ids=ids, labels=ids).loss.item()  # mean over all but the leading </s>
        assert row["nats"] / row["tokens"] == pytest.approx(loss, rel=1e-5)
        assert set(row) == {"measure", "key", "tokens", "nats"}


def preference(number, subset="helpful-base"):
    return made_row(number, asked(f"What is {number}?"), f"It is {number}.", "No.", subset, "test")


def test_chosen_replies_are_read_behind_their_prompts():
    tokenizer = train_tokenizer([preference(1)["prompt"] + preference(1)["chosen"]], 300, "</s> $A")
    (example,) = chosen_examples([preference(1) | {"axis": "helpfulness"}], tokenizer, 128)
    assert tokenizer.decode(example["reply_ids"]) == " It is 1.</s>"
    assert tokenizer.decode(example["prompt_ids"]) == "</s>\n\nHuman: What is 1?\n\nAssistant:"
    assert example["key"] == "helpful-base/test:2" and example["measure"] == "chosen"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drift")
    rows = [preference(number, subset=subset) for subset in ("harmless-base", "helpful-base") for number in range(4)]
    write_table(folder / "preferences.parquet", rows, SCHEMA, {})
    prompts = [
        {"axis": axis, "prompt_id": f"{axis}-{number:03}", "cluster": f"{number}", "prompt": f"Human: What is {number}?", "keywords": []}
        for axis in ("harmlessness", "helpfulness")
        for number in range(5)
    ]
    write_table(folder / "prompts.parquet", prompts, PROMPTS, {})
    (folder / "text.txt").write_text("A tide mill works twice a day and never at the same hour.")
    tokenizer = train_tokenizer([row["prompt"] + row["chosen"] for row in rows], 300, "</s> $A")
    for name, seed in (("base", 1), ("sft", 2)):
        save_model(folder / name / "manifest.json", build_model(ARCHITECTURE, len(tokenizer), seed), tokenizer, {})
    return folder


CONFIG = {
    "device": "cpu", "dtype": "float32", "lead": True, "cue": True, "max_new_tokens": 6, "batch_tokens": 100, "references": ["base"],
    "drift": {"samples": 3, "rows": 3, "seed": 1},
    "subsets": {"harmless-base": {"axis": "harmlessness", "split": "test"}, "helpful-base": {"axis": "helpfulness", "split": "test"}},
}  # fmt: skip


def measure(folder, output, policy="sft", **drift):
    """(exit status, output) of the step on a policy, with the base as its reference."""
    inputs = {"policy": folder / policy / "manifest.json", "references": [folder / "base/manifest.json"]}
    inputs |= {name: folder / f"{name}.parquet" for name in ("prompts", "preferences")} | {"text": folder / "text.txt"}
    outputs = {"state": folder / "state", "output": output, "timing": folder / "timing.json"}
    return call(measure_drift, config=CONFIG | {"drift": CONFIG["drift"] | drift}, threads=1, **inputs, **outputs)


def measured(folder, output, policy="sft", **drift):
    """The table of drift that the step writes."""
    status, printed = measure(folder, output, policy, **drift)
    assert status == 0, printed
    return read_table(output, DRIFT.names).to_pandas()


def test_one_policy_from_end_to_end(study):
    table = measured(study, study / "first.parquet")
    samples = table[table["measure"] == "sample"]
    assert len(samples) == 10 * 3 * 2 and samples["tokens"].between(1, 6).all()
    assert (samples.loc[samples["tokens"] < 6, "ended"] == True).all()  # noqa: E712 - a column of objects
    assert samples["reference"].isna().sum() == 30 and (samples["nats"] > 0).all()
    assert table["measure"].value_counts().to_dict() == {"sample": 60, "chosen": 6, "text": 1}
    measured(study, study / "again.parquet")
    assert (study / "first.parquet").read_bytes() == (study / "again.parquet").read_bytes()


def test_fewer_prompts_are_the_first_of_each_axis(study):
    table = measured(study, study / "few.parquet", prompts=2)
    keys = table.loc[table["measure"] == "sample", "key"].unique().tolist()
    assert keys == ["harmlessness-000", "harmlessness-001", "helpfulness-000", "helpfulness-001"]
    assert table["measure"].value_counts().to_dict() == {"sample": 24, "chosen": 6, "text": 1}


def test_a_policy_has_not_drifted_from_itself(study):
    table = measured(study, study / "base.parquet", policy="base")
    assert table.loc[table["reference"] == "base", "nats"].abs().max() < 1e-5


def test_there_is_no_divergence_from_a_policy_with_other_tokens(study, tmp_path):
    # the same number for other texts would be a probability of something else; the rest is measured all the same
    tokenizer = train_tokenizer(["Other words, other tokens."], 300, "</s> $A")
    save_model(tmp_path / "base/manifest.json", build_model(ARCHITECTURE, len(tokenizer), 1), tokenizer, {})
    for name in ("sft", "prompts.parquet", "preferences.parquet", "text.txt"):
        (tmp_path / name).symlink_to(study / name)
    status, said = measure(tmp_path, tmp_path / "x.parquet")
    table = read_table(tmp_path / "x.parquet", DRIFT.names).to_pandas()
    assert status == 0 and "no divergence from base: it has other tokens" in said
    assert table["reference"].isna().all() and table["measure"].value_counts().to_dict() == {"sample": 30, "chosen": 6, "text": 1}


def test_damaged_weights_and_an_empty_text_are_named(study, tmp_path):
    (study / "text.txt").rename(study / "whole.txt")
    (study / "text.txt").write_text(" \n")
    assert_refused(measure(study, tmp_path / "x.parquet"), "no text", where="text.txt")
    (study / "whole.txt").replace(study / "text.txt")
    tokenizer = train_tokenizer(["a"], 300, "</s> $A")
    broken = build_model(ARCHITECTURE, len(tokenizer), 1)
    broken.lm_head.weight.data[:] = math.nan
    save_model(tmp_path / "sft/manifest.json", broken, tokenizer, {})
    for name in ("prompts.parquet", "preferences.parquet", "text.txt"):
        (tmp_path / name).symlink_to(study / name)
    (tmp_path / "base").symlink_to(study / "base")
    assert_refused(measure(tmp_path, tmp_path / "x.parquet"), r"-\d+: the logits are not finite numbers")
    assert not (tmp_path / "x.parquet").exists()

"""Drift: exact divergences on samples that are the policy's own, whatever the batch, and a summary with known answers."""

import json
import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from hh_align.analysis.summarize_drift import summarize
from hh_align.core.artifacts import read_table, write_table
from hh_align.core.errors import StudyError
from hh_align.core.state import State
from hh_align.core.tables import PROMPTS
from hh_align.data.preferences import SCHEMA, fit_for
from hh_align.evaluation import measure_drift
from hh_align.evaluation.held_out import held_out, keys_of
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
    found = measure_replies(policy, examples, 100, Parts(State(tmp_path, 0.0)))
    policy.set_attn_implementation("sdpa")
    for example, row in zip(examples, found, strict=True):
        ids = torch.tensor([example["prompt_ids"] + example["reply_ids"]])
        with torch.no_grad():
            loss = policy(input_ids=ids, labels=ids).loss.item()  # mean over all but the leading </s>
        assert row["nats"] / row["tokens"] == pytest.approx(loss, rel=1e-5)
        assert set(row) == {"measure", "key", "tokens", "nats"}


def preference(number, split="test", subset="helpful-base"):
    texts = {
        "prompt": f"\n\nHuman: What is {number}?\n\nAssistant:",
        "chosen": f" It is {number}.",
        "rejected": " No.",
        "rejected_prompt": None,
    }
    return {"split": split, "subset": subset, "row": number, "flags": [], **texts, **fit_for([])}


def test_chosen_replies_are_read_behind_their_prompts():
    tokenizer = train_tokenizer([preference(1)["prompt"] + preference(1)["chosen"]], 300, "</s> $A")
    (example,) = chosen_examples([preference(1) | {"axis": "helpfulness"}], tokenizer, 128)
    assert tokenizer.decode(example["reply_ids"]) == " It is 1.</s>"
    assert tokenizer.decode(example["prompt_ids"]) == "</s>\n\nHuman: What is 1?\n\nAssistant:"
    assert example["key"] == "helpful-base/test:2" and example["measure"] == "chosen"


def test_a_row_that_was_trained_on_is_not_held_out(tmp_path):
    rows = [preference(number) for number in range(6)] + [preference(9, split="train")]
    write_table(tmp_path / "seen.parquet", [rows[1], rows[3]], SCHEMA, {})
    seen, place = keys_of([tmp_path / "seen.parquet"]), {"helpful-base": {"axis": "helpfulness", "split": "test"}}
    assert [row["row"] for row in held_out(rows, place, None, seen)["helpful-base"]] == [0, 2, 4, 5]
    other = {"harmless-base": {"axis": "harmlessness", "split": "test"}}
    with pytest.raises(StudyError, match="no pair of harmless-base/test"):
        held_out(rows, place | other, None, seen)
    more = [*rows, preference(7, subset="harmless-base")]
    assert set(held_out(more, place | other, None, seen | {("test", "harmless-base", 7)})) == {"helpful-base"}
    with pytest.raises(StudyError, match="nothing is held out"):
        held_out(rows[1:2], place, None, seen)


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
        save_model(folder / name / "manifest.json", build_model(ARCHITECTURE, len(tokenizer), seed), tokenizer, {}, "a notice")
    return folder


CONFIG = {
    "device": "cpu", "dtype": "float32", "cue": True, "max_new_tokens": 6, "batch_tokens": 100, "references": ["base"],
    "drift": {"samples": 3, "rows": 3, "seed": 1},
    "subsets": {"harmless-base": {"axis": "harmlessness", "split": "test"}, "helpful-base": {"axis": "helpfulness", "split": "test"}},
}  # fmt: skip


def measure(folder, output, config=CONFIG, policy="sft", references=("base",)):
    options = {"policy": [folder / policy / "manifest.json"], "prompts": [folder / "prompts.parquet"], "text": [folder / "text.txt"]}
    options |= {"references": [folder / name / "manifest.json" for name in references], "preferences": [folder / "preferences.parquet"]}
    options |= {"threads": [1], "state": [folder / "state"], "output": [output], "timing": [folder / "timing.json"]}
    sys.argv = ["measure_drift.py", "--config", json.dumps(config)]
    for name, values in options.items():
        sys.argv += [f"--{name}", *map(str, values)] if values else []
    measure_drift.main()
    return read_table(output, DRIFT.names).to_pandas()


def test_one_policy_from_end_to_end(study):
    table = measure(study, study / "first.parquet")
    samples = table[table["measure"] == "sample"]
    assert len(samples) == 10 * 3 * 2 and samples["tokens"].between(1, 6).all()
    assert (samples.loc[samples["tokens"] < 6, "ended"] == True).all()  # noqa: E712 - a column of objects
    assert samples["reference"].isna().sum() == 30 and (samples["nats"] > 0).all()
    assert table["measure"].value_counts().to_dict() == {"sample": 60, "chosen": 6, "text": 1}
    measure(study, study / "again.parquet")
    assert (study / "first.parquet").read_bytes() == (study / "again.parquet").read_bytes()


def test_a_policy_has_not_drifted_from_itself(study):
    table = measure(study, study / "base.parquet", policy="base", references=("base",))
    assert table.loc[table["reference"] == "base", "nats"].abs().max() < 1e-5


def test_damaged_weights_and_an_empty_text_are_named(study, tmp_path):
    (study / "text.txt").rename(study / "kept.txt")
    (study / "text.txt").write_text(" \n")
    with pytest.raises(StudyError, match=r"text\.txt: no text"):
        measure(study, tmp_path / "x.parquet")
    (study / "kept.txt").replace(study / "text.txt")
    tokenizer = train_tokenizer(["a"], 300, "</s> $A")
    broken = build_model(ARCHITECTURE, len(tokenizer), 1)
    broken.lm_head.weight.data[:] = math.nan
    save_model(tmp_path / "sft/manifest.json", broken, tokenizer, {}, "a notice")
    for name in ("prompts.parquet", "preferences.parquet", "text.txt"):
        (tmp_path / name).symlink_to(study / name)
    (tmp_path / "base").symlink_to(study / "base")
    with pytest.raises(StudyError, match=r"-\d+: the logits are not finite numbers"):
        measure(tmp_path, tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()


def drift_rows(nats, tokens, reference):
    keys = [f"helpfulness-{number // 2:03}" for number in range(len(nats))]
    rows = {
        "measure": "sample",
        "reference": reference,
        "key": keys,
        "tokens": tokens,
        "ended": [token < 5 for token in tokens],
        "nats": nats,
    }
    return pd.DataFrame(rows)


def test_the_summary_weighs_tokens_and_resamples_prompts():
    tokens = [2, 4, 5, 5, 1, 3]
    texts = pd.DataFrame({"measure": ["chosen", "chosen", "text"], "tokens": [3, 1, 10], "nats": [3 * math.log(8), math.log(8), 0.0]})
    rows = pd.concat([drift_rows([6.0] * 6, tokens, None), drift_rows([1.0, 2.0, 2.5, 2.5, 0.5, 1.5], tokens, "base"), texts])
    clusters = pd.Series({f"helpfulness-{number:03}": number for number in range(3)})
    (row,) = summarize(rows, ["base"], clusters, {"samples": 500, "seed": 1})
    assert row["kl_per_token"] == row["kl_low"] == row["kl_high"] == 0.5  # 0.5 nats per token everywhere: no uncertainty
    assert row["kl_per_response"] == pytest.approx(10 / 6) and row["mean_length"] == pytest.approx(20 / 6)
    assert row["length_low"] == 2.0 and row["length_high"] == 5.0  # three prompts: a resample may hold one of them only
    assert (row["n"], row["samples"], row["ended"]) == (3, 6, pytest.approx(400 / 6))
    assert row["perplexity_chosen"] == pytest.approx(8) and row["perplexity_text"] == 1.0
    (root,) = summarize(rows, [None], clusters, {"samples": 500, "seed": 1})
    assert root["reference"] is None and "kl_per_token" not in root and root["mean_length"] == row["mean_length"]

"""A judge of a pretrained model: the head is the logistic regression's, the layers are the policy's, and what is saved rates as it was fitted."""

import json

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from command_line import assert_refused
from command_line import call as called
from training_study import call, make_study

from hh_align.core.artifacts import read_table, write_table
from hh_align.core.errors import StudyError
from hh_align.data.preferences import SCHEMA, fit_for
from hh_align.data.transcripts import judged_prompt
from hh_align.models.bpe import train_tokenizer
from hh_align.models.folders import JUDGE_FILES, load_judge, load_policy, save_model
from hh_align.models.heads import classifier_of, features, head_of
from hh_align.models.judge_inputs import judge_ids
from hh_align.training import compute_features, train_judge_head
from hh_align.training.train_judge_head import PENALTIES, Pairs, best, fit_head, fold_of, held_out_rewards, measured

READING = {"reads": "text", "max_length": 40}
FEATURES = {"depths": [1, 2], "subsets": ["helpful-base"], "train_split": "train", "device": "cpu", "batch_tokens": 200, **READING}
HEAD = {"axis": "helpfulness", "seed": 2, "reads": "text"}


def small_model(kind):
    """A causal model of one of transformers' kinds, two layers deep, with random weights."""
    import transformers

    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 50, "max_position_embeddings": 64}
    return {
        "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(intermediate_size=32, **size)),
        "qwen3": lambda: transformers.Qwen3ForCausalLM(
            transformers.Qwen3Config(intermediate_size=32, num_key_value_heads=2, head_dim=8, **size)
        ),
        "gpt2": lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=50, n_positions=64)
        ),
        "gpt_neox": lambda: transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(intermediate_size=32, **size)),
        "opt": lambda: transformers.OPTForCausalLM(
            transformers.OPTConfig(ffn_dim=32, word_embed_proj_dim=8, do_layer_norm_before=False, **size)
        ),
    }[kind]().eval()


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gpt2", "gpt_neox", "opt"])
def test_a_head_behind_a_layer_reads_what_the_shorter_classifier_gives(kind, tmp_path):
    policy = small_model(kind)
    rows = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16]]
    read = features(classifier_of(policy, 49, 2, tmp_path), rows, [1, 2], 49)
    head = torch.linspace(-1, 1, read.shape[2])
    for place, depth in enumerate((1, 2)):
        classifier = classifier_of(policy, 49, depth, tmp_path)
        head_of(classifier).weight.data[0] = head
        alone = [classifier(input_ids=torch.tensor([row])).logits.item() for row in rows]
        np.testing.assert_allclose((read[:, place] @ head).tolist(), alone, rtol=1e-4, atol=1e-5)


def test_more_layers_than_there_are_is_one_message(tmp_path):
    with pytest.raises(StudyError, match=r"has 2 layers, judges.*depths asks for 3"):
        classifier_of(small_model("llama"), 49, 3, tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_the_head_is_the_ridge_logistic_regressions(seed):
    stream = np.random.default_rng(seed)
    differences = stream.normal(size=(60, 4)) * [1, 10, 0.1, 3] + [0.3, 2, 0, 0]
    spread = np.sqrt((differences**2).mean(0))
    # each pair once in either direction: the logistic regression without a constant that others fit
    both, won = np.concatenate([differences, -differences]) / spread, np.repeat([1, 0], 60)
    fitted = sm.Logit(won, both).fit(disp=0, tol=1e-10).params
    np.testing.assert_allclose(fit_head(differences, 1e-9) * spread, fitted, rtol=2e-3, atol=2e-3)
    small = [np.abs(fit_head(differences, penalty) * spread).sum() for penalty in PENALTIES]
    assert small == sorted(small, reverse=True)


def test_the_layer_with_the_least_loss_is_taken_and_of_equal_ones_the_lowest():
    rows = [
        {"depth": depth, "penalty": 1.0, "n": n, "loss": loss}
        for depth, n, loss in ((4, 10, 0.6), (8, 10, 0.5), (8, 10, 0.6), (4, 10, 0.5))
    ]
    assert best(rows) == (4, 1.0)
    assert best([*rows, {"depth": 2, "penalty": 0.1, "n": 20, "loss": 0.5}]) == (2, 0.1)


def drawn_pairs(seed, signal, n=150):
    """Layers 1 and 2 of pairs with two rows for each first turn; the chosen states of layer 2 lie `signal` above the rejected ones."""
    stream = np.random.default_rng(seed)
    clusters = np.array([f"turn {number // 2}" for number in range(n)])
    return {depth: Pairs(stream.normal(size=(n, 8)) + signal * (depth == 2), stream.normal(size=(n, 8)), clusters) for depth in (1, 2)}


@pytest.mark.parametrize("seed", range(3))
def test_a_pair_is_rated_by_heads_that_know_nothing_of_its_fold(seed):
    pairs = drawn_pairs(seed, 0.5)
    folds = np.array([fold_of(cluster, 2) for cluster in pairs[1].clusters])
    before, turned = held_out_rewards(pairs, 2), np.flatnonzero(folds == folds[0])[:3]
    for part in pairs.values():
        part.chosen[turned], part.rejected[turned] = part.rejected[turned].copy(), part.chosen[turned].copy()
    after = held_out_rewards(pairs, 2)
    np.testing.assert_array_equal(after[::-1, turned], before[:, turned])
    same = np.setdiff1d(np.flatnonzero(folds == folds[0]), turned)
    np.testing.assert_array_equal(after[:, same], before[:, same])


@pytest.mark.parametrize("seed", range(3))
def test_pairs_without_order_are_not_above_chance_and_those_with_one_are(seed):
    nothing, much = (measured(*held_out_rewards(drawn_pairs(seed, signal), 2)) for signal in (0.0, 1.0))
    assert nothing["pairs"] == 150 and nothing["accuracy_low"] < 0.5
    assert much["accuracy_low"] > 0.9


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A judge of pairs whose chosen reply has a word of its own, with what it was made of."""
    folder = make_study(tmp_path_factory.mktemp("head"))
    texts = {"rejected_prompt": None, "flags": [], **fit_for([])}
    stream = np.random.default_rng(0)
    words = [f"word{number}" for number in range(12)]
    rows = [
        {"split": "train", "subset": subset, "row": number, "prompt": f"\n\nHuman: Why {number}?\n\nAssistant:",
         "chosen": f" {' '.join(stream.choice(words, 5))} yes", "rejected": f" {' '.join(stream.choice(words, 5))} no", **texts}
        for number in range(80) for subset in ("helpful-base", "harmless-base")
    ]  # fmt: skip
    write_table(folder / "preferences.parquet", rows, SCHEMA, {})
    tokenizer = train_tokenizer([row["prompt"] + row["chosen"] + row["rejected"] for row in rows], 300, "</s> $A")
    policy, _ = load_policy(folder / "base/manifest.json")
    save_model(folder / "base/manifest.json", policy, tokenizer, {})
    make(folder)
    return folder


def make(folder):
    """Features and judge of the study."""
    paths = {part: folder / part for part in ("features", "timing", "state", "folds", "calibration")}
    call(
        compute_features, FEATURES, policy=folder / "base/manifest.json", preferences=folder / "preferences.parquet", threads=1,
        output=paths["features"], timing=paths["timing"], state=paths["state"],
    )  # fmt: skip
    call(
        train_judge_head, HEAD, features=paths["features"], policy=folder / "base/manifest.json", manifest=folder / "judge/manifest.json",
        folds=paths["folds"], calibration=paths["calibration"],
    )  # fmt: skip


def test_the_threshold_is_on_the_scale_of_the_saved_judge(study):
    judge, tokenizer = load_judge(study / "judge/manifest.json")
    said = json.loads((study / "calibration").read_text())["helpfulness"]
    rows = [row for row in read_table(study / "preferences.parquet", SCHEMA).to_pylist() if row["subset"] == "helpful-base"]
    rewards = {}
    for side in ("chosen", "rejected"):
        replies = [row[side].strip() for row in rows]
        ids, _ = judge_ids(tokenizer, "text", [judged_prompt(row["prompt"]) for row in rows], replies, replies, 40)
        rewards[side] = np.array([judge(input_ids=torch.tensor([row])).logits.item() for row in ids])
    assert said["pairs"] == len(rows)
    assert 0.8 < said["accuracy_low"] < said["pair_accuracy"] <= said["accuracy_high"]
    assert (rewards["chosen"] > rewards["rejected"]).mean() >= said["pair_accuracy"]
    above = [(rewards[side] >= said["threshold"]).mean() for side in ("chosen", "rejected")]
    assert above[0] > 0.8 and above[1] < 0.2


def test_it_has_only_the_layers_that_it_needs(study):
    said = json.loads((study / "calibration").read_text())["helpfulness"]
    judge, _ = load_judge(study / "judge/manifest.json")
    assert judge.config.num_hidden_layers == said["depth"]


def test_only_its_own_subset_is_read_and_folds_are_whole(study):
    table = read_table(study / "features").to_pandas()
    assert set(table["subset"]) == {"helpful-base"} and len(table) == 2 * 80
    folds = read_table(study / "folds").to_pandas()
    for _, part in folds.groupby(["depth", "penalty"]):
        assert part["n"].sum() == 80 and len(part) == 5


def test_equal_inputs_give_equal_bytes(study):
    files = ["features", "folds", "calibration", *(f"judge/{name}" for name in JUDGE_FILES)]
    first = {name: (study / name).read_bytes() for name in files}
    make(study)
    assert first == {name: (study / name).read_bytes() for name in files}


def test_too_few_pairs_for_the_folds_are_refused(study, tmp_path):
    table = read_table(study / "features")
    write_table(tmp_path / "features", table.slice(0, 4), table.schema, {})
    status, printed = called(
        train_judge_head, config=HEAD, features=tmp_path / "features", policy=study / "base/manifest.json",
        manifest=study / "no/manifest.json", folds=study / "no-folds", calibration=study / "no-calibration",
    )  # fmt: skip
    assert_refused((status, printed), r"too few pairs for 5 folds: raise judges.*max_rows")

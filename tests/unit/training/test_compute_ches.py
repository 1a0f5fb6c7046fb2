"""CHES: the scores are those of the paper's definition on a plain forward pass, whatever the batches; equal bytes, also after a kill."""

import pytest
import torch
from training_study import call, make_study, preference

from hh_align.core.artifacts import read_table, write_table
from hh_align.core.errors import StudyError
from hh_align.data.preferences import SCHEMA, fit_for
from hh_align.data.selection import SIMILARITIES
from hh_align.models import batches
from hh_align.models.folders import load_policy
from hh_align.models.tokens import encoder, pair_view
from hh_align.training import compute_ches

SHORT = {"max_length": 34, "max_prompt_length": 20}
LONG = {"max_length": 100, "max_prompt_length": 60}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """12 training pairs of unlike lengths, some of them cut by SHORT, one with equal replies and one held out; a random base policy."""
    folder = make_study(tmp_path_factory.mktemp("ches"))
    rows = [preference(number) for number in range(12)]
    rows[5] |= {"rejected": rows[5]["chosen"], "flags": ["identical"], **fit_for(["identical"])}
    rows[7] |= {"chosen": " It is so.", "rejected": " It is so. " + "I do not know, sorry. " * 2}
    write_table(folder / "preferences.parquet", [*rows, preference(12) | {"split": "test"}], SCHEMA, {})
    return folder


def scored(study, name, limits=LONG, **changes):
    config = {"training_half": [], "train_split": "train", "batch_tokens": 150, "device": "cpu"} | limits | changes
    files = {"policy": study / "base/manifest.json", "preferences": study / "preferences.parquet", "output": study / f"{name}.parquet"}
    call(compute_ches, config, **files, threads=1, state=study / "state" / name, timing=study / "timings" / name)
    return read_table(study / f"{name}.parquet", SIMILARITIES).to_pylist()


def by_definition(model, pair) -> tuple[float, float]:
    """Definition 2 of arXiv 2410.08847, and its length-normalized form: sums over the states of (prompt, reply before token k)."""
    states = []
    for reply in (pair.chosen_ids, pair.rejected_ids):
        before = [pair.prompt_ids + reply[:k] for k in range(len(reply))]
        with torch.no_grad():
            states.append(
                [model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1].double() for ids in before]
            )
    (chosen, rejected), (m, n) = [sum(of_reply) for of_reply in states], [len(of_reply) for of_reply in states]
    return (chosen @ rejected - chosen.norm() ** 2).item(), (chosen @ rejected / (m * n) - chosen.norm() ** 2 / m**2).item()


@pytest.mark.parametrize("limits", [LONG, SHORT], ids=["whole", "cut"])
def test_the_scores_are_those_of_the_definition(study, limits):
    rows = scored(study, "cut" if limits is SHORT else "whole", limits)
    model, tokenizer = load_policy(study / "base/manifest.json")
    assert [row["row"] for row in rows] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    table = [row for row in read_table(study / "preferences.parquet").to_pylist() if row["use_dpo"] and row["split"] == "train"]
    pairs = pair_view(table, encoder(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id, *limits.values())
    for row, pair in zip(rows, pairs, strict=True):
        assert (row["ches"], row["normalized_ches"]) == pytest.approx(by_definition(model.eval(), pair), rel=1e-4, abs=1e-4)
        assert (row["chosen_tokens"], row["rejected_tokens"]) == (len(pair.chosen_ids), len(pair.rejected_ids))
        assert row["cut_tokens"] == pair.cut_prompt + pair.cut_reply
    assert any(row["cut_tokens"] for row in rows) == (limits is SHORT)
    assert len({round(row["normalized_ches"], 3) for row in rows}) > 5


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equal_replies_have_a_score_of_0_and_opposite_ones_twice_the_negative_norm(seed):
    states = torch.randn(4, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert compute_ches.centered_similarity(states, states).tolist() == [0.0] * 4
    assert compute_ches.centered_similarity(states, -states).tolist() == pytest.approx((-2 * states**2).sum(-1).tolist())


def test_equal_bytes_twice_and_after_a_kill(study, monkeypatch):
    scored(study, "first")
    scored(study, "again")
    computed = []

    def dying(compute, batch, tokens):
        computed.append(batch)
        if len(computed) == 3:
            raise KeyboardInterrupt
        return in_memory(compute, batch, tokens)

    in_memory = batches.in_memory
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(batches, "in_memory", dying)
        scored(study, "killed")
    monkeypatch.setattr(batches, "in_memory", lambda *args: computed.append(args[1]) or in_memory(*args))
    scored(study, "killed")
    assert len({(study / f"{name}.parquet").read_bytes() for name in ("first", "again", "killed")}) == 1
    assert sorted(row for batch in computed[:2] + computed[3:] for row in batch) == list(range(11))  # what was done is not done again


def test_only_the_selected_rows_are_read(study):
    with pytest.raises(StudyError, match="no row of split train"):
        scored(study, "none", subsets=["harmless-base"])


def test_what_is_longer_than_the_model_reads_is_refused_by_its_key(study):
    long = [preference(1) | {"rejected": " I do not know, sorry." * 40}]
    write_table(study / "long.parquet", long, SCHEMA, {})
    config = {"training_half": [], "train_split": "train", "batch_tokens": 150, "device": "cpu", "max_length": 400, "max_prompt_length": 60}
    files = {"policy": study / "base/manifest.json", "preferences": study / "long.parquet", "output": study / "long_ches.parquet"}
    with pytest.raises(StudyError, match=r"the model reads at most 128: lower max_length of datasets\.\*\.ches"):
        call(compute_ches, config, **files, threads=1, state=study / "state/long", timing=study / "timings/long")


def test_damaged_weights_are_named_with_the_pair(study, monkeypatch):
    monkeypatch.setattr(compute_ches, "ches_scores", lambda model, trees: [[float("nan")] * 2 for _ in trees])
    with pytest.raises(StudyError, match=r"helpful-base/train:\d+: the CHES scores are \[nan, nan\]. The weights are damaged"):
        scored(study, "damaged")

"""What must stop a training does, and says what to do about it."""

import math
import resource
from contextlib import contextmanager, nullcontext

import pyarrow.parquet as pq
import pytest
import torch
from training_study import (
    ARCHITECTURE,
    COMMON,
    DPO,
    LORA,
    SFT,
    call,
    dpo,
    make_study,
    options,
    references,
    sft,
    step_config,
)

from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.core.state import State
from hh_align.evaluation.endpoint import AnswerFile
from hh_align.models.batches import Parts
from hh_align.models.folders import load_policy, save_model, writing
from hh_align.training import adapters, compute_references, loop, train_sft
from hh_align.training import sft as sft_module
from hh_align.training.pair_trainer import REWARDS, check_first_rewards


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with 16 preferences and a random base policy with dropout."""
    return make_study(tmp_path_factory.mktemp("stops"), 16, ARCHITECTURE)


@contextmanager
def no_file_above(size):
    """Within, no file of this process grows beyond `size` bytes: a write fails as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(
    ("extra", "said"), [(-1000, "Error while serializing"), (10_000, "inline_container|basic_ios")], ids=["weights", "optimizer"]
)
def test_a_disk_that_takes_no_checkpoint_is_one_message(study, extra, said):
    # safetensors and torch have errors of their own for this, which the end of a script does not know
    size = (study / "base/model.safetensors").stat().st_size
    name = f"full{extra}"
    with no_file_above(size + extra), pytest.raises(StudyError, match=rf"state/{name}: cannot be written .*{said}.*Make room") as error:
        sft(study, name, checkpoint_seconds=0)
    assert "\n" not in str(error.value)
    assert sft(study, name)[0] == sft(study, "full_undisturbed")[0]


@pytest.mark.parametrize("size", [1, 1500, 4096], ids=["nothing", "no end", "no middle"])
def test_a_disk_that_takes_no_state_of_torch_is_one_message(tmp_path, size):
    # the words of its error depend on where the file ends
    with no_file_above(size), pytest.raises(StudyError, match=r": cannot be written \(.*Make room"), writing(tmp_path):
        for values in (100, 3000):
            torch.save({"values": torch.zeros(values)}, tmp_path / "state.pt")


def test_a_disk_that_takes_no_part_or_answer_names_the_file(tmp_path):
    parts = Parts(State(tmp_path, 0.0))
    with no_file_above(100), pytest.raises(StudyError, match=r"parts.jsonl: cannot be written \(File too large\)"):
        parts.add(["x" * 200], 1)
    with no_file_above(100), pytest.raises(StudyError, match=r"answers.jsonl: cannot be written \(File too large\)"):
        AnswerFile(tmp_path / "answers.jsonl").add("key", {"answer": "x" * 200})


def test_a_disk_that_takes_no_weights_is_one_message_and_leaves_what_was_there(study):
    model, tokenizer = load_policy(study / "base/manifest.json")
    before = (study / "base/manifest.json").read_bytes()
    with no_file_above(5000), pytest.raises(StudyError, match=r"base: cannot be written \(.*File too large"):
        save_model(study / "base/manifest.json", model, tokenizer, {})
    assert (study / "base/manifest.json").read_bytes() == before
    load_policy(study / "base/manifest.json")


def wrong_references(study, name, shift):
    """The references with `shift`, of a row's number, added to both log-probabilities."""
    rows = pq.read_table(references(study)).to_pylist()
    wrong = [
        row | {column: row[column] + by for column, by in zip(("ref_chosen_logps", "ref_rejected_logps"), shift(number), strict=True)}
        for number, row in enumerate(rows)
    ]
    write_table(study / f"{name}.parquet", wrong, compute_references.REFERENCES, {})
    return study / f"{name}.parquet"


def test_opposite_first_rewards_do_not_hide_each_other(study):
    # their mean, and so the mean of margins and the loss to first order, stay as they should be
    wrong = wrong_references(study, "opposite", lambda number: ((-1) ** number, (-1) ** number))
    with pytest.raises(StudyError, match=r"'distance': 0\.1"):
        dpo(study, "opposite", DPO | {"batch_size": 16}, wrong)


@pytest.mark.parametrize(("more", "by", "said"), [({}, 1.0, ", not 0.693"), ({"sft_weight": 0.5}, -1.0, "")], ids=["plain", "sft term"])
def test_references_of_other_weights_stop_the_run(study, more, by, said):
    # the check must be able to fail
    wrong = wrong_references(study, "wrong", lambda number: (by, 0.0))
    with pytest.raises(StudyError, match=f"the first DPO loss is .*{said}"):
        dpo(study, "wrong", DPO | more, wrong)
    assert not (study / "wrong/manifest.json").exists()


@pytest.mark.parametrize(
    ("precision", "beta", "nats", "refused"),
    [("float32", 10.0, 2e-5, False), ("float32", 10.0, 2e-3, True), ("float32", 0.01, 2e-3, True), ("bfloat16", 0.01, 2.0, True)],
    ids=["rounding", "more than rounding", "a small beta", "a small beta in bfloat16"],
)
def test_what_the_first_step_allows_is_rounding_times_beta(study, precision, beta, nats, refused):
    # a fixed limit would stop a sound run at a large beta, and let other weights pass at a small one
    name = f"rounded-{precision}-{beta}-{nats}"
    method, wrong = DPO | {"precision": precision, "beta": beta, "epochs": 1}, wrong_references(study, name, lambda number: (nats, -nats))
    if refused:
        with pytest.raises(StudyError, match="policy and reference differ before the first update"):
            dpo(study, name, method, wrong)
    else:
        dpo(study, name, method, wrong)


@pytest.mark.parametrize(
    ("tolerance", "loss", "refused"), [(0.28, 1.0, True), (0.28, 0.8, False), (0.05, 0.8, True), (1e-4, 0.6933, False)]
)
def test_a_loss_that_is_far_from_ln_2_is_refused_whatever_rounding_allows_of_rewards(tolerance, loss, refused):
    logs = {"loss": loss, **{f"rewards/{name}": 0.0 for name in REWARDS}}
    with pytest.raises(StudyError, match="the first DPO loss is") if refused else nullcontext():
        check_first_rewards("DPO", logs, math.log(2), tolerance)


def test_as_published_keeps_dropout_and_so_misses_ln_2(study, capsys):
    dpo(study, "published", DPO | {"dropout": "as_published"})
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("first implicit rewards")]
    assert abs(float(line.split("loss ")[1].split()[0]) - math.log(2)) > 1e-3


def test_dropout_that_is_still_on_is_found_after_the_first_step(study, monkeypatch):
    # an adapter's dropout leaves the first loss at ln 2, for its second factor is 0
    original = adapters.LoraConfig
    monkeypatch.setattr(adapters, "LoraConfig", lambda **settings: original(**(settings | {"lora_dropout": 0.5})))
    with pytest.raises(StudyError, match="two passes over the same pairs differ"):
        dpo(study, "dropped", references=references(study))


def test_an_unknown_lora_target_names_the_allowed_ones(study):
    unknown = {"lora": LORA | {"targets": ["query"]}}
    with pytest.raises(StudyError, match=r"no query. Allowed: .*q_proj.*v_proj"):
        dpo(study, "targets", DPO | unknown, references(study))
    with pytest.raises(StudyError, match=r"lora.targets: the model has no query. Allowed: .*q_proj.*all-linear"):
        sft(study, "unknown", SFT | unknown)


def test_a_loss_that_is_no_number_stops_the_step_with_rows_and_rate(study):
    model, tokenizer = load_policy(study / "base/manifest.json")
    with torch.no_grad():
        model.model.decoder.layers[0].fc1.weight.fill_(math.nan)
    save_model(study / "broken/manifest.json", model, tokenizer, {})
    said = r"the loss is nan and the gradient's norm .* at step 1 \(learning rate 0.01, rows helpful-base/train:\d+, "
    with pytest.raises(StudyError, match=said):
        call(train_sft, step_config(SFT), **options(study, "nan", parent=study / "broken/manifest.json"))


@pytest.mark.parametrize(("value", "said"), [("inf", "the loss is inf"), ("nan", "and the gradient's norm nan")])
def test_an_infinite_loss_and_a_gradient_that_is_no_number_stop_the_step_too(study, monkeypatch, value, said):
    # a finite loss with a broken gradient would leave broken weights behind, on the last step unnoticed
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(context, logps):
            return logps - math.inf if value == "inf" else logps.clone()

        @staticmethod
        def backward(context, gradient):
            return gradient * math.nan

    original = sft_module.token_logps
    monkeypatch.setattr(sft_module, "token_logps", lambda *args: Broken.apply(original(*args)))
    with pytest.raises(StudyError, match=rf"{said}.* at step 1 \(learning rate 0.01, rows helpful-base/train:"):
        sft(study, f"broken_{value}")


@pytest.mark.parametrize(
    ("micro", "said"),
    [
        (2, "with micro_batch 2: set it to 1"),
        (1, r"lower max_length to \d+ \(the longest example has \d+ tokens\), set precision to bfloat16"),
    ],
)
def test_no_memory_left_says_what_to_lower(study, monkeypatch, micro, said):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("hh_align.training.sft.token_logps", full)
    with pytest.raises(StudyError, match=f"out of memory at step 1 with micro_batch {micro}.*" + said.split(": ")[-1]):
        sft(study, "full", SFT | {"micro_batch": micro})


def test_no_memory_to_measure_the_peak_stops_before_the_training(study, monkeypatch):
    # measured after it, with the model and its optimizer still there, it would cost the finished weights
    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("hh_align.training.loop.matmul_peak", full)
    with pytest.raises(StudyError, match="out of memory at step 1 with micro_batch 2: set it to 1"):
        sft(study, "peak")
    assert not (study / "state/peak/checkpoint-1").exists()


def test_a_parameter_that_stays_or_should_stay_is_found(study):
    model, _ = load_policy(study / "base/manifest.json")
    before = loop.tensor_sums(model)
    with pytest.raises(StudyError, match=r"has not changed .*embed_tokens"):
        loop.check_moved(before, model, ("k_proj.bias",))
    model.requires_grad_(False)
    loop.check_moved(before, model, ("k_proj.bias",))
    model.model.decoder.layers[0].fc1.weight[0, 0] += 1
    with pytest.raises(StudyError, match=r"has changed model.decoder.layers.0.fc1.weight \(1 parameters\), which are frozen"):
        loop.check_moved(before, model, ("k_proj.bias",))


def test_processes_that_cannot_share_a_step_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(StudyError, match=r"a step has 2 micro-batches .* for 3 processes"):
        loop.trl_arguments(COMMON, loop.Session(1, "cpu", 1000, State(tmp_path, 0.0)))

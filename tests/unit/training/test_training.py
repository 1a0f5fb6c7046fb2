"""Training on a tiny OPT with OPT-350M's quirks (post-norm, projections, functional dropout 0.1): invariants, not results."""

import json
import math
import resource
import sys
from contextlib import contextmanager
from types import ModuleType

import pyarrow.parquet as pq
import pytest
import torch

from hh_align.core.artifacts import read_table, write_table
from hh_align.core.errors import StudyError
from hh_align.data.preferences import SCHEMA, fit_for
from hh_align.models.bpe import train_tokenizer
from hh_align.models.folders import load_policy, save_model
from hh_align.models.judging import pair_ids
from hh_align.training import compute_references, train_dpo, train_sft
from hh_align.training import loop as training
from hh_align.training import sft as sft_module
from hh_align.training.pretrain_base import build_model

ARCHITECTURE = {
    "hidden_size": 16, "layers": 2, "heads": 2, "ffn_dim": 32, "word_embed_proj_dim": 8, "max_positions": 128, "init_std": 0.2, "dropout": 0.1,
}  # fmt: skip
COMMON = {
    "epochs": 2, "learning_rate": 1e-2, "schedule": "linear", "warmup_steps": 0, "weight_decay": 0.0, "max_grad_norm": 1.0, "batch_size": 4,
    "micro_batch": 2, "precision": "float32", "max_length": 64,
}  # fmt: skip
SFT = COMMON | {"trainer": "sft", "loss_on": "transcript", "rows": "all"}
LORA = {"r": 2, "alpha": 4, "dropout": 0.0, "targets": ["q_proj", "v_proj"]}
STILL = ARCHITECTURE | {"dropout": 0.0}
DPO = COMMON | {"trainer": "dpo", "loss": "sigmoid", "beta": 0.1, "max_prompt_length": 32, "dropout": "disabled", "lora": LORA}


def preference(number):
    prompt = f"\n\nHuman: What is {number} and more {'of it ' * (number % 3)}?\n\nAssistant:"
    texts = {"prompt": prompt, "chosen": f" It is {number}.", "rejected": f" I do not know {number}, sorry.", "rejected_prompt": None}
    return {"split": "train", "subset": "helpful-base", "row": number, "flags": [], **texts, **fit_for([])}


def call(module: ModuleType, config: dict, **options: object) -> None:
    """Run a script's main() with a command line."""
    sys.argv = [module.__name__, "--config", json.dumps(config)]
    for name, value in options.items():
        sys.argv += ["--" + name.replace("_", "-"), str(value)]
    module.main()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with preferences and a random base policy."""
    folder = tmp_path_factory.mktemp("training")
    rows = [preference(number) for number in range(16)]
    write_table(folder / "preferences.parquet", rows, SCHEMA, {})
    tokenizer = train_tokenizer([row["prompt"] + row["chosen"] for row in rows], 300, "</s> $A")
    save_model(folder / "base/manifest.json", build_model(ARCHITECTURE, len(tokenizer), 1), tokenizer, {}, "a notice")
    return folder


def sft(place, name, method=SFT, seed=1, checkpoint_seconds=1000):
    outputs = {
        "state": place / "state" / name,
        "manifest": place / name / "manifest.json",
        "train_log": place / name / "log.parquet",
        "quarantine": place / name / "quarantine.parquet",
        "timing": place / name / "t",
    }
    config = {"method": method, "train_split": "train", "device": "cpu"}
    call(
        train_sft,
        config,
        seed=seed,
        parent=place / "base/manifest.json",
        preferences=place / "preferences.parquet",
        threads=1,
        checkpoint_seconds=checkpoint_seconds,
        **outputs,
    )
    return json.loads((place / name / "manifest.json").read_text()), pq.read_table(place / name / "log.parquet").to_pylist()


def still_study(folder, pairs=17):
    """The folder with some preferences (of 17 the last step is a short one) and a random base policy without dropout."""
    rows = [preference(number) for number in range(pairs)]
    write_table(folder / "preferences.parquet", rows, SCHEMA, {})
    tokenizer = train_tokenizer([row["prompt"] + row["chosen"] for row in rows], 300, "</s> $A")
    save_model(folder / "base/manifest.json", build_model(STILL, len(tokenizer), 1), tokenizer, {}, "a notice")
    return folder


@contextmanager
def killed_at(step):
    """Within, a training dies at the end of a step, before its checkpoint."""
    original = training.Watch.on_step_end

    def dying(self, args, state, control, **kwargs):
        if state.global_step == step:
            raise KeyboardInterrupt
        return original(self, args, state, control, **kwargs)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.Watch, "on_step_end", dying)
        yield


def references(place, policy="base"):
    path = place / f"references-{policy}.parquet"
    view = {key: DPO[key] for key in ("trainer", "max_length", "max_prompt_length", "dropout", "precision")}
    config = {"view": view, "train_split": "train", "batch_tokens": 512, "device": "cpu"}
    call(
        compute_references,
        config,
        policy=place / policy / "manifest.json",
        preferences=place / "preferences.parquet",
        threads=1,
        state=place / "state/references",
        output=path,
        timing=place / "t",
    )
    return path


def dpo(place, name, method=DPO, reference=None, seed=1):
    outputs = {
        "state": place / "state" / name,
        "manifest": place / name / "manifest.json",
        "train_log": place / name / "log.parquet",
        "quarantine": place / name / "quarantine.parquet",
        "timing": place / name / "t",
    }
    config = {"method": method, "train_split": "train", "device": "cpu"}
    given = {"references": reference} if reference else {}
    call(
        train_dpo,
        config,
        seed=seed,
        parent=place / "base/manifest.json",
        preferences=place / "preferences.parquet",
        threads=1,
        checkpoint_seconds=1000,
        **given,
        **outputs,
    )
    return json.loads((place / name / "manifest.json").read_text()), pq.read_table(place / name / "log.parquet").to_pylist()


def test_sft_logs_every_step_and_learns(place):
    _, log = sft(place, "sft")
    assert [row["step"] for row in log] == list(range(1, 9))
    assert [row["examples"] for row in log] == list(range(4, 36, 4))
    assert log[-1]["epoch"] == 2.0
    assert log[-1]["loss"] < log[0]["loss"]
    assert (place / "sft/NOTICE").read_text() == "a notice"
    assert not (place / "state/sft").exists()


def test_sft_changes_every_parameter(place):
    # a parameter that stays would be one that the optimizer never saw
    sft(place, "sft_all")
    before, after = (load_policy(place / name / "manifest.json")[0].state_dict() for name in ("base", "sft_all"))
    same = [name for name, tensor in before.items() if torch.equal(tensor, after[name])]
    assert not [name for name in same if "embed_positions" not in name and "k_proj.bias" not in name]


def test_a_killed_training_ends_with_the_bytes_of_an_undisturbed_one(place, monkeypatch):
    whole, log = sft(place, "undisturbed", checkpoint_seconds=0)
    with killed_at(6):
        sft(place, "killed", checkpoint_seconds=0)
    assert [path.name for path in sorted((place / "state/killed").glob("checkpoint-*"))] == ["checkpoint-4", "checkpoint-5"]
    resumed, resumed_log = sft(place, "killed", checkpoint_seconds=0)
    assert resumed == whole
    assert resumed_log == log
    for name in ("undisturbed", "killed"):
        cost = json.loads((place / name / "t").read_text())
        assert cost["checkpoints"] == 7 and 0 < cost["checkpoint_seconds_spent"] < cost["training_seconds"]


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
    ("extra", "said"), [(-1000, "Error while serializing"), (10_000, "inline_container")], ids=["weights", "optimizer"]
)
def test_a_disk_that_takes_no_checkpoint_is_one_message(place, extra, said):
    # safetensors and torch have errors of their own for this, which the end of a script does not know
    weights = (place / "base/model.safetensors").stat().st_size
    name = f"full{extra}"
    with no_file_above(weights + extra), pytest.raises(StudyError, match=rf"state/{name}: cannot be written .*{said}.*Make room") as found:
        sft(place, name, checkpoint_seconds=0)
    assert "\n" not in str(found.value)
    assert sft(place, name)[0] == sft(place, "full_undisturbed")[0]


def test_a_disk_that_takes_no_weights_is_one_message_and_leaves_what_was_there(place):
    model, tokenizer = load_policy(place / "base/manifest.json")
    before = (place / "base/manifest.json").read_bytes()
    with no_file_above(5000), pytest.raises(StudyError, match=r"base: cannot be written \(.*File too large"):
        save_model(place / "base/manifest.json", model, tokenizer, {}, "")
    assert (place / "base/manifest.json").read_bytes() == before
    load_policy(place / "base/manifest.json")


def test_seeds_order_rows_and_nothing_else(place):
    first, _ = sft(place, "seed_one", seed=1)
    again, _ = sft(place, "seed_one_again", seed=1)
    other, _ = sft(place, "seed_two", seed=2)
    assert first == again
    assert first["model.safetensors"] != other["model.safetensors"]


def test_the_first_dpo_loss_is_ln_2_although_opt_has_dropout(place):
    # OPT's dropout is functional: the trainer's own switch does not reach it, and the paper's loss began at 0.7236
    _, log = dpo(place, "dpo", reference=references(place))
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert abs(log[0]["chosen_rewards"]) < 1e-4 and abs(log[0]["rejected_rewards"]) < 1e-4
    assert log[-1]["margins"] > 0.01


def test_opposite_first_rewards_do_not_hide_each_other(place):
    # their mean, and so the mean of margins and the loss to first order, stay as they should be
    rows = pq.read_table(references(place)).to_pylist()
    wrong = [
        row | {name: row[name] + (-1) ** number for name in ("ref_chosen_logps", "ref_rejected_logps")} for number, row in enumerate(rows)
    ]
    write_table(place / "opposite.parquet", wrong, compute_references.REFERENCES, {})
    with pytest.raises(StudyError, match=r"'distance': 0\.1"):
        dpo(place, "opposite", DPO | {"batch_size": 16}, place / "opposite.parquet")


def test_as_published_keeps_dropout_and_so_misses_ln_2(place, capsys):
    dpo(place, "published", DPO | {"dropout": "as_published"})
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("first implicit rewards")]
    assert abs(float(line.split("loss ")[1].split()[0]) - math.log(2)) > 1e-3


def test_references_of_other_weights_stop_the_run(place):
    # the check must be able to fail
    rows = pq.read_table(references(place)).to_pylist()
    wrong = [row | {"ref_chosen_logps": row["ref_chosen_logps"] + 1.0} for row in rows]
    write_table(place / "wrong.parquet", wrong, compute_references.REFERENCES, {})
    with pytest.raises(StudyError, match=r"the first DPO loss is .*, not 0.693"):
        dpo(place, "wrong", reference=place / "wrong.parquet")
    assert not (place / "wrong/manifest.json").exists()


def test_dpo_moves_only_what_lora_targets(place):
    dpo(place, "dpo_lora", reference=references(place))
    before, after = (load_policy(place / name / "manifest.json")[0].state_dict() for name in ("base", "dpo_lora"))
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert moved == {name for name in before if name.endswith(("q_proj.weight", "v_proj.weight"))}


def test_an_unknown_lora_target_names_the_allowed_ones(place):
    with pytest.raises(StudyError, match=r"no query. Allowed: .*q_proj.*v_proj"):
        dpo(place, "targets", DPO | {"lora": LORA | {"targets": ["query"]}}, references(place))


def test_a_loss_that_is_no_number_stops_the_step_with_rows_and_rate(place):
    model, tokenizer = load_policy(place / "base/manifest.json")
    with torch.no_grad():
        model.model.decoder.layers[0].fc1.weight.fill_(math.nan)
    save_model(place / "broken/manifest.json", model, tokenizer, {}, "")
    config = {"method": SFT, "train_split": "train", "device": "cpu"}
    outputs = {name: place / "nan" / name for name in ("state", "manifest", "train_log", "quarantine", "timing")}
    with pytest.raises(
        StudyError, match=r"the loss is nan and the gradient's norm .* at step 1 \(learning rate 0.01, rows helpful-base/train:\d+, "
    ):
        call(
            train_sft,
            config,
            seed=1,
            parent=place / "broken/manifest.json",
            preferences=place / "preferences.parquet",
            threads=1,
            checkpoint_seconds=99,
            **outputs,
        )


@pytest.mark.parametrize(("value", "said"), [("inf", "the loss is inf"), ("nan", "and the gradient's norm nan")])
def test_an_infinite_loss_and_a_gradient_that_is_no_number_stop_the_step_too(place, monkeypatch, value, said):
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
        sft(place, f"broken_{value}")


def test_reference_log_probabilities_are_those_of_a_plain_loop(place):
    # arXiv 2305.18290: log pi(y|x) sums over the reply's tokens, </s> included, and over nothing else
    table = read_table(references(place), ["row", "ref_chosen_logps"]).to_pylist()
    model, tokenizer = load_policy(place / "base/manifest.json")
    row = preference(5)
    prompt = [2, *tokenizer(row["prompt"], add_special_tokens=False)["input_ids"][-31:]]
    reply = [*tokenizer(row["chosen"], add_special_tokens=False)["input_ids"], 2]
    total, ids = 0.0, list(prompt)
    for token in reply:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
        total += torch.log_softmax(logits, 0)[token].item()
        ids.append(token)
    assert next(entry for entry in table if entry["row"] == 5)["ref_chosen_logps"] == pytest.approx(total, abs=1e-4)


def test_a_long_pair_loses_the_beginning_of_its_prompt():
    tokenizer = train_tokenizer(["abc"], 300, "<s> $A </s>", "<s> $A </s> $B </s>")
    (whole, cut), lost = pair_ids(tokenizer, ["abcdef", "abcdef"], ["xy", "xy"], None), [0, 0]
    assert cut == lost
    (short,), (count,) = pair_ids(tokenizer, ["abcdef"], ["xy"], 8)
    special, text = 3, len(whole[0]) - 3
    assert len(short) == 8 and count == text + special - 8
    assert short[0] == whole[0][0] and short[-7:] == whole[0][-7:]
    assert whole[0] == tokenizer("abcdef", "xy")["input_ids"]

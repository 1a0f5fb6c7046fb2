"""What a deterministic GPU refuses, no step asks for: the operations that torch has no fixed order for, watched on a CPU."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from training_study import DPO, KTO, LORA, SFT, dpo, kto, make_study, references, sft

from hh_align.evaluation.generate_responses import continue_greedily
from hh_align.evaluation.measure_drift import divergences, sample_responses
from hh_align.models.batches import Item
from hh_align.models.deberta import without_padding
from hh_align.models.folders import load_policy
from hh_align.models.judging import reward_batch
from hh_align.training import train_judge

REFUSED = (
    "cumsum",
    "cumprod",
    "put_",
    "put",
    "histc",
    "bincount",
    "kthvalue",
    "median",
    "nll_loss2d_forward",
    "nll_loss2d_backward",
    "multinomial",
)
"""Of torch.use_deterministic_algorithms' list and what is made of it, by the names of what models of text could meet; sums of whole numbers
are allowed."""


class DeterministicGPU(TorchDispatchMode):
    """Within, an operation of REFUSED on floating-point numbers is an error, as on a GPU; also in a backward pass."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if operation.overloadpacket.__name__ in REFUSED and any(torch.is_tensor(value) and value.is_floating_point() for value in args):
            raise RuntimeError(f"{operation} does not have a deterministic implementation")
        return operation(*args, **kwargs or {})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with 8 preferences and a random base policy, an OPT."""
    return make_study(tmp_path_factory.mktemp("deterministic"), 8)


def test_the_watch_sees_what_a_gpu_refuses():
    with DeterministicGPU():
        torch.ones(3, dtype=torch.long).cumsum(0)
        with pytest.raises(RuntimeError, match=r"aten.cumsum.default does not have a deterministic implementation"):
            torch.ones(3).cumsum(0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_trainings_ask_for_nothing_that_a_deterministic_gpu_refuses(study, precision):
    # OPT makes its positions by a sum of floats where it is not given any, as when an adapter is merged
    of = {"precision": precision, "epochs": 2}
    with DeterministicGPU():
        path = references(study)
        sft(study, f"sft-{precision}", SFT | of)
        sft(study, f"lora-{precision}", SFT | of | {"lora": LORA})
        dpo(study, f"dpo-{precision}", DPO | of, path)
        kto(study, f"kto-{precision}", KTO | of)


def test_writing_sampling_and_judging_ask_for_nothing_that_a_deterministic_gpu_refuses(study):
    policy, tokenizer = load_policy(study / "base/manifest.json")
    prompts, eos = [[12, 5, 6], [12, 9]], tokenizer.eos_token_id
    architecture = {"hidden_size": 16, "layers": 1, "heads": 2, "ffn_dim": 32, "position_buckets": 8, "init_std": 0.2}
    judge = train_judge.build_model(architecture, 50, 1).eval()
    with DeterministicGPU():
        continue_greedily(policy, [Item(n, ids, {"prompt_id": str(n)}) for n, ids in enumerate(prompts)], 8, eos, lambda ids: False)
        drawn = sample_responses(policy, prompts, [np.random.default_rng(n).random(8) for n in range(2)], 8, eos)
        divergences(policy, [policy], prompts, [part.ids or [eos] for part in drawn], tokenizer.pad_token_id)
        judge(input_ids=torch.tensor([[5, 6, 7]]), attention_mask=torch.ones(1, 3, dtype=torch.long)).logits.sum().backward()
        without_padding(judge)
        reward_batch(judge, [[5, 6, 7], [8, 9]], 1)

"""Attention on a GPU, played on a CPU: the types that rotary positions leave, heads that share keys and values, sums in any order."""

import pytest
import torch
import torch.nn.functional as F

from hh_align.models import decoding, packing
from hh_align.models.attention import repeated
from hh_align.models.packing import Tree, pack, reply_logps, use_packing

TREES = [Tree([2, 5, 6], [[7, 8, 2], [9, 2]]), Tree([2, 9], [[4, 4, 4, 2]]), Tree([2], [[5, 6, 7, 8, 2], [11, 2]])]
SHARED = {"num_attention_heads": 4, "num_key_value_heads": 2}


@pytest.fixture(params=["llama", "qwen2", "qwen3"])
def rotary(request):
    """A small model with rotary positions, whose heads share keys and values by twos."""
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

    kind = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}[request.param]
    sizes = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "initializer_range": 0.2, "head_dim": 8}
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(kind(**sizes, **SHARED)).eval()


@pytest.fixture
def seen_types(monkeypatch):
    """As on a GPU attention has the type of the values; what torch is then asked for: the types of queries, keys and values."""
    asked, original = [], F.scaled_dot_product_attention
    monkeypatch.setattr(packing, "attention_type", lambda value: value.dtype)

    def noted(query, key, value, **options):
        asked.append((query.dtype, key.dtype, value.dtype))
        return original(query, key, value, **options)

    for module in (packing, decoding):
        monkeypatch.setattr(module.F, "scaled_dot_product_attention", noted)
    return asked


def test_rotary_positions_train_in_bfloat16_where_attention_does(rotary, seen_types):
    # autocast leaves their queries and keys in float32, and torch refuses to mix types
    use_packing(rotary)
    with torch.no_grad():
        expected = reply_logps(rotary, pack(TREES))
    seen_types.clear()
    with torch.autocast("cpu", torch.bfloat16):
        logps = reply_logps(rotary, pack(TREES))
    logps.sum().backward()
    assert set(seen_types) == {(torch.bfloat16,) * 3}
    assert torch.allclose(logps, expected, atol=0.5) and logps.dtype == torch.float32
    assert all(parameter.grad.isfinite().all() for parameter in rotary.parameters())


def test_on_a_cpu_attention_is_in_float32(rotary, monkeypatch):
    # a bfloat16 backward pass is slow there
    values = torch.zeros(1, dtype=torch.bfloat16)
    assert packing.attention_type(values) == torch.float32 and packing.attention_type(values.to("meta")) == torch.bfloat16


def states(heads, groups, tokens, seed=0):
    stream = torch.Generator().manual_seed(seed)
    return [torch.randn(1, count, tokens, 8, generator=stream, requires_grad=True) for count in (heads, groups, groups)]


def test_repeated_keys_are_those_of_a_heads_group():
    keys = torch.arange(2.0).view(1, 2, 1, 1)
    assert repeated(keys, 6).flatten().tolist() == [0, 0, 0, 1, 1, 1] and repeated(keys, 2) is keys


def test_heads_that_share_keys_read_what_torchs_own_sharing_reads(monkeypatch):
    # with its gradient; torch is not asked for it, since on a GPU it falls back to plain products
    batch = pack(TREES)
    query, key, value = states(6, 2, sum(batch.lengths))
    read, _ = packing.attend_within_trees(None, query, key, value, None, lengths=batch.lengths, masks=batch.masks)
    parts = zip(*(tensor.split(batch.lengths, dim=2) for tensor in (query, key, value)), batch.masks, strict=True)
    expected = torch.cat(
        [F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=True) for q, k, v, mask in parts], dim=2
    ).transpose(1, 2)
    assert torch.allclose(read, expected, atol=1e-6)
    gradients = [torch.autograd.grad(result.square().sum(), (query, key, value)) for result in (read, expected)]
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*gradients, strict=True))


def test_new_tokens_of_heads_that_share_keys_read_them_all():
    memory = decoding.Memory([3, 2], 2, torch.device("cpu"))
    with torch.no_grad():
        query, key, value = states(6, 2, 5)
        memory.read_prompts(query, key, value, 0.5)
        memory.used += 1
        query, key, value = (tensor.view(2, -1, 1, 8) for tensor in states(12, 4, 1, seed=1))
        read = memory.read_token(0, query, key, value, 0.5)
        keys, values = (
            [whole[row, :, memory.width - length : memory.used] for row, length in enumerate([3, 2])] for whole in memory.layers[0]
        )
        for row in range(2):
            alone = F.scaled_dot_product_attention(query[row], keys[row], values[row], scale=0.5, enable_gqa=True)
            assert torch.allclose(read[row], alone, atol=1e-6)


@pytest.mark.parametrize("order", range(3))
def test_a_replys_sum_is_the_same_in_any_order_of_its_tokens(monkeypatch, order):
    # a GPU adds them as they come; summed in float32, 600 log-probabilities differ by more than 1e-4
    stream = torch.Generator().manual_seed(order)
    logps, batch = -20 * torch.rand(600, generator=stream), pack([Tree([2], [[5] * 600])])
    sums = []
    for _ in range(5):
        shuffled = logps[torch.randperm(600, generator=stream)]
        monkeypatch.setattr(packing, "token_logps", lambda *args, shuffled=shuffled: shuffled)
        sums.append(reply_logps(None, batch).item())
    assert len(set(sums)) == 1 and sums[0] == pytest.approx(float(logps.double().sum()), rel=1e-7)

"""A judge out of a causal model: its first layers, its last norm, and one linear reward head on the last token of prompt and reply."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from hh_align.core.errors import StudyError

LAYERS = ("layers", "h")
NORMS = ("norm", "final_layer_norm", "ln_f")
"""What decoders call the list of their layers, and the norm behind the last one."""


def layers_of(decoder: nn.Module) -> nn.ModuleList | None:
    """A decoder's layers; None where they have no known name."""
    return next((found for name in LAYERS if isinstance(found := getattr(decoder, name, None), nn.ModuleList)), None)


def decoder_of(classifier: nn.Module) -> nn.Module:
    """The module that holds the layers."""
    backbone = classifier.base_model
    return getattr(backbone, "decoder", backbone)


def classifier_of(policy: nn.Module, pad: int, depth: int, where: Path) -> nn.Module:
    """A sequence classifier with one output, a head of zeros and the weights of the policy's first `depth` layers; float32.

    pad: the padding's id. Raises StudyError where the kind of model has no classifier, or fewer layers.
    """
    import transformers

    config = copy.deepcopy(policy.config)
    kind = transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(config), None)
    if kind is None:
        raise StudyError(f"{where}: transformers has no classifier of type {config.model_type}, so no judge can be made of it.")
    if depth > config.num_hidden_layers:
        raise StudyError(f"{where} has {config.num_hidden_layers} layers, judges.*.depths asks for {depth}. Lower it.")
    config.num_labels, config.pad_token_id, config.num_hidden_layers = 1, pad, depth
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:depth]
    classifier = kind._from_config(config, dtype=torch.float32, attn_implementation=policy.config._attn_implementation)
    left = classifier.base_model.load_state_dict(policy.base_model.state_dict(), strict=False)
    if left.missing_keys:
        raise StudyError(f"{where}: the policy lacks weights of its own kind of classifier: {', '.join(left.missing_keys)}.")
    nn.init.zeros_(head_of(classifier).weight)
    return classifier.eval()


def head_of(classifier: nn.Module) -> nn.Linear:
    """The linear layer that makes the reward; without a bias, as all classifiers of decoders have it."""
    return classifier.score


@contextmanager
def watching(classifier: nn.Module, depths: Sequence[int], seen: dict[int, torch.Tensor]) -> Iterator[None]:
    """Within, `seen` gets what each of these layers (from 1) gives, shape (inputs, tokens, width), and under 0 what the head reads."""
    layers = layers_of(decoder_of(classifier))

    def keep(depth: int):
        def hook(module: nn.Module, given: tuple, made: torch.Tensor | tuple) -> None:
            seen[depth] = made[0] if isinstance(made, tuple) else made

        return hook

    def keep_read(module: nn.Module, given: tuple) -> None:
        seen[0] = given[0]

    hooks = [head_of(classifier).register_forward_pre_hook(keep_read)]
    hooks += [layers[depth - 1].register_forward_hook(keep(depth)) for depth in depths]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.inference_mode()
def features(classifier: nn.Module, ids: Sequence[Sequence[int]], depths: Sequence[int], pad: int) -> torch.Tensor:
    """What a head behind each depth reads of each row of ids: its last token's state behind the last norm, shape (rows, depths, width).

    The last depth is the classifier's own. Raises StudyError where the states behind a lower one cannot be made by the model's last norm.
    """
    width = max(map(len, ids))
    tensor = torch.tensor([[*row, *[pad] * (width - len(row))] for row in ids], device=classifier.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids], device=classifier.device)
    last = torch.tensor([len(row) - 1 for row in ids], device=classifier.device)
    rows, seen = torch.arange(len(ids), device=classifier.device), {}
    lower = list(depths[:-1])
    if lower and layers_of(decoder_of(classifier)) is None:
        raise StudyError(f"a {type(classifier).__name__} can be read behind its last layer only: give judges.*.depths one number.")
    with watching(classifier, depths if lower else [], seen):
        classifier(input_ids=tensor, attention_mask=mask)
    read = seen[0][rows, last]
    if not lower:
        return read[:, None]
    states = {depth: behind_layers(classifier, seen[depth][rows, last]) for depth in depths}
    if not torch.allclose(states[depths[-1]], read, atol=1e-5, rtol=1e-4):
        raise StudyError(f"a {type(classifier).__name__} does more behind its layers than a norm: give judges.*.depths one number.")
    return torch.stack([*(states[depth] for depth in lower), read], dim=1)


def behind_layers(classifier: nn.Module, states: torch.Tensor) -> torch.Tensor:
    """What the decoder makes of its last layer's states, shape (rows, width): its norm, and OPT-350M's projection."""
    decoder = decoder_of(classifier)
    for name in (*NORMS, "project_out"):
        module = getattr(decoder, name, None)
        states = states if module is None else module(states)
    return states

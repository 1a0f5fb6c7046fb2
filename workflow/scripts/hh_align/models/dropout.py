"""What is random in training mode, switched off."""

import re

import torch
from torch.nn.modules.dropout import _DropoutNd

RANDOM = re.compile("drop|jitter")


def disable_dropout(model: torch.nn.Module) -> None:
    """Switch off in every module what training draws at random: dropout, also where it is functional (its probability is an attribute, as
    OPT's `dropout` or Granite's `embedding_dropout`), layers left out (`layerdrop`), and the jitter of a router."""
    for module in model.modules():
        for name, value in vars(module).items():
            if isinstance(value, float) and RANDOM.search(name):
                setattr(module, name, 0.0)
        if isinstance(module, _DropoutNd):
            module.p = 0.0


@torch.no_grad()
def random_module(model: torch.nn.Module, ids: list[int]) -> str:
    """The name and class of the first module whose output differs between two passes in training mode over a text; empty where there is
    none. Modules are asked in the order in which they finish: the innermost first."""
    sums: list[list[tuple[str, float]]] = []

    def note(name: str):
        def hook(module, inputs, output):
            first = output[0] if isinstance(output, tuple) and output else output
            if isinstance(first, torch.Tensor):
                sums[-1].append((f"{name} ({type(module).__name__})", float(first.double().abs().sum())))

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in model.named_modules()]
    for _ in range(2):
        sums.append([])
        model(input_ids=torch.tensor([ids]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return next((name for (name, one), (_, other) in zip(*sums, strict=False) if one != other), "")

"""Networks from PyTorch modules in memory, without files."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from dnirender.errors import ModelError
from dnirender.networks.loading import deploy_batchnorm
from dnirender.networks.network import Network
from dnirender.networks.weights import WeightPath, check_same_shapes


def from_modules(modules: Mapping[str, nn.Module], *, multiple: int = 1) -> tuple[Network, WeightPath]:
    """The network and the weight path of modules of one structure, by endpoint, in order from 0 to 1; for `Engine`.

    A module maps RGB n 3 h w, float32 in 0..1, to n 3 scale*h scale*w of the same range; h and w are multiples of
    `multiple`. The modules are copied and stay as they are. BatchNorm is mixed in its deployed form, as `load` does.
    ModelError: fewer than two modules, weights of other names or shapes, or an output of another form.
    """
    if len(modules) < 2:
        raise ModelError(f"from_modules: expected two modules or more, got {len(modules)}")
    copies = {name: copy.deepcopy(module).float().eval().cpu() for name, module in modules.items()}
    check_same_shapes({name: module.state_dict() for name, module in copies.items()})
    for module in copies.values():
        deploy_batchnorm(module)
    first = next(iter(copies.values()))
    network = Network(type(first).__name__, first, multiple=multiple, scale=_scale(first, multiple), fp32_input=False)
    states = {name: module.state_dict() for name, module in copies.items()}
    return network, WeightPath(states, channels_last=network.channels_last)


@torch.inference_mode()
def _scale(module: nn.Module, multiple: int) -> int:
    """How many times as wide and high the output is, seen on one image."""
    side = max(multiple, -(-32 // multiple) * multiple)
    try:
        output = module(torch.zeros(1, 3, side, side))
    except (RuntimeError, ValueError, TypeError) as error:
        raise ModelError(f"from_modules: {type(module).__name__} fails on 1 x 3 x {side} x {side}: {error}") from error
    shape = tuple(getattr(output, "shape", ()))
    if len(shape) != 4 or shape[:2] != (1, 3) or shape[2] != shape[3] or shape[2] < side or shape[2] % side:
        raise ModelError(
            f"from_modules: {type(module).__name__} makes {list(shape)} of [1, 3, {side}, {side}], expected "
            "[1, 3, scale*h, scale*w]"
        )
    return shape[2] // side

"""The receptive field of a network, measured."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from dnirender.networks.network import Network

# Strips of MIN_LENGTH are tried first, then of twice the length and so on. A radius is at most a quarter of the length;
# a dilated convolution that skips more than MIN_LENGTH pixels at once would not be noticed.
MIN_LENGTH, MAX_LENGTH = 256, 4096
STRIP_WIDTH = 16  # enough for convolutions with reflection padding
TOLERANCE = 1e-4  # relative to the largest value; rounding errors are a hundredth of it


def receptive_radius(network: Network) -> int | None:
    """How many pixels around a tile its output depends on, in pixels of the source, for tiles that start at multiples
    of `network.multiple`: the largest distance from an aligned block of multiple x multiple pixels to an output pixel
    that depends on it.

    It is measured: a NaN in the block spreads to every output that depends on it. None if the radius exceeds
    MAX_LENGTH / 4; if outputs depend on the whole frame (statistics over it) or on the position in the frame beyond its
    border (positional encodings, padding inside the network); or if frames must be square.
    """
    if network.square:
        return None
    module = _with_random_weights(network.module)
    vertical, horizontal = (_radius_along(network, module, axis) for axis in (2, 3))
    return None if vertical is None or horizontal is None else max(vertical, horizontal)


def _with_random_weights(module: nn.Module) -> nn.Module:
    """A copy with He initialization: a weight that happens to be zero in the original must not hide a dependence."""
    module = copy.deepcopy(module).float().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.normal_(0, math.sqrt(2 / parameter[0].numel()), generator=generator)
    return module


@torch.inference_mode()
def _radius_along(network: Network, module: nn.Module, axis: int) -> int | None:
    """The radius along axis 2 or 3 of n c h w, measured on a strip and confirmed on one that starts later."""
    length = MIN_LENGTH
    while length <= MAX_LENGTH:
        height, width = network.padded_size(*((length, STRIP_WIDTH) if axis == 2 else (STRIP_WIDTH, length)))
        x = torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(0))
        size, step = x.shape[axis], network.multiple
        start = size // step // 2 * step
        marked = x.clone()
        marked.narrow(axis, start, step).fill_(math.nan)
        y = _lines(network.forward(module, x), axis)
        changed = (_lines(network.forward(module, marked), axis) != y).any(1)  # NaN differs from all
        hits = changed.view(size, network.scale).any(1).nonzero().flatten()
        radius = max(start - int(hits.min()), int(hits.max()) - (start + step - 1), 0) if len(hits) else 0
        if radius <= length // 4:
            later = _lines(network.forward(module, x.narrow(axis, step, size - step)), axis)
            difference = (later - y[step * network.scale :])[radius * network.scale :].abs().max()
            if difference <= TOLERANCE * y.abs().max():
                return radius
        length *= 2
    return None


def _lines(y: Tensor, axis: int) -> Tensor:
    """1 c h w to one row for each position along an axis, [positions, values]."""
    return y.movedim(axis, 0).flatten(1)

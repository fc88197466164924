"""How far a network looks, measured."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from dnirender.networks.network import Network

# A strip this long is tried first, then twice as long and so on. A reach is at most a quarter of the strip; a dilated
# convolution that skips more than SHORTEST pixels at once would not be seen.
SHORTEST, LONGEST = 256, 4096
STRIP_WIDTH = 16  # no convolution that reflects its border needs more
TOLERANCE = 1e-4  # of the largest value; rounding is a hundredth of it


def receptive_radius(network: Network) -> int | None:
    """How many pixels of the source beside a window decide on what is in it, where windows start at multiples of
    `network.multiple`: the largest distance from an aligned block of multiple x multiple pixels to an output pixel
    that looks at it.

    It is found by experiment: a NaN goes everywhere that is looked at from. None: farther than LONGEST / 4, or
    everything (statistics over the picture), or the output depends on where a picture starts or ends by more than its
    border (positions, a network that pads by itself), or all pictures must be square.
    """
    if network.square:
        return None
    module = _with_random_weights(network.module)
    down, across = (_reach_along(network, module, axis) for axis in (2, 3))
    return None if down is None or across is None else max(down, across)


def _with_random_weights(module: nn.Module) -> nn.Module:
    """A copy whose weights are of He's size and none is zero: a weight that happens to be must not hide anything."""
    module = copy.deepcopy(module).float().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.normal_(0, math.sqrt(2 / parameter[0].numel()), generator=generator)
    return module


@torch.inference_mode()
def _reach_along(network: Network, module: nn.Module, axis: int) -> int | None:
    """The reach along axis 2 or 3 of n c h w, seen on a strip; taken for true when a strip that starts later agrees."""
    length = SHORTEST
    while length <= LONGEST:
        height, width = network.padded_size(*((length, STRIP_WIDTH) if axis == 2 else (STRIP_WIDTH, length)))
        x = torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(0))
        size, step = x.shape[axis], network.multiple
        start = size // step // 2 * step
        marked = x.clone()
        marked.narrow(axis, start, step).fill_(math.nan)
        y = _lines(network.forward(module, x), axis)
        changed = (_lines(network.forward(module, marked), axis) != y).any(1)  # NaN differs from all
        seen = changed.view(size, network.scale).any(1).nonzero().flatten()
        far = max(start - int(seen.min()), int(seen.max()) - (start + step - 1), 0) if len(seen) else 0
        if far <= length // 4:
            cut = _lines(network.forward(module, x.narrow(axis, step, size - step)), axis)
            apart = (cut - y[step * network.scale :])[far * network.scale :].abs().max()
            if apart <= TOLERANCE * y.abs().max():
                return far
        length *= 2
    return None


def _lines(y: Tensor, axis: int) -> Tensor:
    """1 c h w to what lies at each place along an axis, [places, values]."""
    return y.movedim(axis, 0).flatten(1)

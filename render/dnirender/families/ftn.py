"""FTN, filter transition networks (Lee et al. 2020, arXiv 2010.02270): kernels that a small network makes of others.

K(level) = (1 - level) K + level T(K), T(K) = K + P(prelu(Q(K))). Q is a 1x1 convolution and P one in groups, of a
kernel o i k k as if it were o images of i channels. P is zero at first, so that T is the identity: training begins at
the network as it is. T sees no image: it is evaluated once, and the endpoints are K and T(K).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.architectures.paint import INNER, PaintNet

GROUPS = 4
PARTS = ("inner.weight", "inner.bias", "slope", "outer.weight", "outer.bias")
MARK = ".transition."


class Transition(nn.Module):
    """T: kernels o i k k to the same."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(channels, channels, 1)
        self.slope = nn.Parameter(torch.full((channels,), 0.25))
        self.outer = nn.Conv2d(channels, channels, 1, groups=groups)
        for parameter in self.outer.parameters():
            nn.init.zeros_(parameter)

    def forward(self, kernels: Tensor) -> Tensor:
        return kernels + self.outer(F.prelu(self.inner(kernels), self.slope))


class FTNConv(nn.Conv2d):
    """A convolution with the kernel (1 - level) K + level T(K)."""

    level = 1.0

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv.in_channels, conv.out_channels, 1, bias=conv.bias is not None)
        self.kernel_size, self.stride, self.padding = conv.kernel_size, conv.stride, conv.padding
        self.weight, self.bias = conv.weight, conv.bias
        self._pad = getattr(conv, "pad", None)
        channels = conv.in_channels
        self.transition = Transition(channels, GROUPS if channels % GROUPS == 0 else 1)

    def forward(self, input: Tensor) -> Tensor:
        kernels = self.weight + self.level * (self.transition(self.weight) - self.weight)
        input = self._pad(input) if self._pad else input
        return F.conv2d(input, kernels, self.bias, self.stride, self.padding)


def tunable(net: nn.Module, prefix: str = "body.") -> nn.Module:
    """`net` with a transition, the identity at first, in every convolution whose name begins with `prefix`; of a
    PaintNet in all but the first and the last."""
    prefixes = INNER if isinstance(net, PaintNet) else (prefix,)
    convs = [(name, layer) for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d)]
    for name, conv in convs:
        if name.startswith(prefixes):
            parent, _, last = name.rpartition(".")
            setattr(net.get_submodule(parent), last, FTNConv(conv))
    return net


def endpoint(state: Mapping[str, Tensor], level: float) -> dict[str, Tensor]:
    """The weights at `level`; those of a network without transitions are the same at every level."""
    weights = {name: tensor for name, tensor in state.items() if MARK not in name}
    for conv in dict.fromkeys(name.partition(MARK)[0] for name in state if MARK in name):
        inner, inner_bias, slope, outer, outer_bias = (state[f"{conv}{MARK}{part}"] for part in PARTS)
        kernels = weights[f"{conv}.weight"]
        hidden = F.prelu(F.conv2d(kernels, inner, inner_bias), slope)
        change = F.conv2d(hidden, outer, outer_bias, groups=inner.shape[0] // outer.shape[1])
        weights[f"{conv}.weight"] = kernels + level * change
    return weights

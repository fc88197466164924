"""CFSNet (Wang et al., ICCV 2019, arXiv 1904.00523): residual blocks, each with a tuning branch and factors of its own.

h' = (1 - a) body(h) + a T(h), a = L(level 1) for every channel, where L is a chain of linear layers without biases: a
is level v. body(h) = h + conv2(relu(conv1(h))), T(h) = conv1'(relu(conv0'(h))). That is one block of double width with
the second convolution [(1 - a) conv2, a conv1'] and the factors 1 - a of the skip: linear in the level.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.architectures.denoise import DenoiseNet
from dnirender.networks.architectures.gain import SIDE, unshuffle
from dnirender.networks.pixel_shuffle import pixel_shuffle

CONTROL = (64, 32)  # widths of the linear layers before those of the channels
TUNING, CHAIN, SHARED = "tuning_blocks.tuning_blocks", "tuning_blocks.adaptive_alpha", "tuning_blocks.control_alpha"


class Tuning(nn.Module):
    """The additions of CFSNet to `blocks` residual blocks, under the names of the authors' code."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        widths = (*CONTROL, channels)
        pairs = pairwise(widths)
        self.control_alpha = nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in pairs))
        self.adaptive_alpha = nn.ModuleList(
            nn.Sequential(*(nn.Linear(channels, channels, bias=False) for _ in range(2))) for _ in range(blocks)
        )
        self.tuning_blocks = nn.ModuleList(_Branch(channels) for _ in range(blocks))
        for layer in self.modules():
            if isinstance(layer, nn.Linear):  # factors of about the level
                nn.init.normal_(layer.weight, 1 / layer.in_features, 0.1 / layer.in_features)

    def factors(self, level: float) -> list[Tensor]:
        """a of each block, c 1 1."""
        given = torch.full((CONTROL[0],), float(level))
        shared = self.control_alpha(given)
        return [chain(shared)[:, None, None] for chain in self.adaptive_alpha]


class _Branch(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        return self.conv1(F.relu(self.conv0(h)))


class CFSNet(nn.Module):
    """A DenoiseNet with the additions of CFSNet. RGB n 3 h w, range 0..1, to the same; h and w are even."""

    level = 1.0

    def __init__(self, net: DenoiseNet) -> None:
        super().__init__()
        self.first, self.body, self.last = net.first, net.body, net.last
        self.tuning_blocks = Tuning(net.first.out_channels, len(net.body))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(unshuffle(x).permute(0, 3, 1, 2))
        branches = self.tuning_blocks.tuning_blocks
        for block, branch, a in zip(self.body, branches, self.tuning_blocks.factors(self.level), strict=True):
            h = (1 - a) * block(h) + a * branch(h)
        return x - pixel_shuffle(self.last(h), SIDE).permute(0, 3, 1, 2)


def tunable(net: DenoiseNet) -> CFSNet:
    """`net` with tuning branches. At level 0 it is `net`."""
    return CFSNet(net)


def endpoint(state: Mapping[str, Tensor], level: float) -> dict[str, Tensor]:
    """The weights at `level` of a DenoiseNet with branched blocks; those of one without tuning branches are the same at
    every level."""
    weights = {name: tensor for name, tensor in state.items() if not name.startswith("tuning_blocks.")}
    shared = _chain(state, f"{SHARED}.")
    if shared is None:
        return weights
    for number in range(sum(name.startswith("body.") and name.endswith(".conv1.weight") for name in state)):
        body, branch = f"body.{number}", f"{TUNING}.{number}"
        a = level * cast(Tensor, _chain(state, f"{CHAIN}.{number}.", shared))
        kept, added = (1 - a)[:, None, None, None], a[:, None, None, None]
        tuned = state[f"{branch}.conv0.weight"]
        weights |= {
            f"{body}.conv1.weight": torch.cat((state[f"{body}.conv1.weight"], tuned)),
            f"{body}.conv1.bias": torch.cat((state[f"{body}.conv1.bias"], tuned.new_zeros(len(tuned)))),
            f"{body}.conv2.weight": torch.cat(
                (kept * state[f"{body}.conv2.weight"], added * state[f"{branch}.conv1.weight"]), 1
            ),
            f"{body}.conv2.bias": (1 - a) * state[f"{body}.conv2.bias"],
            f"{body}.skip.weight": kept,
        }
    return weights


def _chain(state: Mapping[str, Tensor], prefix: str, start: Tensor | None = None) -> Tensor | None:
    """The linear layers under `prefix` one after another, of ones or of `start`; None if there are none."""
    value, number = start, 0
    while f"{prefix}{number}.weight" in state:
        weight = state[f"{prefix}{number}.weight"]
        value = weight @ (weight.new_ones(weight.shape[1]) if value is None else value)
        number += 1
    return value

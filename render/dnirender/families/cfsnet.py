"""CFSNet (Wang et al., ICCV 2019, arXiv 1904.00523): residual blocks, each with a tuning branch and factors of its own.

h' = (1 - a) body(h) + a T(h), a = L(level 1) for every channel, where L is a chain of linear layers without biases: a
is level v. body(h) = h + conv2(relu(conv1(h))), T(h) = conv1'(relu(conv0'(h))). That is one block of double width with
the second convolution [(1 - a) conv2, a conv1'] and the factors 1 - a of the skip: linear in the level. In a PaintNet,
whose blocks have norms, T is another such residual, and 1 - a and a are factors of the second norms' gains and shifts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.architectures.denoise import DenoiseNet
from dnirender.networks.architectures.gain import SIDE, unshuffle
from dnirender.networks.architectures.paint import BLOCK_LISTS, Block, PaintNet
from dnirender.networks.pixel_shuffle import pixel_shuffle

CONTROL = (64, 32)  # widths of the linear layers before those of the channels
TUNING, CHAIN, SHARED = "tuning_blocks.tuning_blocks", "tuning_blocks.adaptive_alpha", "tuning_blocks.control_alpha"


class Tuning(nn.Module):
    """The additions of CFSNet to residual blocks of so many `channels` each, under the names of the authors' code."""

    def __init__(self, branches: Sequence[nn.Module], channels: Sequence[int]) -> None:
        super().__init__()
        shared = channels[0]
        self.control_alpha = nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in pairwise((*CONTROL, shared))))
        self.adaptive_alpha = nn.ModuleList(
            nn.Sequential(nn.Linear(shared, count, bias=False), nn.Linear(count, count, bias=False))
            for count in channels
        )
        self.tuning_blocks = nn.ModuleList(branches)
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
        channels = [net.first.out_channels] * len(net.body)
        self.tuning_blocks = Tuning([_Branch(count) for count in channels], channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(unshuffle(x).permute(0, 3, 1, 2))
        branches = self.tuning_blocks.tuning_blocks
        for block, branch, a in zip(self.body, branches, self.tuning_blocks.factors(self.level), strict=True):
            h = (1 - a) * block(h) + a * branch(h)
        return x - pixel_shuffle(self.last(h), SIDE).permute(0, 3, 1, 2)


class _TunedBlock(Block):
    """A block of a PaintNet at a level, beside a branch that is a part of `tuning`."""

    level = 1.0

    def __init__(self, block: Block, tuning: Tuning, number: int) -> None:
        nn.Module.__init__(self)
        self.first, self.second = block.first, block.second
        self._place = (tuning, number)  # in a tuple, so that its tensors have no name here

    def forward(self, x: Tensor) -> Tensor:
        tuning, number = self._place
        a = tuning.factors(self.level)[number]
        branch = cast(Block, tuning.tuning_blocks[number])
        return (1 - a) * super().forward(x) + a * branch.residual(x)


def tunable(net: DenoiseNet | PaintNet) -> nn.Module:
    """`net` with tuning branches. At level 0 it is `net`."""
    if isinstance(net, DenoiseNet):
        return CFSNet(net)
    names = [name for name, layer in net.named_modules() if isinstance(layer, Block)]
    blocks = [cast(Block, net.get_submodule(name)) for name in names]
    channels = [block.first.conv.out_channels for block in blocks]
    tuning = Tuning([Block(count) for count in channels], channels)
    for number, (name, block) in enumerate(zip(names, blocks, strict=True)):
        parent, _, last = name.rpartition(".")
        setattr(net.get_submodule(parent), last, _TunedBlock(block, tuning, number))
    net.tuning_blocks = tuning
    return net


def endpoint(state: Mapping[str, Tensor], level: float) -> dict[str, Tensor]:
    """The weights at `level` of a network with branched blocks; those of one without tuning branches are the same at
    every level."""
    weights = {name: tensor for name, tensor in state.items() if not name.startswith("tuning_blocks.")}
    shared = _chain(state, f"{SHARED}.")
    if shared is None:
        return weights
    of_paint = f"{TUNING}.0.first.conv.weight" in state
    for number, block in enumerate(_paint_blocks(state) if of_paint else _bodies(state)):
        a = level * cast(Tensor, _chain(state, f"{CHAIN}.{number}.", shared))
        weights |= (_paint_block if of_paint else _body)(state, block, f"{TUNING}.{number}", a)
    return weights


def _bodies(state: Mapping[str, Tensor]) -> list[str]:
    count = sum(name.startswith("body.") and name.endswith(".conv1.weight") for name in state)
    return [f"body.{number}" for number in range(count)]


def _body(state: Mapping[str, Tensor], body: str, branch: str, a: Tensor) -> dict[str, Tensor]:
    """The weights of a block of a DenoiseNet with its branch, of the factors `a`."""
    kept, added = (1 - a)[:, None, None, None], a[:, None, None, None]
    tuned = state[f"{branch}.conv0.weight"]
    return {
        f"{body}.conv1.weight": torch.cat((state[f"{body}.conv1.weight"], tuned)),
        f"{body}.conv1.bias": torch.cat((state[f"{body}.conv1.bias"], tuned.new_zeros(len(tuned)))),
        f"{body}.conv2.weight": torch.cat(
            (kept * state[f"{body}.conv2.weight"], added * state[f"{branch}.conv1.weight"]), 1
        ),
        f"{body}.conv2.bias": (1 - a) * state[f"{body}.conv2.bias"],
        f"{body}.skip.weight": kept,
    }


def _paint_blocks(state: Mapping[str, Tensor]) -> list[str]:
    """In the order in which a PaintNet has them."""
    names = {name.removesuffix(".first.conv.weight") for name in state if name.endswith(".first.conv.weight")}
    return [f"{part}.{number}" for part in BLOCK_LISTS for number in range(len(names)) if f"{part}.{number}" in names]


def _paint_block(state: Mapping[str, Tensor], block: str, branch: str, a: Tensor) -> dict[str, Tensor]:
    """The weights of a block of a PaintNet with its branch, of the factors `a`."""
    inside = {name.removeprefix(f"{branch}."): t for name, t in state.items() if name.startswith(f"{branch}.")}
    weights = {f"{block}.branch.{name}": tensor for name, tensor in inside.items()}
    for part in ("weight", "bias"):
        weights[f"{block}.branch.second.norm.{part}"] = a * inside[f"second.norm.{part}"]
        weights[f"{block}.second.norm.{part}"] = (1 - a) * state[f"{block}.second.norm.{part}"]
    return weights | {f"{block}.skip.weight": (1 - a)[:, None, None, None]}


def _chain(state: Mapping[str, Tensor], prefix: str, start: Tensor | None = None) -> Tensor | None:
    """The linear layers under `prefix` one after another, of ones or of `start`; None if there are none."""
    value, number = start, 0
    while f"{prefix}{number}.weight" in state:
        weight = state[f"{prefix}{number}.weight"]
        value = weight @ (weight.new_ones(weight.shape[1]) if value is None else value)
        number += 1
    return value

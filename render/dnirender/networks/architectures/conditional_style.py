"""A style network with conditional instance normalization (Dumoulin et al. 2017) under one of its styles.

All styles share the convolutions; a style is the gain and the shift of every normalization. 9x9 convolution, two of
stride 2, residual blocks, two nearest-neighbor upsamplings, 9x9 convolution, sigmoid; reflection padding, no biases.
Values are 0..1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.architectures.paint import InstanceNorm

MULTIPLE = 4
MINIMUM = 8  # the residual blocks reflect one pixel at a quarter of the size
_BLOCK = re.compile(r"res\.(\d+)\.0\.weight")


class NormalizedConv(nn.Module):
    """Reflection padding by half the kernel, a convolution without bias, instance normalization; `upsample` enlarges
    by 2 first."""

    def __init__(self, shape: torch.Size, *, stride: int = 1, upsample: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))
        self.norm = InstanceNorm(shape[0], affine=True)
        self.stride, self.upsample = stride, upsample

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode="nearest") if self.upsample else x
        pad = self.weight.shape[2] // 2
        return self.norm(F.conv2d(F.pad(x, (pad,) * 4, mode="reflect"), self.weight, stride=self.stride))


class ConditionalStyle(nn.Module):
    """RGB n 3 h w, range 0..1, to the same; h and w are multiples of 4. `shapes` are those of all convolutions by the
    name of their weights. Convolutions run in the dtype of the weights; the output has the dtype of the input."""

    def __init__(self, shapes: Mapping[str, torch.Size]) -> None:
        super().__init__()
        blocks = sum(bool(_BLOCK.fullmatch(name)) for name in shapes)
        self.contract = nn.ModuleList(
            NormalizedConv(shapes[f"contract.{n}.weight"], stride=2 if n else 1) for n in range(3)
        )
        self.res = nn.ModuleList(
            nn.ModuleList(NormalizedConv(shapes[f"res.{block}.{n}.weight"]) for n in range(2))
            for block in range(blocks)
        )
        self.expand = nn.ModuleList(NormalizedConv(shapes[f"expand.{n}.weight"], upsample=n < 2) for n in range(3))

    def forward(self, x: Tensor) -> Tensor:
        h = x.to(next(self.parameters()).dtype)
        for layer in self.contract:
            h = F.relu(layer(h))
        for block in self.res:
            one, two = block  # pyright: ignore[reportGeneralTypeIssues]
            h = h + two(F.relu(one(h)))
        for layer in list(self.expand)[:2]:
            h = F.relu(layer(h))
        return torch.sigmoid(self.expand[2](h).to(x.dtype))


def detect(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of our module."""
    needed = ("contract.0.weight", "contract.0.norm.weight", "res.0.1.weight", "expand.2.norm.bias")
    return all(name in state for name in needed) and state["contract.0.weight"].shape[1:] == (3, 9, 9)


def from_state_dict(state: Mapping[str, Tensor]) -> ConditionalStyle:
    """Builds the network and loads the weights. RuntimeError, KeyError: names or shapes do not fit."""
    net = ConditionalStyle({name: tensor.shape for name, tensor in state.items() if tensor.ndim > 1})
    net.load_state_dict(dict(state))
    return net


def split_styles(state: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The weights of every style of a network whose normalizations have the gains `gamma` and shifts `beta` of all
    styles, [style, channel], beside the weights `w` of convolutions. KeyError: no normalization has styles."""
    count = state["contract.0.norm.gamma"].shape[0]
    names = {"w": "weight", "gamma": "weight", "beta": "bias"}
    styles: list[dict[str, Tensor]] = []
    for style in range(count):
        tensors = {name: tensor if name.endswith(".w") else tensor[style] for name, tensor in state.items()}
        parts = ((name.rpartition("."), tensor) for name, tensor in tensors.items())
        styles.append({f"{layer}.{names[kind]}": tensor.clone() for (layer, _, kind), tensor in parts})
    return styles

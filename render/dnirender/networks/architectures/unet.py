"""Shared by FocusNet and RelightNet: an encoder-decoder from 1/2 down to 1/32 of the image size, with skips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.architectures.gain import GainNet, UnshuffledConv

WIDTHS = (32, 32, 48, 64, 64)
SLOPE = 0.1
BRANCH = 0.4  # of He initialisation, in residual branches


class UNet(GainNet):
    """`widths` are the channels at 1/2, 1/4, ... of the image size. Behind each `down` there is a convolution `enc`, or
    none at the last one if `encoded` is shorter, then at the smallest size one for each of `dilations`.

    A subclass adds `dec` and what lies between the sizes on the way up. Convolutions run in the dtype of the weights.
    """

    multiple = 32
    dec: nn.ModuleList

    def __init__(
        self, widths: tuple[int, ...], stem: UnshuffledConv, encoded: Sequence[int], dilations: Sequence[int]
    ) -> None:
        super().__init__()
        inner = widths[1:]
        self.widths = widths
        self.stem = stem
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(widths, inner, strict=False))
        self.enc = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in encoded)
        self.deep = nn.ModuleList(nn.Conv2d(inner[-1], inner[-1], 3, padding=d, dilation=d) for d in dilations)

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """n h/2 w/2 12, pixel-unshuffled, to the features at the smallest size and those at the sizes above it."""
        h = leaky_relu(self.stem(x.permute(0, 3, 1, 2).to(self.stem.weight.dtype)))
        skips: list[Tensor] = []
        for down, enc in zip_longest(self.down, self.enc):
            skips.append(h)
            h = leaky_relu(down(h))
            h = h if enc is None else h + leaky_relu(enc(h))
        for deep in self.deep:
            h = h + leaky_relu(deep(h))
        return h, skips

    def decode(self, h: Tensor, skips: list[Tensor], up: nn.ModuleList) -> Tensor:
        """The results of `encode` to features at 1/2 of the image size; `up` are the convolutions between the sizes."""
        for lateral, dec in zip(reversed(up), reversed(self.dec), strict=True):
            h = skips.pop() + F.interpolate(lateral(h), scale_factor=2.0, mode="bilinear", align_corners=False)
            h = h + leaky_relu(dec(leaky_relu(h)))
        return h

    def initialise(self, branches: Sequence[str]) -> None:
        """He initialisation, weaker in `branches`. PyTorch's default makes the context from 1/32 a hundred times
        weaker."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, SLOPE)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for name, weight in self.named_parameters():
            if name.partition(".")[0] in branches:
                weight.data.mul_(BRANCH)


Net = TypeVar("Net", bound=UNet)


def widths_of(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """KeyError: `state` has no `stem.weight`, so it is of no such network."""
    inner = sorted(name for name in state if name.startswith("down.") and name.endswith(".weight"))
    return state["stem.weight"].shape[0], *(state[name].shape[0] for name in inner)


def with_weights(net: Net, state: Mapping[str, Tensor]) -> Net:
    """The network in the dtype of the weights, with them. RuntimeError: names or shapes do not fit."""
    net = net.to(state["stem.weight"].dtype)
    net.load_state_dict(dict(state))
    return net


def leaky_relu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)

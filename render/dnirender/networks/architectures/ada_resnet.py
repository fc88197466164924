"""The restoration network of AdaFM (He et al., CVPR 2019), with or without its AdaFM layers.

A convolution of stride 2, residual blocks and a convolution with a skip around them, enlargement by a pixel-shuffle or
by nearest neighbor, two convolutions. Values are 0..1; zero padding. The names are those of the authors' code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

MULTIPLE = 2
_BLOCK = re.compile(r"model\.1\.sub\.(\d+)\.res\.0\.weight")


class AdaFM(nn.Module):
    """The AdaFM layer where it is a module of its own: x + transformer(x)."""

    level = 1.0

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.transformer = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.level * self.transformer(x)


class _Block(nn.Module):
    def __init__(self, features: int, kernel: int) -> None:
        super().__init__()
        convs = [nn.Conv2d(features, features, 3, padding=1) for _ in range(2)]
        layers = [_norm(features, kernel) for _ in range(2)]
        self.res = nn.Sequential(convs[0], layers[0], nn.ReLU(), convs[1], layers[1])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.res(x)


class _Shortcut(nn.Module):
    def __init__(self, features: int, blocks: int, kernel: int) -> None:
        super().__init__()
        last = nn.Conv2d(features, features, 3, padding=1)
        self.sub = nn.Sequential(*(_Block(features, kernel) for _ in range(blocks)), last, _norm(features, kernel))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sub(x)


class _Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0, mode="nearest")


class AdaResNet(nn.Module):
    """n c h w, range 0..1, to the same, not clamped; h and w are even. `kernel` is that of AdaFM, 0 without."""

    def __init__(self, channels: int, features: int, blocks: int, kernel: int, *, shuffles: bool) -> None:
        super().__init__()
        first = nn.Conv2d(channels, features, 3, 2, 1)
        wide = nn.Conv2d(features, 4 * features, 3, padding=1)
        enlarging = [wide, nn.PixelShuffle(2)] if shuffles else [_Double(), nn.Conv2d(features, features, 3, padding=1)]
        self.model = nn.Sequential(
            first,
            _Shortcut(features, blocks, kernel),
            *enlarging,
            nn.ReLU(),
            nn.Conv2d(features, features, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(features, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def detect(state: Mapping[str, Tensor], channels: int) -> bool:
    """Whether these are the names of an AdaResNet of that many channels."""
    needed = ("model.0.weight", "model.1.sub.0.res.0.weight", "model.1.sub.0.res.3.weight", "model.7.weight")
    return all(name in state for name in needed) and state["model.0.weight"].shape[1] == channels


def from_state_dict(state: Mapping[str, Tensor]) -> AdaResNet:
    """Builds the network and loads the weights. RuntimeError, KeyError: names or shapes do not fit."""
    features, channels = state["model.0.weight"].shape[:2]
    blocks = 1 + max(int(found[1]) for name in state if (found := _BLOCK.fullmatch(name)))
    filters = state.get("model.1.sub.0.res.1.transformer.weight")
    kernel = 0 if filters is None else filters.shape[-1]
    net = AdaResNet(channels, features, blocks, kernel, shuffles="model.2.weight" in state)
    net.load_state_dict(dict(state))
    return net


def _norm(features: int, kernel: int) -> nn.Module:
    return AdaFM(features, kernel) if kernel else nn.Identity()

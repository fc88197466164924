"""Layers that tunable networks add to others: AdaFM, tuning blocks, and residual blocks of several branches.

A `level` is the control of the paper, 0 without the addition, 1 with all of it. Every layer is linear in it, so that
the same layer at level 1, with weights multiplied by a level, is the layer at that level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

PaddingMode = Literal["zeros", "reflect", "replicate"]


def transformer(channels: int, kernel: int, padding_mode: PaddingMode = "zeros") -> nn.Conv2d:
    """The filters of AdaFM, n c h w to the same, zero at first."""
    filters = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, padding_mode=padding_mode)
    for parameter in filters.parameters():
        nn.init.zeros_(parameter)
    return filters


class AdaFMConv(nn.Conv2d):
    """A convolution c with AdaFM behind it (He et al. 2019): y = c + level * (g * c + b), g a filter of each channel.

    `transformer` is g and b, as in the authors' code. It is zero at first, which changes nothing.
    """

    level = 1.0

    def __init__(self, conv: nn.Conv2d, kernel: int = 1) -> None:
        super().__init__(conv.in_channels, conv.out_channels, 1, bias=conv.bias is not None)
        self.kernel_size, self.stride, self.padding = conv.kernel_size, conv.stride, conv.padding
        self.weight, self.bias = conv.weight, conv.bias
        self.transformer = transformer(conv.out_channels, kernel)

    def forward(self, input: Tensor) -> Tensor:
        features = F.conv2d(input, self.weight, self.bias, self.stride, self.padding)
        return features + self.level * self.transformer(features)


class TuningBlock(nn.Module):
    """n c h w to the same: z + level * psi(z) (Dynamic-Net, Shoshan et al. 2019), psi three 3x3 convolutions with ReLU
    between them. The last one is zero at first, which changes nothing."""

    level = 1.0

    def __init__(self, channels: int, padding_mode: PaddingMode = "zeros") -> None:
        super().__init__()
        for number in range(3):
            conv = nn.Conv2d(channels, channels, 3, padding=1, padding_mode=padding_mode)
            self.add_module(f"conv{number}", conv)
        for parameter in self.get_submodule("conv2").parameters():
            nn.init.zeros_(parameter)

    def psi(self, z: Tensor) -> Tensor:
        h = F.relu(self.get_submodule("conv0")(z))
        return self.get_submodule("conv2")(F.relu(self.get_submodule("conv1")(h)))

    def forward(self, z: Tensor) -> Tensor:
        return z + self.level * self.psi(z)


class BranchedBlock(nn.Module):
    """n c h w to the same: skip h + conv2(relu(conv1(h))), where `conv1` has the channels of all branches side by side
    and `skip` is a factor for each channel. With one branch and factors of 1 it is a residual block."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 3, padding=1)
        self.conv2 = nn.Conv2d(inner, channels, 3, padding=1)
        self.skip = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        return self.skip(h) + self.conv2(F.relu(self.conv1(h)))


AdaFMLayers = tuple[type[nn.Module], Callable[[Any, int], nn.Module]]
"""A kind of layer, and what makes of such a layer and a kernel one with AdaFM."""


def adafm_kernels(state: Mapping[str, Tensor]) -> dict[str, int]:
    """The kernels of AdaFM by the name of their convolution, where `transformer` is a part of it."""
    suffix = ".transformer.weight"
    return {name.removesuffix(suffix): tensor.shape[-1] for name, tensor in state.items() if name.endswith(suffix)}


CONVOLUTIONS: AdaFMLayers = (nn.Conv2d, AdaFMConv)


def insert_adafm(module: nn.Module, kernels: Mapping[str, int], layers: AdaFMLayers | None = None) -> None:
    """Replaces layers, by name, by such with AdaFM: convolutions, or what `layers` replaces.

    ValueError, AttributeError: there is none of that name."""
    kind, replacement = CONVOLUTIONS if layers is None else layers
    for name, kernel in kernels.items():
        layer = module.get_submodule(name)
        if not isinstance(layer, kind):
            raise ValueError(f"{name} is no {kind.__name__}")  # noqa: TRY004 - of a file
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, replacement(layer, kernel))


def set_level(module: nn.Module, level: float) -> None:
    """Sets the level of all tunable layers inside `module`."""
    for layer in module.modules():
        if hasattr(type(layer), "level"):
            layer.level = level  # pyright: ignore[reportArgumentType] - no parameter

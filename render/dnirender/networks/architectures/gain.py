"""What our networks have in common: they see groups of 2x2 pixels, and give a gain and an offset for every value."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnirender.networks.pixel_shuffle import CHANNELS, pixel_shuffle, pixel_unshuffle, reorder_channels

SIDE = 2


class GainNet(nn.Module):
    """RGB n 3 h w, range 0..1, to RGB of the same shape and dtype, not clamped. h and w are multiples of `multiple`."""

    multiple: int
    side = SIDE

    def forward(self, x: Tensor) -> Tensor:
        return pixel_shuffle(self.forward_unshuffled(unshuffle(x)), SIDE).permute(0, 3, 1, 2)

    def forward_unshuffled(self, x: Tensor) -> Tensor:
        """`forward` on folded pictures, n h/2 w/2 12, to such."""
        raise NotImplementedError


class UnshuffledConv(nn.Conv2d):
    """The first layer: 3x3 over folded pictures, with the weight for pixel unshuffled ones (color, row, column)."""

    def __init__(self, outputs: int, padding: int, *, bias: bool = True) -> None:
        super().__init__(CHANNELS * SIDE**2, outputs, 3, padding=padding, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, reorder_channels(self.weight, SIDE, 1), self.bias, 1, self.padding)


class GainHead(nn.Conv2d):
    """The last layer: 3x3, to the gain and the offset of every value, in `dtype`, n h w c as pictures are folded. Its
    weight is that of the two for pixel shuffled ones, one after the other.

    Two convolutions, and the bias afterwards: so no runtime has to cut or turn what a convolution gives.
    """

    def __init__(self, inputs: int, padding: int) -> None:
        super().__init__(inputs, 2 * CHANNELS * SIDE**2, 3, padding=padding)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input: Tensor, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor]:
        weights, biases = (reorder_channels(part, SIDE).chunk(2) for part in (self.weight, cast(Tensor, self.bias)))
        gain, offset = (
            F.conv2d(input, weight, None, 1, self.padding).permute(0, 2, 3, 1).to(dtype) + bias
            for weight, bias in zip(weights, biases, strict=True)
        )
        return gain, offset


def unshuffle(x: Tensor) -> Tensor:
    """n 3 h w to n h/2 w/2 12."""
    return pixel_unshuffle(x.permute(0, 2, 3, 1), SIDE)


def apply_gain(x: Tensor, light: tuple[Tensor, Tensor]) -> Tensor:
    """Folded pictures under the gain and the offset that `Light` gives."""
    gain, offset = light
    return x * (1 + gain) + offset

"""Shared by our networks: input and output pixel-unshuffled by 2, and a head of gain and offset for every value."""

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
        """`forward` on pixel-unshuffled images: n h/2 w/2 12 to the same shape."""
        raise NotImplementedError


class UnshuffledConv(nn.Conv2d):
    """First layer: 3x3 over images from our `pixel_unshuffle`; its weight is stored in torch's channel order."""

    def __init__(self, outputs: int, padding: int, *, bias: bool = True) -> None:
        super().__init__(CHANNELS * SIDE**2, outputs, 3, padding=padding, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, reorder_channels(self.weight, SIDE, 1), self.bias, 1, self.padding)


class GrainedConv(UnshuffledConv):
    """An `UnshuffledConv` whose output gets a trained texture added, `grain`, repeated from the top left corner on.

    `grain` is outputs period/2 period/2: its period in pixels of the image is a multiple of `SIDE`, and images are
    whole periods.
    """

    def __init__(self, outputs: int, padding: int, period: int) -> None:
        super().__init__(outputs, padding)
        self.grain = nn.Parameter(torch.zeros(outputs, period // SIDE, period // SIDE))

    def forward(self, input: Tensor) -> Tensor:
        y = super().forward(input).permute(0, 2, 3, 1)
        side = self.grain.shape[-1]
        tiles = y.unflatten(2, (-1, side)).unflatten(1, (-1, side))
        # Broadcast, not repeated, and in the memory order of `y`: a twentieth of the time of y + grain.repeat(...).
        return (tiles + self.grain.permute(1, 2, 0)[:, None]).reshape(y.shape).permute(0, 3, 1, 2)


class GainHead(nn.Conv2d):
    """Last layer: 3x3, to the gain and the offset of every value, in `dtype`, n h w 12, pixel-unshuffled.

    Its weight is stored in torch's channel order, gain first, then offset. It runs as two convolutions with the bias
    added afterwards, so that no runtime has to split or permute the output.
    """

    channels_last = True
    """What it makes is n h w c."""

    def __init__(self, inputs: int, padding: int) -> None:
        super().__init__(inputs, 2 * CHANNELS * SIDE**2, 3, padding=padding)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input: Tensor, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor]:
        weights, biases = (
            reorder_channels(parameter, SIDE).chunk(2) for parameter in (self.weight, cast(Tensor, self.bias))
        )
        gain, offset = (
            F.conv2d(input, weight, None, 1, self.padding).permute(0, 2, 3, 1).to(dtype) + bias
            for weight, bias in zip(weights, biases, strict=True)
        )
        return gain, offset


def unshuffle(x: Tensor) -> Tensor:
    """n 3 h w to n h/2 w/2 12."""
    return pixel_unshuffle(x.permute(0, 2, 3, 1), SIDE)


def apply_gain(x: Tensor, gain_and_offset: tuple[Tensor, Tensor]) -> Tensor:
    """x * (1 + gain) + offset, with the results of `GainHead`; all n h w 12."""
    gain, offset = gain_and_offset
    return x * (1 + gain) + offset

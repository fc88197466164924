"""Pixel-shuffle and pixel-unshuffle of NHWC images, with a channel order that is fast on the CPU.

torch.nn.functional.pixel_unshuffle orders channels as (color, row, column), which moves every byte of an n h w c image.
In the order (row, column, color) each row of a block is contiguous on both sides and copied at once, and it works on
bytes before conversion to float: four to ten times as fast. `reorder_channels` permutes the weights of the convolution
that reads or writes such images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CHANNELS = 3


def pixel_unshuffle(images: Tensor, factor: int) -> Tensor:
    """n h w 3 to n h/factor w/factor 3*factor*factor; h and w must be multiples of `factor`."""
    if factor == 1:
        return images
    n, height, width, colors = images.shape
    rows = images.reshape(n, height // factor, factor, width // factor, factor * colors)
    return _swap_block_axes(rows).flatten(3)


def pixel_shuffle(blocks: Tensor, factor: int) -> Tensor:
    """n h w 3*factor*factor to n h*factor w*factor 3, the inverse of `pixel_unshuffle`."""
    if factor == 1:
        return blocks
    n, height, width, _ = blocks.shape
    rows = blocks.reshape(n, height, width, factor, factor * CHANNELS)
    return _swap_block_axes(rows).view(n, height * factor, width * factor, CHANNELS)


def reorder_channels(weight: Tensor, factor: int, axis: int = 0) -> Tensor:
    """Permutes the channels of a convolution's weight or bias from torch's order to the order of this module.

    `axis` has one or more groups of 3*factor*factor channels in the order (color, row, column); in the result each
    group is in the order (row, column, color).
    """
    return weight.unflatten(axis, (-1, CHANNELS, factor, factor)).movedim(axis + 1, axis + 3).flatten(axis, axis + 3)


def _swap_block_axes(rows: Tensor) -> Tensor:
    """Transposes axes 2 and 3 in memory; copies bytes in pairs if their number is even."""
    if rows.dtype == torch.uint8 and rows.shape[4] % 2 == 0:
        return rows.contiguous().view(torch.int16).transpose(2, 3).contiguous().view(torch.uint8)
    return rows.transpose(2, 3).contiguous()


def constants(values: Sequence[float], like: Tensor) -> Tensor:
    """The values as a tensor of the dtype and on the device of `like`. They are not copied there, which a CUDA graph
    could not record."""
    return torch.stack([like.new_full((), value) for value in values])

"""Pictures in groups of side x side pixels: what `pixel_unshuffle` does, in the order that costs least.

Its order of channels (color, row, column) takes every byte of an n h w c picture to another place. In the order
(row, column, color) a row of a group lies together in memory on both sides, so that it is copied at once, and what
moves can be bytes instead of floats: four to ten times sooner. The convolution that reads or writes groups has its
channels put in this order by `regrouped`.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHANNELS = 3


def pixel_unshuffle(pictures: Tensor, side: int) -> Tensor:
    """n h w 3 to n h/side w/side 3*side*side; h and w are multiples of `side`."""
    if side == 1:
        return pictures
    n, height, width, colors = pictures.shape
    rows = pictures.reshape(n, height // side, side, width // side, side * colors)
    return _swapped(rows).flatten(3)


def pixel_shuffle(groups: Tensor, side: int) -> Tensor:
    """n h w 3*side*side to n h*side w*side 3: what `fold` folded comes back."""
    if side == 1:
        return groups
    n, height, width, _ = groups.shape
    rows = groups.reshape(n, height, width, side, side * CHANNELS)
    return _swapped(rows).view(n, height * side, width * side, CHANNELS)


def reorder_channels(weight: Tensor, side: int, axis: int = 0) -> Tensor:
    """A convolution's weight or bias whose `axis` is the channels of pixel (un)shuffled pictures, one or more after one
    another (color, row, column), for folded ones (row, column, color)."""
    return weight.unflatten(axis, (-1, CHANNELS, side, side)).movedim(axis + 1, axis + 3).flatten(axis, axis + 3)


def _swapped(rows: Tensor) -> Tensor:
    """Axes 2 and 3 change places in memory. Bytes travel in pairs where there is an even number together."""
    if rows.dtype == torch.uint8 and rows.shape[4] % 2 == 0:
        return rows.contiguous().view(torch.int16).transpose(2, 3).contiguous().view(torch.uint8)
    return rows.transpose(2, 3).contiguous()

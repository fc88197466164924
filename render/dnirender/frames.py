"""Pixels with their place in time, and the one way to put work on another thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[Any]
"""RGB picture [h, w, 3], contiguous; uint8 (0..255) or uint16 (0..65535), full range, transfer as in the source.

What is written may have a fourth channel, its opacity; colors are never multiplied by it.
"""
Opacity = npt.NDArray[Any]
"""How opaque each pixel is [h, w], from 0 to the top of its dtype; uint8 or uint16."""
Alpha = tuple[float, ...]
"""One coefficient per endpoint, in the order of the endpoints."""


@dataclass(frozen=True)
class Frame:
    """A decoded picture. `index` counts from the first frame of the source; `pts` is in the source's time base.

    `opacity` is of the image's dtype; it goes around the network, so it keeps its size when the image is scaled.
    """

    index: int
    pts: int
    image: Image
    opacity: Opacity | None = None


@dataclass(frozen=True)
class Batch:
    """Frames of one size and dtype that are rendered together under one alpha."""

    frames: tuple[Frame, ...]
    alpha: Alpha


def to_uint8(image: Image) -> npt.NDArray[np.uint8]:
    """The picture in 8 bits, rounded to nearest."""
    if image.dtype == np.uint8:
        return image
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_uint16(image: Image) -> npt.NDArray[np.uint16]:
    """The picture in 16 bits, so that 255 becomes 65535."""
    if image.dtype == np.uint16:
        return image
    return image.astype(np.uint16) * np.uint16(257)

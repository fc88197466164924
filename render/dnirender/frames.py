"""Frames, batches of frames, and conversion between 8 and 16 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[Any]
"""RGB image [h, w, 3], contiguous; uint8 (0..255) or uint16 (0..65535), full range, transfer as in the source.

Output images may have an alpha channel [h, w, 4]; alpha is straight, never premultiplied.
"""
Opacity = npt.NDArray[Any]
"""Opacity of each pixel [h, w], from 0 (transparent) to the maximum of its dtype; uint8 or uint16."""
Alpha = tuple[float, ...]
"""Mixing coefficients, one per endpoint, in the order of the endpoints. Where groups of layers have tracks of their
own, as many follow for each group; without them the coefficients are those of all layers."""


@dataclass(frozen=True)
class Frame:
    """A decoded frame. `index` counts from the first frame of the source; `pts` is in the source's time base.

    `opacity` has the dtype of the image. It bypasses the network, so it keeps its size when the image is scaled.
    """

    index: int
    pts: int
    image: Image
    opacity: Opacity | None = None


@dataclass(frozen=True)
class Batch:
    """Frames of equal size and dtype that are rendered together with the same alpha."""

    frames: tuple[Frame, ...]
    alpha: Alpha


def to_uint8(image: Image) -> npt.NDArray[np.uint8]:
    """Converts an image to 8 bits, rounded to nearest."""
    if image.dtype == np.uint8:
        return image
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_uint16(image: Image) -> npt.NDArray[np.uint16]:
    """Converts an image to 16 bits; 255 becomes 65535."""
    if image.dtype == np.uint16:
        return image
    return image.astype(np.uint16) * np.uint16(257)

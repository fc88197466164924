"""How much noise there is in images, from their finest diagonal details."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from dnirender.frames import Image

BLOCK = 8  # coefficients, side of the blocks: 16 x 16 pixels
QUANTILE = 0.1  # of the blocks: those with the least texture
SHARE_OF_SIGMA = 1 - 1.2816 * (2 * BLOCK**2) ** -0.5 - 1 / (4 * BLOCK**2)
"""That quantile of the deviation of `BLOCK`^2 samples of noise alone, as a share of the noise's."""
CLIPPED = 0.05  # share of clipped pixels in a block beyond which its noise is too small
LEAST_BLOCKS = 0.1  # share of the blocks that is looked at, however many are clipped
SIDE = 960  # pixels: a part from the middle of larger images is enough


def estimate_sigma(images: Iterable[Image]) -> float:
    """The standard deviation of the white noise in images [h, w, 3], uint8 or uint16, of 255; the median of them.

    Noise is what 2x2 Haar wavelets find on the diagonal where there is least of it, as texture only adds: a low
    quantile over blocks, the mean of three colors. Compression removes the finest noise, so that compressed clips have
    less than was in them. 0 for images below 16 x 16 pixels, or without any.
    """
    found = [_sigma(image) for image in images]
    return float(np.median(found)) if found else 0.0


def _sigma(image: Image) -> float:
    top = float(np.iinfo(image.dtype).max)
    rows, columns = (min(side, SIDE) // (2 * BLOCK) * 2 * BLOCK for side in image.shape[:2])
    if not rows or not columns:
        return 0.0
    y, x = (image.shape[0] - rows) // 2, (image.shape[1] - columns) // 2
    pixels = image[y : y + rows, x : x + columns].astype(np.float32) * (255 / top)
    left, right = pixels[:, ::2], pixels[:, 1::2]
    diagonal = ((left[::2] - left[1::2]) - (right[::2] - right[1::2])) / 2
    spread = np.sqrt(_block_means(diagonal * diagonal, BLOCK))
    clipped = _block_means(((pixels <= 0) | (pixels >= 255)).astype(np.float32), 2 * BLOCK)
    return float(np.mean([_quiet(spread[..., color], clipped[..., color]) for color in range(3)])) / SHARE_OF_SIGMA


def _block_means(values: np.ndarray, side: int) -> np.ndarray:
    """Means over blocks of [h, w, c]: [h/side, w/side, c]."""
    height, width = values.shape[:2]
    return cv2.resize(values, (width // side, height // side), interpolation=cv2.INTER_AREA)


def _quiet(spread: np.ndarray, clipped: np.ndarray) -> float:
    """The quantile of `spread` over blocks that are not clipped, or the least clipped."""
    order = np.argsort(clipped, axis=None, kind="stable")
    count = max(int((clipped <= CLIPPED).sum()), int(LEAST_BLOCKS * clipped.size), 1)
    return float(np.quantile(spread.ravel()[order[:count]], QUANTILE))

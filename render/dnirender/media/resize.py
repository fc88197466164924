"""Pictures at another size."""

from __future__ import annotations

import cv2
import numpy as np

from dnirender.frames import Image, Opacity


def fit(image: Image, width: int, height: int) -> Image:
    """The picture at exactly width x height: area-averaged when it shrinks, bicubic when it grows."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = width * height < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def with_opacity(image: Image, opacity: Opacity | None) -> Image:
    """The picture [h, w, 3] with its opacity, brought to its size, as a fourth channel; unchanged where there is none.

    Both are of one dtype.
    """
    if opacity is None:
        return image
    return np.dstack([image, fit(opacity, image.shape[1], image.shape[0])])


def narrowed(image: Image, width: int) -> Image:
    """The picture with a width of `width` at most, in its own proportions."""
    scale = min(1.0, width / image.shape[1])
    return fit(image, round(image.shape[1] * scale), max(1, round(image.shape[0] * scale)))

"""Resizes images."""

from __future__ import annotations

import cv2
import numpy as np

from dnirender.frames import Image, Opacity


def resize_to(image: Image, width: int, height: int) -> Image:
    """Resizes to exactly width x height: area averaging to shrink, bicubic to enlarge. No copy if the size matches."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = width * height < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def with_opacity(image: Image, opacity: Opacity | None) -> Image:
    """Appends the opacity, resized to the image, as a fourth channel; returns the image unchanged if it is None.

    `image` is [h, w, 3]; both have the same dtype.
    """
    if opacity is None:
        return image
    return np.dstack([image, resize_to(opacity, image.shape[1], image.shape[0])])


def limit_width(image: Image, width: int) -> Image:
    """Shrinks an image to at most `width` columns, keeping the aspect ratio."""
    scale = min(1.0, width / image.shape[1])
    return resize_to(image, round(image.shape[1] * scale), max(1, round(image.shape[0] * scale)))


def middle(image: Image, side: int) -> Image:
    """A copy of the middle of an image at its own resolution, at most `side` high and wide."""
    top, left = (max(0, (length - side) // 2) for length in image.shape[:2])
    return image[top : top + side, left : left + side].copy()

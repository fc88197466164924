"""The edges of a mask: brought to the picture's, cleaned, inverted, grown, feathered; ranges of luma or depth."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from dnirender.frames import Image
from dnirender.masks.alpha_map import Plane

NOISE = 0.01  # as near to black or white is black or white: encoders of video leave as much
GUIDE, GUIDE_RADIUS, GUIDE_NOISE = 640, 8, 4e-4  # long side and radius in pixels, variance of luma 0..1 that is noise
TEN_TO_NINETY = 2.563  # standard deviations from 10 to 90 % of a blurred edge


def gray(image: Image) -> Plane:
    """The luma of an image [h, w, 3], uint8 or uint16, in 0..1; exactly the value of one that is gray."""
    return unit(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


def unit(values: Image) -> Plane:
    """Integers [h, w] as 0..1 of the range of their dtype."""
    return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)


def fitted(mask: Plane, width: int, height: int) -> Plane:
    """A mask of another size: area averages where it shrinks, bilinear where it grows, so that it stays in 0..1."""
    if mask.shape == (height, width):
        return mask
    shrinks = width * height < mask.size
    return np.asarray(
        cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.float32
    )


def cleaned(mask: Plane) -> Plane:
    """The mask with NOISE removed from black and white, and in 0..1."""
    return np.clip((mask - np.float32(NOISE)) * np.float32(1 / (1 - 2 * NOISE)), 0, 1)


def guided(mask: Plane, image: Image) -> Plane:
    """A mask of a smaller size in that of the image [h, w, 3], its edges those of the image's luma.

    A fast guided filter (He and Sun, 2015): in windows of a picture of GUIDE pixels the mask is a line in the luma, and
    the lines are applied to the luma in full size.
    """
    guide = gray(image)
    height, width = guide.shape
    scale = min(1.0, GUIDE / max(height, width))
    small = fitted(guide, max(1, round(width * scale)), max(1, round(height * scale)))
    size = (small.shape[1], small.shape[0])
    rough = cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR)
    window = (2 * GUIDE_RADIUS + 1, 2 * GUIDE_RADIUS + 1)
    mean, level = cv2.blur(small, window), cv2.blur(rough, window)
    slope = cv2.blur(small * rough, window) - mean * level
    slope /= cv2.blur(small * small, window) - mean * mean + np.float32(GUIDE_NOISE)
    offset = cv2.blur(level - slope * mean, window)
    slope = cv2.blur(slope, window)
    lines = (cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in (slope, offset))
    slope, offset = lines
    return np.asarray(np.clip(slope * guide + offset, 0, 1), np.float32)


def uncleaned(mask: Plane) -> Plane:
    """The inverse of `cleaned` for masks in 0..1."""
    between = np.float32(NOISE) + mask * np.float32(1 - 2 * NOISE)
    return np.asarray(np.where((mask > 0) & (mask < 1), between, mask), np.float32)


def as_picture(mask: Plane, dtype: np.dtype[Any]) -> Image:
    """A mask as a picture [h, w, 3] of a dtype, from which `gray` and `cleaned` make the same mask."""
    codes = np.rint(uncleaned(mask) * np.float32(np.iinfo(dtype).max)).astype(dtype)
    return np.repeat(codes[..., None], 3, 2)


def in_range(values: Plane, low: float, high: float, softness: float) -> Plane:
    """1 where a value is in low..high, falling to 0 over `softness` on either side."""
    distance = np.maximum(np.float32(low) - values, values - np.float32(high))
    if softness == 0:
        return (distance <= 0).astype(np.float32)
    return np.asarray(np.clip(1 - distance / np.float32(softness), 0, 1), np.float32)


def shaped(mask: Plane, invert: bool, grow: float, feather: float) -> Plane:
    """The mask inverted, then grown by `grow` pixels (shrunk where negative), then with edges `feather` pixels wide."""
    if invert:
        mask = 1 - mask
    if radius := round(abs(grow)):
        shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        mask = np.asarray(cv2.dilate(mask, shape) if grow > 0 else cv2.erode(mask, shape), np.float32)
    if feather > 0:
        sigma = feather / TEN_TO_NINETY
        side = 2 * math.ceil(3 * sigma) + 1
        blurred = cv2.GaussianBlur(mask, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)
        mask = cleaned(np.asarray(blurred, np.float32))
    return mask

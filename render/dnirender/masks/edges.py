"""The edges of a mask: cleaned, inverted, grown, feathered; and ranges of luma or depth as masks."""

from __future__ import annotations

import math

import cv2
import numpy as np

from dnirender.frames import Image
from dnirender.masks.alpha_map import Plane

NOISE = 0.01  # as near to black or white is black or white: encoders of video leave as much
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

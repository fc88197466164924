"""The motion from one frame of a clip to the next."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from dnirender.frames import Image, to_uint8
from dnirender.media.opencv import opencv_threads

Floats = npt.NDArray[np.float32]
RETURNS = 0.01, 0.5  # how far flow there and back may end from where it began: share of its lengths, pixels; squared
DIFFERENCE = 15  # of 255, between a pixel and the one that it came from, from which on it is another
SMALLEST = 16  # pixels of a side below which there is no flow
_ONE_AT_A_TIME = threading.Lock()  # masks and renders both set the number of OpenCV's threads, the process's own


@dataclass(frozen=True)
class Motion:
    """Where the pixels of a frame were in the one before.

    origin: [h, w, 2], x and y in pixels
    sure: [h, w], 0..1; 0 where a pixel was hidden, was outside of the picture or is another
    """

    origin: Floats
    sure: Floats

    def after(self, later: Motion) -> Motion:
        """The motion over two steps: `later`, then this one."""
        return Motion(moved(self.origin, later), later.sure * moved(self.sure, later))

    def scaled(self, width: int, height: int) -> Motion:
        """For pictures of another size."""
        rows, columns = self.sure.shape
        if (rows, columns) == (height, width):
            return self
        factor = np.array([width / columns, height / rows], np.float32)
        origin = (cv2.resize(self.origin, (width, height)) + 0.5) * factor - 0.5
        return Motion(origin.astype(np.float32), np.asarray(cv2.resize(self.sure, (width, height)), np.float32))


def moved(image: Image | Floats, motion: Motion, interpolation: int = cv2.INTER_LINEAR) -> npt.NDArray[Any]:
    """The frame before, with each pixel where the motion took it."""
    second = cast(Floats, None)  # OpenCV's annotations do not know that it may be None
    return cv2.remap(image, motion.origin, second, interpolation, borderMode=cv2.BORDER_REPLICATE)


def find_motion(before: Image, now: Image) -> Motion:
    """Dense flow between two frames of one size (Kroeger et al., ECCV 2016, "DIS").

    A pixel is sure when flow there and back, w and v, returns to it, |w + v|^2 < 0.01 (|w|^2 + |v|^2) + 0.5 (Sundaram
    et al., ECCV 2010), and when its colors are those that it had. On one thread, as the flow depends on their number.
    """
    height, width = now.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    if min(height, width) < SMALLEST:
        return Motion(grid, np.zeros((height, width), np.float32))
    earlier, later = to_uint8(before), to_uint8(now)
    back, forth = _flows(_gray(earlier), _gray(later))
    motion = Motion(grid + back, np.ones((height, width), np.float32))
    forth = moved(forth, motion)
    share, least = RETURNS
    limit = share * ((back**2).sum(-1) + (forth**2).sum(-1)) + least
    returns = np.clip(2 - 2 * ((back + forth) ** 2).sum(-1) / limit, 0, 1)
    inside = (motion.origin >= 0).all(-1) & (motion.origin <= (width - 1, height - 1)).all(-1)
    difference = cv2.blur(cv2.absdiff(moved(earlier, motion), later).max(-1), (5, 5)).astype(np.float32)
    sure = (returns * inside * np.clip(2 - difference / DIFFERENCE, 0, 1)).astype(np.float32)
    return Motion(motion.origin, np.asarray(cv2.blur(cv2.erode(sure, np.ones((3, 3))), (5, 5)), np.float32))


def _gray(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def _flows(before: npt.NDArray[np.uint8], now: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """From `now` to `before`, and back."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    with _ONE_AT_A_TIME, opencv_threads(1):
        return dis.calc(now, before, None), dis.calc(before, now, None)  # pyright: ignore

"""What is found in single frames, made steady along the motion of the picture.

The value of a frame is the mean of its own and of those of the frames within `REACH`, brought to it along the optical
flow. A frame counts `FADE` as much for every step that it is away, and a pixel only as far as its motion is sure: not
from behind what moves, nor across cuts. As nothing beyond `REACH` counts, the values of a frame depend neither on where
a render begins nor on its segments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dnirender.frames import Image
from dnirender.media.motion import Motion, find_motion, moved

REACH = 6  # frames
FADE = np.float32(0.75)

Planes = npt.NDArray[np.float32]
"""Values for every pixel, [h, w, c]."""
Kept = TypeVar("Kept")


class Tracker:
    """Values of frames within `reach` of one another. `add` is called in order of the frames."""

    def __init__(self, reach: int = REACH) -> None:
        self._reach = reach
        self._images, self._values = dict[int, Image](), dict[int, Planes]()
        self._motions = dict[tuple[int, int], Motion]()

    @property
    def last(self) -> int:
        """The number of the last frame, -1 without any."""
        return max(self._values, default=-1)

    def add(self, index: int, image: Image, values: Planes) -> None:
        """A frame uint8 [h, w, 3] with its values [h, w, c]."""
        self._images[index], self._values[index] = image, values

    def forget(self, before: int) -> None:
        """Drops the frames before number `before`."""
        self._images = _from(before, self._images)
        self._values = _from(before, self._values)
        self._motions = {pair: motion for pair, motion in self._motions.items() if min(pair) >= before}

    def steady(self, index: int) -> Planes:
        """The steady values of a frame. All frames within `reach` of it that the clip has must have been added."""
        total = self._gathered(index, -1) + self._gathered(index, 1) - _weighted(self._values[index])
        return np.asarray(total[..., :-1] / total[..., -1:], np.float32)

    def _gathered(self, index: int, side: int) -> Planes:
        """The weighted sum of the values of a frame and those on one side of it, and of the weights."""
        first = index
        while abs(first + side - index) <= self._reach and first + side in self._values:
            first += side
        total = _weighted(self._values[first])
        for number in range(first, index, -side):
            motion = self._motion(number, number - side)
            brought = moved(total, motion) * (FADE * motion.sure[..., None])
            total = np.asarray(_weighted(self._values[number - side]) + brought, np.float32)
        return total

    def _motion(self, start: int, stop: int) -> Motion:
        if (start, stop) not in self._motions:
            self._motions[start, stop] = find_motion(self._images[start], self._images[stop])
        return self._motions[start, stop]


def _weighted(values: Planes) -> Planes:
    """The values with a last channel of ones, their weights."""
    return np.concatenate([values, np.ones((*values.shape[:2], 1), np.float32)], 2)


def _from(before: int, frames: Mapping[int, Kept]) -> dict[int, Kept]:
    return {number: value for number, value in frames.items() if number >= before}

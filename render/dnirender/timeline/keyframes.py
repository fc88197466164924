"""Positions in a clip and the values that keyframes give them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from dnirender.errors import TimelineError
from dnirender.timeline.easing import Easing, quote

if TYPE_CHECKING:
    from dnirender.frames import Alpha

Mix = tuple[tuple[str, Fraction], ...]
"""Endpoint names and their weights, which sum to exactly 1."""
_LONE_DURATION = Fraction(1, 24)  # of a clip's only frame, which has no neighbour to tell


class Loop(StrEnum):
    """What alpha does after the last key: hold, start again, or run back and forth."""

    NONE = "none"
    REPEAT = "repeat"
    PING_PONG = "ping-pong"


@dataclass(frozen=True)
class Position:
    """A place in a clip: a frame (negative counts from the end), seconds after the first frame, or a fraction of the
    way from the first frame to the last (1 is `end`). `text` is how the user wrote it."""

    unit: Literal["frame", "seconds", "fraction"]
    value: Fraction
    text: str = field(compare=False)

    def __str__(self) -> str:
        return f"frame {self.text}" if self.unit == "frame" else self.text

    @property
    def is_relative(self) -> bool:
        """Whether it moves with the clip's end."""
        return self.unit == "fraction" or self.value < 0

    def frame(self, seconds: Sequence[Fraction]) -> int:
        """Index of the first frame at or after this position, len(seconds) when there is none.

        `seconds` are the frames' increasing times. A fraction is of the frames' numbers. Raises TimelineError for a
        negative frame before the first.
        """
        check_frames(seconds)
        if self.unit == "seconds":
            return bisect_left(seconds, seconds[0] + self.value)
        if self.unit == "fraction":
            return min(math.ceil(self.value * (len(seconds) - 1)), len(seconds))
        return min(self._index(len(seconds)), len(seconds))

    def offset(self, times: Sequence[Fraction | int]) -> Fraction:
        """Distance from the first frame, in the unit of the frames' `times` (seconds only if they are seconds).

        Frames beyond the clip's end follow at the mean frame duration.
        """
        last = len(times) - 1
        span = Fraction(times[-1] - times[0])
        if self.unit == "seconds":
            return self.value
        if self.unit == "fraction":
            return self.value * span
        index = self._index(len(times))
        if index <= last:
            return Fraction(times[index] - times[0])
        return span + (index - last) * (span / last if last else _LONE_DURATION)

    def _index(self, num_frames: int) -> int:
        index = int(self.value) + (num_frames if self.value < 0 else 0)
        if index < 0:
            raise TimelineError(f"{self} lies before the first frame; {describe_clip(num_frames)}")
        return index


@dataclass(frozen=True)
class Keyframe:
    """A value at a position: a place on the path of the endpoints (0 the first, 1 the last) or a mix of them.

    `easing` belongs to the segment that leaves the key; None takes the timeline's. `text` is how the user wrote it.
    """

    position: Position
    value: Fraction | Mix
    easing: Easing | None = None
    text: str = field(default="", compare=False)

    def alpha(self, endpoints: Sequence[str]) -> Alpha:
        """The exact alpha of this key. Raises TimelineError for a name which is no endpoint."""
        if isinstance(self.value, Fraction):
            return alpha_along_path(self.value, len(endpoints))
        weights = dict(self.value)
        for name in weights:
            if name not in endpoints:
                raise TimelineError(f"unknown endpoint {quote(name)}; this preset has {', '.join(endpoints)}")
        return tuple(float(weights.get(name, 0)) for name in endpoints)


def describe_clip(num_frames: int) -> str:
    return f"this clip has {num_frames} frame{'s' * (num_frames != 1)}"


def check_frames(seconds: Sequence[Fraction]) -> None:
    if not seconds:
        raise TimelineError("keyframes: the clip has no frames to place them on")


def alpha_along_path(number: Fraction | float, num_endpoints: int) -> Alpha:
    """Alpha on the ordered path of evenly spaced endpoints; outside 0..1 its first and last piece go on straight."""
    if num_endpoints == 1:
        return (1.0,)
    place = number * (num_endpoints - 1)
    left = min(max(math.floor(place), 0), num_endpoints - 2)
    coefficients = [0.0] * num_endpoints
    coefficients[left : left + 2] = float(1 - (place - left)), float(place - left)
    return tuple(coefficients)

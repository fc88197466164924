"""Keyframes: positions in a clip and the alpha at each."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from dnirender.errors import TimelineError
from dnirender.timeline.easing import Easing, quote
from dnirender.timeline.expression import Expression

if TYPE_CHECKING:
    from dnirender.frames import Alpha

Mix = tuple[tuple[str, Fraction], ...]
"""Endpoint names and their weights, which sum to exactly 1."""
SINGLE_FRAME_DURATION = Fraction(1, 24)  # seconds; a clip of one frame has no second frame to measure it by


class Loop(StrEnum):
    """What alpha does after the last key: hold its value, repeat from the first key, or run back and forth."""

    NONE = "none"
    REPEAT = "repeat"
    PING_PONG = "ping-pong"


@dataclass(frozen=True)
class Position:
    """A position in a clip.

    `value` is a frame number (negative: counted from the end), seconds after the first frame, or a fraction of the way
    from the first frame to the last (1 is `end`). `text` is the user's spelling, for messages.
    """

    unit: Literal["frame", "seconds", "fraction"]
    value: Fraction
    text: str = field(compare=False)

    def __str__(self) -> str:
        return f"frame {self.text}" if self.unit == "frame" else self.text

    @property
    def is_relative(self) -> bool:
        """Whether it depends on the length of the clip."""
        return self.unit == "fraction" or self.value < 0

    def frame(self, seconds: Sequence[Fraction]) -> int:
        """Index of the first frame at or after this position; len(seconds) if there is none.

        `seconds` holds the time of each frame, increasing. A fraction refers to frame numbers, not to time.

        Raises:
            TimelineError: `seconds` is empty, or a negative frame number is before the first frame.
        """
        check_frames(seconds)
        if self.unit == "seconds":
            return bisect_left(seconds, seconds[0] + self.value)
        if self.unit == "fraction":
            return min(math.ceil(self.value * (len(seconds) - 1)), len(seconds))
        return min(self._index(len(seconds)), len(seconds))

    def offset(self, times: Sequence[Fraction | int]) -> Fraction:
        """Distance from the first frame, in the unit of `times`: frame numbers, or seconds for positions in seconds.

        Frames beyond the end of the clip are assumed to follow at the mean frame duration.
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
        return span + (index - last) * (span / last if last else SINGLE_FRAME_DURATION)

    def _index(self, num_frames: int) -> int:
        index = int(self.value) + (num_frames if self.value < 0 else 0)
        if index < 0:
            raise TimelineError(f"{self} is before the first frame; {describe_clip(num_frames)}")
        return index


@dataclass(frozen=True)
class Keyframe:
    """A value at a position: a number along the path of endpoints (0 is the first, 1 the last), a mix of endpoints, or
    an expression that gives a number for every frame until the next key.

    `easing` applies from this key to the next; None means the default of the timeline. `text` is the user's spelling.
    """

    position: Position
    value: Fraction | Mix | Expression
    easing: Easing | None = None
    text: str = field(default="", compare=False)

    @property
    def is_relative(self) -> bool:
        """Whether its position or its value depends on the length of the clip."""
        return self.position.is_relative or (isinstance(self.value, Expression) and self.value.needs_length)

    def alpha(self, endpoints: Sequence[str]) -> Alpha:
        """The exact alpha of this key.

        Raises:
            TimelineError: the mix names an unknown endpoint, or the value is an expression.
        """
        if isinstance(self.value, Expression):
            raise TimelineError(f"{quote(self.value.text)} has no value without a frame")
        return alpha_of(self.value, endpoints)


def describe_clip(num_frames: int) -> str:
    return f"this clip has {num_frames} frame{'s' * (num_frames != 1)}"


def check_frames(seconds: Sequence[Fraction]) -> None:
    if not seconds:
        raise TimelineError("keyframes: the clip has no frames")


def weaken(alpha: Alpha, strength: float) -> Alpha:
    """`strength` of an alpha, the rest of the first endpoint: 1 is alpha itself, 0 the first endpoint exactly."""
    if strength == 1:
        return alpha
    others = [strength * coefficient for coefficient in alpha[1:]]
    return (1 - sum(others), *others)


class Endpoints(tuple[str, ...]):
    """Names of endpoints in the order of their path, and the `positions` at which they lie on it: from 0 to 1,
    increasing; evenly spaced by default."""

    positions: tuple[float, ...]

    def __new__(cls, names: Iterable[str], positions: Sequence[float] | None = None) -> Endpoints:
        found = super().__new__(cls, names)
        found.positions = tuple(positions) if positions is not None else _evenly(len(found))
        return found


def positions_of(endpoints: Sequence[str]) -> tuple[float, ...]:
    """Where endpoints lie on their path; plain names are evenly spaced."""
    return endpoints.positions if isinstance(endpoints, Endpoints) else _evenly(len(endpoints))


def alpha_of(value: Fraction | Mix, endpoints: Sequence[str]) -> Alpha:
    """The exact alpha of a number along the path, or of a mix. TimelineError: the mix names an unknown endpoint."""
    if isinstance(value, Fraction):
        return alpha_along_path(value, endpoints)
    weights = dict(value)
    for name in weights:
        if name not in endpoints:
            close = get_close_matches(name[:40], endpoints, 1)
            hint = f"did you mean {close[0]}?" if close else f"this preset has {', '.join(endpoints)}"
            raise TimelineError(f"unknown endpoint {quote(name)}; {hint}")
    return tuple(float(weights.get(name, 0)) for name in endpoints)


def alpha_along_path(number: Fraction | float, endpoints: Sequence[str]) -> Alpha:
    """Alpha at `number` on the path of endpoints: a mixture of the two between which it lies.

    0 is the first endpoint, 1 the last; outside 0..1 the first and last segments are extrapolated linearly.
    """
    last = len(endpoints) - 1
    if not last:
        return (1.0,)
    if isinstance(endpoints, Endpoints) and endpoints.positions != _evenly(last + 1):
        positions = endpoints.positions
        left = min(max(bisect_right(positions, number) - 1, 0), last - 1)
        share = (number - Fraction(positions[left])) / Fraction(positions[left + 1] - positions[left])
    else:  # exact, as a third of the path is no float
        scaled = number * last
        left = min(max(math.floor(scaled), 0), last - 1)
        share = scaled - left
    coefficients = [0.0] * (last + 1)
    coefficients[left : left + 2] = float(1 - share), float(share)
    return tuple(coefficients)


def _evenly(count: int) -> tuple[float, ...]:
    return tuple(number / max(1, count - 1) for number in range(count))

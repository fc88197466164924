"""Keyframes over a clip: which alpha each frame has.

Positions and values stay exact fractions until an easing is applied, so a key's own alpha is bit-exact and the frames
of a hold share one tuple.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from dnirender.errors import TimelineError
from dnirender.timeline.easing import Easing, parse_easing, quote
from dnirender.timeline.keyframes import Keyframe, Loop, Position, alpha_along_path, check_frames, describe_clip
from dnirender.timeline.parser import MAX_CHARACTERS, MAX_KEYS, at_key, parse_keyframe, split_outside_parentheses

if TYPE_CHECKING:
    from dnirender.frames import Alpha

_STILL_FRAMES = 25  # one second at 24 fps and the frame that ends it: a still whose last key is relative to the clip


@dataclass(frozen=True)
class Track:
    """A timeline laid over a clip: `alphas` per frame, and `keys` as (place, alpha), where place is 0 at the first
    frame, 1 at the last and more for a key beyond the clip, along the timeline's own unit."""

    alphas: tuple[Alpha, ...]
    keys: tuple[tuple[Fraction, Alpha], ...]


@dataclass(frozen=True)
class _ResolvedKey:
    """A keyframe laid over a clip; `number` is its place on the path of the endpoints, None for a mix."""

    offset: Fraction
    number: float | None
    alpha: Alpha
    easing: Easing


@dataclass(frozen=True)
class Timeline:
    """Keyframes and what happens between and after them.

    With any position in time, everything runs on the frames' times from the first frame's on; otherwise on frame
    numbers. Before the first key its value holds. After the last, `repeat` has the period last - first, and the
    moment where rounds meet shows the last value; `ping-pong` runs back and forth. Without `extrapolate` alpha stays
    within the hull of the endpoints: an overshooting easing stops where its path leaves it.
    """

    keyframes: tuple[Keyframe, ...]
    easing: Easing
    loop: Loop = Loop.NONE
    extrapolate: bool = False

    def __post_init__(self) -> None:
        if not self.keyframes:
            raise TimelineError("keyframes: there are none; expected POSITION:VALUE[@EASING], for example 0:0,end:1")
        latest: dict[tuple[str, bool], Position] = {}
        for count, position in enumerate((key.position for key in self.keyframes), 1):
            kind = position.unit, position.value < 0
            if kind in latest and position.value <= latest[kind].value:
                where = f"{position} comes after {latest[kind]} (key {count})"
                raise TimelineError(f"keyframes: {where}; positions must increase")
            latest[kind] = position

    def __str__(self) -> str:
        return ", ".join(key.text for key in self.keyframes)

    @classmethod
    def parse(cls, text: str, *, easing: str = "linear", loop: str = "none", extrapolate: bool = False) -> Timeline:
        """Reads `POSITION:VALUE[@EASING], ...`; `easing` is for keys which name none. Raises TimelineError."""
        if loop not in tuple(Loop):
            raise TimelineError(f"unknown loop {quote(loop)}; expected {', '.join(Loop)}")
        if len(text) > MAX_CHARACTERS:
            raise TimelineError(f"keyframes: {len(text)} characters are too many; at most {MAX_CHARACTERS} are read")
        text = " ".join(text.split())
        parts = split_outside_parentheses(text, ",") if text else []
        if len(parts) > MAX_KEYS:
            raise TimelineError(f"keyframes: {len(parts)} keys are too many; at most {MAX_KEYS} are read")
        keys = tuple(parse_keyframe(part.strip(), count, extrapolate) for count, part in enumerate(parts, 1))
        return cls(keys, parse_easing(easing), Loop(loop), extrapolate)

    def resolve(self, endpoints: Sequence[str], seconds: Sequence[Fraction]) -> Track:
        """The alphas of a clip whose rendered frames stand at the increasing times `seconds`.

        Raises TimelineError for an unknown endpoint, a frame before the first, and positions that do not increase in
        this clip. Keys which meet because one of them is relative to the clip's end are one key: the later.
        """
        check_frames(seconds)
        times: Sequence[Fraction | int] = seconds if self.timed else range(len(seconds))
        stops = self._stops(endpoints, times)
        # In ticks every time is an integer: exact, and a million frames take no fraction arithmetic.
        scale = math.lcm(*{time.denominator for time in times}, *{stop.offset.denominator for stop in stops})
        start = int(times[0] * scale)
        ticks = [int(stop.offset * scale) for stop in stops]
        frames = (time.numerator * (scale // time.denominator) - start for time in times)
        alphas = tuple(self._at(_fold(tick, ticks[0], ticks[-1], self.loop), ticks, stops) for tick in frames)
        span = Fraction(times[-1] - times[0])
        keys = ((stop.offset / span if span else stop.offset and stop.offset + 1, stop.alpha) for stop in stops)
        return Track(alphas, tuple(keys))

    @property
    def timed(self) -> bool:
        """Whether it runs on the frames' times rather than on their numbers."""
        return any(key.position.unit == "seconds" for key in self.keyframes)

    def num_frames(self, fps: Fraction) -> int:
        """Frames a still picture is held for so that the last key shows; 25 or more when a key is relative to the
        clip, and then the keys before it that are not relative keep a frame of their own."""
        *others, last = (key.position for key in self.keyframes)
        return max(_reach(last, fps), *(_reach(position, fps) + (not position.is_relative) for position in others), 1)

    def is_closed(self, endpoints: Sequence[str]) -> bool:
        """Whether the keys form a cycle: two or more, the last with the first's alpha."""
        keys = self.keyframes
        return len(keys) > 1 and keys[0].alpha(endpoints) == keys[-1].alpha(endpoints)

    def _stops(self, endpoints: Sequence[str], times: Sequence[Fraction | int]) -> list[_ResolvedKey]:
        stops: list[_ResolvedKey] = []
        for count, key in enumerate(self.keyframes, 1):
            stop = self._stop(key, count, endpoints, times)
            before = self.keyframes[count - 2].position
            if stops and stop.offset <= stops[-1].offset:
                if stop.offset < stops[-1].offset or not (before.is_relative or key.position.is_relative):
                    where = f"{key.position} comes after {before} (key {count}) but not later"
                    clip = describe_clip(len(times))
                    raise TimelineError(f"keyframes: {where}; {clip}, and positions must increase")
                stops.pop()
            stops.append(stop)
        return stops

    def _stop(
        self, key: Keyframe, count: int, endpoints: Sequence[str], times: Sequence[Fraction | int]
    ) -> _ResolvedKey:
        number = float(key.value) if isinstance(key.value, Fraction) else None
        try:
            return _ResolvedKey(key.position.offset(times), number, key.alpha(endpoints), key.easing or self.easing)
        except TimelineError as error:
            raise at_key(key.text, count, error) from error

    def _at(self, tick: int, ticks: Sequence[int], stops: Sequence[_ResolvedKey]) -> Alpha:
        index = bisect_right(ticks, tick) - 1
        if index < 0 or index == len(stops) - 1:
            return stops[max(index, 0)].alpha
        start, stop = stops[index], stops[index + 1]
        moved = start.easing((tick - ticks[index]) / (ticks[index + 1] - ticks[index]))
        return _between(start, stop, moved, self.extrapolate)


def path_position(alpha: Alpha) -> float:
    """Where a mix lies along the path of endpoints: 0 at the first, 1 at the last."""
    return sum(coefficient * index for index, coefficient in enumerate(alpha)) / max(1, len(alpha) - 1)


def _reach(position: Position, fps: Fraction) -> int:
    """Frames of the shortest clip at `fps` that shows this position."""
    if position.is_relative:
        return max(_STILL_FRAMES, -int(position.value))
    return math.ceil(position.value * fps if position.unit == "seconds" else position.value) + 1


def _fold(tick: int, first: int, last: int, loop: Loop) -> int:
    """The moment between `first` and `last` whose alpha is shown at `tick`."""
    period = last - first
    if tick <= last or loop == Loop.NONE or not period:
        return tick
    if loop == Loop.REPEAT:
        return last - (last - tick) % period
    phase = (tick - first) % (2 * period)
    return first + min(phase, 2 * period - phase)


def _between(start: _ResolvedKey, stop: _ResolvedKey, moved: float, extrapolate: bool) -> Alpha:
    """Alpha at `moved` of the way: along the path of the endpoints between two numbers, else straight."""
    if moved == 0 or start.alpha == stop.alpha:
        return start.alpha
    if moved == 1:
        return stop.alpha
    if start.number is not None and stop.number is not None:
        number = start.number + (stop.number - start.number) * moved
        return alpha_along_path(number if extrapolate else min(max(number, 0.0), 1.0), len(start.alpha))
    pairs = tuple(zip(start.alpha, stop.alpha, strict=True))
    if extrapolate:
        return tuple(a * (1 - moved) + b * moved for a, b in pairs)
    # A coefficient vanishes at a / (a - b), at or before 0 or at or after 1: there the straight path leaves the hull.
    exits = [a / (a - b) for a, b in pairs if a != b]
    moved = min([moved, *(leave for leave in exits if leave >= 1)])
    moved = max([moved, *(leave for leave in exits if leave <= 0)])
    return tuple(max(a * (1 - moved) + b * moved, 0.0) for a, b in pairs)

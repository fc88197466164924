"""Keyframes over a clip: which alpha each frame has.

Positions and values stay exact fractions until an easing is applied, so a key's own alpha is bit-exact and the frames
of a hold share one tuple.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Literal

from dnirender.errors import TimelineError
from dnirender.timeline.easing import FARTHEST, NUMBER, Easing, parse_easing, parse_number, quote

Alpha = tuple[float, ...]
"""One coefficient per endpoint, in the order of the endpoints; they sum to 1."""

Mix = tuple[tuple[str, Fraction], ...]
"""Endpoint names and their weights, which sum to exactly 1."""

_MAX_CHARACTERS = 100_000
_MAX_KEYS = 10_000
_STILL_FRAMES = 25  # one second at 24 fps and the frame that ends it: a still whose last key is relative to the clip
_LONE_DURATION = Fraction(1, 24)  # of a clip's only frame, which has no neighbour to tell

# A minus ends a name only before `NUMBER*`, so that starry-night is a name and day-0.5*night a difference.
_NAME = rf"\w(?:[\w.]|-(?! ?{NUMBER} ?\*))*"
_TERM = re.compile(rf" ?([+-]?) ?(?:({NUMBER}) ?\* ?)?({_NAME}) ?", re.IGNORECASE)
_TIMECODE = re.compile(r"(?:([0-9]+):)?([0-9]+):([0-9]+(?:\.[0-9]*)?)")
_VALUES = "a number 0..1, an endpoint's name or a mix such as 0.3*day+0.7*night"
_POSITIONS = "a frame (12, -1), a time (2.5s, 1:30, 00:01:30.500), 50% or end"


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
        _check_frames(seconds)
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
            raise TimelineError(f"{self} lies before the first frame; {_clip(num_frames)}")
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
            return _along(self.value, len(endpoints))
        weights = dict(self.value)
        for name in weights:
            if name not in endpoints:
                raise TimelineError(f"unknown endpoint {quote(name)}; this preset has {', '.join(endpoints)}")
        return tuple(float(weights.get(name, 0)) for name in endpoints)


@dataclass(frozen=True)
class Track:
    """A timeline laid over a clip: `alphas` per frame, and `keys` as (place, alpha), where place is 0 at the first
    frame, 1 at the last and more for a key beyond the clip, along the timeline's own unit."""

    alphas: tuple[Alpha, ...]
    keys: tuple[tuple[Fraction, Alpha], ...]


@dataclass(frozen=True)
class _Stop:
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
        if len(text) > _MAX_CHARACTERS:
            raise TimelineError(f"keyframes: {len(text)} characters are too many; at most {_MAX_CHARACTERS} are read")
        text = " ".join(text.split())
        parts = _split(text, ",") if text else []
        if len(parts) > _MAX_KEYS:
            raise TimelineError(f"keyframes: {len(parts)} keys are too many; at most {_MAX_KEYS} are read")
        keys = tuple(_keyframe(part.strip(), count, extrapolate) for count, part in enumerate(parts, 1))
        return cls(keys, parse_easing(easing), Loop(loop), extrapolate)

    def resolve(self, endpoints: Sequence[str], seconds: Sequence[Fraction]) -> Track:
        """The alphas of a clip whose rendered frames stand at the increasing times `seconds`.

        Raises TimelineError for an unknown endpoint, a frame before the first, and positions that do not increase in
        this clip. Keys which meet because one of them is relative to the clip's end are one key: the later.
        """
        _check_frames(seconds)
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

    def _stops(self, endpoints: Sequence[str], times: Sequence[Fraction | int]) -> list[_Stop]:
        stops: list[_Stop] = []
        for count, key in enumerate(self.keyframes, 1):
            stop = self._stop(key, count, endpoints, times)
            before = self.keyframes[count - 2].position
            if stops and stop.offset <= stops[-1].offset:
                if stop.offset < stops[-1].offset or not (before.is_relative or key.position.is_relative):
                    where = f"{key.position} comes after {before} (key {count}) but not later"
                    raise TimelineError(f"keyframes: {where}; {_clip(len(times))}, and positions must increase")
                stops.pop()
            stops.append(stop)
        return stops

    def _stop(self, key: Keyframe, count: int, endpoints: Sequence[str], times: Sequence[Fraction | int]) -> _Stop:
        number = float(key.value) if isinstance(key.value, Fraction) else None
        try:
            return _Stop(key.position.offset(times), number, key.alpha(endpoints), key.easing or self.easing)
        except TimelineError as error:
            raise _at_key(key.text, count, error) from error

    def _at(self, tick: int, ticks: Sequence[int], stops: Sequence[_Stop]) -> Alpha:
        index = bisect_right(ticks, tick) - 1
        if index < 0 or index == len(stops) - 1:
            return stops[max(index, 0)].alpha
        start, stop = stops[index], stops[index + 1]
        moved = start.easing((tick - ticks[index]) / (ticks[index + 1] - ticks[index]))
        return _between(start, stop, moved, self.extrapolate)


def path_position(alpha: Alpha) -> float:
    """Where a mix lies along the path of endpoints: 0 at the first, 1 at the last."""
    return sum(coefficient * index for index, coefficient in enumerate(alpha)) / max(1, len(alpha) - 1)


def parse_position(text: str) -> Position:
    """Reads a frame, a time, a percentage or `end`. Raises TimelineError."""
    words = re.sub(r" ?([:%s]) ?", r"\1", " ".join(text.lower().split()))
    if words == "end":
        return Position("fraction", Fraction(1), words)
    if timecode := _TIMECODE.fullmatch(words):
        return Position("seconds", _timecode_seconds(timecode), words)
    mark = words[-1:] if words.endswith(("s", "%")) else ""
    number = parse_number(words.removesuffix(mark))
    if number is None:
        raise TimelineError(f"unknown position {quote(text)}; expected {_POSITIONS}")
    if mark and number < 0:
        raise TimelineError(f"{quote(text)} lies before the first frame; only frames count from the end, like -1")
    if mark:
        return Position("seconds", number, words) if mark == "s" else Position("fraction", number / 100, words)
    if number.denominator != 1:
        raise TimelineError(f"frame {words} is not whole; for a time write {words}s")
    return Position("frame", number, words)


def _timecode_seconds(timecode: re.Match[str]) -> Fraction:
    hours, minutes, seconds = (parse_number(part or "0") or Fraction(0) for part in timecode.groups())
    if seconds >= 60 or (timecode[1] and minutes >= 60):
        raise TimelineError(f"{quote(timecode[0])} is no timecode; seconds, and minutes after hours, stay below 60")
    return (hours * 60 + minutes) * 60 + seconds


def _keyframe(text: str, count: int, extrapolate: bool) -> Keyframe:
    try:
        *position, value = _split(text, ":")
        if not position:
            raise TimelineError("no colon between position and value; expected POSITION:VALUE[@EASING]")
        value, *easings = _split(value, "@")
        if len(easings) > 1:
            raise TimelineError("two easings; expected POSITION:VALUE[@EASING]")
        easing = parse_easing(easings[0]) if easings else None
        return Keyframe(parse_position(":".join(position)), _value(value.strip(), extrapolate), easing, text)
    except TimelineError as error:
        raise _at_key(text, count, error) from error


def _value(text: str, extrapolate: bool) -> Fraction | Mix:
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1].strip()
    if not text:
        raise TimelineError(f"the value is missing; expected {_VALUES}")
    number = parse_number(text)
    if number is None:
        return _mix(text, extrapolate)
    if not extrapolate and not 0 <= number <= 1:
        raise TimelineError(f"{text} is outside 0..1; only --extrapolate goes beyond the endpoints")
    if abs(number) > FARTHEST:
        raise TimelineError(f"{text} is too far; --extrapolate reaches from -{FARTHEST} to {FARTHEST}")
    return number


def _mix(text: str, extrapolate: bool) -> Mix:
    """Weights >= 0 are divided by their sum; with a negative one among them they must sum to 1 as given."""
    weights = _weights(text)
    total, lowest = sum(weights.values()), min(weights.values())
    if lowest < 0 and not extrapolate:
        raise TimelineError("a weight is negative; only --extrapolate goes beyond the endpoints")
    if total == 0 or (lowest < 0 and total != 1):
        raise TimelineError(f"the weights sum to {float(total):g}; expected 1")
    if lowest < 0 and max(weights.values()) > FARTHEST:
        raise TimelineError(f"a weight is too far; --extrapolate reaches from -{FARTHEST} to {FARTHEST}")
    return tuple((name, weight / total) for name, weight in weights.items())


def _weights(text: str) -> dict[str, Fraction]:
    """Sums what each name has in `0.3*monet + 0.7*wave`; a name alone weighs 1."""
    weights: dict[str, Fraction] = {}
    stop = 0
    while stop < len(text):
        term = _TERM.match(text, stop)
        if term is None or (stop and not term[1]):
            raise TimelineError(f"cannot read {quote(text[stop:])}; expected {_VALUES}")
        if not term[2] and parse_number(term[3]) is not None:
            raise TimelineError(f"{term[3]} weighs no endpoint; expected {_VALUES}")
        weight = (parse_number(term[2]) if term[2] else None) or Fraction(0 if term[2] else 1)
        weights[term[3]] = weights.get(term[3], Fraction(0)) + (-weight if term[1] == "-" else weight)
        stop = term.end()
    return weights


def _split(text: str, mark: str) -> list[str]:
    """The parts between those marks which stand outside parentheses."""
    depth, starts, stops = 0, [0], list[int]()
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth < 0:
            break
        if character == mark and not depth:
            stops.append(index)
            starts.append(index + 1)
    if depth:
        raise TimelineError(f"keyframes: a parenthesis has no partner in {quote(text)}")
    return [text[start:stop] for start, stop in zip(starts, [*stops, len(text)], strict=True)]


def _at_key(text: str, count: int, error: TimelineError) -> TimelineError:
    return TimelineError(f"keyframes: {quote(text)} (key {count}): {error}")


def _clip(num_frames: int) -> str:
    return f"this clip has {num_frames} frame{'s' * (num_frames != 1)}"


def _check_frames(seconds: Sequence[Fraction]) -> None:
    if not seconds:
        raise TimelineError("keyframes: the clip has no frames to place them on")


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


def _along(number: Fraction | float, num_endpoints: int) -> Alpha:
    """Alpha on the ordered path of evenly spaced endpoints; outside 0..1 its first and last piece go on straight."""
    if num_endpoints == 1:
        return (1.0,)
    place = number * (num_endpoints - 1)
    left = min(max(math.floor(place), 0), num_endpoints - 2)
    coefficients = [0.0] * num_endpoints
    coefficients[left : left + 2] = float(1 - (place - left)), float(place - left)
    return tuple(coefficients)


def _between(start: _Stop, stop: _Stop, moved: float, extrapolate: bool) -> Alpha:
    """Alpha at `moved` of the way: along the path of the endpoints between two numbers, else straight."""
    if moved == 0 or start.alpha == stop.alpha:
        return start.alpha
    if moved == 1:
        return stop.alpha
    if start.number is not None and stop.number is not None:
        number = start.number + (stop.number - start.number) * moved
        return _along(number if extrapolate else min(max(number, 0.0), 1.0), len(start.alpha))
    pairs = tuple(zip(start.alpha, stop.alpha, strict=True))
    if extrapolate:
        return tuple(a * (1 - moved) + b * moved for a, b in pairs)
    # A coefficient vanishes at a / (a - b), at or before 0 or at or after 1: there the straight path leaves the hull.
    exits = [a / (a - b) for a, b in pairs if a != b]
    moved = min([moved, *(leave for leave in exits if leave >= 1)])
    moved = max([moved, *(leave for leave in exits if leave <= 0)])
    return tuple(max(a * (1 - moved) + b * moved, 0.0) for a, b in pairs)

"""The alpha of every frame of a clip, interpolated between keyframes.

Positions and values are exact fractions until an easing is applied, so alpha at a key is bit-exact, and frames that
hold the same value share one tuple.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from dnirender.errors import TimelineError
from dnirender.timeline.easing import MAX_COEFFICIENT, Easing, parse_easing, quote
from dnirender.timeline.expression import Expression
from dnirender.timeline.interpolation import ResolvedKey, Way, interpolate, loop_tick, way_between
from dnirender.timeline.keyframes import (
    SINGLE_FRAME_DURATION,
    Endpoints,
    Keyframe,
    Loop,
    Position,
    alpha_along_path,
    check_frames,
    describe_clip,
    weaken,
)
from dnirender.timeline.parser import MAX_CHARACTERS, parse_keyframe, split_keyframes, with_key_context

if TYPE_CHECKING:
    from dnirender.frames import Alpha

# one second at 24 fps plus its last frame: for a still image whose last key is relative to the end, or an expression
_MIN_STILL_FRAMES = 25
_ROUNDING = 1e-9  # how far beyond 0..1 the value of an expression is rounded to it: 0.1*3+0.7 is above 1


@dataclass(frozen=True)
class Track:
    """A timeline resolved for a clip.

    `alphas` holds one alpha per frame. `keys` holds (position, alpha) of each key: 0 is the first frame, 1 the last,
    and keys beyond the clip are above 1; positions are proportional to time if the timeline is `timed`, else to frame
    number. `unreached` says which value the clip is too short for, and how far it gets; empty if there is none.
    """

    alphas: tuple[Alpha, ...]
    keys: tuple[tuple[Fraction, Alpha], ...]
    unreached: str = ""

    def weakened(self, strength: float) -> Track:
        """The track with `weaken` applied to every alpha."""
        if strength == 1:
            return self
        weak = {alpha: weaken(alpha, strength) for alpha in self.alphas}  # equal alphas stay one tuple
        keys = tuple((place, weaken(alpha, strength)) for place, alpha in self.keys)
        return replace(self, alphas=tuple(weak[alpha] for alpha in self.alphas), keys=keys)


@dataclass(frozen=True)
class _Frames:
    """The frames of a clip, by `times` in frame numbers or seconds, and their rate."""

    times: Sequence[Fraction | int]
    fps: float

    @property
    def last(self) -> int:
        return len(self.times) - 1

    def number(self, offset: Fraction) -> float:
        """The frame number at a distance from the first frame, between frames and beyond the last too."""
        after = bisect_right(self.times, self.times[0] + offset)
        left = min(after, self.last) - 1
        if left < 0:
            return float(offset) if isinstance(self.times[0], int) else float(offset) * self.fps
        start, stop = self.times[left] - self.times[0], self.times[left + 1] - self.times[0]
        if after > self.last:  # at the mean rate
            start, left, stop = stop, self.last, stop + Fraction(stop) / self.last
        return float(left + (offset - start) / Fraction(stop - start))


@dataclass(frozen=True)
class Timeline:
    """Keyframes, the easing between them and the loop after them.

    If any position is in seconds, alpha is interpolated over time since the first frame, otherwise over frame numbers.
    Before the first key alpha holds its value. After the last key, `repeat` has a period of last - first and shows the
    last value at each boundary; `ping-pong` runs back and forth. Without `extrapolate` alpha stays within the convex
    hull of the endpoints: an easing that overshoots is clamped at the hull. An expression is evaluated at every frame
    from its key to the next; before it, alpha moves towards its value at its own key.

    Raises:
        TimelineError: there are no keyframes, or positions of the same unit do not increase.
    """

    keyframes: tuple[Keyframe, ...]
    easing: Easing
    loop: Loop = Loop.NONE
    extrapolate: bool = False

    def __post_init__(self) -> None:
        if not self.keyframes:
            raise TimelineError("keyframes: empty; expected POSITION:VALUE[@EASING], for example 0:0,end:1")
        latest: dict[tuple[str, bool], Position] = {}
        for count, position in enumerate((key.position for key in self.keyframes), 1):
            unit_and_sign = position.unit, position.value < 0
            if unit_and_sign in latest and position.value <= latest[unit_and_sign].value:
                order = f"{position} comes after {latest[unit_and_sign]} (key {count})"
                raise TimelineError(f"keyframes: {order}; positions must increase")
            latest[unit_and_sign] = position

    def __str__(self) -> str:
        return ", ".join(key.text for key in self.keyframes)

    @classmethod
    def parse(cls, text: str, *, easing: str = "linear", loop: str = "none", extrapolate: bool = False) -> Timeline:
        """Parses `POSITION:VALUE[@EASING], ...`; `easing` is the default for keys without one.

        Raises:
            TimelineError: the text, the easing or the loop is invalid.
        """
        if loop not in tuple(Loop):
            raise TimelineError(f"unknown loop {quote(loop)}; expected {', '.join(Loop)}")
        if len(text) > MAX_CHARACTERS:
            raise TimelineError(f"keyframes: {len(text)} characters, expected at most {MAX_CHARACTERS}")
        keys = tuple(parse_keyframe(key, count, extrapolate) for count, key in enumerate(split_keyframes(text), 1))
        return cls(keys, parse_easing(easing), Loop(loop), extrapolate)

    def resolve(self, endpoints: Sequence[str], seconds: Sequence[Fraction]) -> Track:
        """The alphas of a clip whose rendered frames are shown at `seconds`, increasing.

        If two keys fall on the same position because one of them is relative to the end of the clip, the later key
        wins.

        Raises:
            TimelineError: an unknown endpoint, a frame before the first, positions that do not increase in this clip,
            or an expression whose value at a frame is not finite or, without `extrapolate`, outside 0..1.
        """
        check_frames(seconds)
        times: Sequence[Fraction | int] = seconds if self.timed else range(len(seconds))
        clip = _Frames(times, _frame_rate(seconds))
        resolved = self._resolve_keys(endpoints, clip)
        scale, ticks, frames = _in_ticks(times, resolved)
        alphas: list[Alpha] = []
        for frame, tick in enumerate(frames):
            looped = loop_tick(tick, ticks[0], ticks[-1], self.loop)
            latest = bisect_right(ticks, looped) - 1
            at_frame = resolved[latest].at_frame if latest >= 0 else None
            if at_frame is None:
                alphas.append(self._alpha_at(looped, latest, ticks, resolved, endpoints))
            else:
                number = frame if looped == tick else clip.number(Fraction(looped, scale))
                alphas.append(alpha_along_path(at_frame(number), endpoints))
        span = Fraction(times[-1] - times[0])
        keys = ((stop.offset / span if span else stop.offset and stop.offset + 1, stop.alpha) for stop in resolved)
        return Track(tuple(alphas), tuple(keys), _unreached(resolved, alphas[-1], span, endpoints, clip.last))

    def ways(self, endpoints: Sequence[str], seconds: Sequence[Fraction]) -> list[Way | None]:
        """For each frame the way between the keys around it; None where alpha does not move between two keys, or is an
        expression. TimelineError: see `resolve`."""
        times: Sequence[Fraction | int] = seconds if self.timed else range(len(seconds))
        resolved = self._resolve_keys(endpoints, _Frames(times, _frame_rate(seconds)))
        _, ticks, frames = _in_ticks(times, resolved)
        found: list[Way | None] = []
        for tick in frames:
            looped = loop_tick(tick, ticks[0], ticks[-1], self.loop)
            latest = bisect_right(ticks, looped) - 1
            start, stop = resolved[max(latest, 0)], resolved[min(latest + 1, len(resolved) - 1)]
            if start.at_frame is not None or start.alpha == stop.alpha:
                found.append(None)
                continue
            found.append(way_between(start, stop, _progress(looped, latest, ticks, start), endpoints))
        return found

    @property
    def timed(self) -> bool:
        """Whether alpha is interpolated over time rather than over frame numbers."""
        return any(key.position.unit == "seconds" for key in self.keyframes)

    def num_frames(self, fps: Fraction) -> int:
        """Number of frames to show a still image for, so that every key is reached.

        At least 25 if a key is relative to the end of the clip; absolute keys before it then keep a frame of their own.
        25 from the last key on if that is an expression.
        """
        *others, last = (key.position for key in self.keyframes)
        moves = isinstance(self.keyframes[-1].value, Expression) and not last.is_relative
        return max(
            _frames_to_show(last, fps) + (_MIN_STILL_FRAMES - 1 if moves else 0),
            *(_frames_to_show(position, fps) + (not position.is_relative) for position in others),
            1,
        )

    def is_closed(self, endpoints: Sequence[str]) -> bool:
        """Whether the keys form a cycle: there are two or more, and the last has the alpha of the first."""
        keys = self.keyframes
        if any(isinstance(key.value, Expression) for key in (keys[0], keys[-1])):
            return False
        return len(keys) > 1 and keys[0].alpha(endpoints) == keys[-1].alpha(endpoints)

    def _resolve_keys(self, endpoints: Sequence[str], clip: _Frames) -> list[ResolvedKey]:
        resolved: list[ResolvedKey] = []
        for count, key in enumerate(self.keyframes, 1):
            stop = self._resolve_key(key, count, endpoints, clip)
            before = self.keyframes[count - 2].position
            if resolved and stop.offset <= resolved[-1].offset:
                if stop.offset < resolved[-1].offset or not (before.is_relative or key.position.is_relative):
                    order = f"{key.position} is listed after {before} (key {count}) but is not later"
                    length = describe_clip(len(clip.times))
                    raise TimelineError(f"keyframes: {order}; {length}, and positions must increase")
                resolved.pop()
            resolved.append(stop)
        return resolved

    def _resolve_key(self, key: Keyframe, count: int, endpoints: Sequence[str], clip: _Frames) -> ResolvedKey:
        label, easing = f"{quote(key.text)} (key {count})", key.easing or self.easing
        try:
            offset = key.position.offset(clip.times)
            if not isinstance(key.value, Expression):
                number = float(key.value) if isinstance(key.value, Fraction) else None
                return ResolvedKey(label, offset, number, key.alpha(endpoints), easing)
        except TimelineError as error:
            raise with_key_context(key.text, count, error) from error
        expression = key.value

        def at_frame(frame: float) -> float:
            value = expression(frame, clip.last, clip.fps)
            try:
                return _in_range(value, frame, self.extrapolate)
            except TimelineError as error:
                raise with_key_context(key.text, count, error) from error

        number = at_frame(clip.number(offset))
        return ResolvedKey(label, offset, number, alpha_along_path(number, endpoints), easing, at_frame)

    def _alpha_at(
        self, tick: int, index: int, ticks: Sequence[int], resolved: Sequence[ResolvedKey], endpoints: Sequence[str]
    ) -> Alpha:
        """Alpha at a tick from key `index` on, -1 before the first."""
        if index < 0 or index == len(resolved) - 1:
            return resolved[max(index, 0)].alpha
        start, stop = resolved[index], resolved[index + 1]
        progress = _progress(tick, index, ticks, start)
        return interpolate(start, stop, progress, endpoints, self.extrapolate)


def path_position(alpha: Alpha, endpoints: Sequence[str] = ()) -> float:
    """Position of `alpha` along the path of `endpoints`, evenly spaced by default: 0 is the first one, 1 the last."""
    if isinstance(endpoints, Endpoints):
        return sum(coefficient * at for coefficient, at in zip(alpha, endpoints.positions, strict=False))
    return sum(coefficient * index for index, coefficient in enumerate(alpha)) / max(1, len(alpha) - 1)


def _frame_rate(seconds: Sequence[Fraction]) -> float:
    """Frames per second, the mean over the clip."""
    span = seconds[-1] - seconds[0]
    return float((len(seconds) - 1) / span) if span else float(1 / SINGLE_FRAME_DURATION)


def _in_range(value: float, frame: float, extrapolate: bool) -> float:
    """The value of an expression at a frame, if it can be one."""
    at = f"at frame {frame:g}"
    if not math.isfinite(value):
        raise TimelineError(f"the value {at} is {value}, expected a finite number")
    if extrapolate and abs(value) <= MAX_COEFFICIENT:
        return value
    if extrapolate:
        limits = f"extrapolate=True allows -{MAX_COEFFICIENT} to {MAX_COEFFICIENT}"
        raise TimelineError(f"the value {at} is {value:g}, out of range; {limits}")
    if not -_ROUNDING <= value <= 1 + _ROUNDING:
        raise TimelineError(
            f"the value {at} is {value:.12g}, outside 0..1; use extrapolate=True to go beyond the endpoints"
        )
    return min(max(value, 0.0), 1.0)


def _unreached(resolved: Sequence[ResolvedKey], end: Alpha, span: Fraction, endpoints: Sequence[str], last: int) -> str:
    """`Track.unreached` of a clip that lasts `span` and whose last frame, number `last`, has the alpha `end`."""
    index = next((i for i, key in enumerate(resolved) if i and key.offset > span and key.alpha != end), None)
    if index is None:
        return ""
    before, key = resolved[index - 1 : index + 1]
    along = before.number is not None and key.number is not None
    got, wanted = (
        (f"{path_position(end, endpoints):.3f}", f"{key.number:.3f}") if along else (_mix(end, endpoints, 3), "")
    )
    if got == wanted:
        got = f"{path_position(end, endpoints):.9g}"
    return (
        f"keyframes: {key.label} is behind the last frame, {last}: its value is not reached, the last frame has {got}"
    )


def _mix(alpha: Alpha, endpoints: Sequence[str], digits: int) -> str:
    parts = [(weight, name) for weight, name in zip(alpha, endpoints, strict=True) if weight]
    return "+".join(f"{weight:.{digits}f}*{name}" if weight != 1 else name for weight, name in parts)


def _frames_to_show(position: Position, fps: Fraction) -> int:
    """Number of frames of the shortest clip at `fps` that includes this position."""
    if position.is_relative:
        return max(_MIN_STILL_FRAMES, -int(position.value))
    return math.ceil(position.value * fps if position.unit == "seconds" else position.value) + 1


def _in_ticks(times: Sequence[Fraction | int], resolved: Sequence[ResolvedKey]) -> tuple[int, list[int], Iterator[int]]:
    """Ticks per unit of `times`, the ticks of the keys, and those of the frames: every time is an exact integer in
    them, so that a million frames need no fraction arithmetic."""
    scale = math.lcm(*{time.denominator for time in times}, *{stop.offset.denominator for stop in resolved})
    start = int(times[0] * scale)
    frames = (time.numerator * (scale // time.denominator) - start for time in times)
    return scale, [int(stop.offset * scale) for stop in resolved], frames


def _progress(tick: int, index: int, ticks: Sequence[int], start: ResolvedKey) -> float:
    """How far a tick is from key `index`, which is `start`, to the next, eased."""
    return start.easing((tick - ticks[index]) / (ticks[index + 1] - ticks[index]))

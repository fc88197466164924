"""Keyframes at an even pace: with keys between two, so that equal times bring equal change of the picture.

Along a `Line`, from the value of one key to that of the next, let d_i be how much the picture changes from sample i to
sample i + 1, and L(p) the share of the sum that is reached at progress p, linear between samples. The progress at which
a share s is reached is L^-1(s): alpha at a time with eased progress e becomes that of progress L^-1(e).
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from dnirender.errors import TimelineError
from dnirender.timeline.easing import Easing, quote
from dnirender.timeline.expression import Expression
from dnirender.timeline.keyframes import Keyframe, Mix, alpha_along_path, alpha_of
from dnirender.timeline.parser import MAX_CHARACTERS, MAX_KEYS
from dnirender.timeline.simplification import simplified
from dnirender.timeline.timeline import Timeline

if TYPE_CHECKING:
    from dnirender.frames import Alpha

STEPS = 32  # in which a line is measured, at least
STEPS_PER_ENDPOINT = 16
LEAST = 0.02  # of the mean change: that of a step that changes nothing, so that progress never jumps
TOLERANCE = 0.001  # of progress: how far keyframes may be from it
APART = Fraction(1, 10_000)  # seconds between two keys, at least


@dataclass(frozen=True)
class Line:
    """What alpha follows from one key to the next: the path of endpoints between two numbers, else a straight line."""

    start: Fraction | Mix
    stop: Fraction | Mix

    @property
    def reverse(self) -> Line:
        return Line(self.stop, self.start)

    def alpha(self, progress: float, endpoints: Sequence[str]) -> Alpha:
        """The alpha at `progress`, 0..1."""
        if isinstance(self.start, Fraction) and isinstance(self.stop, Fraction):
            return alpha_along_path(_between(self.start, self.stop, progress), endpoints)
        ends = zip(alpha_of(self.start, endpoints), alpha_of(self.stop, endpoints), strict=True)
        return tuple(_between(a, b, progress) for a, b in ends)

    def samples(self, endpoints: Sequence[str]) -> list[Alpha]:
        """The alphas between which change is measured, at even steps of progress."""
        steps = STEPS
        if isinstance(self.start, Fraction) and isinstance(self.stop, Fraction):
            steps = max(steps, round(abs(self.stop - self.start) * (len(endpoints) - 1) * STEPS_PER_ENDPOINT))
        return [self.alpha(step / steps, endpoints) for step in range(steps + 1)]

    def text(self, progress: float, endpoints: Sequence[str]) -> str:
        """The value at `progress` as keyframes have it."""
        if isinstance(self.start, Fraction) and isinstance(self.stop, Fraction):
            return f"{_between(self.start, self.stop, progress):.6f}"
        alpha = [round(Fraction(share), 6) for share in self.alpha(progress, endpoints)]
        largest = alpha.index(max(alpha))
        alpha[largest] += 1 - sum(alpha)
        terms = [f"{float(share):+.6f}*{name}" for share, name in zip(alpha, endpoints, strict=True) if share]
        return "".join(terms).removeprefix("+")


Changes = Mapping[Line, Sequence[float]]
"""How much the picture changes from each sample of a line to the next, in any unit."""


def lines(timeline: Timeline) -> dict[Line, int]:
    """The different lines of a timeline along which alpha moves, one of two that are each other's reverse, and the
    index of the key at which each one begins first.

    TimelineError: an expression, which has a pace of its own.
    """
    found = dict[Line, int]()
    for index, (one, two) in enumerate(itertools.pairwise(timeline.keyframes)):
        line = Line(_value(one), _value(two))
        if line.start != line.stop and line.reverse not in found:
            found.setdefault(line, index)
    return found


def paced_keyframes(timeline: Timeline, endpoints: Sequence[str], seconds: Sequence[Fraction], changes: Changes) -> str:
    """The keyframes of a timeline, and such between them that a clip whose frames are shown at `seconds` changes
    evenly. `changes` has all `lines`. Between the keyframes that are returned alpha is linear.
    """
    times: Sequence[Fraction | int] = seconds if timeline.timed else range(len(seconds))
    parts, last = _parts(timeline, times, changes), _bare(timeline.keyframes[-1])
    tolerance = TOLERANCE
    while True:
        keys = [*(text for part in parts for text in part.keys(tolerance, endpoints)), last]
        text = ", ".join(keys)
        if len(text) <= MAX_CHARACTERS and len(keys) <= MAX_KEYS:
            return text
        tolerance *= 2


def progress_at(share: float, changes: Sequence[float]) -> float:
    """The progress, 0..1, at which `share` of all change is reached; beyond 0..1, where easings overshoot, `share`."""
    if not 0 < share < 1:
        return share
    mean = sum(changes) / len(changes)
    steps = [max(change, LEAST * mean) for change in changes] if mean else [1.0] * len(changes)
    reached = list(itertools.accumulate(steps, initial=0.0))
    wanted = share * reached[-1]
    index = min(bisect_right(reached, wanted) - 1, len(steps) - 1)
    return (index + (wanted - reached[index]) / steps[index]) / len(steps)


@dataclass(frozen=True)
class _Part:
    """A key, and the frames between it and the next: their positions as text, their places 0..1 and their progress."""

    key: str
    line: Line
    positions: Sequence[str]
    places: Sequence[float]
    progress: Sequence[float]

    def keys(self, tolerance: float, endpoints: Sequence[str]) -> list[str]:
        between = simplified(self.places, self.progress, tolerance)[1:-1]
        texts = (f"{self.positions[i - 1]}:{self.line.text(self.progress[i], endpoints)}" for i in between)
        return [self.key, *texts]


def _parts(timeline: Timeline, times: Sequence[Fraction | int], changes: Changes) -> list[_Part]:
    keys = timeline.keyframes
    offsets = [key.position.offset(times) for key in keys]
    apart, unit = (APART, "s") if timeline.timed else (0, "")
    parts: list[_Part] = []
    pairs = zip(itertools.pairwise(keys), itertools.pairwise(offsets), strict=True)
    for (key, following), (start, stop) in pairs:
        line = Line(_value(key), _value(following))
        first, last = bisect_right(times, times[0] + start + apart), bisect_left(times, times[0] + stop - apart)
        between = [time - times[0] for time in times[first:last]] if line.start != line.stop else []
        places = [0.0, *(float((time - start) / (stop - start)) for time in between), 1.0]
        progress = _progresses(places, key.easing or timeline.easing, line, changes) if between else places
        positions = [f"{_number(time)}{unit}" for time in between]
        parts.append(_Part(_bare(key), line, positions, places, progress))
    return parts


def _progresses(places: Sequence[float], easing: Easing, line: Line, changes: Changes) -> list[float]:
    if line in changes:
        return [progress_at(easing(place), changes[line]) for place in places]
    backward = list(reversed(changes[line.reverse]))
    return [progress_at(easing(place), backward) for place in places]


def _bare(key: Keyframe) -> str:
    """The text of a key without its easing."""
    return key.text.partition("@")[0]


def _value(key: Keyframe) -> Fraction | Mix:
    if isinstance(key.value, Expression):
        raise TimelineError(
            f"pace='perceptual': {quote(key.text)} has a pace of its own; expected numbers or endpoints"
        )
    return key.value


def _between(start: float | Fraction, stop: float | Fraction, progress: float) -> float:
    return float(start) + float(stop - start) * progress


def _number(time: Fraction | int) -> str:
    return str(time) if isinstance(time, int) else f"{float(time):.6f}".rstrip("0").rstrip(".")

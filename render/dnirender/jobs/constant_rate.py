"""A constant frame rate for editors that need one: frames are repeated or dropped, and nothing else is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import median

from dnirender.encoding.sink import FrameTiming
from dnirender.errors import UsageError
from dnirender.jobs.options import NTSC

COMMON = tuple(sorted((*NTSC, *(Fraction(rate) for rate in (24, 25, 30, 48, 50, 60, 100, 120)))))
NEAR = Fraction(1, 100)  # a measured rate this near a common one is that one; 29.97 and 30 are 1/1000 apart
MAX_FRAMES = 10_000_000
MIN_UNIT = 90_000  # ticks per second, for the start of a video that does not begin at zero


@dataclass(frozen=True)
class ConstantRate:
    """Which frame each tick of `rate` shows.

    shown: for each tick, the number of the frame, not decreasing
    repeated, dropped: how many ticks show the frame of the tick before, and how many frames are not shown
    """

    rate: Fraction
    shown: tuple[int, ...]
    repeated: int
    dropped: int

    def __str__(self) -> str:
        return f"{_rate_text(self.rate)} frames/s, {self.repeated} repeated and {self.dropped} dropped"


def nominal_rate(seconds: Sequence[Fraction], end: Fraction) -> Fraction:
    """The rate at which the frames were probably made, from their times; `end` is that of the last one.

    Gaps do not count: it is the mean of the durations around their median, or a common rate near that. Of common rates
    that the jitter does not tell apart (29.97 and 30) it is the whole number.
    """
    times = seconds if len(seconds) > 1 else (*seconds, end)  # the duration of the last frame is often a guess
    steps = [after - before for before, after in pairwise(times)]
    middle = median(steps)
    usual = [step for step in steps if middle / 2 <= step <= middle * 3 / 2]
    total = sum(usual, Fraction(0))
    rate = len(usual) / total
    uncertain = (max(usual) - min(usual)) / total * rate
    near = [known for known in (*COMMON, Fraction(max(1, round(rate)))) if abs(known - rate) <= NEAR * rate]
    if not near:
        return rate.limit_denominator(1001)
    best = min(near, key=lambda known: abs(known - rate))
    return next((known for known in near if known.denominator == 1 and abs(known - rate) <= uncertain), best)


def resample(seconds: Sequence[Fraction], end: Fraction, rate: Fraction) -> ConstantRate:
    """Shows every frame from the tick nearest to its time; of frames with the same tick, the nearest one to it, and the
    last one if the next tick has none.

    `seconds` are the times of the frames, increasing, and `end` that of the end of the last one. Raises UsageError for
    more than MAX_FRAMES ticks.
    """
    places = [(time - seconds[0]) * rate for time in seconds]
    nearest, last = dict[int, int](), dict[int, int]()
    for number, place in enumerate(places):
        tick = _round_half_up(place)
        if tick not in nearest or abs(place - tick) <= abs(places[nearest[tick]] - tick):
            nearest[tick] = number
        last[tick] = number
    length = (end - seconds[0]) * rate
    count = max(1, _round_half_up(length))
    if count in last and length - places[-1] > Fraction(1, 2):  # else the last frame is left out
        count += 1
    if count > MAX_FRAMES:
        raise UsageError(f"cfr={_rate_text(rate)}: gives {count} frames, expected at most {MAX_FRAMES}")
    shown, current = list[int](), 0
    for tick in range(count):
        shown.append(nearest.get(tick, current))
        current = last.get(tick, current)
    distinct = len(set(shown))
    return ConstantRate(rate, tuple(shown), count - distinct, len(seconds) - distinct)


def constant_timing(start: Fraction, count: int, rate: Fraction) -> FrameTiming:
    """The timing of `count` frames from `start` seconds, exact but for the start, which is rounded to a tick."""
    subdivision = 1 if start == 0 else -(-MIN_UNIT // rate.numerator)
    base, step = Fraction(1, rate.numerator * subdivision), rate.denominator * subdivision
    first = round(start / base)
    return FrameTiming(tuple(first + step * number for number in range(count)), base, step)


def _round_half_up(value: Fraction) -> int:
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def _rate_text(rate: Fraction) -> str:
    return f"{float(rate):.6g}"

"""What lies between two keyframes that were resolved for a clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from dnirender.timeline.easing import Easing
from dnirender.timeline.keyframes import Loop, alpha_along_path, positions_of

if TYPE_CHECKING:
    from dnirender.frames import Alpha


@dataclass(frozen=True)
class ResolvedKey:
    """A keyframe resolved for a clip; `number` is its value along the path of endpoints, None for a mix.

    `label` is how messages call it. `at_frame` gives the number at any frame until the next key, None where the value
    is not an expression.
    """

    label: str
    offset: Fraction
    number: float | None
    alpha: Alpha
    easing: Easing
    at_frame: Callable[[float], float] | None = None


@dataclass(frozen=True)
class Way:
    """The way from one key to the next, and how far along it a frame is.

    alphas: the mixtures at `nodes`, which increase from 0 to 1; straight between two of them
    progress: 0..1, eased
    """

    nodes: tuple[float, ...]
    alphas: tuple[Alpha, ...]
    progress: float


def way_between(start: ResolvedKey, stop: ResolvedKey, progress: float, endpoints: Sequence[str]) -> Way:
    """Between two numbers it has a node at every endpoint that it passes. `progress` is clamped to 0..1."""
    inner: dict[float, Alpha] = {}
    if start.number is not None and stop.number is not None and start.number != stop.number:
        for index, position in enumerate(positions_of(endpoints)):
            place = (position - start.number) / (stop.number - start.number)
            if 0 < place < 1:
                inner[place] = tuple(float(k == index) for k in range(len(endpoints)))
    nodes = sorted(inner)
    alphas = (start.alpha, *(inner[node] for node in nodes), stop.alpha)
    return Way((0.0, *nodes, 1.0), alphas, min(max(progress, 0.0), 1.0))


def loop_tick(tick: int, first: int, last: int, loop: Loop) -> int:
    """Maps `tick` to the tick between `first` and `last` that has its alpha, according to `loop`."""
    period = last - first
    if tick <= last or loop == Loop.NONE or not period:
        return tick
    if loop == Loop.REPEAT:
        return last - (last - tick) % period
    phase = (tick - first) % (2 * period)
    return first + min(phase, 2 * period - phase)


def interpolate(
    start: ResolvedKey, stop: ResolvedKey, progress: float, endpoints: Sequence[str], extrapolate: bool
) -> Alpha:
    """Alpha at `progress` (0..1, or beyond when an easing overshoots) between two keys.

    Between two numbers it follows the path of endpoints, otherwise a straight line.
    """
    if progress == 0 or start.alpha == stop.alpha:
        return start.alpha
    if progress == 1:
        return stop.alpha
    if start.number is not None and stop.number is not None:
        number = start.number + (stop.number - start.number) * progress
        return alpha_along_path(number if extrapolate else min(max(number, 0.0), 1.0), endpoints)
    pairs = tuple(zip(start.alpha, stop.alpha, strict=True))
    if extrapolate:
        return tuple(a * (1 - progress) + b * progress for a, b in pairs)
    # A coefficient becomes 0 at a / (a - b), which is <= 0 or >= 1: there the straight line leaves the convex hull.
    exits = [a / (a - b) for a, b in pairs if a != b]
    progress = min([progress, *(crossing for crossing in exits if crossing >= 1)])
    progress = max([progress, *(crossing for crossing in exits if crossing <= 0)])
    return tuple(max(a * (1 - progress) + b * progress, 0.0) for a, b in pairs)

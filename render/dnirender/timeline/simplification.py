"""Fewer points on a curve."""

from __future__ import annotations

from collections.abc import Sequence


def simplified(places: Sequence[float], values: Sequence[float], tolerance: float) -> list[int]:
    """The indices of the points between which straight lines are at most `tolerance` away from all other values, the
    first and the last among them (Ramer 1972; Douglas and Peucker 1973). `places` increase."""
    kept = {0, len(values) - 1}
    open_parts = [(0, len(values) - 1)]
    while open_parts:
        first, last = open_parts.pop()
        if last - first < 2:
            continue
        start, slope = values[first], (values[last] - values[first]) / (places[last] - places[first])
        away = [
            abs(value - start - slope * (place - places[first]))
            for place, value in zip(places[first : last + 1], values[first : last + 1], strict=True)
        ]
        worst = max(range(len(away)), key=away.__getitem__)
        if away[worst] > tolerance:
            kept.add(first + worst)
            open_parts += [(first, first + worst), (first + worst, last)]
    return sorted(kept)

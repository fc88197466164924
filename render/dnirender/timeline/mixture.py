"""A mixture of endpoints as Python has it: a position along their path, coefficients, or coefficients by name."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING

from dnirender.errors import UsageError
from dnirender.timeline.easing import quote
from dnirender.timeline.keyframes import alpha_along_path

if TYPE_CHECKING:
    from dnirender.frames import Alpha

Mixture = float | tuple[float, ...] | Mapping[str, float]
"""A number along the path of endpoints (0 the first, 1 the last), one coefficient for each, or some by name."""
SUM_TOLERANCE = 1e-5  # thirds may be written with six digits


def as_alpha(value: Mixture, endpoints: Sequence[str], *, extrapolate: bool = False) -> Alpha:
    """The coefficients of a mixture, in the order of `endpoints`; names that are not mentioned have 0.

    UsageError: another type or length, an unknown name, a sum other than 1, or, unless `extrapolate`, a number
    outside 0..1.
    """
    if isinstance(value, Mapping):
        alpha = _by_name(value, endpoints)
    elif isinstance(value, tuple):
        alpha = tuple(_number(coefficient) for coefficient in value)
        if len(alpha) != len(endpoints):
            raise UsageError(
                f"alpha: expected {len(endpoints)} coefficients ({', '.join(endpoints)}), got {len(alpha)}"
            )
    else:
        position = _number(value)
        _check_range(position, extrapolate)
        return alpha_along_path(position, endpoints)
    for coefficient in alpha:
        _check_range(coefficient, extrapolate)
    if abs(sum(alpha) - 1) > SUM_TOLERANCE:
        raise UsageError(f"alpha: expected coefficients that sum to 1, got {value!r}, which sums to {sum(alpha):.6g}")
    return alpha


def with_tracks(
    alphas: Sequence[Alpha],
    tracks: Mapping[str, Mixture],
    endpoints: Sequence[str],
    groups: Sequence[str],
    *,
    extrapolate: bool = False,
) -> list[Alpha]:
    """Alphas that hold the coefficients of `groups` of layers too: those of `tracks`, elsewhere those of all layers.

    UsageError: a track of no group, or see `as_alpha`.
    """
    for pattern in tracks:
        if pattern not in groups:
            known = ", ".join(groups) or "none; load(..., groups=[...]) makes them"
            raise UsageError(f"tracks='{pattern}': expected a group of the path's layers, which are {known}")
    own = {pattern: as_alpha(value, endpoints, extrapolate=extrapolate) for pattern, value in tracks.items()}
    return [sum((own.get(pattern, alpha) for pattern in groups), alpha) for alpha in alphas]


def _by_name(value: Mapping[str, float], endpoints: Sequence[str]) -> Alpha:
    for name in value:
        if name not in endpoints:
            close = difflib.get_close_matches(str(name), endpoints, 1)
            hint = f"did you mean {close[0]}?" if close else f"expected {', '.join(endpoints)}"
            raise UsageError(f"alpha: unknown endpoint {quote(str(name))}; {hint}")
    return tuple(_number(value.get(name, 0.0)) for name in endpoints)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise UsageError(f"alpha: expected a finite number, a tuple of coefficients or a dict by name, got {value!r}")
    return float(value)


def _check_range(number: float, extrapolate: bool) -> None:
    if not (extrapolate or 0 <= number <= 1):
        raise UsageError(f"alpha: expected 0 to 1, got {number:g}; extrapolate=True allows other numbers")

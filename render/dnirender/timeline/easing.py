"""Easings: the curves along which alpha moves from one keyframe to the next.

The names are those of easings.net, in camel case or with hyphens, and of CSS.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fractions import Fraction

from dnirender.errors import TimelineError

MAX_COEFFICIENT = 100  # for extrapolated values and easings; above it, floats no longer sum to 1 within 1e-12

NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?"

Curve = Callable[[float], float]


@dataclass(frozen=True)
class Easing:
    """A curve over 0..1 that returns exactly 0 at 0 and exactly 1 at 1, even if `curve` jumps there.

    Two easings are equal when their names are.
    """

    name: str
    curve: Curve = field(compare=False, repr=False)

    def __call__(self, t: float) -> float:
        return t if t in (0.0, 1.0) else self.curve(t)

    def __str__(self) -> str:
        return self.name


_SHAPES = "sine, quad, cubic, quart, quint, expo, circ, back, elastic, bounce"
_KNOWN_EASINGS = (
    "linear, hold, smooth, ease, ease-in, ease-out, ease-in-out, cubic-bezier(a, b, c, d), steps(n) "
    f"or ease-in-SHAPE, ease-out-SHAPE, ease-in-out-SHAPE where SHAPE is one of {_SHAPES}"
)


def parse_easing(text: str) -> Easing:
    """Parses an easing name, in camel case or with hyphens, or a CSS function.

    Raises:
        TimelineError: the name is unknown or the arguments are invalid.
    """
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", text.strip()).lower()
    if name in _EASINGS:
        return Easing(name, _EASINGS[name])
    function = re.fullmatch(r"(cubic-bezier|steps) ?\((.*)\)", name)
    if function:
        arguments = [argument.strip() for argument in function[2].split(",")]
        return _parse_bezier(text, arguments) if function[1] == "cubic-bezier" else _parse_steps(text, arguments)
    known = [*_EASINGS, "cubic-bezier(a, b, c, d)", "steps(n)"]
    suggestions = get_close_matches(name[:60], known) or [word for word in known if name and name in word]
    hint = f"did you mean {' or '.join(suggestions)}?" if suggestions else f"expected {_KNOWN_EASINGS}"
    raise TimelineError(f"unknown easing {quote(text)}; {hint}")


def _parse_bezier(text: str, arguments: Sequence[str]) -> Easing:
    numbers = [parse_number(argument) for argument in arguments]
    x1, y1, x2, y2 = (None if n is None else float(n) for n in (numbers if len(numbers) == 4 else [None] * 4))
    if x1 is None or y1 is None or x2 is None or y2 is None:
        raise TimelineError(f"{quote(text)}: expected cubic-bezier(a, b, c, d), four numbers")
    if not (0 <= x1 <= 1 and 0 <= x2 <= 1 and abs(y1) <= MAX_COEFFICIENT and abs(y2) <= MAX_COEFFICIENT):
        limits = f"a and c in 0..1, b and d in -{MAX_COEFFICIENT}..{MAX_COEFFICIENT}"
        raise TimelineError(f"{quote(text)}: expected cubic-bezier(a, b, c, d) with {limits}")
    return Easing(f"cubic-bezier({x1:.17g}, {y1:.17g}, {x2:.17g}, {y2:.17g})", _bezier_curve(x1, y1, x2, y2))


def _bezier_curve(x1: float, y1: float, x2: float, y2: float) -> Curve:
    """CSS cubic-bezier: y(s) where x(s) = t, with x(s) = 3(1-s)^2 s x1 + 3(1-s) s^2 x2 + s^3 and the same for y."""

    def bezier(s: float, first: float, second: float) -> float:
        return 3 * (1 - s) * s * ((1 - s) * first + s * second) + s**3

    def curve(t: float) -> float:
        low, high = 0.0, 1.0
        # x increases with s, so bisection converges; as |dx/ds| <= 3, the error is at most 3 * 2**-48
        for _ in range(48):
            middle = (low + high) / 2
            low, high = (middle, high) if bezier(middle, x1, x2) < t else (low, middle)
        return bezier(high, y1, y2)

    return curve


def _parse_steps(text: str, arguments: Sequence[str]) -> Easing:
    """CSS steps(n, jump): n levels, with a jump at the start, at the end, at both ends or at neither."""
    number, jump = parse_number(arguments[0]), arguments[1] if len(arguments) == 2 else "jump-end"
    if number is None or number.denominator != 1 or len(arguments) > 2 or jump not in _JUMPS:
        raise TimelineError(f"{quote(text)}: expected steps(n) or steps(n, {'|'.join(_JUMPS)}), n an integer")
    first, extra = _JUMPS[jump]
    count, jumps = int(number), int(number) + extra
    if jumps < 1 or count < 1:
        raise TimelineError(f"{quote(text)}: expected at least {max(1, 1 - extra)} steps")
    # In floats 29 / 100 * 100 is just below 29: without 1e-9 a step that falls on a frame would come a frame late.
    return Easing(f"steps({count}, {jump})", lambda t: min(math.floor(t * count + 1e-9) + first, jumps) / jumps)


def parse_number(text: str) -> Fraction | None:
    """Parses a decimal exactly; None if `text` is not a decimal. The exponent is limited before any arithmetic.

    Raises:
        TimelineError: NaN, infinity, or a number too long or too large.
    """
    text = text.strip()
    if text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        raise TimelineError(f"{text} is not a finite number")
    if re.fullmatch(rf"[+-]?{NUMBER}", text, re.IGNORECASE) is None:
        return None
    if len(text) > 64 or not -400 < int(text.lower().partition("e")[2] or 0) < 100:
        raise TimelineError(f"the number {quote(text)} is out of range")
    return Fraction(text)


def quote(text: str) -> str:
    """Quotes user input on one line, truncated to 60 characters."""
    return json.dumps(text if len(text) <= 60 else text[:57] + "...", ensure_ascii=False)


_JUMPS = {"jump-start": (1, 0), "jump-end": (0, 0), "jump-none": (0, -1), "jump-both": (1, 1)}


def _bounce(t: float) -> float:
    """Four parabolas u^2 + height with u = 2.75 t - centre, reversed in time so that it eases in."""
    u = 2.75 * (1 - t)
    centre, height = (0.0, 0.0) if u < 1 else (1.5, 0.75) if u < 2 else (2.25, 0.9375) if u < 2.5 else (2.625, 0.984375)
    return 1 - (u - centre) ** 2 - height


def _back(overshoot: float) -> Curve:
    return lambda t: t * t * ((overshoot + 1) * t - overshoot)


def _elastic(period: float) -> Curve:
    return lambda t: -(2 ** (10 * t - 10)) * math.sin((t - 1 - period / 4) * 2 * math.pi / period)


def _in_out_variants(name: str, ease: Curve, half: Curve | None = None) -> dict[str, Curve]:
    """The in, out and in-out easings of one shape; `half` replaces `ease` in in-out where they differ."""
    in_out_half = half or ease
    return {
        f"ease-in-{name}": ease,
        f"ease-out-{name}": lambda t: 1 - ease(1 - t),
        f"ease-in-out-{name}": lambda t: in_out_half(2 * t) / 2 if t < 0.5 else 1 - in_out_half(2 - 2 * t) / 2,
    }


_EASINGS: dict[str, Curve] = {
    "linear": lambda t: t,
    "hold": lambda _: 0.0,
    "smooth": lambda t: t * t * (3 - 2 * t),
    "ease": _bezier_curve(0.25, 0.1, 0.25, 1),
    "ease-in": _bezier_curve(0.42, 0, 1, 1),
    "ease-out": _bezier_curve(0, 0, 0.58, 1),
    "ease-in-out": _bezier_curve(0.42, 0, 0.58, 1),
    **_in_out_variants("sine", lambda t: 1 - math.cos(t * math.pi / 2)),
    **_in_out_variants("quad", lambda t: t**2),
    **_in_out_variants("cubic", lambda t: t**3),
    **_in_out_variants("quart", lambda t: t**4),
    **_in_out_variants("quint", lambda t: t**5),
    **_in_out_variants("expo", lambda t: 2 ** (10 * t - 10)),
    **_in_out_variants("circ", lambda t: 1 - math.sqrt(1 - t * t)),
    **_in_out_variants("back", _back(1.70158), _back(1.70158 * 1.525)),
    **_in_out_variants("elastic", _elastic(0.3), _elastic(0.45)),
    **_in_out_variants("bounce", _bounce),
}

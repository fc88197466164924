"""Parses positions, values and keyframes from text."""

from __future__ import annotations

import re
from fractions import Fraction

from dnirender.errors import TimelineError
from dnirender.timeline.easing import MAX_COEFFICIENT, NUMBER, parse_easing, parse_number, quote
from dnirender.timeline.keyframes import Keyframe, Mix, Position

MAX_CHARACTERS = 100_000
MAX_KEYS = 10_000
# A minus ends a name only before `NUMBER*`: starry-night is one name, day-0.5*night is a difference.
_NAME = rf"\w(?:[\w.]|-(?! ?{NUMBER} ?\*))*"
_TERM = re.compile(rf" ?([+-]?) ?(?:({NUMBER}) ?\* ?)?({_NAME}) ?", re.IGNORECASE)
_TIMECODE = re.compile(r"(?:([0-9]+):)?([0-9]+):([0-9]+(?:\.[0-9]*)?)")
_VALUES = "a number 0..1, an endpoint's name or a mix such as 0.3*day+0.7*night"
_POSITIONS = "a frame (12, -1), a time (2.5s, 1:30, 00:01:30.500), 50% or end"


def parse_position(text: str) -> Position:
    """Parses a frame number, a time, a percentage or `end`.

    Raises:
        TimelineError: the text is none of these, or a time or percentage is negative.
    """
    normalized = re.sub(r" ?([:%s]) ?", r"\1", " ".join(text.lower().split()))
    if normalized == "end":
        return Position("fraction", Fraction(1), normalized)
    if timecode := _TIMECODE.fullmatch(normalized):
        return Position("seconds", _timecode_seconds(timecode), normalized)
    suffix = normalized[-1:] if normalized.endswith(("s", "%")) else ""
    number = parse_number(normalized.removesuffix(suffix))
    if number is None:
        raise TimelineError(f"unknown position {quote(text)}; expected {_POSITIONS}")
    if suffix and number < 0:
        raise TimelineError(f"{quote(text)} is before the first frame; only frame numbers may be negative, like -1")
    if suffix:
        return (
            Position("seconds", number, normalized) if suffix == "s" else Position("fraction", number / 100, normalized)
        )
    if number.denominator != 1:
        raise TimelineError(f"frame {normalized} is not an integer; for a time write {normalized}s")
    return Position("frame", number, normalized)


def _timecode_seconds(timecode: re.Match[str]) -> Fraction:
    hours, minutes, seconds = (parse_number(part or "0") or Fraction(0) for part in timecode.groups())
    if seconds >= 60 or (timecode[1] and minutes >= 60):
        raise TimelineError(
            f"{quote(timecode[0])} is not a valid timecode; seconds, and minutes after hours, must be below 60"
        )
    return (hours * 60 + minutes) * 60 + seconds


def parse_keyframe(text: str, count: int, extrapolate: bool) -> Keyframe:
    try:
        *position, value = split_outside_parentheses(text, ":")
        if not position:
            raise TimelineError("no colon between position and value; expected POSITION:VALUE[@EASING]")
        value, *easings = split_outside_parentheses(value, "@")
        if len(easings) > 1:
            raise TimelineError("two easings; expected POSITION:VALUE[@EASING]")
        easing = parse_easing(easings[0]) if easings else None
        return Keyframe(parse_position(":".join(position)), _parse_value(value.strip(), extrapolate), easing, text)
    except TimelineError as error:
        raise with_key_context(text, count, error) from error


def _parse_value(text: str, extrapolate: bool) -> Fraction | Mix:
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1].strip()
    if not text:
        raise TimelineError(f"the value is missing; expected {_VALUES}")
    number = parse_number(text)
    if number is None:
        return _parse_mix(text, extrapolate)
    if not extrapolate and not 0 <= number <= 1:
        raise TimelineError(f"{text} is outside 0..1; use extrapolate=True to go beyond the endpoints")
    if abs(number) > MAX_COEFFICIENT:
        raise TimelineError(f"{text} is out of range; extrapolate=True allows -{MAX_COEFFICIENT} to {MAX_COEFFICIENT}")
    return number


def _parse_mix(text: str, extrapolate: bool) -> Mix:
    """Parses a mix. Weights >= 0 are divided by their sum; if any is negative, they must already sum to 1."""
    weights = _parse_weights(text)
    total, lowest = sum(weights.values()), min(weights.values())
    if lowest < 0 and not extrapolate:
        raise TimelineError("a weight is negative; use extrapolate=True to go beyond the endpoints")
    if total == 0 or (lowest < 0 and total != 1):
        raise TimelineError(f"the weights sum to {float(total):g}; expected 1")
    if lowest < 0 and max(weights.values()) > MAX_COEFFICIENT:
        raise TimelineError(
            f"a weight is out of range; extrapolate=True allows -{MAX_COEFFICIENT} to {MAX_COEFFICIENT}"
        )
    return tuple((name, weight / total) for name, weight in weights.items())


def _parse_weights(text: str) -> dict[str, Fraction]:
    """The weight of each name in text like `0.3*monet + 0.7*wave`; a name without a number weighs 1."""
    weights: dict[str, Fraction] = {}
    stop = 0
    while stop < len(text):
        term = _TERM.match(text, stop)
        if term is None or (stop and not term[1]):
            raise TimelineError(f"cannot read {quote(text[stop:])}; expected {_VALUES}")
        if not term[2] and parse_number(term[3]) is not None:
            raise TimelineError(f"{term[3]} has no endpoint name; expected {_VALUES}")
        weight = (parse_number(term[2]) if term[2] else None) or Fraction(0 if term[2] else 1)
        weights[term[3]] = weights.get(term[3], Fraction(0)) + (-weight if term[1] == "-" else weight)
        stop = term.end()
    return weights


def split_outside_parentheses(text: str, separator: str) -> list[str]:
    """Splits `text` at each `separator` outside parentheses.

    Raises:
        TimelineError: unbalanced parentheses.
    """
    depth, starts, stops = 0, [0], list[int]()
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth < 0:
            break
        if character == separator and not depth:
            stops.append(index)
            starts.append(index + 1)
    if depth:
        raise TimelineError(f"keyframes: unbalanced parenthesis in {quote(text)}")
    return [text[start:stop] for start, stop in zip(starts, [*stops, len(text)], strict=True)]


def with_key_context(text: str, count: int, error: TimelineError) -> TimelineError:
    return TimelineError(f"keyframes: {quote(text)} (key {count}): {error}")

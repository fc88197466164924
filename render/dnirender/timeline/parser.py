"""The text form of positions, values and keyframes."""

from __future__ import annotations

import re
from fractions import Fraction

from dnirender.errors import TimelineError
from dnirender.timeline.easing import FARTHEST, NUMBER, parse_easing, parse_number, quote
from dnirender.timeline.keyframes import Keyframe, Mix, Position

MAX_CHARACTERS = 100_000
MAX_KEYS = 10_000
# A minus ends a name only before `NUMBER*`, so that starry-night is a name and day-0.5*night a difference.
_NAME = rf"\w(?:[\w.]|-(?! ?{NUMBER} ?\*))*"
_TERM = re.compile(rf" ?([+-]?) ?(?:({NUMBER}) ?\* ?)?({_NAME}) ?", re.IGNORECASE)
_TIMECODE = re.compile(r"(?:([0-9]+):)?([0-9]+):([0-9]+(?:\.[0-9]*)?)")
_VALUES = "a number 0..1, an endpoint's name or a mix such as 0.3*day+0.7*night"
_POSITIONS = "a frame (12, -1), a time (2.5s, 1:30, 00:01:30.500), 50% or end"


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


def parse_keyframe(text: str, count: int, extrapolate: bool) -> Keyframe:
    try:
        *position, value = split_outside_parentheses(text, ":")
        if not position:
            raise TimelineError("no colon between position and value; expected POSITION:VALUE[@EASING]")
        value, *easings = split_outside_parentheses(value, "@")
        if len(easings) > 1:
            raise TimelineError("two easings; expected POSITION:VALUE[@EASING]")
        easing = parse_easing(easings[0]) if easings else None
        return Keyframe(parse_position(":".join(position)), _value(value.strip(), extrapolate), easing, text)
    except TimelineError as error:
        raise at_key(text, count, error) from error


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


def split_outside_parentheses(text: str, mark: str) -> list[str]:
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


def at_key(text: str, count: int, error: TimelineError) -> TimelineError:
    return TimelineError(f"keyframes: {quote(text)} (key {count}): {error}")

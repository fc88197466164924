"""Parses positions, values and keyframes from text."""

from __future__ import annotations

import re
from fractions import Fraction

from dnirender.errors import TimelineError, with_notes
from dnirender.timeline.easing import MAX_COEFFICIENT, NUMBER, parse_easing, parse_number, quote
from dnirender.timeline.expression import VARIABLES, Expression, parse_expression, point_at
from dnirender.timeline.keyframes import Keyframe, Mix, Position

MAX_CHARACTERS = 100_000
MAX_KEYS = 10_000
QUOTES = ("'", '"')
MAX_WRAPPERS = 4  # commas, quotes and braces around all keys
# A minus ends a name only before `NUMBER*`: starry-night is one name, day-0.5*night is a difference.
_NAME = rf"\w(?:[\w.]|-(?! ?{NUMBER} ?\*))*"
_TERM = re.compile(rf" ?([+-]?) ?(?:({NUMBER}) ?%? ?\* ?)?({_NAME}) ?", re.IGNORECASE)
_TIMECODE = re.compile(r"(?:([0-9]+):)?([0-9]+):([0-9]+(?:\.[0-9]*)?)")
_EXPRESSION_SIGNS = re.compile(r"[(/<>=!&|^]|\*\*|%(?! ?\*)")
_PERCENT = re.compile(rf"([+-]?{NUMBER}) ?%", re.IGNORECASE)
_QUOTES = str.maketrans("\u201c\u201d\u201e\u2018\u2019", '"""\'\'')
_NEXT_LINE = re.compile(r"\s*\n\s*(?=[\w\"'+-][^\n]*:)")
_VALUES = "a number 0..1, an endpoint's name, a mix such as 0.3*day+0.7*night or an expression such as 0.5+0.5*sin(t/9)"
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


def split_keyframes(text: str) -> list[str]:
    """The keys of a text as it is pasted: over several lines, with a comma at the end, in quotes, as a JSON object.

    Raises:
        TimelineError: unbalanced parentheses or quotes, or more than MAX_KEYS.
    """
    text = text.translate(_QUOTES).strip()
    for _ in range(MAX_WRAPPERS):
        text = _unquote(text.rstrip(", \t\r\n")).replace("\\n", "\n").replace('\\"', '"')
        text = text[1:-1].strip() if text.startswith("{") and text.endswith("}") else text
    parts = split_outside(text, ",") if text else []
    keys = [" ".join(key.split()) for part in parts for key in _NEXT_LINE.split(part.strip())]
    if len(keys) > MAX_KEYS:
        raise TimelineError(f"keyframes: {len(keys)} keys, expected at most {MAX_KEYS}")
    return keys


def parse_keyframe(text: str, count: int, extrapolate: bool) -> Keyframe:
    try:
        *position, value = map(_unquote, split_outside(text, ":"))
        if not position:
            constant = f"; one value all along is 0:{text}" if text and count == 1 else ""
            raise TimelineError(f"no colon between position and value; expected POSITION:VALUE[@EASING]{constant}")
        text = ":".join((*position, value)) if '"' in text or "'" in text else text
        value, *easings = map(_unquote, split_outside(value, "@"))
        if len(easings) > 1:
            raise TimelineError("two easings; expected POSITION:VALUE[@EASING]")
        easing = parse_easing(easings[0]) if easings else None
        parsed = _parse_value(value, extrapolate)
        if easing is not None and isinstance(parsed, Expression):
            raise TimelineError("an expression has a value of its own at every frame; it has no easing")
        return Keyframe(parse_position(":".join(position)), parsed, easing, text)
    except TimelineError as error:
        raise with_key_context(text, count, error) from error


def _unquote(text: str) -> str:
    """Without the quotes around all of it."""
    text = text.strip()
    if len(text) < 2 or text[0] not in QUOTES or text[0] != text[-1]:
        return text
    inner = text[1:-1]
    return text if text[0] in inner.replace("\\" + text[0], "") else inner.strip()


def _parse_value(text: str, extrapolate: bool) -> Fraction | Mix | Expression:
    inner = text[1:-1].strip() if _is_bracketed(text) else text
    if not inner:
        raise TimelineError(f"the value is missing; expected {_VALUES}")
    percent = _PERCENT.fullmatch(inner)
    number = parse_number(percent[1] if percent else inner)
    if number is None:
        return parse_expression(text) if _is_expression(inner) else _parse_mix(inner, extrapolate)
    number = number / 100 if percent else number
    if not extrapolate and not 0 <= number <= 1:
        raise TimelineError(f"{inner} is outside 0..1; use extrapolate=True to go beyond the endpoints")
    if abs(number) > MAX_COEFFICIENT:
        raise TimelineError(f"{inner} is out of range; extrapolate=True allows -{MAX_COEFFICIENT} to {MAX_COEFFICIENT}")
    return number


def _is_bracketed(text: str) -> bool:
    """Whether the first parenthesis is closed by the last character."""
    depth = 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return bool(index) and index == len(text) - 1
    return False


def _is_expression(text: str) -> bool:
    """Tells arithmetic from a mix of endpoints: by its signs, by a variable, or because it has no names at all."""
    if _EXPRESSION_SIGNS.search(text):
        return True
    names = [name for name in re.findall(_NAME, text) if parse_number(name) is None]
    return not names or any(_is_arithmetic(name.split("-")) for name in names)


def _is_arithmetic(parts: list[str]) -> bool:
    """Of a name such as `t-1`, which is a difference, where `t-rex` is a name."""
    words = [part for part in parts if parse_number(part) is None]
    return bool(words) and all(word in VARIABLES for word in words)


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


def split_outside(text: str, separator: str) -> list[str]:
    """Splits `text` at each `separator` outside parentheses and quotes.

    Raises:
        TimelineError: unbalanced parentheses or quotes.
    """
    opened, starts, stops = list[int](), [0], list[int]()  # `opened` are the places of quotes and parentheses
    for index, character in enumerate(text):
        innermost = text[opened[-1]] if opened else ""
        if innermost in QUOTES or character in QUOTES:
            if character == innermost:
                opened.pop()
            elif innermost not in QUOTES:
                opened.append(index)
        elif character == "(":
            opened.append(index)
        elif character == ")":
            if not opened:
                raise _unbalanced(text, index)
            opened.pop()
        elif character == separator and not opened:
            stops.append(index)
            starts.append(index + 1)
    if opened:
        raise _unbalanced(text, opened[-1])
    return [text[start:stop] for start, stop in zip(starts, [*stops, len(text)], strict=True)]


def _unbalanced(text: str, at: int) -> TimelineError:
    kind = "quote" if text[at] in QUOTES else "parenthesis"
    return point_at(TimelineError(f"keyframes: unbalanced {kind} in {quote(text)}"), text, at)


def with_key_context(text: str, count: int, error: TimelineError) -> TimelineError:
    return with_notes(TimelineError(f"keyframes: {quote(text)} (key {count}): {error}"), error)

"""Wipes: the way between two keys as a front that moves over the picture. What they are, as text; nothing is drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from dnirender.errors import TimelineError, UsageError, with_notes
from dnirender.timeline.easing import parse_number
from dnirender.timeline.expression import Expression, parse_expression

MAX_CHARACTERS = 4096
VARIABLES = ("x", "y", "progress", "ratio", "seed", "pi")
"""0..1 from the left, 0..1 from the bottom, the progress between two keys, width / height, the option, the constant."""

_Limits = tuple[float, float, float]
"""Default, lowest and highest value of an option."""
_CENTER: Mapping[str, _Limits] = {"x": (0.5, -1, 2), "y": (0.5, -1, 2)}
COMMON: Mapping[str, _Limits] = {"softness": (0.1, 0, 1), "reverse": (0, 0, 1), "seed": (0, 0, 1e6)}
"""Options of all wipes: the width of the front as a share of its way, the order of pixels turned round, what noise and
expressions start from."""
NAMES: Mapping[str, Mapping[str, _Limits]] = {
    "right": {},
    "left": {},
    "up": {},
    "down": {},
    "angle": {"degrees": (0, -360, 360)},
    "radial": _CENTER,
    "clock": {"start": (0, -360, 360), **_CENTER},
    "iris": {"sides": (6, 3, 64), **_CENTER},
    "blinds": {"count": (8, 1, 200), "degrees": (0, -360, 360)},
    "noise": {"size": (0.15, 0.005, 1)},
    "luma": {},
    "image": {},
}
"""Wipes with their own options; the first of them may be written without its name."""
EXPRESSION = "expression"
_OPTIONS = re.compile(r"(?P<head>.*?)(?P<options>(?:(?:^|,)\s*[a-z]+\s*=[^,=]*)*)", re.S)


@dataclass(frozen=True)
class Wipe:
    """A front over the picture. `name` is one of NAMES or EXPRESSION, `file` that of `image`."""

    name: str
    softness: float
    reverse: bool
    seed: float
    options: tuple[tuple[str, float], ...] = ()
    expression: Expression | None = None
    file: str = ""

    def __getitem__(self, option: str) -> float:
        return dict(self.options)[option]


def parse_wipe(text: str) -> Wipe:
    """`NAME[:[VALUE,]OPTION=VALUE,...]` with a name of NAMES, or an expression in VARIABLES with such options behind a
    colon. UsageError: neither, or an option that is unknown or out of range."""
    if len(text) > MAX_CHARACTERS:
        raise UsageError(f"wipe: {len(text)} characters, expected at most {MAX_CHARACTERS}")
    name, colon, rest = (part.strip() for part in text.partition(":"))
    if name not in NAMES:
        return _expression(text)
    found = _OPTIONS.fullmatch(rest)
    head, written = (found["head"].strip(), found["options"]) if found else (rest, "")
    if name == "image":
        if not head:
            raise UsageError(f"wipe={text!r}: expected image:FILE, a picture whose dark parts change first")
        return _wipe(text, name, written, NAMES[name], file=head)
    if head or (colon and not rest):
        first = next(iter(NAMES[name]), None)
        if first is None or not head:
            raise UsageError(f"wipe={text!r}: expected {name}:OPTION=VALUE, with {_known(NAMES[name])}")
        written = f"{first}={head},{written.lstrip(',')}"
    return _wipe(text, name, written, NAMES[name])


def _expression(text: str) -> Wipe:
    head, _, written = text.partition(":")
    if re.fullmatch(r"[A-Za-z_]\w*", head.strip()) and head.strip() not in VARIABLES:
        close = get_close_matches(head.strip(), NAMES, 1)
        hint = f"did you mean {close[0]}?" if close else f"there is {', '.join(NAMES)}, or an expression in x and y"
        raise UsageError(f"wipe={text!r}: unknown wipe; {hint}")
    try:
        expression = parse_expression(head, VARIABLES)
    except TimelineError as error:
        raise with_notes(UsageError(f"wipe={text!r}: {error}"), error) from error
    return _wipe(text, EXPRESSION, written, {}, expression=expression)


def _wipe(
    text: str,
    name: str,
    written: str,
    own: Mapping[str, _Limits],
    *,
    expression: Expression | None = None,
    file: str = "",
) -> Wipe:
    known = {**own, **COMMON}
    values = {option: default for option, (default, _, _) in known.items()}
    for part in filter(None, (part.strip() for part in written.split(","))):
        option, _, value = (word.strip() for word in part.partition("="))
        if option not in known:
            raise UsageError(f"wipe={text!r}: unknown option {option!r}; expected {_known(own)}")
        number = parse_number(value)
        _, low, high = known[option]
        if number is None or not low <= number <= high:
            raise UsageError(f"wipe={text!r}: {option} expected a number from {low:g} to {high:g}, got {value!r}")
        values[option] = float(number)
    options = tuple((option, values[option]) for option in own)
    return Wipe(name, values["softness"], values["reverse"] >= 0.5, values["seed"], options, expression, file)


def _known(own: Mapping[str, _Limits]) -> str:
    return ", ".join((*own, *COMMON))

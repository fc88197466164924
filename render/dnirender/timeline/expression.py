"""Expressions as values of keyframes, as Deforum has them: arithmetic on the frame number, evaluated at every frame.

Parsed here to a program for a stack, with floats alone; nothing is handed to Python's `eval`.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches

from dnirender.errors import TimelineError
from dnirender.timeline.easing import NUMBER

MAX_CHARACTERS = 1000
MAX_DEPTH = 50  # of brackets, signs and powers in one another
SHOWN = 60  # characters of an expression that an error repeats above its caret

VARIABLES = ("t", "max_f", "fps", "pi")
"""The frame's number, the last frame's number, frames per second, and the constant."""

_TOKEN = re.compile(rf"\s*(?:(?P<number>{NUMBER})|(?P<name>[A-Za-z_]\w*)|(?P<sign>\*\*|[<>=!]=|[-+*/%<>&|(),]))", re.I)
_COMPARISONS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def either(a: float, b: float) -> float:
    return a != 0 or b != 0


def both(a: float, b: float) -> float:
    return a != 0 and b != 0


def where(condition: float, yes: float, no: float) -> float:
    return yes if condition else no


def negate(a: float) -> float:
    return -a


OPERATORS: dict[str, Callable[..., float]] = {
    "|": either,
    "&": both,
    **_COMPARISONS,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
    "**": math.pow,
}
_PRECEDENCE = {"|": 1, "&": 2, **dict.fromkeys(_COMPARISONS, 3), "+": 4, "-": 4, "*": 5, "/": 5, "%": 5}


def _extreme(choose: Callable[..., float]) -> Callable[..., float]:
    return lambda *values: math.nan if any(map(math.isnan, values)) else choose(values)


_ANY = 0  # as the number of arguments: one or more
FUNCTIONS: dict[str, tuple[int, Callable[..., float]]] = {
    "sin": (1, math.sin),
    "cos": (1, math.cos),
    "tan": (1, math.tan),
    "arcsin": (1, math.asin),
    "arccos": (1, math.acos),
    "arctan": (1, math.atan),
    "arctan2": (2, math.atan2),
    "sinh": (1, math.sinh),
    "cosh": (1, math.cosh),
    "tanh": (1, math.tanh),
    "abs": (1, math.fabs),
    "min": (_ANY, _extreme(min)),
    "max": (_ANY, _extreme(max)),
    "sqrt": (1, math.sqrt),
    "exp": (1, math.exp),
    "log": (1, math.log),
    "log10": (1, math.log10),
    "floor": (1, math.floor),
    "ceil": (1, math.ceil),
    "where": (3, where),
}


@dataclass(frozen=True)
class Expression:
    """A number for every frame, or of other variables. Two expressions are equal when their texts are.

    `program` holds numbers, variables by name, and functions with how many values they take.
    """

    text: str
    program: tuple[float | str | tuple[Callable[..., float], int], ...] = field(compare=False, repr=False)

    def __call__(self, t: float, max_f: float, fps: float) -> float:
        """The value at frame `t`; NaN or an infinity where it is not defined, as at 1 / 0."""
        variables = {"t": t, "max_f": max_f, "fps": fps, "pi": math.pi}
        stack: list[float] = []
        for step in self.program:
            if isinstance(step, tuple):
                function, count = step
                arguments = stack[-count:]
                del stack[-count:]
                stack.append(_call(function, arguments))
            else:
                stack.append(variables[step] if isinstance(step, str) else step)
        return stack[0]

    @property
    def needs_length(self) -> bool:
        """Whether it depends on the number of frames."""
        return "max_f" in self.program


def _call(function: Callable[..., float], arguments: list[float]) -> float:
    try:
        return float(function(*arguments))
    except OverflowError:
        return math.inf
    except (ValueError, ZeroDivisionError):
        return math.nan


def parse_expression(text: str, variables: tuple[str, ...] = VARIABLES) -> Expression:
    """Parses arithmetic on `variables`: + - * / % **, comparisons (1 or 0), & and |, brackets and functions.

    Precedence is Python's, but & and | bind less than comparisons; `%` has the sign of the divisor.

    Raises:
        TimelineError: it is not an expression, or longer or deeper than the limits; the message has the character's
        number, and a note of the error shows it.
    """
    if len(text) > MAX_CHARACTERS:
        raise TimelineError(f"the expression has {len(text)} characters, expected at most {MAX_CHARACTERS}")
    parser = _Parser(text, variables)
    parser.parse(1, 1)
    if parser.kind != "end":
        raise parser.error("expected an operator")
    return Expression(text, tuple(parser.program))


def point_at(error: TimelineError, text: str, at: int) -> TimelineError:
    """The error with a note that shows the character at this place above a caret."""
    first = max(0, min(at - SHOWN // 2, len(text) - SHOWN))
    shown = re.sub(r"\s", " ", text[first : first + SHOWN])
    error.add_note(f"  {shown}\n  {' ' * (at - first)}^")
    return error


class _Parser:
    """Reads tokens and appends to `program`. `kind`, `token` and `at` are the next token, its text and its place."""

    def __init__(self, text: str, variables: tuple[str, ...]) -> None:
        self.program: list[float | str | tuple[Callable[..., float], int]] = []
        self._text, self._variables = text, variables
        self.kind, self.token, self.at = "", "", 0
        self._next = 0
        self._advance()

    def parse(self, lowest: int, depth: int) -> None:
        """An operand and the operators behind it, down to the precedence `lowest`."""
        if depth > MAX_DEPTH:
            raise self._misused(f"nested more than {MAX_DEPTH} deep")
        self._operand(depth)
        while (level := _PRECEDENCE.get(self.token, 0)) >= lowest:
            sign = self.token
            self._advance()
            self.parse(level + 1, depth)
            self.program.append((OPERATORS[sign], 2))
            if sign in _COMPARISONS and self.token in _COMPARISONS:
                raise self._misused("comparisons cannot be chained; write (0 < t) & (t < 9)")

    def error(self, reason: str) -> TimelineError:
        """What is wrong with the next token."""
        found = self._text[self.at : self.at + 1]
        got = f'got "{found}"' if found else "got the end"
        hint = "; a power is **" if found == "^" else ""
        return point_at(TimelineError(f"{reason}, {got} at character {self.at + 1}{hint}"), self._text, self.at)

    def _misused(self, reason: str) -> TimelineError:
        return point_at(TimelineError(f"{reason}, at character {self.at + 1}"), self._text, self.at)

    def _is(self, sign: str) -> bool:
        return self.token == sign

    def _advance(self) -> None:
        found = _TOKEN.match(self._text, self._next)
        if found is None:
            rest = self._text[self._next :]
            self.at = self._next + len(rest) - len(rest.lstrip())
            self.kind, self.token = ("unknown" if rest.strip() else "end"), ""
            return
        self.kind = found.lastgroup or ""
        self.token, self.at, self._next = found[self.kind], found.start(self.kind), found.end()

    def _operand(self, depth: int) -> None:
        """A number, a variable, a call, brackets or a sign, with a power behind it."""
        if self.token in ("+", "-"):  # which bind less than a power: -2**2 is -4
            negative = self.token == "-"
            self._advance()
            self.parse(6, depth + 1)
            if negative:
                self.program.append((negate, 1))
            return
        self._atom(depth)
        if self.token == "**":
            self._advance()
            self.parse(6, depth + 1)  # to the right: 2**3**2 is 2**9
            self.program.append((math.pow, 2))

    def _atom(self, depth: int) -> None:
        if self.kind == "number":
            value = float(self.token)
            if math.isinf(value):
                raise self._misused("the number is out of range")
            self.program.append(value)
            self._advance()
        elif self.kind == "name":
            self._name(depth)
        elif self.token == "(":
            self._advance()
            self.parse(1, depth + 1)
            self._close()
        else:
            raise self.error("expected a value")

    def _name(self, depth: int) -> None:
        name = self.token
        if name in self._variables:
            self.program.append(name)
            self._advance()
            return
        if name not in FUNCTIONS:
            known = (*self._variables, *FUNCTIONS)
            close = get_close_matches(name[:40], known, 1)
            hint = f"did you mean {close[0]}" if close else f"there is {', '.join(known)}"
            raise self._misused(f'unknown name "{name[:40]}"; {hint}')
        expected, function = FUNCTIONS[name]
        call = self._misused(f"{name} takes {expected or 'one or more'} value{'s' * (expected != 1)}")
        self._advance()
        if self.token != "(":
            raise self.error(f'expected "(" behind {name}')
        count = 0
        while count == 0 or self._is(","):
            self._advance()
            self.parse(1, depth + 1)
            count += 1
        self._close()
        if expected not in (_ANY, count):
            raise call
        self.program.append((function, count))

    def _close(self) -> None:
        if self.token != ")":
            raise self.error('expected an operator or ")"')
        self._advance()

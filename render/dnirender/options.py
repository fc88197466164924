"""Options are fields of frozen models: name, type, default, limits and help text are written once, here or there.

The command line derives its flags from the fields, `render(...)` its keyword arguments, presets their keys.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from dnirender.errors import UsageError

MAX_SHOWN = 200  # characters of a value that an error repeats


@dataclass(frozen=True)
class Flag:
    """How the command line offers a field; put it into the field's `Annotated`.

    group: the heading in `--help`. names: flags, by default `--` and the field's name. metavar: what stands for the
    value. text: the type as the command line reads it, by default the field's own. parse: from that to the field's
    value. fingerprint: whether other values make other frames, so that segments of an earlier run are not reused.
    """

    group: str
    names: tuple[str, ...] = ()
    metavar: str | None = None
    text: Any = None
    parse: Callable[[Any], Any] | None = None
    fingerprint: bool = True


class Options(BaseModel):
    """Frozen, checked when built. UsageError: a field's name, what was expected, what was found."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise UsageError(first_error(error, lambda _: list(type(self).model_fields))) from error

    def override(self, values: Mapping[str, Any]) -> Self:
        """The same with other values of some fields, checked again."""
        return type(self)(**{**dict(self), **values}) if values else self


def flag_of(field: FieldInfo) -> Flag | None:
    """The `Flag` of a field, None where the command line does not offer it."""
    return next((item for item in field.metadata if isinstance(item, Flag)), None)


def describe_type(annotation: Any) -> str:
    """A field's type in the words of an error message: `an integer`, `one of auto, cpu`."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    names = {int: "an integer", float: "a number", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(annotation, str(annotation))


def first_error(error: ValidationError, fields: Callable[[tuple[int | str, ...]], list[str]]) -> str:
    """The first of pydantic's errors in one line: key path, what was expected, what was found.

    `fields` names the keys that are known at a key path.
    """
    details = error.errors(include_url=False)
    # A misspelt key is missing too: what is written says more than what is not.
    detail = next((found for found in details if found["type"] == "extra_forbidden"), details[0])
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{shorten(part)}" for part in detail["loc"]).lstrip(".")
    others = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    found = detail["input"]
    if detail["type"] == "extra_forbidden":
        known = fields(detail["loc"][:-1])
        close = difflib.get_close_matches(str(detail["loc"][-1]), known, 1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"
        return f"{place}: unknown key; {hint}{others}"
    if detail["type"] == "missing":
        return f"{place}: is missing{others}"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = message.replace("should be", "expected", 1) if message.startswith("should be") else message
    shown = "" if isinstance(found, dict | list | tuple) else f", got {shorten(repr(found))}"
    return f"{place}: {message}{shown}{others}" if place else f"{message}{shown}{others}"


def shorten(text: str) -> str:
    """The text, or its beginning where it is longer than an error message should repeat."""
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."

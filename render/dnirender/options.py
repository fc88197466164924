"""Options are fields of frozen models: name, type, default, limits and help are written once, with the field.

The command line derives its flags from them, `render(...)` its keyword arguments, a resumed job what may differ.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from dnirender.errors import UsageError, with_notes

MAX_SHOWN = 200  # characters of a value that an error message repeats


@dataclass(frozen=True)
class Flag:
    """How a field is offered as an option; it stands in the field's `Annotated`.

    group: the heading in `--help`. names: the flags, by default `--` and the option's name. option: the option's name,
    by default the field's. metavar: what stands for the value in the help. text: the type that the command line reads,
    by default the field's own. parse: from that type to the field's. fingerprint: whether another value gives other
    frames, so that the segments of an earlier run cannot be reused. old: names of the option in the version before,
    which are still read, with a hint.
    """

    group: str
    names: tuple[str, ...] = ()
    option: str = ""
    metavar: str | None = None
    text: Any = None
    parse: Callable[[Any], Any] | None = None
    fingerprint: bool = True
    old: tuple[str, ...] = ()


class Options(BaseModel):
    """A group of options: frozen, checked when built. UsageError: field, what was expected, what it got."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            message = first_error(error, lambda _: list(type(self).model_fields))
            raise with_notes(UsageError(message), *causes(error)) from error

    def override(self, values: Mapping[str, Any]) -> Self:
        """The same with other values of some fields, checked again."""
        return type(self)(**{**dict(self), **values}) if values else self


def flag_of(field: FieldInfo) -> Flag | None:
    """The `Flag` of a field; None where it is not offered as an option."""
    return next((item for item in field.metadata if isinstance(item, Flag)), None)


def offered(model: type[BaseModel]) -> dict[str, tuple[str, FieldInfo, Flag]]:
    """The options of a model by name: (field's name, field, flag)."""
    found = ((name, field, flag_of(field)) for name, field in model.model_fields.items())
    return {flag.option or name: (name, field, flag) for name, field, flag in found if flag is not None}


def unknown_option(name: str, known: Iterable[str], function: str = "render") -> UsageError:
    """The error for a keyword that is no option of `function`, with the nearest that is."""
    known = list(known)
    close = difflib.get_close_matches(name, known, 1)
    return UsageError(f"{name}: unknown option; " + (f"did you mean {close[0]}?" if close else f"see help({function})"))


def parse_pairs(option: str, texts: Iterable[str], form: str) -> dict[str, str]:
    """`KEY=VALUE` texts of an option as a dict. UsageError: another form, or a key twice."""
    pairs: dict[str, str] = {}
    for text in texts:
        key, mark, value = text.partition("=")
        if not mark or not key or not value:
            raise UsageError(f"{option}='{text}': expected {form}")
        if key in pairs:
            raise UsageError(f"{option}='{text}': {key} is repeated")
        pairs[key] = value
    return pairs


def first_error(error: ValidationError, fields: Callable[[tuple[int | str, ...]], list[str]]) -> str:
    """The first of pydantic's errors in one line: key path, what was expected, what it got.

    `fields` names the keys that are known at a key path.
    """
    details = error.errors(include_url=False)
    # A misspelt key is missing too: what is written says more than what is not.
    detail = next((found for found in details if found["type"] == "extra_forbidden"), details[0])
    path = [part for part in detail["loc"] if not (isinstance(part, str) and re.search(r"[\[(-]", part))]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{shorten(part)}" for part in path).lstrip(".")
    others = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    value = detail["input"]
    if detail["type"] == "extra_forbidden":
        known = fields(detail["loc"][:-1])
        close = difflib.get_close_matches(str(detail["loc"][-1]), known, 1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"
        return f"{place}: unknown key; {hint}{others}"
    if detail["type"] == "missing":
        return f"{place}: is missing{others}"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = message.replace("should be", "expected", 1) if message.startswith("should be") else message
    shown = "" if isinstance(value, dict | list) else f", got {shorten(repr(value))}"
    return f"{place or 'preset'}: {message}{shown}{others}"


def causes(error: ValidationError) -> list[object]:
    """The exceptions that validators raised, for their notes."""
    return [detail.get("ctx", {}).get("error") for detail in error.errors(include_url=False)]


def shorten(text: str) -> str:
    """The text, or its beginning where it is longer than a message should repeat."""
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."

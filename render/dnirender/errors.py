"""Exceptions, grouped by who can fix the problem. Each type carries the exit code of the command line."""

from __future__ import annotations

from typing import TypeVar


class RenderError(Exception):
    """Rendering failed. Base class of all errors of this package."""

    exit_code = 1


Error = TypeVar("Error", bound=RenderError)


def with_notes(error: Error, *causes: object) -> Error:
    """The error with the notes of others: lines that belong below the message, such as a caret below a character."""
    for note in (note for cause in causes for note in getattr(cause, "__notes__", ())):
        error.add_note(note)
    return error


class UsageError(RenderError, ValueError):
    """An option or argument is invalid."""

    exit_code = 2


class TimelineError(UsageError):
    """Keyframes, easings or loops are invalid."""


class PresetError(UsageError):
    """A preset is unknown, malformed or inconsistent."""


class MediaError(RenderError, OSError):
    """The input is missing, unreadable or corrupt."""

    exit_code = 3


class ModelError(RenderError, ValueError):
    """Weights cannot be loaded, do not match each other, or produce non-finite values."""

    exit_code = 4


class OutputError(RenderError, OSError):
    """The output cannot be written."""

    exit_code = 5


class Cancelled(RenderError):
    """A render was stopped by the program that asked for it. Finished segments are kept; the same call resumes."""

    exit_code = 130


class TrainingError(RenderError):
    """Training has no data, or its loss is not finite."""


class PackageWarning(UserWarning):
    """An installed package that extends this one failed; what it offers is skipped."""

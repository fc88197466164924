"""What can go wrong, by who can mend it. Each type carries the exit code of the command line."""


class RenderError(Exception):
    """The render itself failed."""

    exit_code = 1


class UsageError(RenderError, ValueError):
    """An option or argument cannot be understood."""

    exit_code = 2


class TimelineError(UsageError):
    """Keyframes, easings or loops that cannot be understood."""


class PresetError(UsageError):
    """A preset is unknown, malformed or contradicts itself."""


class MediaError(RenderError, OSError):
    """The input is missing, unreadable or damaged."""

    exit_code = 3


class ModelError(RenderError, ValueError):
    """Weights cannot be loaded, do not fit each other, or yield values that are not finite."""

    exit_code = 4


class OutputError(RenderError, OSError):
    """The output cannot be written."""

    exit_code = 5


class TrainingError(RenderError):
    """A training lacks data, or its loss is no longer a number."""

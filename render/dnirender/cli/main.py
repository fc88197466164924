"""The entry point: runs a command and turns errors into exit codes."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Sequence

import typer

from dnirender.cli import align, bench, check, info, model, presets, sheet, train, verify
from dnirender.cli.app import app
from dnirender.cli.options import new_flags, to_flags
from dnirender.cli.output import print_error, print_warning
from dnirender.cli.render import INTERRUPTED
from dnirender.cli.signals import Invocation, handle_signals
from dnirender.cli.start import leave_out_unused
from dnirender.errors import PackageWarning, RenderError

COMMANDS = (presets, info, sheet, bench, verify, train, model, align, check)
"""Modules that register their command at import."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code: 0, or that of the error, or 130 or 143 when stopped."""
    # Seconds since the process began, but for what it waited for the disk.
    began = time.perf_counter() - (time.process_time() if arguments is None else 0)
    if arguments is None:
        leave_out_unused()
    words, renamed = new_flags(list(sys.argv[1:] if arguments is None else arguments))
    for warning in renamed:
        print_warning(warning)
    warnings.showwarning = _show_warning
    heard: list[int] = []
    try:
        with handle_signals() as heard:
            result = app(args=words, prog_name="dnirender", standalone_mode=False, obj=Invocation(words, began))
    except RenderError as error:
        return print_error(to_flags(str(error)), error.exit_code, getattr(error, "__notes__", ()))
    except KeyboardInterrupt:
        return _interrupted(heard)
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's own: an unknown option, a missing argument
            message = str(error.format_message()).replace("Value error, ", "")  # pyright: ignore
            if type(error).__name__ == "NoArgsIsHelpError":  # a group of commands alone: its help
                typer.echo(message)
                return 0
            hint = "; inputs need none: dnirender INPUT -o OUTPUT" if message == "No such option: -i" else ""
            return print_error(f"{message}{hint} (dnirender --help)", 2)
        if type(error).__name__ == "Abort":
            return _interrupted(heard)
        raise
    if result == 130:  # typer turns an interrupt into this exit code
        return _interrupted(heard)
    return result if isinstance(result, int) else 0


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Some are meant for the user; others are for developers, who see them in the tests."""
    if issubclass(category, FutureWarning | PackageWarning):
        print_warning(str(message))


def _interrupted(heard: list[int]) -> int:
    return print_error(INTERRUPTED, 128 + heard[0] if heard else 130)

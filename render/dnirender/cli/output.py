"""Output of the commands."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from dnirender.cli.options import to_flags
from dnirender.progress import PHASES
from dnirender.timeline.timeline import path_position

if TYPE_CHECKING:
    from dnirender.jobs.render import Report
    from dnirender.progress import Listener, Progress

WAITING = "{desc} |{bar}|"
"""The bar before the first frame."""


def print_error(message: str, code: int, notes: Sequence[str] = ()) -> int:
    """One line on standard error, and below it the notes of the exception, such as a caret; returns the code."""
    with contextlib.suppress(OSError):  # a pipe that nobody reads any more
        typer.echo("\n".join((f"error: {_on_one_line(message)}", *notes)), err=True)
    return code


def print_warning(message: str) -> None:
    """One line on standard error."""
    with contextlib.suppress(OSError):
        typer.echo(f"warning: {_on_one_line(message)}", err=True)


def _on_one_line(text: str) -> str:
    """Escapes newlines, which file names may contain."""
    return text.replace("\r", "\\r").replace("\n", "\\n")


def _beside_bars() -> contextlib.AbstractContextManager[None]:
    """Takes progress bars off the screen for a moment."""
    from tqdm import tqdm

    return tqdm.external_write_mode(file=sys.stderr)


class Console:
    """Messages on standard error."""

    def __init__(self, quiet: bool, verbose: bool) -> None:
        self._quiet, self._verbose = quiet, verbose

    def line(self, text: str) -> None:
        if not self._quiet:
            with _beside_bars():
                typer.echo(text, err=True)

    def warn(self, text: str) -> None:
        if not self._quiet:
            with _beside_bars():
                print_warning(to_flags(text))

    def detail(self, text: str) -> None:
        if self._verbose:
            self.line(text)

    def done(self, report: Report) -> None:
        frames = f"{report.frames} frame{'s' if report.frames != 1 else ''}"
        if report.resumed and not report.fps:
            self.line(f"{report.output}: {frames}, all from an earlier run")
            return
        resumed = f" ({report.resumed} of them from an earlier run)" if report.resumed else ""
        self.line(
            f"{report.output}: {frames}{resumed} in {report.seconds:.1f} s ({report.fps:.1f} frames/s, "
            f"{report.device}, {report.dtype}, {report.backend}, {report.weight_writes} weight writes)"
        )


class ProgressBar:
    """A progress bar: the phase that is waited for, then frames per second, time left and the current alpha. Nothing
    where it is not wanted, or standard error is no terminal. Alpha is a place on the path of `endpoints`."""

    def __init__(self, name: str, wanted: bool, endpoints: Sequence[str] = ()) -> None:
        from tqdm import tqdm

        self._name, self._endpoints = name, endpoints
        self._bar: Any = tqdm(
            total=1,
            unit="frame",
            desc=f"{name}: {PHASES[0]}",
            bar_format=WAITING,
            disable=None if wanted else True,
            dynamic_ncols=True,
            leave=False,
        )

    def __enter__(self) -> Listener:
        return self._show

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def _show(self, now: Progress) -> None:
        if self._bar.disable:
            return
        if now.alpha is not None:
            self._bar.set_postfix_str(f"alpha {path_position(now.alpha, self._endpoints):.3f}", refresh=False)
            self._bar.update(1)
            return
        if now.phase == "rendering":
            self._bar.bar_format, self._bar.leave = None, True
            self._bar.reset(now.total)
            self._bar.initial = self._bar.n = now.done  # what an earlier run has done says nothing of this one's speed
        self._bar.set_description(self._name if now.phase == "rendering" else f"{self._name}: {now.phase}")


def format_table(data: dict[str, Any]) -> str:
    lines: list[str] = []
    for key, value in data.items():
        values: list[object] = value if isinstance(value, list) else [value]
        for count, item in enumerate(values):
            lines.append(f"{key.replace('_', ' ') + ':' if count == 0 else '':19}{item}")
    return "\n".join(lines)

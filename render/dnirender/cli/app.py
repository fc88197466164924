"""The command line: reads options, calls the functions that a Python user calls, and prints the result.

Torch and OpenCV are imported inside the commands, so that help and usage errors are immediate.
"""

from __future__ import annotations

import typer

from dnirender.cli.default_command import DefaultCommand

HELP_WIDTH = 100


class RenderByDefault(DefaultCommand):
    """`dnirender INPUT...` renders."""

    default = "render"
    usage = "INPUT... [OPTIONS]"


app = typer.Typer(
    cls=RenderByDefault,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["--help"], "max_content_width": HELP_WIDTH},
)


@app.callback()
def top() -> None:
    """Render video transitions by deep network interpolation."""

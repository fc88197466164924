"""`dnirender sheet`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dnirender.cli.app import app
from dnirender.cli.options import (
    ChosenPreset,
    GroupedCommand,
    Input,
    Quiet,
    Verbose,
    build_job,
    with_options,
)
from dnirender.cli.output import Console
from dnirender.errors import UsageError
from dnirender.jobs.options import SHEET_FRAMES, SHEET_OPTIONS


@app.command(name="sheet", cls=GroupedCommand)
@with_options(SHEET_OPTIONS)
def sheet_command(
    source: Input,
    preset: ChosenPreset,
    options: dict[str, Any],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="PNG file.  [default: STEM.sheet.png here]", rich_help_panel="output"),
    ] = None,
    frames: Annotated[
        str, typer.Option(help="Positions in the source, separated by commas.", rich_help_panel="timeline")
    ] = ",".join(SHEET_FRAMES),
    alphas: Annotated[
        str | None,
        typer.Option(
            help="Values as in keyframes, separated by commas.  [default: every endpoint and half-ways]",
            rich_help_panel="timeline",
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Draw a contact sheet: one row per frame, one column per alpha."""
    from dnirender.jobs.contact_sheet import make_sheet

    name, chosen = preset
    target = output or Path(f"{source.stem}.sheet.png")
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target}: expected a name that ends in .png, the format of contact sheets")
    say = Console(quiet, verbose)
    job = build_job(source, target, chosen, options)
    values = alphas.split(",") if alphas else None
    say.detail(make_sheet(job, frames.split(","), values, title=f"{source.name}   {name}").decision)
    say.line(f"{target}: contact sheet")

"""`dnirender sheet`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dnirender.cli.app import app
from dnirender.cli.options import (
    ENGINE,
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


@app.command(name="sheet", cls=GroupedCommand)
@with_options(
    ("extrapolate", "video_stream", "ignore_errors", "deinterlace", "hdr", "width", "height", *ENGINE, "overwrite")
)
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
    ] = "0,25%,50%,75%,end",
    alphas: Annotated[
        str, typer.Option(help="Values as in keyframes, separated by commas.", rich_help_panel="timeline")
    ] = "0,0.25,0.5,0.75,1",
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
    say.detail(make_sheet(job, frames.split(","), alphas.split(","), title=f"{source.name}   {name}"))
    say.line(f"{target}: contact sheet")

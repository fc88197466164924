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
    NoProgress,
    Quiet,
    Verbose,
    build_job,
    with_options,
)
from dnirender.cli.output import Console, ProgressBar
from dnirender.cli.start import load_ahead
from dnirender.errors import UsageError
from dnirender.jobs.options import SHEET_FRAMES, SHEET_OPTIONS
from dnirender.progress import ProgressTracker


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
    no_progress: NoProgress = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Draw a contact sheet: one row per frame, one column per alpha."""
    name, chosen = preset
    target = output or Path(f"{source.stem}.sheet.png")
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target}: expected a name that ends in .png, the format of contact sheets")
    say = Console(quiet, verbose)
    if source.is_file():
        load_ahead()
    with ProgressBar(target.name, not (no_progress or quiet), chosen.endpoints) as listener:
        progress = ProgressTracker(listener)
        from dnirender.jobs.contact_sheet import make_sheet

        job = build_job(source, target, chosen, options)
        values = alphas.split(",") if alphas else None
        made = make_sheet(job, frames.split(","), values, f"{source.name}   {name}", progress=progress)
    say.detail(made.decision)
    say.line(f"{target}: contact sheet")

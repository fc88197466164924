"""`dnirender sheet`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dnirender.cli.app import app
from dnirender.cli.options import (
    Backend,
    Device,
    Dtype,
    Extrapolate,
    Height,
    Input,
    Models,
    Overwrite,
    PresetOption,
    Quiet,
    Threads,
    Tile,
    Verbose,
    VideoStream,
    Width,
    choose_preset,
    drop_none,
    make_job,
)
from dnirender.cli.output import Console
from dnirender.errors import UsageError


@app.command(name="sheet")
def sheet_command(
    source: Input,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="PNG.  [default: STEM.sheet.png here]")] = None,
    overwrite: Overwrite = False,
    frames: Annotated[str, typer.Option(help="Positions in the source, separated by commas.")] = "0,25%,50%,75%,end",
    alphas: Annotated[str, typer.Option(help="Values along the path, separated by commas.")] = "0,0.25,0.5,0.75,1",
    extrapolate: Extrapolate = False,
    preset: PresetOption = None,
    model: Models = None,
    video_stream: VideoStream = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "auto",
    threads: Threads = None,
    tile: Tile = None,
    width: Width = None,
    height: Height = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Draw a contact sheet: frames down, alpha across."""
    from dnirender.jobs.contact_sheet import make_sheet

    name, chosen = choose_preset(preset, model)
    chosen = chosen.override(
        {"layout": drop_none(width=width, height=height), "timeline": drop_none(extrapolate=extrapolate or None)}
    )
    target = output or Path(f"{source.stem}.sheet.png")
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target}: a contact sheet is a PNG; name it .png")
    settings: dict[str, Any] = {
        "preset": chosen, "video_stream": video_stream, "device": device, "dtype": dtype, "backend": backend,
        "threads": threads, "tile": tile, "overwrite": overwrite,
    }  # fmt: skip
    say = Console(quiet, verbose)
    job = make_job(source, target, settings)
    say.detail(make_sheet(job, frames.split(","), alphas.split(","), title=f"{source.name}   {name}"))
    say.line(f"{target}: contact sheet")

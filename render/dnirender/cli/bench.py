"""`dnirender bench`"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from dnirender.cli.app import app
from dnirender.cli.options import (
    ENGINE,
    AsJson,
    ChosenPreset,
    GroupedCommand,
    NoProgress,
    build_job,
    with_options,
)
from dnirender.cli.output import ProgressBar, format_table
from dnirender.cli.start import load_ahead
from dnirender.progress import ProgressTracker


@app.command(name="bench", cls=GroupedCommand)
@with_options(("weights_key", "keep_colors", "video_stream", "width", "height", *ENGINE))
def bench_command(
    preset: ChosenPreset,
    options: dict[str, Any],
    source: Annotated[
        Path | None, typer.Argument(help="A video.  [default: a generated clip]", metavar="INPUT")
    ] = None,
    as_json: AsJson = False,
    no_progress: NoProgress = False,
) -> None:
    """Measure how fast this machine renders, and what limits the speed."""
    name, chosen = preset
    if source is None or source.is_file():
        load_ahead()
    with ProgressBar(f"bench {name}", not no_progress, chosen.endpoints) as listener:
        progress = ProgressTracker(listener)
        from dnirender.jobs.benchmark import bench

        job = build_job(source or Path("bench.mp4"), Path(f"bench.{name}.mp4"), chosen, options)
        figures = bench(job, sample=source is None, progress=progress)
    if as_json:
        typer.echo(json.dumps(asdict(figures)))
        return
    typer.echo(
        format_table(
            {
                "preset": f"{name}, {figures.size}",
                "speed": f"{figures.fps:.1f} frames/s, limited by {figures.bound}",
                "time per frame": f"{figures.whole:.1f} ms from file to file; "
                f"networks alone {figures.networks:.1f} ms, everything else alone {figures.rest:.1f} ms",
                "start-up": f"{figures.startup:.1f} s",
                "settings": f"{figures.device}, {figures.dtype}, {figures.backend}, {figures.workers} in parallel, "
                f"batch {figures.batch}, tile {figures.tile}",
                "why": figures.why,
            }
        )
    )

"""`dnirender bench`"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnirender.cli.app import app
from dnirender.cli.options import (
    AsJson,
    Backend,
    Device,
    Dtype,
    Height,
    Models,
    PresetOption,
    Threads,
    Tile,
    VideoStream,
    Width,
    choose_preset,
    drop_none,
)
from dnirender.cli.output import format_table

if TYPE_CHECKING:
    pass


@app.command(name="bench")
def bench_command(
    source: Annotated[
        Path | None, typer.Argument(help="A video; without one a clip is made.", metavar="[INPUT]")
    ] = None,
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
    as_json: AsJson = False,
) -> None:
    """Measure how fast this machine renders, and what bounds it."""
    from dnirender.jobs.benchmark import bench
    from dnirender.jobs.job import Job

    name, chosen = choose_preset(preset, model)
    job = Job(
        source or Path("bench.mp4"),
        Path(f"bench.{name}.mp4"),
        chosen.override({"layout": drop_none(width=width, height=height)}),
        video_stream=video_stream,
        device=device,
        dtype=dtype,
        backend=backend,
        threads=threads,
        tile=tile,
    )
    figures = bench(job, sample=source is None)
    if as_json:
        typer.echo(json.dumps(asdict(figures)))
        return
    typer.echo(
        format_table(
            {
                "preset": f"{name}, {figures.size}",
                "speed": f"{figures.fps:.1f} frames/s, bound by {figures.bound}",
                "a frame": f"{figures.whole:.1f} ms from file to file; "
                f"networks alone {figures.networks:.1f} ms, all the rest alone {figures.rest:.1f} ms",
                "start-up": f"{figures.startup:.1f} s",
                "chosen": f"{figures.device}, {figures.dtype}, {figures.backend}, {figures.workers} side by side, "
                f"batch {figures.batch}, tile {figures.tile}",
                "why": figures.why,
            }
        )
    )

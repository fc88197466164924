"""`dnirender info`"""

from __future__ import annotations

import json
from typing import Any

import typer

from dnirender.cli.app import app
from dnirender.cli.options import AsJson, Input, VideoStream
from dnirender.cli.output import format_table


@app.command(name="info")
def info_command(source: Input, video_stream: VideoStream = None, as_json: AsJson = False) -> None:
    """Tell what INPUT is: streams, frames, time stamps, colour."""
    from dnirender.decoding.open import open_source

    facts = open_source(source, stream=video_stream, ignore_errors=True).facts  # warnings tell of damage
    data: dict[str, Any] = {
        "input": str(source),
        "format": facts.format,
        "video": f"stream #{facts.video_index}, {facts.codec}" if not facts.still else "still picture",
        "size": f"{facts.width}x{facts.height}"
        + (f", rotated by {facts.rotation} degrees" if facts.rotation else "")
        + (f", pixels {facts.sample_aspect_ratio}" if facts.sample_aspect_ratio != 1 else ""),
        "pixels": f"{facts.pix_fmt}, {facts.depth} bits" + (", with transparency" if facts.opacity else ""),
        "colour": str(facts.colour),
        "frames": len(facts.pts),
        "duration": f"{float(facts.duration):.3f} s",
        "rate": f"{'variable' if facts.variable_frame_rate else 'constant'}, {float(facts.frame_rate):.3f} frames/s",
        "time stamps": f"{facts.pts[0]} to {facts.pts[-1]} in units of {facts.time_base} s",
        "streams": [
            f"#{s.index} {s.kind} {s.codec} {s.detail}".rstrip() + (f" [{s.language}]" if s.language else "")
            for s in facts.streams
        ],
        "warnings": list(facts.warnings),
    }
    typer.echo(json.dumps(data) if as_json else format_table(data))

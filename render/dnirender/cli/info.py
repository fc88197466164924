"""`dnirender info`"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from dnirender.cli.app import app
from dnirender.cli.options import AsJson, GroupedCommand, Input, with_options
from dnirender.cli.output import format_table

if TYPE_CHECKING:
    from dnirender.decoding.metadata import VideoMetadata


OF_CLIPS = ("format", "color", "frames", "duration", "rate", "timestamps")
"""What says nothing about a still image, which is RGB and shown for as long as keyframes say."""


@app.command(name="info", cls=GroupedCommand)
@with_options(("video_stream",))
def info_command(source: Input, options: dict[str, Any], as_json: AsJson = False) -> None:
    """Show the streams, frames, timestamps and color of a file."""
    from dnirender.decoding.open import open_source

    metadata = open_source(
        source, stream=options.get("video_stream"), ignore_errors=True
    ).metadata  # damage is in the warnings
    rate_kind = "variable" if metadata.variable_frame_rate else "constant"
    data: dict[str, Any] = {
        "input": str(source),
        "format": metadata.format,
        "video": _kind(metadata),
        "size": f"{metadata.width}x{metadata.height}"
        + (f", rotated by {metadata.rotation} degrees" if metadata.rotation else "")
        + (f", pixels {metadata.sample_aspect_ratio}" if metadata.sample_aspect_ratio != 1 else ""),
        "pixels": f"{metadata.pix_fmt}, {metadata.depth} bits" + (", with transparency" if metadata.opacity else ""),
        "color": str(metadata.color),
        "frames": len(metadata.pts),
        "duration": f"{float(metadata.duration):.3f} s",
        "rate": f"{rate_kind}, {float(metadata.frame_rate):.3f} frames/s",
        "timestamps": f"{metadata.pts[0]} to {metadata.pts[-1]} in units of {metadata.time_base} s",
        "streams": [
            f"#{s.index} {s.kind} {s.codec} {s.detail}".rstrip() + (f" [{s.language}]" if s.language else "")
            for s in metadata.streams
        ],
        "warnings": list(metadata.warnings),
    }
    shown = {key: value for key, value in data.items() if not (metadata.still and key in OF_CLIPS)}
    typer.echo(json.dumps(data) if as_json else format_table(shown))


def _kind(metadata: VideoMetadata) -> str:
    if metadata.still:
        return f"still image, {metadata.codec}"
    return f"stream #{metadata.video_index}, {metadata.codec}" if metadata.has_streams else f"animated {metadata.codec}"

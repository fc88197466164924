"""What a notebook shows for a report, a contact sheet and a render: HTML with the picture in it."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from pathlib import Path

from dnirender.decoding.clip import open_clip
from dnirender.encoding.animation import FORMATS
from dnirender.encoding.image_sequence import numbered_path
from dnirender.errors import RenderError
from dnirender.frames import Image, to_uint8
from dnirender.media.image_files import PICTURES
from dnirender.media.images import encode_png, read_image
from dnirender.media.resize import limit_width, with_opacity

WIDTH = 640  # pixels of a picture of a result
MAX_ANIMATION_BYTES = 16 << 20  # of an animation that is put into a notebook as it is


def image_html(image: Image) -> str:
    """An image [h, w, 3 or 4] as an element that has its PNG in it."""
    return _data_html("image/png", encode_png(to_uint8(image)))


def result_html(output: Path, num_frames: int) -> str:
    """The frame in the middle of a result, an animation as it is; nothing where it is gone or cannot be read."""
    try:
        if animation := FORMATS.get(output.suffix.lower()):
            small = output.stat().st_size <= MAX_ANIMATION_BYTES
            return _data_html(f"image/{animation}", output.read_bytes()) if small else ""
        if output.suffix.lower() in PICTURES:
            image, opacity = read_image(numbered_path(output, num_frames // 2))
            return image_html(limit_width(with_opacity(image, opacity), WIDTH))
        clip = open_clip(output)
        return image_html(limit_width(clip[len(clip) // 2].image, WIDTH))
    except (RenderError, OSError, IndexError):
        return ""


def table_html(rows: Mapping[str, object]) -> str:
    """A table of names and values; a tuple has a line for each of its values, and one that is empty is left out."""
    cells: list[str] = []
    for name, value in rows.items():
        values = list(value) if isinstance(value, tuple) else [value]
        text = "<br>".join(html.escape(str(line)) for line in values)
        cells += [f"<tr><th>{html.escape(name)}</th><td>{text}</td></tr>"] if values else []
    return f"<table>{''.join(cells)}</table>"


def progress_html(name: str, phase: str, done: int, total: int, seconds_left: float | None) -> str:
    """A bar of the frames, with the phase and the time that is left."""
    bar = f'<progress value="{done}" max="{max(1, total)}"></progress>'
    left = "" if seconds_left is None else f", {seconds_left:.0f} s left"
    frames = f"{done} of {total} frames" if total else ""
    return f"<p>{html.escape(name)}: {html.escape(phase)} {bar} {frames}{left}</p>"


def _data_html(kind: str, data: bytes) -> str:
    return f'<img src="data:{kind};base64,{base64.b64encode(data).decode()}">'

"""Panels side by side over a track of alpha, and contact sheets: pictures in, one picture out.

Colors are RGB 0..255 throughout and are scaled to the dtype of the picture they are laid on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dnirender.errors import UsageError
from dnirender.frames import Alpha, Image, to_uint8, to_uint16
from dnirender.layout.alpha_track import AlphaTrack
from dnirender.layout.drawing import draw_label, new_canvas
from dnirender.media.resize import resize_to

PANELS = ("source", "render", "crossfade")
"""Panels that every effect has; the name of each endpoint is a panel too."""


def check_panels(panels: Sequence[str], endpoints: Sequence[str]) -> None:
    """Raises UsageError unless there is a panel and each is one of PANELS or an endpoint's name."""
    known = list(dict.fromkeys((*PANELS, *endpoints)))
    if not panels:
        raise UsageError(f"panels: none given; choose from {', '.join(known)}.")
    for name in panels:
        if name not in known:
            raise UsageError(f"panels: there is no panel {name!r}; choose from {', '.join(known)}.")


def crossfade(renders: Sequence[Image], alpha: Alpha) -> Image:
    """The pixel blend sum_i alpha_i * renders_i, in float32 and rounded once: what mixing weights must beat.

    Exactly renders_i where alpha is 1 at i and 0 elsewhere; clipped to the range of the dtype, which is kept.
    """
    total = np.zeros(renders[0].shape, np.float32)
    for coefficient, render in zip(alpha, renders, strict=True):
        if coefficient != 0:
            total += np.float32(coefficient) * render
    dtype = renders[0].dtype
    return np.clip(np.rint(total), 0, np.iinfo(dtype).max).astype(dtype)


def layout(num_panels: int) -> tuple[int, int]:
    """Rows and columns: side by side up to three, a near-square grid beyond, no row or column more than needed."""
    if num_panels < 1:
        raise UsageError(f"panels: a comparison needs at least one, got {num_panels}.")
    columns = num_panels if num_panels <= 3 else math.ceil(math.sqrt(num_panels))
    return math.ceil(num_panels / columns), columns


def compare_size(panel_width: int, panel_height: int, num_panels: int, track: bool = True) -> tuple[int, int]:
    """Width and height, both even, of what `compare` returns for panels of this size."""
    width, height = _grid_size(panel_width, panel_height, num_panels)
    return _even(width), _even(height + (_track_height(width, height) if track else 0))


def compare(
    panels: Sequence[tuple[str, Image]],
    track: AlphaTrack | None,
    progress: float,
    *,
    labels: bool = True,
    size: tuple[int, int] | None = None,
) -> Image:
    """Labelled panels in a grid, with the track of alpha and its playhead at `progress` (0..1) below them.

    Every panel is brought to `size` (width, height), by default the largest panel's. The result is uint16 where any
    panel is, else uint8; its size is `compare_size` of the panels' size.
    """
    depth16 = any(image.dtype == np.uint16 for _, image in panels)
    panel_width, panel_height = size or _largest([image for _, image in panels])
    width, height = compare_size(panel_width, panel_height, len(panels), track is not None)
    canvas = new_canvas(width, height, np.dtype(np.uint16 if depth16 else np.uint8))
    for (label, image), (x, y) in zip(panels, _corners(panel_width, panel_height, len(panels)), strict=True):
        cell = canvas[y : y + panel_height, x : x + panel_width]
        cell[:] = resize_to(to_uint16(image) if depth16 else to_uint8(image), panel_width, panel_height)
        if labels:
            draw_label(cell, label)
    if track is not None:
        top = _grid_size(panel_width, panel_height, len(panels))[1]
        strip = track.draw(width, height - top, progress)
        canvas[top:] = to_uint16(strip) if depth16 else strip
    return canvas


def _even(length: int) -> int:
    return length + length % 2


def _gap(panel_width: int, panel_height: int) -> int:
    return max(2, _even(round(math.sqrt(panel_width * panel_height) / 160)))


def _grid_size(panel_width: int, panel_height: int, num_panels: int) -> tuple[int, int]:
    rows, columns = layout(num_panels)
    gap = _gap(panel_width, panel_height)
    return columns * (panel_width + gap) - gap, rows * (panel_height + gap) - gap


def _track_height(width: int, height: int) -> int:
    return max(20, round(math.sqrt(width * height) * 0.07))


def _corners(panel_width: int, panel_height: int, num_panels: int) -> list[tuple[int, int]]:
    """x and y of each panel's top left corner; a last row that is not full stands in the middle."""
    rows, columns = layout(num_panels)
    gap = _gap(panel_width, panel_height)
    indent = (rows * columns - num_panels) * (panel_width + gap) // 2
    places = [divmod(index, columns) for index in range(num_panels)]
    return [(x * (panel_width + gap) + indent * (y == rows - 1), y * (panel_height + gap)) for y, x in places]


def _largest(images: Sequence[Image]) -> tuple[int, int]:
    height, width = max((image.shape[:2] for image in images), key=lambda shape: shape[0] * shape[1])
    return width, height

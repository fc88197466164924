"""Comparisons: panels in a grid with the alpha track below.

Colors are RGB 0..255 and are scaled to the dtype of the image they are drawn into.
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

MASK = "mask"
PANELS = ("source", "render", "crossfade", MASK)
"""Panels available for every preset, in addition to one per endpoint."""


def check_panels(panels: Sequence[str], endpoints: Sequence[str]) -> None:
    """Checks panel names.

    Raises:
        UsageError: the list is empty, or a name is neither in PANELS nor an endpoint.
    """
    known = list(dict.fromkeys((*PANELS, *endpoints)))
    if not panels:
        raise UsageError(f"panels: empty; choose from {', '.join(known)}.")
    for name in panels:
        if name not in known:
            raise UsageError(f"panels: unknown panel {name!r}; choose from {', '.join(known)}.")


def crossfade(renders: Sequence[Image], alpha: Alpha) -> Image:
    """The pixel blend sum_i alpha_i * renders_i: the baseline that mixing weights is compared to.

    Computed in float32, rounded once and clipped to the range of the dtype of the renders, which the result has too.
    Exactly renders_i where alpha is 1 at i and 0 elsewhere.
    """
    total = np.zeros(renders[0].shape, np.float32)
    for coefficient, render in zip(alpha, renders, strict=True):
        if coefficient != 0:
            total += np.float32(coefficient) * render
    dtype = renders[0].dtype
    return np.clip(np.rint(total), 0, np.iinfo(dtype).max).astype(dtype)


def layout(num_panels: int) -> tuple[int, int]:
    """(rows, columns) of the grid: one row for up to three panels, else nearly square without empty rows or columns.

    Raises:
        UsageError: `num_panels` is below 1.
    """
    if num_panels < 1:
        raise UsageError(f"panels: a comparison needs at least one, got {num_panels}.")
    columns = num_panels if num_panels <= 3 else math.ceil(math.sqrt(num_panels))
    return math.ceil(num_panels / columns), columns


def compare_size(panel_width: int, panel_height: int, num_panels: int, track: bool = True) -> tuple[int, int]:
    """(width, height), both even, of the result of `compare` for panels of this size."""
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
    """Draws labelled panels in a grid, with the alpha track and its playhead at `progress` (0..1) below.

    Each panel, [h, w, 3] uint8 or uint16, is scaled to `size` (width, height), by default that of the largest panel.
    The result is uint16 if any panel is, else uint8; its size is `compare_size` of the panel size.
    """
    is_16_bit = any(image.dtype == np.uint16 for _, image in panels)
    panel_width, panel_height = size or _largest([image for _, image in panels])
    width, height = compare_size(panel_width, panel_height, len(panels), track is not None)
    canvas = new_canvas(width, height, np.dtype(np.uint16 if is_16_bit else np.uint8))
    for (label, image), (x, y) in zip(panels, _panel_corners(panel_width, panel_height, len(panels)), strict=True):
        cell = canvas[y : y + panel_height, x : x + panel_width]
        cell[:] = resize_to(to_uint16(image) if is_16_bit else to_uint8(image), panel_width, panel_height)
        if labels:
            draw_label(cell, label)
    if track is not None:
        top = _grid_size(panel_width, panel_height, len(panels))[1]
        strip = track.draw(width, height - top, progress)
        canvas[top:] = to_uint16(strip) if is_16_bit else strip
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


def _panel_corners(panel_width: int, panel_height: int, num_panels: int) -> list[tuple[int, int]]:
    """(x, y) of the top left corner of each panel; an incomplete last row is centered."""
    rows, columns = layout(num_panels)
    gap = _gap(panel_width, panel_height)
    indent = (rows * columns - num_panels) * (panel_width + gap) // 2
    cells = [divmod(index, columns) for index in range(num_panels)]
    return [(x * (panel_width + gap) + indent * (y == rows - 1), y * (panel_height + gap)) for y, x in cells]


def _largest(images: Sequence[Image]) -> tuple[int, int]:
    height, width = max((image.shape[:2] for image in images), key=lambda shape: shape[0] * shape[1])
    return width, height

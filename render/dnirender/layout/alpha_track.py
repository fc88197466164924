"""The course of alpha over a clip, drawn below the panels of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnirender.frames import Alpha, Image
from dnirender.layout.drawing import ACCENT, GROUND, QUIET, TEXT, draw_marker, new_canvas, paint, polyline_coverage
from dnirender.timeline.timeline import path_position


class AlphaTrack:
    """The course of alpha over a clip, drawn once: one picture of the part ahead, one of the part passed.

    `alphas` has one entry per frame; a key's position runs 0..1 from the first frame to the last, and keys outside
    are not shown. A mix is shown at sum_i alpha_i * i / (N - 1), its position along the path of endpoints.
    """

    def __init__(self, alphas: Sequence[Alpha], keys: Sequence[tuple[float, Alpha]]) -> None:
        course = [path_position(alpha) for alpha in alphas]
        self._course = np.array(course * 2 if len(course) == 1 else course, np.float64)
        self._keys = [(at, path_position(alpha)) for at, alpha in keys if 0 <= at <= 1]
        shown = [*course, *(value for _, value in self._keys), 0.0, 1.0]
        self._low, self._high = min(shown), max(shown)
        self._size = (0, 0)
        self._ahead = self._passed = new_canvas(0, 0, np.dtype(np.uint8))

    def draw(self, width: int, height: int, progress: float) -> Image:
        """The track as uint8 [height, width, 3] with its playhead at `progress` (0..1)."""
        if self._size != (width, height):
            self._ahead, self._passed = (self._static(width, height, lit) for lit in (False, True))
            self._size = (width, height)
        progress = min(max(progress, 0.0), 1.0)
        value = float(np.interp(progress, np.linspace(0, 1, len(self._course)), self._course))
        x, y = self._place(width, height, progress, value)
        edge = round(x)
        picture = self._ahead.copy()
        picture[:, :edge] = self._passed[:, :edge]
        unit = height / 16
        draw_marker(picture, x, height / 2, (unit * 0.35, height * 0.36), TEXT, "box")
        draw_marker(picture, x, y, (unit * 2.1, unit * 2.1), GROUND, "disc")
        draw_marker(picture, x, y, (unit * 1.5, unit * 1.5), TEXT, "disc")
        return picture

    def _place(self, width: int, height: int, at: float, value: float) -> tuple[float, float]:
        """The pixel of a moment and a position along the path; margins leave room for the marks."""
        margin_x, margin_y = height * 0.45, height * 0.28
        risen = (value - self._low) / (self._high - self._low)
        return margin_x + at * (width - 1 - 2 * margin_x), height - 1 - margin_y - risen * (height - 1 - 2 * margin_y)

    def _static(self, width: int, height: int, lit: bool) -> Image:
        picture = new_canvas(width, height, np.dtype(np.uint8))
        times = np.linspace(0, 1, len(self._course))
        curve = [self._place(width, height, at, value) for at, value in zip(times, self._course, strict=True)]
        floor = height * 0.86
        area = [(curve[0][0], floor), *curve, (curve[-1][0], floor)]
        paint(
            picture,
            0,
            0,
            polyline_coverage(width, height, area, None) * (0.3 if lit else 0.1),
            ACCENT if lit else QUIET,
        )
        paint(picture, 0, 0, polyline_coverage(width, height, curve, height / 22), ACCENT if lit else QUIET)
        for at, value in self._keys:
            x, y = self._place(width, height, at, value)
            draw_marker(picture, x, y, (height * 0.15, height * 0.15), GROUND, "diamond")
            draw_marker(picture, x, y, (height * 0.11, height * 0.11), ACCENT if lit else TEXT, "diamond")
        return picture

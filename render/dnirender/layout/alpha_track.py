"""Alpha over time as a curve with a playhead, drawn below the panels of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnirender.frames import Alpha, Image
from dnirender.layout.drawing import ACCENT, BACKGROUND, MUTED, TEXT, draw_marker, new_canvas, paint, polyline_coverage


def _ranks(alphas: Sequence[Alpha]) -> dict[int, int]:
    """{endpoint: rank} of those in use."""
    used = {index for alpha in alphas for index, coefficient in enumerate(alpha) if coefficient}
    return {index: rank for rank, index in enumerate(sorted(used))}


def _height(alpha: Alpha, ranks: dict[int, int]) -> float:
    return sum(coefficient * ranks[i] for i, coefficient in enumerate(alpha) if coefficient) / max(1, len(ranks) - 1)


class AlphaTrack:
    """Draws alpha over the frames of a clip. The curve is drawn once per size, in a played and a remaining style.

    `alphas` has one entry per frame. `keys` holds (position, alpha), where 0 is the first frame and 1 the last; keys
    outside 0..1 are not shown. The height of a mix is sum_i alpha_i * rank_i / (M - 1): the M endpoints in use are
    ranked in the order of the path, so that a transition between any two spans the whole height.
    """

    def __init__(self, alphas: Sequence[Alpha], keys: Sequence[tuple[float, Alpha]]) -> None:
        shown = [(time, alpha) for time, alpha in keys if 0 <= time <= 1]
        ranks = _ranks([*alphas, *(alpha for _, alpha in shown)])
        positions = [_height(alpha, ranks) for alpha in alphas]
        self._positions = np.array(positions * 2 if len(positions) == 1 else positions, np.float64)
        self._keys = [(time, _height(alpha, ranks)) for time, alpha in shown]
        values = [*positions, *(value for _, value in self._keys), 0.0, 1.0]
        self._low, self._high = min(values), max(values)
        self._size = (0, 0)
        self._remaining = self._played = new_canvas(0, 0, np.dtype(np.uint8))

    def draw(self, width: int, height: int, progress: float) -> Image:
        """The track as uint8 RGB [height, width, 3] with its playhead at `progress`, clamped to 0..1."""
        if self._size != (width, height):
            self._remaining, self._played = (self._draw_static(width, height, is_played) for is_played in (False, True))
            self._size = (width, height)
        progress = min(max(progress, 0.0), 1.0)
        value = float(np.interp(progress, np.linspace(0, 1, len(self._positions)), self._positions))
        x, y = self._to_pixel(width, height, progress, value)
        split = round(x)
        image = self._remaining.copy()
        image[:, :split] = self._played[:, :split]
        unit = height / 16
        draw_marker(image, x, height / 2, (unit * 0.35, height * 0.36), TEXT, "box")
        draw_marker(image, x, y, (unit * 2.1, unit * 2.1), BACKGROUND, "disc")
        draw_marker(image, x, y, (unit * 1.5, unit * 1.5), TEXT, "disc")
        return image

    def _to_pixel(self, width: int, height: int, time: float, value: float) -> tuple[float, float]:
        """Pixel (x, y) of a time (0..1) and a position on the path; margins leave space for the markers."""
        margin_x, margin_y = height * 0.45, height * 0.28
        relative = (value - self._low) / (self._high - self._low)
        return margin_x + time * (width - 1 - 2 * margin_x), height - 1 - margin_y - relative * (
            height - 1 - 2 * margin_y
        )

    def _draw_static(self, width: int, height: int, is_played: bool) -> Image:
        image = new_canvas(width, height, np.dtype(np.uint8))
        times = np.linspace(0, 1, len(self._positions))
        curve = [self._to_pixel(width, height, time, value) for time, value in zip(times, self._positions, strict=True)]
        baseline = height * 0.86
        area = [(curve[0][0], baseline), *curve, (curve[-1][0], baseline)]
        paint(
            image,
            0,
            0,
            polyline_coverage(width, height, area, None) * (0.3 if is_played else 0.1),
            ACCENT if is_played else MUTED,
        )
        paint(image, 0, 0, polyline_coverage(width, height, curve, height / 22), ACCENT if is_played else MUTED)
        for time, value in self._keys:
            x, y = self._to_pixel(width, height, time, value)
            draw_marker(image, x, y, (height * 0.15, height * 0.15), BACKGROUND, "diamond")
            draw_marker(image, x, y, (height * 0.11, height * 0.11), ACCENT if is_played else TEXT, "diamond")
        return image

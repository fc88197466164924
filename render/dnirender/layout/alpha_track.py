"""Alpha over time as a curve with a playhead, drawn below the panels of a comparison."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dnirender.frames import Alpha, Image
from dnirender.layout.drawing import (
    ACCENT,
    BACKGROUND,
    MUTED,
    RGB,
    TEXT,
    draw_marker,
    new_canvas,
    paint,
    polyline_coverage,
)

Keys = Sequence[tuple[float, Alpha]]
OTHERS: tuple[RGB, ...] = ((104, 190, 255), (140, 220, 130), (240, 130, 190))


def _ranks(alphas: Sequence[Alpha]) -> dict[int, int]:
    """{endpoint: rank} of those in use."""
    used = {index for alpha in alphas for index, coefficient in enumerate(alpha) if coefficient}
    return {index: rank for rank, index in enumerate(sorted(used))}


def _height(alpha: Alpha, ranks: dict[int, int]) -> float:
    return sum(coefficient * ranks[i] for i, coefficient in enumerate(alpha) if coefficient) / max(1, len(ranks) - 1)


@dataclass(frozen=True)
class _Curve:
    """Heights at places 0..1, two or more, and (place, height) of the keys."""

    places: npt.NDArray[np.float64]
    heights: npt.NDArray[np.float64]
    keys: list[tuple[float, float]]

    @classmethod
    def of(cls, alphas: Sequence[Alpha], keys: Keys, ranks: dict[int, int]) -> _Curve:
        heights = [_height(alpha, ranks) for alpha in alphas]
        heights = heights * 2 if len(heights) == 1 else heights
        marks = [(place, _height(alpha, ranks)) for place, alpha in keys]
        return cls(np.linspace(0, 1, len(heights)), np.array(heights, np.float64), marks)

    def at(self, progress: float) -> float:
        return float(np.interp(progress, self.places, self.heights))


class AlphaTrack:
    """Draws alpha over the frames of a clip. The curve is drawn once per size, in a played and a remaining style.

    `alphas` has one entry per frame. `keys` holds (position, alpha), where 0 is the first frame and 1 the last; keys
    outside 0..1 are not shown. The height of a mix is sum_i alpha_i * rank_i / (M - 1): the M endpoints in use are
    ranked in the order of the path, so that a transition between any two spans the whole height. `others` has (alphas,
    keys) of groups of layers with tracks of their own: they are thinner curves in other colors. `waveform` has peaks
    0..1 of a sound over the same time, drawn behind them.
    """

    def __init__(
        self,
        alphas: Sequence[Alpha],
        keys: Keys,
        others: Sequence[tuple[Sequence[Alpha], Keys]] = (),
        waveform: Sequence[float] = (),
    ) -> None:
        self._waveform = np.array(waveform, np.float64)
        tracks = [(alphas, keys), *others]
        tracks = [(course, [(at, alpha) for at, alpha in marks if 0 <= at <= 1]) for course, marks in tracks]
        ranks = _ranks([alpha for course, marks in tracks for alpha in (*course, *(key for _, key in marks))])
        self._curves = [_Curve.of(course, marks, ranks) for course, marks in tracks]
        values = [value for curve in self._curves for value in (*curve.heights, *(height for _, height in curve.keys))]
        self._low, self._high = float(min(0.0, *values)), float(max(1.0, *values))
        self._size = (0, 0)
        self._remaining = self._played = new_canvas(0, 0, np.dtype(np.uint8))

    def draw(self, width: int, height: int, progress: float) -> Image:
        """The track as uint8 RGB [height, width, 3] with its playhead at `progress`, clamped to 0..1."""
        if self._size != (width, height):
            self._remaining, self._played = (self._draw_static(width, height, is_played) for is_played in (False, True))
            self._size = (width, height)
        progress = min(max(progress, 0.0), 1.0)
        points = [self._to_pixel(width, height, progress, curve.at(progress)) for curve in self._curves]
        x, y = points[0]
        split = round(x)
        image = self._remaining.copy()
        image[:, :split] = self._played[:, :split]
        unit = height / 16
        draw_marker(image, x, height / 2, (unit * 0.35, height * 0.36), TEXT, "box")
        for number, (_, other) in enumerate(points[1:]):
            draw_marker(image, x, other, (unit * 1.2, unit * 1.2), BACKGROUND, "disc")
            draw_marker(image, x, other, (unit * 0.8, unit * 0.8), OTHERS[number % len(OTHERS)], "disc")
        draw_marker(image, x, y, (unit * 2.1, unit * 2.1), BACKGROUND, "disc")
        draw_marker(image, x, y, (unit * 1.5, unit * 1.5), TEXT, "disc")
        return image

    def draw_all(self, width: int, height: int) -> Image:
        """The track without a playhead."""
        return self._draw_static(width, height, is_played=True)

    def _to_pixel(self, width: int, height: int, time: float, value: float) -> tuple[float, float]:
        """Pixel (x, y) of a time (0..1) and a position on the path; margins leave space for the markers."""
        margin_x, margin_y = height * 0.45, height * 0.28
        relative = (value - self._low) / (self._high - self._low)
        return margin_x + time * (width - 1 - 2 * margin_x), height - 1 - margin_y - relative * (
            height - 1 - 2 * margin_y
        )

    def _draw_static(self, width: int, height: int, is_played: bool) -> Image:
        image = new_canvas(width, height, np.dtype(np.uint8))
        main, *others = self._curves
        curve = self._line(width, height, main)
        if len(self._waveform):
            self._draw_waveform(image, TEXT if is_played else MUTED)
        baseline = height * 0.86
        area = [(curve[0][0], baseline), *curve, (curve[-1][0], baseline)]
        paint(
            image,
            0,
            0,
            polyline_coverage(width, height, area, None) * (0.3 if is_played else 0.1),
            ACCENT if is_played else MUTED,
        )
        for number, other in enumerate(others):
            color = OTHERS[number % len(OTHERS)] if is_played else MUTED
            paint(image, 0, 0, polyline_coverage(width, height, self._line(width, height, other), height / 44), color)
            self._draw_keys(image, other, 0.7, color)
        paint(image, 0, 0, polyline_coverage(width, height, curve, height / 22), ACCENT if is_played else MUTED)
        self._draw_keys(image, main, 1.0, ACCENT if is_played else TEXT)
        return image

    def _draw_waveform(self, image: Image, color: RGB) -> None:
        """Around the middle, in every column the highest peak of its time."""
        height, width = image.shape[:2]
        left, _ = self._to_pixel(width, height, 0, 0)
        right, _ = self._to_pixel(width, height, 1, 0)
        columns = np.arange(math.ceil(left), math.floor(right) + 1)
        edges = np.clip((np.append(columns, columns[-1] + 1) - left) / (right - left), 0, 1) * len(self._waveform)
        parts = [self._waveform[int(a) : max(int(a) + 1, int(b))] for a, b in itertools.pairwise(edges)]
        peaks = np.array([part.max(initial=0) for part in parts])
        away = np.abs(np.arange(height) - (height - 1) / 2)[:, None]
        coverage = np.clip(peaks * height * 0.4 + 0.5 - away, 0, 1).astype(np.float32)
        paint(image, int(columns[0]), 0, coverage * 0.25, color)

    def _line(self, width: int, height: int, curve: _Curve) -> list[tuple[float, float]]:
        points = zip(curve.places, curve.heights, strict=True)
        return [self._to_pixel(width, height, float(place), float(value)) for place, value in points]

    def _draw_keys(self, image: Image, curve: _Curve, size: float, color: RGB) -> None:
        height, width = image.shape[:2]
        for time, value in curve.keys:
            x, y = self._to_pixel(width, height, time, value)
            draw_marker(image, x, y, (height * 0.15 * size, height * 0.15 * size), BACKGROUND, "diamond")
            draw_marker(image, x, y, (height * 0.11 * size, height * 0.11 * size), color, "diamond")

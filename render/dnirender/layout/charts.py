"""Draws charts: curves over positions, histograms, heat maps, grids of filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from dnirender.frames import Image
from dnirender.layout.drawing import ACCENT, BACKGROUND, MUTED, RGB, TEXT, new_canvas, paint, polyline_coverage
from dnirender.layout.drawing import text_coverage as ink

Floats = npt.NDArray[np.floating]
COLORS: tuple[RGB, ...] = (ACCENT, (92, 184, 255), (255, 110, 130), (120, 220, 150), (200, 150, 255), (200, 200, 110))
SIZE = (960, 360)
MARGINS = (60, 52, 24, 34)  # left, top, right, bottom
LETTER = 10  # height of capitals
TILE = 30  # pixels that a filter is shown with, about


def curves(
    series: Mapping[str, Sequence[float]],
    title: str,
    ends: tuple[str, str] = ("", ""),
    limits: tuple[float, float] = (0, 1),
    size: tuple[int, int] = SIZE,
) -> Image:
    """Series of equal length as curves, uint8 RGB; NaN leaves a gap, values beyond the limits lie on the border. `ends`
    are the labels of the first and the last position."""
    canvas, frame = _axes(title, limits, size)
    count = max(len(values) for values in series.values())
    for number, (_name, values) in enumerate(series.items()):
        color = COLORS[number % len(COLORS)]
        points = [_place(frame, limits, k / max(1, count - 1), value) for k, value in enumerate(values)]
        for part in _between_gaps(points):
            paint(canvas, 0, 0, polyline_coverage(*size, part if len(part) > 1 else part * 2, 2), color)
    _legend(canvas, list(series), frame)
    for text, x in zip(ends, (frame[0], frame[2] - ink(ends[1], LETTER).shape[1]), strict=True):
        paint(canvas, x, frame[3] + 12, ink(text, LETTER), MUTED)
    return canvas


def histogram(series: Mapping[str, Floats], title: str, limits: tuple[float, float] = (-1, 1), bins: int = 40) -> Image:
    """The distribution of values in each series, as steps, uint8 RGB; each is scaled to its own highest bin."""
    canvas, frame = _axes(title, (0, 1), SIZE, labels=False)
    edges = np.linspace(*limits, bins + 1)
    for number, values in enumerate(series.values()):
        counts = np.histogram(np.clip(values[np.isfinite(values)], *limits), edges)[0]
        heights = counts / max(1, counts.max())
        steps = [
            _place(frame, (0, 1), (edge - limits[0]) / (limits[1] - limits[0]), height)
            for k, height in enumerate(heights)
            for edge in edges[k : k + 2]
        ]
        corners = [(steps[0][0], float(frame[3])), *steps, (steps[-1][0], float(frame[3]))]
        color = COLORS[number % len(COLORS)]
        paint(canvas, 0, 0, polyline_coverage(*SIZE, corners, None) * np.float32(0.15), color)
        paint(canvas, 0, 0, polyline_coverage(*SIZE, steps, 2), color)
    for value in (limits[0], (limits[0] + limits[1]) / 2, limits[1]):
        x = frame[0] + (frame[2] - frame[0]) * (value - limits[0]) / (limits[1] - limits[0])
        word = ink(f"{value:g}", LETTER)
        paint(canvas, round(x) - word.shape[1] // 2, frame[3] + 12, word, MUTED)
    _legend(canvas, list(series), frame)
    return canvas


def heat_map(values: Floats, names: Sequence[str], title: str, cell: int = 64) -> Image:
    """A square table [n, n] of values -1..1 as colors and numbers, uint8 RGB: blue below 0, orange above."""
    left = 30 + max(ink(name, LETTER).shape[1] for name in names)
    top = 76
    width = max(left + cell * len(names), ink(title, LETTER + 2).shape[1] + 16) + 16
    canvas = new_canvas(width, top + cell * len(names) + 16, np.dtype(np.uint8))
    paint(canvas, 16, 16, ink(title, LETTER + 2), TEXT)
    for row, name in enumerate(names):
        paint(canvas, 16, top + row * cell + (cell - LETTER) // 2, ink(name, LETTER), MUTED)
        short = ink(f"{row + 1}", LETTER)
        paint(canvas, left + row * cell + (cell - short.shape[1]) // 2, top - 20, short, MUTED)
        for column in range(len(names)):
            value = float(values[row, column])
            y, x = top + row * cell, left + column * cell
            canvas[y : y + cell - 2, x : x + cell - 2] = _heat(value)
            word = ink(f"{value:.2f}", LETTER)
            tone = BACKGROUND if value > 0.5 else TEXT
            paint(canvas, x + (cell - word.shape[1]) // 2 - 1, y + (cell - LETTER) // 2, word, tone)
    return canvas


def filter_grids(grids: Mapping[str, Floats], title: str, columns: int = 8, zoom: int | None = None) -> Image:
    """Filters of networks side by side, uint8 RGB, the same filter in the same place: by name [n, h, w, 3], any values.

    `zoom` enlarges them. Gray is 0; a filter has in every network the range of its largest value in all of them.
    """
    zoom = zoom or max(4, TILE // next(iter(grids.values())).shape[1])
    stacked = np.stack(list(grids.values()))
    peak = np.abs(stacked).max(axis=(0, 2, 3, 4), keepdims=True)
    tiles = np.clip(127.5 + 127.5 * stacked / np.maximum(peak, 1e-12), 0, 255).round().astype(np.uint8)
    blocks = [_grid(block, columns, zoom) for block in tiles]
    height, width = blocks[0].shape[:2]
    gap, top = 16, 68
    words = ink(title, LETTER + 2)
    total = max(gap + len(blocks) * (width + gap), words.shape[1] + 2 * gap)
    canvas = new_canvas(total, top + height + gap, np.dtype(np.uint8))
    paint(canvas, gap, 16, words, TEXT)
    for number, (name, block) in enumerate(zip(grids, blocks, strict=True)):
        x = gap + number * (width + gap)
        size = LETTER
        while size > 6 and ink(name, size).shape[1] > width + gap - 4:
            size -= 1
        paint(canvas, x, 46, ink(name, size)[:, : width + gap - 4], ACCENT)
        canvas[top : top + height, x : x + width] = block
    return canvas


def stacked(images: Sequence[Image]) -> Image:
    """Images one below the other, on one background."""
    width = max(image.shape[1] for image in images)
    canvas = new_canvas(width, sum(image.shape[0] for image in images), np.dtype(np.uint8))
    y = 0
    for image in images:
        canvas[y : y + image.shape[0], : image.shape[1]] = image
        y += image.shape[0]
    return canvas


def _axes(
    title: str, limits: tuple[float, float], size: tuple[int, int], labels: bool = True
) -> tuple[Image, tuple[int, int, int, int]]:
    """A canvas with a title and a line for every quarter of the range, and (left, top, right, bottom) of the plot."""
    left, top, right, bottom = MARGINS
    frame = (left, top, size[0] - right, size[1] - bottom)
    canvas = new_canvas(*size, np.dtype(np.uint8))
    paint(canvas, 16, 16, ink(title, LETTER + 2), TEXT)
    for quarter in range(5):
        value = limits[0] + (limits[1] - limits[0]) * quarter / 4
        y = round(_place(frame, limits, 0, value)[1])
        canvas[y, frame[0] : frame[2]] = (44, 46, 52)
        if labels:
            word = ink(f"{value:g}", LETTER)
            paint(canvas, frame[0] - 8 - word.shape[1], y - LETTER // 2, word, MUTED)
    return canvas, frame


def _place(
    frame: tuple[int, int, int, int], limits: tuple[float, float], position: float, value: float
) -> tuple[float, float]:
    height = (min(max(value, limits[0]), limits[1]) - limits[0]) / (limits[1] - limits[0])
    return frame[0] + (frame[2] - frame[0]) * position, frame[3] - (frame[3] - frame[1]) * height


def _between_gaps(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    parts: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if np.isfinite(y):
            parts[-1].append((x, y))
        elif parts[-1]:
            parts.append([])
    return [part for part in parts if part]


def _legend(canvas: Image, names: Sequence[str], frame: tuple[int, int, int, int]) -> None:
    """Names in the colors of their series, in the upper right corner, as many as fit above the plot."""
    x = frame[2]
    for number, name in reversed(list(enumerate(names))):
        word = ink(name, LETTER)
        x -= word.shape[1]
        paint(canvas, x, 34, word, COLORS[number % len(COLORS)])
        x -= 18


def _heat(value: float) -> RGB:
    warm, cold = np.array(ACCENT, float), np.array((60, 130, 220), float)
    base, strength = np.array((34, 36, 42), float), min(1.0, abs(value)) if np.isfinite(value) else 0.0
    r, g, b = np.rint(base + strength * ((warm if value > 0 else cold) - base))
    return int(r), int(g), int(b)


def _grid(tiles: npt.NDArray[np.uint8], columns: int, zoom: int) -> Image:
    """Tiles [n, h, w, 3] in reading order, enlarged, with a line of background between them."""
    count, height, width = tiles.shape[:3]
    height, width = height * zoom, width * zoom
    rows = -(-count // columns)
    canvas = new_canvas(columns * (width + 1), rows * (height + 1), np.dtype(np.uint8))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        y, x = row * (height + 1), column * (width + 1)
        canvas[y : y + height, x : x + width] = cv2.resize(tile, (width, height), interpolation=cv2.INTER_NEAREST)
    return canvas

"""Panels side by side over a track of alpha, and contact sheets: pictures in, one picture out.

Colours are RGB 0..255 throughout and are scaled to the dtype of the picture they are laid on.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from dnirender.errors import UsageError
from dnirender.frames import Alpha, Image, Opacity, to_uint8, to_uint16
from dnirender.timeline.timeline import path_position

Mask = npt.NDArray[np.float32]
Colour = tuple[int, int, int]

PANELS = ("source", "render", "crossfade")
"""Panels that every effect has; the name of each endpoint is a panel too."""

SHEET_WIDTH = 2400
SMALLEST_TEXT = 7  # height of capitals in pixels

ZOOM = 4

GROUND: Colour = (15, 16, 19)
TEXT: Colour = (240, 240, 236)
QUIET: Colour = (128, 132, 142)
ACCENT: Colour = (255, 186, 84)


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


def fit(image: Image, width: int, height: int) -> Image:
    """The picture at exactly width x height: area-averaged when it shrinks, bicubic when it grows."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = width * height < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def with_opacity(image: Image, opacity: Opacity | None) -> Image:
    """The picture [h, w, 3] with its opacity, brought to its size, as a fourth channel; unchanged where there is none.

    Both are of one dtype.
    """
    if opacity is None:
        return image
    return np.dstack([image, fit(opacity, image.shape[1], image.shape[0])])


def narrowed(image: Image, width: int) -> Image:
    """The picture with a width of `width` at most, in its own proportions."""
    scale = min(1.0, width / image.shape[1])
    return fit(image, round(image.shape[1] * scale), max(1, round(image.shape[0] * scale)))


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
    canvas = _canvas(width, height, np.dtype(np.uint16 if depth16 else np.uint8))
    for (label, image), (x, y) in zip(panels, _corners(panel_width, panel_height, len(panels)), strict=True):
        cell = canvas[y : y + panel_height, x : x + panel_width]
        cell[:] = fit(to_uint16(image) if depth16 else to_uint8(image), panel_width, panel_height)
        if labels:
            _label(cell, label)
    if track is not None:
        top = _grid_size(panel_width, panel_height, len(panels))[1]
        strip = track.draw(width, height - top, progress)
        canvas[top:] = to_uint16(strip) if depth16 else strip
    return canvas


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
        self._ahead = self._passed = _canvas(0, 0, np.dtype(np.uint8))

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
        _spot(picture, x, height / 2, (unit * 0.35, height * 0.36), TEXT, "box")
        _spot(picture, x, y, (unit * 2.1, unit * 2.1), GROUND, "disc")
        _spot(picture, x, y, (unit * 1.5, unit * 1.5), TEXT, "disc")
        return picture

    def _place(self, width: int, height: int, at: float, value: float) -> tuple[float, float]:
        """The pixel of a moment and a position along the path; margins leave room for the marks."""
        margin_x, margin_y = height * 0.45, height * 0.28
        risen = (value - self._low) / (self._high - self._low)
        return margin_x + at * (width - 1 - 2 * margin_x), height - 1 - margin_y - risen * (height - 1 - 2 * margin_y)

    def _static(self, width: int, height: int, lit: bool) -> Image:
        picture = _canvas(width, height, np.dtype(np.uint8))
        times = np.linspace(0, 1, len(self._course))
        curve = [self._place(width, height, at, value) for at, value in zip(times, self._course, strict=True)]
        floor = height * 0.86
        area = [(curve[0][0], floor), *curve, (curve[-1][0], floor)]
        _paint(picture, 0, 0, _drawn(width, height, area, None) * (0.3 if lit else 0.1), ACCENT if lit else QUIET)
        _paint(picture, 0, 0, _drawn(width, height, curve, height / 22), ACCENT if lit else QUIET)
        for at, value in self._keys:
            x, y = self._place(width, height, at, value)
            _spot(picture, x, y, (height * 0.15, height * 0.15), GROUND, "diamond")
            _spot(picture, x, y, (height * 0.11, height * 0.11), ACCENT if lit else TEXT, "diamond")
        return picture


def sheet(
    rows: Sequence[Sequence[Image]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str,
    width: int = SHEET_WIDTH,
) -> Image:
    """A contact sheet, uint8: a row of pictures per frame, a column per alpha, labels above and at the left.

    It is at most `width` wide; pictures shrink to fit and never grow. All take the size of the first.
    """
    cell_height, cell_width = rows[0][0].shape[:2]
    columns = len(column_labels)
    text = max(11, round(min(width, columns * cell_width) / 110))
    gap, left = max(4, text // 2), text + max(_text(label, text).shape[1] for label in row_labels)
    room = (width - left - gap - text) / columns - gap
    scale = min(1.0, room / cell_width)
    cell_width, cell_height = max(1, int(cell_width * scale)), max(1, int(cell_height * scale))
    xs = [left + gap + column * (cell_width + gap) for column in range(columns)]
    ys = [round(text * 6.4) + row * (cell_height + gap) for row in range(len(rows))]
    canvas = _canvas(xs[-1] + cell_width + gap + text, ys[-1] + cell_height + gap + text, np.dtype(np.uint8))
    _paint(canvas, text, round(text * 1.2), _text(title, round(text * 1.3)), TEXT)
    heading = text
    while heading > SMALLEST_TEXT and max(_text(label, heading).shape[1] for label in column_labels) > cell_width:
        heading -= 1
    for x, label in zip(xs, column_labels, strict=True):
        ink = _text(label, heading)
        _paint(canvas, x + (cell_width - ink.shape[1]) // 2, round(text * 4.2), ink, ACCENT)
    for y, images, label in zip(ys, rows, row_labels, strict=True):
        _paint(canvas, text, y + (cell_height - text) // 2, _text(label, text), QUIET)
        for x, image in zip(xs, images, strict=True):
            canvas[y : y + cell_height, x : x + cell_width] = fit(to_uint8(image), cell_width, cell_height)
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


def _canvas(width: int, height: int, dtype: np.dtype[np.generic]) -> Image:
    ground = np.array(GROUND) * (257 if dtype == np.uint16 else 1)
    row = np.tile(ground.astype(dtype), width)  # rows are copied whole: ten times as fast as filling by pixel
    return np.tile(row, height).reshape(height, width, 3)


def _paint(image: Image, x: int, y: int, coverage: Mask, colour: Colour) -> None:
    """Lays a colour on the picture, in place, where coverage [h, w] (0..1) says; what falls outside is cut off."""
    bottom, right = max(0, image.shape[0] - y), max(0, image.shape[1] - x)
    coverage = coverage[max(0, -y) : bottom, max(0, -x) : right, None]
    target = image[max(0, y) :, max(0, x) :][: coverage.shape[0], : coverage.shape[1]]
    ink = np.array(colour, np.float32) * (257 if image.dtype == np.uint16 else 1)
    target[:] = np.rint(target + coverage * (ink - target))


def _shrunk(large: npt.NDArray[np.uint8]) -> Mask:
    """Coverage 0..1 from ink 0..255 drawn ZOOM times as large: the anti-aliasing of text and lines."""
    height, width = large.shape[0] // ZOOM, large.shape[1] // ZOOM
    small = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(255)


def _drawn(width: int, height: int, points: Sequence[tuple[float, float]], stroke: float | None) -> Mask:
    """Coverage of a polyline `stroke` pixels thick, or of the polygon's inside where stroke is None.

    Drawn larger and averaged: thin slopes stay smooth and a stroke may be 1.3 pixels thick.
    """
    large = np.zeros((height * ZOOM, width * ZOOM), np.uint8)
    corners = np.rint((np.array(points) + 0.5) * ZOOM).astype(np.int32)
    if stroke is None:
        cv2.fillPoly(large, [corners], 255)
    else:
        cv2.polylines(large, [corners], False, 255, max(3, round(stroke * ZOOM)), cv2.LINE_AA)
    return _shrunk(large)


def _spot(image: Image, x: float, y: float, radii: tuple[float, float], colour: Colour, shape: str) -> None:
    """A disc, diamond or box about (x, y), in place, its edge one pixel soft so that it glides between pixels."""
    reach_x, reach_y = (math.ceil(radius) + 1 for radius in radii)
    left, top = math.floor(x) - reach_x, math.floor(y) - reach_y
    across = np.abs(np.arange(2 * reach_x + 2, dtype=np.float32) + left - x)[None, :]
    down = np.abs(np.arange(2 * reach_y + 2, dtype=np.float32) + top - y)[:, None]
    if shape == "box":
        coverage = np.clip(radii[0] + 0.5 - across, 0, 1) * np.clip(radii[1] + 0.5 - down, 0, 1)
    elif shape == "diamond":
        coverage = np.clip((radii[0] - across - down) / math.sqrt(2) + 0.5, 0, 1)
    else:
        coverage = np.clip(radii[0] + 0.5 - np.hypot(across, down), 0, 1)
    _paint(image, left, top, coverage.astype(np.float32), colour)


def _ascii(text: str) -> str:
    """OpenCV's fonts know ASCII alone: accents are dropped, anything else becomes a question mark."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(letter if " " <= letter <= "~" else "?" for letter in plain)


@lru_cache(maxsize=1)
def _cap_height() -> float:
    """Pixels from the baseline to the top of an H at font scale 1; OpenCV 4 and 5 draw different fonts."""
    ink = np.zeros((600, 600), np.uint8)
    cv2.putText(ink, "H", (100, 500), cv2.FONT_HERSHEY_SIMPLEX, 8, 255, 8)
    return (500 - int(np.flatnonzero(ink.any(axis=1))[0])) / 8


@lru_cache(maxsize=256)
def _text(text: str, height: int) -> Mask:
    """Coverage of one line of text whose capitals are `height` pixels tall, cut to its ink from left to right.

    The top row is that of the capitals; 0.4 * height rows below the baseline hold what descends.
    """
    text = _ascii(text)
    scale = height * ZOOM / _cap_height()
    stroke = max(2, round(height * ZOOM / 9))
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, stroke)
    margin = height * ZOOM
    ink = np.zeros((round(height * 1.4) * ZOOM, width + 2 * margin), np.uint8)
    cv2.putText(ink, text, (margin, height * ZOOM), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, stroke, cv2.LINE_AA)
    columns = np.flatnonzero(ink.any(axis=0))
    if not len(columns):
        return np.zeros((round(height * 1.4), 0), np.float32)
    ink = ink[:, columns[0] : columns[-1] + 1]
    return _shrunk(np.pad(ink, ((0, 0), (0, -ink.shape[1] % ZOOM))))


@lru_cache(maxsize=64)
def _backing(width: int, height: int, radius: int) -> Mask:
    """Half-dark coverage of a box with round corners and a soft edge."""
    box = np.zeros((height, width), np.float32)
    near, far = (2 * radius, 2 * radius), (width - 2 * radius, height - 2 * radius)
    cv2.rectangle(box, near, far, 0.62, 2 * radius)
    cv2.rectangle(box, near, far, 0.62, cv2.FILLED)
    return cv2.GaussianBlur(box, (0, 0), max(0.6, radius / 4)).astype(np.float32)


def _label(cell: Image, label: str) -> None:
    """Writes the label in the cell's top left corner, in place; capitals about a fortieth of the picture tall."""
    height = max(8, round(math.sqrt(cell.shape[0] * cell.shape[1]) * 0.023))
    ink = _text(label, height)
    if not ink.shape[1]:
        return
    pad = max(3, round(height * 0.6))
    _paint(cell, pad // 2, pad // 2, _backing(ink.shape[1] + 4 * pad, height + 4 * pad, pad), GROUND)
    _paint(cell, pad // 2 + 2 * pad, pad // 2 + 2 * pad, ink, TEXT)

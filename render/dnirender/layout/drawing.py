"""Text, lines and marks drawn into pictures."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from dnirender.frames import Image

Mask = npt.NDArray[np.float32]
RGB = tuple[int, int, int]
ZOOM = 4
GROUND: RGB = (15, 16, 19)
TEXT: RGB = (240, 240, 236)
QUIET: RGB = (128, 132, 142)
ACCENT: RGB = (255, 186, 84)


def new_canvas(width: int, height: int, dtype: np.dtype[np.generic]) -> Image:
    ground = np.array(GROUND) * (257 if dtype == np.uint16 else 1)
    row = np.tile(ground.astype(dtype), width)  # rows are copied whole: ten times as fast as filling by pixel
    return np.tile(row, height).reshape(height, width, 3)


def paint(image: Image, x: int, y: int, coverage: Mask, color: RGB) -> None:
    """Lays a color on the picture, in place, where coverage [h, w] (0..1) says; what falls outside is cut off."""
    bottom, right = max(0, image.shape[0] - y), max(0, image.shape[1] - x)
    coverage = coverage[max(0, -y) : bottom, max(0, -x) : right, None]
    target = image[max(0, y) :, max(0, x) :][: coverage.shape[0], : coverage.shape[1]]
    ink = np.array(color, np.float32) * (257 if image.dtype == np.uint16 else 1)
    target[:] = np.rint(target + coverage * (ink - target))


def _shrunk(large: npt.NDArray[np.uint8]) -> Mask:
    """Coverage 0..1 from ink 0..255 drawn ZOOM times as large: the anti-aliasing of text and lines."""
    height, width = large.shape[0] // ZOOM, large.shape[1] // ZOOM
    small = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(255)


def polyline_coverage(width: int, height: int, points: Sequence[tuple[float, float]], stroke: float | None) -> Mask:
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


def draw_marker(image: Image, x: float, y: float, radii: tuple[float, float], color: RGB, shape: str) -> None:
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
    paint(image, left, top, coverage.astype(np.float32), color)


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
def text_coverage(text: str, height: int) -> Mask:
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


def draw_label(cell: Image, label: str) -> None:
    """Writes the label in the cell's top left corner, in place; capitals about a fortieth of the picture tall."""
    height = max(8, round(math.sqrt(cell.shape[0] * cell.shape[1]) * 0.023))
    ink = text_coverage(label, height)
    if not ink.shape[1]:
        return
    pad = max(3, round(height * 0.6))
    paint(cell, pad // 2, pad // 2, _backing(ink.shape[1] + 4 * pad, height + 4 * pad, pad), GROUND)
    paint(cell, pad // 2 + 2 * pad, pad // 2 + 2 * pad, ink, TEXT)

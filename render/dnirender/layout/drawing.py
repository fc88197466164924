"""Draws text, lines and markers into images."""

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
SUPERSAMPLING = 4
BACKGROUND: RGB = (15, 16, 19)
TEXT: RGB = (240, 240, 236)
MUTED: RGB = (128, 132, 142)
ACCENT: RGB = (255, 186, 84)


def new_canvas(width: int, height: int, dtype: np.dtype[np.generic]) -> Image:
    background = np.array(BACKGROUND) * (257 if dtype == np.uint16 else 1)
    row = np.tile(background.astype(dtype), width)  # copying rows is ten times as fast as filling by pixel
    return np.tile(row, height).reshape(height, width, 3)


def paint(image: Image, x: int, y: int, coverage: Mask, color: RGB) -> None:
    """Blends a color into the image in place, with coverage [h, w] in 0..1 at (x, y); clipped to the image."""
    bottom, right = max(0, image.shape[0] - y), max(0, image.shape[1] - x)
    coverage = coverage[max(0, -y) : bottom, max(0, -x) : right, None]
    target = image[max(0, y) :, max(0, x) :][: coverage.shape[0], : coverage.shape[1]]
    ink = np.array(color, np.float32) * (257 if image.dtype == np.uint16 else 1)
    target[:] = np.rint(target + coverage * (ink - target))


def _downsample(large: npt.NDArray[np.uint8]) -> Mask:
    """Averages ink 0..255, drawn SUPERSAMPLING times as large, to coverage 0..1: anti-aliasing of text and lines."""
    height, width = large.shape[0] // SUPERSAMPLING, large.shape[1] // SUPERSAMPLING
    small = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(255)


def polyline_coverage(width: int, height: int, points: Sequence[tuple[float, float]], stroke: float | None) -> Mask:
    """Coverage [height, width] of a polyline `stroke` pixels thick, or of the filled polygon if stroke is None.

    Supersampled, so that flat slopes are smooth and `stroke` may be fractional.
    """
    large = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
    corners = np.rint((np.array(points) + 0.5) * SUPERSAMPLING).astype(np.int32)
    if stroke is None:
        cv2.fillPoly(large, [corners], 255)
    else:
        cv2.polylines(large, [corners], False, 255, max(3, round(stroke * SUPERSAMPLING)), cv2.LINE_AA)
    return _downsample(large)


def draw_marker(image: Image, x: float, y: float, radii: tuple[float, float], color: RGB, shape: str) -> None:
    """Draws a disc, diamond or box centered at (x, y), in place; a soft edge of one pixel allows subpixel motion."""
    half_width, half_height = (math.ceil(radius) + 1 for radius in radii)
    left, top = math.floor(x) - half_width, math.floor(y) - half_height
    dx = np.abs(np.arange(2 * half_width + 2, dtype=np.float32) + left - x)[None, :]
    dy = np.abs(np.arange(2 * half_height + 2, dtype=np.float32) + top - y)[:, None]
    if shape == "box":
        coverage = np.clip(radii[0] + 0.5 - dx, 0, 1) * np.clip(radii[1] + 0.5 - dy, 0, 1)
    elif shape == "diamond":
        coverage = np.clip((radii[0] - dx - dy) / math.sqrt(2) + 0.5, 0, 1)
    else:
        coverage = np.clip(radii[0] + 0.5 - np.hypot(dx, dy), 0, 1)
    paint(image, left, top, coverage.astype(np.float32), color)


def _ascii(text: str) -> str:
    """OpenCV's fonts have only ASCII: accents are dropped, other characters become question marks."""
    letters = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(letter if " " <= letter <= "~" else "?" for letter in letters)


@lru_cache(maxsize=1)
def _cap_height() -> float:
    """Height of a capital H in pixels at font scale 1; the fonts of OpenCV 4 and 5 differ."""
    ink = np.zeros((600, 600), np.uint8)
    cv2.putText(ink, "H", (100, 500), cv2.FONT_HERSHEY_SIMPLEX, 8, 255, 8)
    return (500 - int(np.flatnonzero(ink.any(axis=1))[0])) / 8


@lru_cache(maxsize=256)
def text_coverage(text: str, height: int) -> Mask:
    """Coverage of one line of text with capitals `height` pixels tall, cropped to its ink on the left and right.

    The top row is the top of the capitals; 0.4 * height rows below the baseline hold the descenders.
    """
    text = _ascii(text)
    scale = height * SUPERSAMPLING / _cap_height()
    stroke = max(2, round(height * SUPERSAMPLING / 9))
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, stroke)
    margin = height * SUPERSAMPLING
    ink = np.zeros((round(height * 1.4) * SUPERSAMPLING, width + 2 * margin), np.uint8)
    cv2.putText(ink, text, (margin, height * SUPERSAMPLING), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, stroke, cv2.LINE_AA)
    columns = np.flatnonzero(ink.any(axis=0))
    if not len(columns):
        return np.zeros((round(height * 1.4), 0), np.float32)
    ink = ink[:, columns[0] : columns[-1] + 1]
    return _downsample(np.pad(ink, ((0, 0), (0, -ink.shape[1] % SUPERSAMPLING))))


@lru_cache(maxsize=64)
def _label_background(width: int, height: int, radius: int) -> Mask:
    """Coverage of a translucent box with rounded corners and a soft edge."""
    box = np.zeros((height, width), np.float32)
    near, far = (2 * radius, 2 * radius), (width - 2 * radius, height - 2 * radius)
    cv2.rectangle(box, near, far, 0.62, 2 * radius)
    cv2.rectangle(box, near, far, 0.62, cv2.FILLED)
    return cv2.GaussianBlur(box, (0, 0), max(0.6, radius / 4)).astype(np.float32)


def draw_label(cell: Image, label: str) -> None:
    """Draws the label in the top left corner, in place; capitals are about a fortieth of the image size tall."""
    height = max(8, round(math.sqrt(cell.shape[0] * cell.shape[1]) * 0.023))
    ink = text_coverage(label, height)
    if not ink.shape[1]:
        return
    pad = max(3, round(height * 0.6))
    paint(cell, pad // 2, pad // 2, _label_background(ink.shape[1] + 4 * pad, height + 4 * pad, pad), BACKGROUND)
    paint(cell, pad // 2 + 2 * pad, pad // 2 + 2 * pad, ink, TEXT)

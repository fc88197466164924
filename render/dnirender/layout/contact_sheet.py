"""A grid of images with labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnirender.frames import Image, to_uint8
from dnirender.layout.drawing import ACCENT, MUTED, TEXT, new_canvas, paint, text_coverage
from dnirender.media.resize import resize_to

SHEET_WIDTH = 2400
STILL_COLUMNS = 4
MIN_TEXT_HEIGHT = 7  # height of capitals in pixels


def sheet(
    rows: Sequence[Sequence[Image]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str,
    width: int = SHEET_WIDTH,
) -> Image:
    """A contact sheet, uint8 RGB: one row of images per frame, one column per alpha, labels above and on the left.

    It is at most `width` pixels wide; images are scaled down to fit, never up, all to the size of the first.
    """
    cell_height, cell_width = rows[0][0].shape[:2]
    columns = len(column_labels)
    text = max(11, round(min(width, columns * cell_width) / 110))
    gap, left = max(4, text // 2), text + max(text_coverage(label, text).shape[1] for label in row_labels)
    available = (width - left - gap - text) / columns - gap
    scale = min(1.0, available / cell_width)
    cell_width, cell_height = max(1, int(cell_width * scale)), max(1, int(cell_height * scale))
    xs = [left + gap + column * (cell_width + gap) for column in range(columns)]
    ys = [round(text * 6.4) + row * (cell_height + gap) for row in range(len(rows))]
    canvas = new_canvas(xs[-1] + cell_width + gap + text, ys[-1] + cell_height + gap + text, np.dtype(np.uint8))
    paint(canvas, text, round(text * 1.2), text_coverage(title, round(text * 1.3)), TEXT)
    heading = text
    while (
        heading > MIN_TEXT_HEIGHT
        and max(text_coverage(label, heading).shape[1] for label in column_labels) > cell_width
    ):
        heading -= 1
    for x, label in zip(xs, column_labels, strict=True):
        ink = text_coverage(label, heading)
        paint(canvas, x + (cell_width - ink.shape[1]) // 2, round(text * 4.2), ink, ACCENT)
    for y, images, label in zip(ys, rows, row_labels, strict=True):
        paint(canvas, text, y + (cell_height - text) // 2, text_coverage(label, text), MUTED)
        for x, image in zip(xs, images, strict=True):
            canvas[y : y + cell_height, x : x + cell_width] = resize_to(to_uint8(image), cell_width, cell_height)
    return canvas


def stills(images: Sequence[Image], labels: Sequence[tuple[str, str]], title: str) -> Image:
    """Images of one size in reading order, uint8 RGB, with two lines of text under each, and a title."""
    height, width = images[0].shape[:2]
    columns = min(STILL_COLUMNS, len(images))
    text = max(11, round(columns * width / 110))
    gap, below = max(4, text // 2), round(text * 3.4)
    rows = -(-len(images) // columns)
    canvas = new_canvas(
        2 * text + columns * (width + gap), round(text * 3.6) + rows * (height + below), np.dtype(np.uint8)
    )
    paint(canvas, text, round(text * 1.2), text_coverage(title, round(text * 1.3)), TEXT)
    for number, (image, lines) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(number, columns)
        x, y = text + column * (width + gap), round(text * 3.6) + row * (height + below)
        canvas[y : y + height, x : x + width] = to_uint8(image)
        for line, (words, color) in enumerate(zip(lines, (MUTED, ACCENT), strict=True)):
            size = text
            while size > MIN_TEXT_HEIGHT and text_coverage(words, size).shape[1] > width:
                size -= 1
            ink = text_coverage(words, size)[:, :width]
            paint(canvas, x, y + height + round(text * (0.4 + 1.4 * line)), ink, color)
    return canvas

"""Rectangles that cover the pixels of a region, so that a network need not render the rest of the picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CELL = 16  # pixels: sides of rectangles lie at multiples of it
WORTH = 0.97  # of the cost of one rectangle: two must be cheaper than that
MAX_DEPTH = 3  # at most 2 ** MAX_DEPTH rectangles
MAX_CUTS = 8  # places where a rectangle may be cut in two, in each direction


@dataclass(frozen=True)
class Box:
    """A rectangle of a picture in pixels, half-open."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def rows(self) -> slice:
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.right)


@dataclass(frozen=True)
class Surroundings:
    """What a network needs around a region: `radius` pixels, and sides that begin and end at multiples of `multiple`,
    at least `minimum` long, but where the picture ends."""

    height: int
    width: int
    radius: int
    multiple: int
    minimum: int = 0

    def around(self, box: Box) -> Box:
        """The part of the picture to render so that the pixels of `box` are those of the whole picture's render."""
        top, bottom = self._side(box.top, box.bottom, self.height)
        left, right = self._side(box.left, box.right, self.width)
        return Box(top, left, bottom, right)

    def cost(self, box: Box) -> int:
        """Pixels to render for it."""
        outer = self.around(box)
        return (outer.bottom - outer.top) * (outer.right - outer.left)

    def _side(self, start: int, stop: int, length: int) -> tuple[int, int]:
        multiple = self.multiple
        # A side that ends with the picture is padded by reflection, of lines that must be there.
        shortest = max(self.minimum, 2 * multiple)
        stop = min(length, -(-(stop + self.radius) // multiple) * multiple)
        start = max(0, min(start - self.radius, stop - shortest)) // multiple * multiple
        return start, min(length, max(stop, -(-(start + shortest) // multiple) * multiple))


def cover(region: npt.NDArray[np.bool_], around: Surroundings) -> list[Box]:
    """Rectangles without a common pixel that together hold all pixels of `region` [h, w], cheap to render."""
    cells = _in_cells(region)
    tight = _tight(cells, Box(0, 0, *cells.shape))
    return _divided(cells, tight, around, MAX_DEPTH)[1] if tight else []


def _in_cells(region: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Whether each cell holds a pixel of the region."""
    height, width = (-(-side // CELL) for side in region.shape)
    padded = np.zeros((height * CELL, width * CELL), bool)
    padded[: region.shape[0], : region.shape[1]] = region
    return np.asarray(padded.reshape(height, CELL, width, CELL).any((1, 3)))


def _in_pixels(cells: Box, around: Surroundings) -> Box:
    bottom, right = min(cells.bottom * CELL, around.height), min(cells.right * CELL, around.width)
    return Box(cells.top * CELL, cells.left * CELL, bottom, right)


def _divided(cells: npt.NDArray[np.bool_], box: Box, around: Surroundings, depth: int) -> tuple[float, list[Box]]:
    """Rectangles that hold the cells of the region in `box`, in pixels, and what they cost."""
    inner = _in_pixels(box, around)
    best = float(around.cost(inner)), [inner]
    for first, second in _cuts(cells, box, around) if depth else ():
        one, other = (_divided(cells, half, around, depth - 1) for half in (first, second))
        if one[0] + other[0] < WORTH * best[0]:
            best = one[0] + other[0], [*one[1], *other[1]]
    return best


def _cuts(cells: npt.NDArray[np.bool_], box: Box, around: Surroundings) -> list[tuple[Box, Box]]:
    """The cut after which two rectangles are cheapest, and the one through the middle: a ring has four sides, and the
    first cut alone saves nothing."""
    if 2 * around.radius >= CELL * max(box.bottom - box.top, box.right - box.left):
        return []  # what two rectangles need around them is as large as what lies between them
    found = list[tuple[int, tuple[Box, Box]]]()
    for one, other in _halves(box):
        first, second = _tight(cells, one), _tight(cells, other)
        if first and second:
            cost = sum(around.cost(_in_pixels(half, around)) for half in (first, second))
            found.append((cost, (first, second)))
    if not found:
        return []
    cheapest = min(found, key=lambda pair: pair[0])[1]
    middle = min(found, key=lambda pair: abs(_size(pair[1][0]) - _size(pair[1][1])))[1]
    return [cheapest] if middle == cheapest else [cheapest, middle]


def _size(box: Box) -> int:
    return (box.bottom - box.top) * (box.right - box.left)


def _halves(box: Box) -> Iterator[tuple[Box, Box]]:
    """The box cut in two, in at most MAX_CUTS places in each direction."""
    height, width = box.bottom - box.top, box.right - box.left
    for at in range(box.top + 1, box.bottom, -(-height // MAX_CUTS)):
        yield Box(box.top, box.left, at, box.right), Box(at, box.left, box.bottom, box.right)
    for at in range(box.left + 1, box.right, -(-width // MAX_CUTS)):
        yield Box(box.top, box.left, box.bottom, at), Box(box.top, at, box.bottom, box.right)


def _tight(cells: npt.NDArray[np.bool_], box: Box) -> Box | None:
    """The part of a rectangle that holds its cells of the region; None without any."""
    part = cells[box.rows, box.columns]
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    if not len(rows):
        return None
    top, left = box.top, box.left
    return Box(top + int(rows[0]), left + int(columns[0]), top + int(rows[-1]) + 1, left + int(columns[-1]) + 1)

"""Alpha as a function of the pixel, as a few mixtures and the share that each has in every pixel.

The reference is y(p) = f(x; theta(alpha(p)))(p): every pixel as if the whole picture were rendered at its own mixture.
It is approached by levels: where alpha(p) lies between two mixtures, the pixel is interpolated between their renders.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dnirender.frames import Alpha

Plane = npt.NDArray[np.float32]
"""A number for every pixel, [h, w]."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A mixture and its share, above 0 in at least one pixel, in the pixels of `rows` and `columns`; elsewhere 0."""

    alpha: Alpha
    rows: slice
    columns: slice
    share: Plane


@dataclass(frozen=True, eq=False)
class AlphaMap:
    """Mixtures over a picture of this size, no two of them equal. In every pixel their shares are in 0..1 and sum to
    1."""

    height: int
    width: int
    layers: tuple[Layer, ...]

    @property
    def is_constant(self) -> bool:
        """Whether one mixture rules everywhere."""
        return len(self.layers) == 1


def constant(alpha: Alpha, height: int, width: int) -> AlphaMap:
    """One mixture everywhere."""
    share = np.ones((height, width), np.float32)
    return AlphaMap(height, width, (Layer(alpha, slice(0, height), slice(0, width), share),))


def spread(progress: Plane, nodes: Sequence[float], alphas: Sequence[Alpha]) -> AlphaMap:
    """The mixtures that a pixel's `progress` in 0..1 meets along a path: `alphas` at `nodes`, which increase from 0 to
    1, interpolated between."""
    pieces = list[tuple[Alpha, Layer]]()
    _add_hats(pieces, progress, nodes, alphas, slice(0, progress.shape[0]), slice(0, progress.shape[1]), None)
    return _merged(pieces, *progress.shape)


def over(below: AlphaMap, above: AlphaMap, cover: Plane, levels: int) -> AlphaMap:
    """alpha(p) = (1 - cover(p)) below(p) + cover(p) above(p), by `levels` mixtures, 2 or more, from each mixture of
    `below` to each of `above`. Two are exact where `cover` is 0 or 1."""
    pieces = list[tuple[Alpha, Layer]]()
    nodes = [step / (levels - 1) for step in range(levels)]
    for one in below.layers:
        for other in above.layers:
            rows, columns = _common(one.rows, other.rows), _common(one.columns, other.columns)
            if rows is None or columns is None:
                continue
            shares = _part(one, rows, columns) * _part(other, rows, columns)
            if one.alpha == other.alpha:
                pieces.append((one.alpha, Layer(one.alpha, rows, columns, shares)))
            else:
                alphas = [mix(one.alpha, other.alpha, node) for node in nodes]
                _add_hats(pieces, cover[rows, columns], nodes, alphas, rows, columns, shares)
    return _merged(pieces, below.height, below.width)


def in_pixels(alpha_map: AlphaMap, count: int) -> AlphaMap:
    """The same coefficients as shares of the `count` endpoints' own renders: a crossfade of pixels."""
    pieces = list[tuple[Alpha, Layer]]()
    for layer in alpha_map.layers:
        for index, coefficient in enumerate(layer.alpha[:count]):
            if coefficient:
                alone = tuple(float(k == index) for k in range(count))
                pieces.append((alone, Layer(alone, layer.rows, layer.columns, layer.share * np.float32(coefficient))))
    return _merged(pieces, alpha_map.height, alpha_map.width)


def mix(start: Alpha, stop: Alpha, progress: float) -> Alpha:
    """The mixture between two, exactly `start` at 0 and `stop` at 1."""
    if progress in (0, 1):
        return stop if progress else start
    return tuple(a + (b - a) * progress for a, b in zip(start, stop, strict=True))


def _add_hats(
    pieces: list[tuple[Alpha, Layer]],
    progress: Plane,
    nodes: Sequence[float],
    alphas: Sequence[Alpha],
    rows: slice,
    columns: slice,
    shares: Plane | None,
) -> None:
    """Appends, for each node that a pixel is near, its share: 1 at the node, falling linearly to 0 at its neighbors."""
    low, high = float(progress.min()), float(progress.max())
    first, last = max(0, bisect_right(nodes, low) - 1), min(len(nodes) - 1, bisect_right(nodes, high))
    for number in range(first, last + 1):
        share = _hat(progress, nodes, number)
        if shares is not None:
            share *= shares
        pieces.append((alphas[number], Layer(alphas[number], rows, columns, share)))


def _hat(progress: Plane, nodes: Sequence[float], number: int) -> Plane:
    node = nodes[number]
    left = nodes[number - 1] if number else node - 1
    right = nodes[number + 1] if number < len(nodes) - 1 else node + 1
    rising, falling = (progress - np.float32(left)) / np.float32(node - left), (np.float32(right) - progress)
    return np.clip(np.minimum(rising, falling / np.float32(right - node)), 0, 1)


def _merged(pieces: Sequence[tuple[Alpha, Layer]], height: int, width: int) -> AlphaMap:
    """Layers of equal mixtures as one, each cut to the pixels where it has a share."""
    found = dict[Alpha, list[Layer]]()
    for alpha, layer in pieces:
        if (cut := _cut(layer)) is not None:
            found.setdefault(alpha, []).append(cut)
    layers = (layers[0] if len(layers) == 1 else _sum(layers) for layers in found.values())
    return AlphaMap(height, width, tuple(layers))


def _cut(layer: Layer) -> Layer | None:
    """The layer without empty margins; None where it is empty."""
    rows, columns = np.flatnonzero(layer.share.any(1)), np.flatnonzero(layer.share.any(0))
    if not len(rows):
        return None
    inner_rows, inner_columns = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return Layer(
        layer.alpha,
        _shifted(inner_rows, layer.rows.start),
        _shifted(inner_columns, layer.columns.start),
        layer.share[inner_rows, inner_columns],
    )


def _sum(layers: Sequence[Layer]) -> Layer:
    rows = slice(min(layer.rows.start for layer in layers), max(layer.rows.stop for layer in layers))
    columns = slice(min(layer.columns.start for layer in layers), max(layer.columns.stop for layer in layers))
    share = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32)
    for layer in layers:
        share[_shifted(layer.rows, -rows.start), _shifted(layer.columns, -columns.start)] += layer.share
    return Layer(layers[0].alpha, rows, columns, share)


def _part(layer: Layer, rows: slice, columns: slice) -> Plane:
    return layer.share[_shifted(rows, -layer.rows.start), _shifted(columns, -layer.columns.start)]


def _common(one: slice, other: slice) -> slice | None:
    start, stop = max(one.start, other.start), min(one.stop, other.stop)
    return slice(start, stop) if start < stop else None


def _shifted(part: slice, by: int) -> slice:
    return slice(int(part.start + by), int(part.stop + by))

"""Pictures too large for memory, cut into windows whose borders are rendered twice, so that nothing shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dnirender.engine.memory_usage import CPU, peak_bytes
from dnirender.errors import RenderError
from dnirender.networks.network import Network, pad_reflect


@dataclass(frozen=True)
class Tile:
    """A part of the picture to render, and the part of that to keep; all in pixels of the source.

    `rows` and `columns` may end below and to the right of the picture, where it is to be mirrored. `inner_rows` and
    `inner_columns` lie in both.
    """

    rows: slice
    columns: slice
    inner_rows: slice
    inner_columns: slice


def split_into_tiles(
    height: int, width: int, tile_height: int, tile_width: int, reach: int, multiple: int
) -> tuple[Tile, ...]:
    """Windows of one size, in rows from the top left, whose inner parts are the picture, every pixel once.

    A side that the tile covers is not cut. A side that is cut is thought to be grown to the next multiple, as
    `grown` grows the whole; windows start at multiples of `multiple`, the last ones end where it ends, and
    an inner part keeps `reach` from the sides of its window that are not the picture's.

    ValueError: a tile that is no multiple, or too small for the reach.
    """
    return tuple(
        Tile(rows, columns, inner_rows, inner_columns)
        for rows, inner_rows in _split_side("height", height, tile_height, reach, multiple)
        for columns, inner_columns in _split_side("width", width, tile_width, reach, multiple)
    )


def _split_side(side: str, length: int, tile: int, reach: int, multiple: int) -> Iterator[tuple[slice, slice]]:
    if tile >= length:
        yield slice(0, length), slice(0, length)
        return
    overlap = _up(2 * reach, multiple)
    if tile % multiple or tile <= overlap:
        raise ValueError(
            f"tile {side} {tile}: expected a multiple of {multiple} above {overlap}, twice the reach of {reach}"
        )
    pad_reflect = _up(length, multiple)
    begin = 0
    for number in range(_count(pad_reflect, tile, overlap)):
        start = min(number * (tile - overlap), pad_reflect - tile)
        stop = start + tile
        end = length if stop == pad_reflect else stop - reach
        yield slice(start, stop), slice(begin, end)
        begin = end


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _count(length: int, tile: int, overlap: int) -> int:
    """How many tiles cover a length."""
    return 1 if tile >= length else 1 - (tile - length) // (tile - overlap)


Run = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Pixels n h w 3 to the same `scale` times as large, in their dtype, and n sums, as `Network.render` gives them."""


def render_tiled(run: Run, pixels: Tensor, tiles: Sequence[Tile], scale: int) -> tuple[Tensor, Tensor]:
    """What `run` makes of n h w 3 tile by tile, joined; the sums are added, so that a NaN or Inf stays one."""
    n, height, width, _ = pixels.shape
    bottom, right = max(tile.rows.stop for tile in tiles), max(tile.columns.stop for tile in tiles)
    whole = pad_reflect(pixels, bottom, right)
    out = torch.empty((n, height * scale, width * scale, 3), dtype=pixels.dtype, device=pixels.device)
    totals = torch.zeros(n, device=pixels.device)
    for tile in tiles:
        part, its_totals = run(whole[:, tile.rows, tile.columns].contiguous())
        rows, columns = _scaled(tile.inner_rows, scale), _scaled(tile.inner_columns, scale)
        top, left = tile.rows.start * scale, tile.columns.start * scale
        out[:, rows, columns] = part[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        totals += its_totals
    return out, totals


def _scaled(part: slice, scale: int) -> slice:
    return slice(part.start * scale, part.stop * scale)


def choose_tile_size(
    network: Network,
    height: int,
    width: int,
    dtype: torch.dtype,
    budget_bytes: int,
    reach: int | None,
    device: torch.device = CPU,
) -> tuple[int, int]:
    """The tile's height and width, for `windows`: of those whose rendering takes at most `budget_bytes`, the picture
    and its result included, the one with which the fewest pixels are rendered twice, and of these the widest.

    They are the picture's own where it fits as a whole. RenderError: nothing fits.
    """
    needed = peak_bytes(network, height, width, dtype, device)
    if needed <= budget_bytes:
        return height, width
    told = (
        f"{network.architecture}: {width}x{height} takes {_megabytes(needed)} of memory, "
        f"expected at most {_megabytes(budget_bytes)}"
    )
    if reach is None:
        raise RenderError(
            f"{told}; it looks at the whole picture (statistics of it, as InstanceNorm takes), so it cannot be cut "
            "into tiles; use a smaller --width"
        )
    kept = 3 * height * width * (1 + network.scale**2)
    pixel = needed / math.prod(network.padded_size(height, width))
    heights, widths = (_tile_sides(length, reach, network) for length in (height, width))
    fitting = [
        (down * across, -w, h)
        for h, down in heights.items()
        for w, across in widths.items()
        if kept + math.prod(network.padded_size(h, w)) * pixel <= budget_bytes
    ]
    if not fitting:
        h, w = min(heights), min(widths)
        least = _megabytes(kept + h * w * pixel)
        raise RenderError(
            f"{told}; in the smallest tiles that its reach of {reach} pixels allows, {w}x{h}, it takes {least}; use a "
            "smaller --width"
        )
    _, minus_w, h = min(fitting)
    return h, -minus_w


def _tile_sides(length: int, reach: int, network: Network) -> dict[int, int]:
    """Sides of a tile, for every number of tiles the smallest; and how many lines all of them render."""
    multiple = network.multiple
    pad_reflect, overlap = _up(length, multiple), _up(2 * reach, multiple)
    sides = {length: pad_reflect}
    for count in range(2, (pad_reflect - overlap) // multiple + 1):
        tile = _up(max(-(-(pad_reflect + (count - 1) * overlap) // count), network.minimum), multiple)
        if tile < length:
            sides.setdefault(tile, count * tile)
    return sides


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB"

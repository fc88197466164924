"""Tiles: frames too large for memory are split into overlapping tiles, so that no seams show."""

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
    """The part of a frame to render, and the inner part of it that is used; all in pixels of the source.

    `rows` and `columns` may end below and to the right of the frame, where it is padded by reflection. `inner_rows` and
    `inner_columns` lie in both the frame and the tile.
    """

    rows: slice
    columns: slice
    inner_rows: slice
    inner_columns: slice


def split_into_tiles(
    height: int, width: int, tile_height: int, tile_width: int, receptive_radius: int, multiple: int
) -> tuple[Tile, ...]:
    """Tiles of one size, in rows from the top left, whose inner parts cover every pixel of the frame once.

    A side that is at most the tile's is not split. A side that is split is padded to the next multiple, as
    `pad_reflect` pads the frame. Tiles start at multiples of `multiple`, the last ones end where the padded side ends,
    and an inner part is `receptive_radius` away from the sides of its tile that are not sides of the frame.

    ValueError: a tile side that is not a multiple, or is too small for the receptive field.
    """
    return tuple(
        Tile(rows, columns, inner_rows, inner_columns)
        for rows, inner_rows in _split_side("height", height, tile_height, receptive_radius, multiple)
        for columns, inner_columns in _split_side("width", width, tile_width, receptive_radius, multiple)
    )


def _split_side(
    side: str, length: int, tile: int, receptive_radius: int, multiple: int
) -> Iterator[tuple[slice, slice]]:
    if tile >= length:
        yield slice(0, length), slice(0, length)
        return
    overlap = _round_up(2 * receptive_radius, multiple)
    if tile % multiple or tile <= overlap:
        raise ValueError(
            f"tile {side} {tile}: expected a multiple of {multiple} above {overlap}, twice the receptive radius of "
            f"{receptive_radius}"
        )
    padded = _round_up(length, multiple)
    inner_start = 0
    for number in range(_num_tiles(padded, tile, overlap)):
        start = min(number * (tile - overlap), padded - tile)
        stop = start + tile
        inner_stop = length if stop == padded else stop - receptive_radius
        yield slice(start, stop), slice(inner_start, inner_stop)
        inner_start = inner_stop


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _num_tiles(length: int, tile: int, overlap: int) -> int:
    return 1 if tile >= length else 1 - (tile - length) // (tile - overlap)


RenderPixels = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Renders pixels n h w 3 to the same dtype, `scale` times as large, with n sums, as `Network.render` does."""


def render_tiled(render: RenderPixels, pixels: Tensor, tiles: Sequence[Tile], scale: int) -> tuple[Tensor, Tensor]:
    """Renders pixels n h w 3 tile by tile. The sums of tiles are added, so that NaN and Inf are preserved."""
    n, height, width, _ = pixels.shape
    bottom, right = max(tile.rows.stop for tile in tiles), max(tile.columns.stop for tile in tiles)
    padded = pad_reflect(pixels, bottom, right)
    out = torch.empty((n, height * scale, width * scale, 3), dtype=pixels.dtype, device=pixels.device)
    sums = torch.zeros(n, device=pixels.device)
    for tile in tiles:
        rendered, tile_sums = render(padded[:, tile.rows, tile.columns].contiguous())
        rows, columns = _scaled(tile.inner_rows, scale), _scaled(tile.inner_columns, scale)
        top, left = tile.rows.start * scale, tile.columns.start * scale
        inner_rows = slice(rows.start - top, rows.stop - top)
        inner_columns = slice(columns.start - left, columns.stop - left)
        out[:, rows, columns] = rendered[:, inner_rows, inner_columns]
        sums += tile_sums
    return out, sums


def _scaled(part: slice, scale: int) -> slice:
    return slice(part.start * scale, part.stop * scale)


def choose_tile_size(
    network: Network,
    height: int,
    width: int,
    dtype: torch.dtype,
    budget_bytes: int,
    receptive_radius: int | None,
    device: torch.device = CPU,
) -> tuple[int, int]:
    """Height and width of tiles, for `split_into_tiles`. Of those that need at most `budget_bytes`, including the frame
    and its result, it chooses the one that renders the fewest pixels twice, and of these the widest.

    They are the frame's own if it fits. RenderError: no tile fits.
    """
    needed = peak_bytes(network, height, width, dtype, device)
    if needed <= budget_bytes:
        return height, width
    message = (
        f"{network.architecture}: {width}x{height} needs {_megabytes(needed)} of memory, "
        f"expected at most {_megabytes(budget_bytes)}"
    )
    if receptive_radius is None:
        raise RenderError(
            f"{message}; its output depends on the whole frame (it computes statistics over it, as InstanceNorm does), "
            f"so it cannot be tiled; use a smaller width, such as width={width // 2}"
        )
    frame_bytes = 3 * height * width * (1 + network.scale**2)
    bytes_per_pixel = needed / math.prod(network.padded_size(height, width))
    heights, widths = (_tile_sides(length, receptive_radius, network) for length in (height, width))
    fitting = [
        (rendered_rows * rendered_columns, -tile_width, tile_height)
        for tile_height, rendered_rows in heights.items()
        for tile_width, rendered_columns in widths.items()
        if frame_bytes + math.prod(network.padded_size(tile_height, tile_width)) * bytes_per_pixel <= budget_bytes
    ]
    if not fitting:
        tile_height, tile_width = min(heights), min(widths)
        least = _megabytes(frame_bytes + tile_height * tile_width * bytes_per_pixel)
        raise RenderError(
            f"{message}; the smallest tiles that its receptive radius of {receptive_radius} pixels allows, "
            f"{tile_width}x{tile_height}, need {least}; use a smaller width, such as width={width // 2}"
        )
    _, minus_width, tile_height = min(fitting)
    return tile_height, -minus_width


def _tile_sides(length: int, receptive_radius: int, network: Network) -> dict[int, int]:
    """The smallest side of tiles for every number of tiles; mapped to the lines that all of them render together."""
    multiple = network.multiple
    padded, overlap = _round_up(length, multiple), _round_up(2 * receptive_radius, multiple)
    sides = {length: padded}
    for count in range(2, (padded - overlap) // multiple + 1):
        tile = _round_up(max(-(-(padded + (count - 1) * overlap) // count), network.minimum), multiple)
        if tile < length:
            sides.setdefault(tile, count * tile)
    return sides


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB"

"""How much of a picture, and how many pictures, are rendered at once, so that memory suffices."""

from __future__ import annotations

import contextlib
from functools import cached_property

import torch
from torch import Tensor

from dnirender.engine import memory_usage, receptive_field
from dnirender.engine import tiling as tiles
from dnirender.errors import RenderError, UsageError
from dnirender.networks.network import Network

SHARE = 0.5
"""Of the free memory: allocators keep more than is in use, and frames wait on both sides."""
MOST_SHARE = 0.9
"""For a network that cannot be cut into tiles: the alternative is none."""


class MemoryPlanner:
    """The size of tiles and batches for one network. What memory turns out not to allow stays lower from then on.

    `tile`: (height, width) in pixels of the source, None for whole pictures; `most`: pictures at once.
    """

    def __init__(self, network: Network, tile: int | tuple[int, int] | None = None) -> None:
        self._network = network
        self._asked = tile
        self.tile: tuple[int, int] | None = None
        self.most: int | None = None
        self._windows: dict[tuple[object, ...], tuple[tiles.Tile, ...]] = {}

    @cached_property
    def reach(self) -> int | None:
        """`receptive_field.receptive_radius` of the network."""
        return receptive_field.receptive_radius(self._network)

    def plan(self, height: int, width: int, dtype: torch.dtype, device: torch.device, wanted: int) -> int:
        """Chooses the tile for pictures of this size and returns how many, up to `wanted`, may be in work side by side.

        RenderError: no tile fits. UsageError: the tile asked for cannot be.
        """
        self.tile = None
        if self._asked is not None:
            asked = self._asked
            self.tile = asked if isinstance(asked, tuple) else self._square(asked, height, width)
        free = memory_usage.free_memory(device)
        budget = int(free * SHARE)
        needed = memory_usage.peak_bytes(self._network, *(self.tile or (height, width)), dtype, device)
        if needed <= budget or self.tile:
            return max(1, min(wanted, budget // needed))
        if self.reach is None:
            tiles.choose_tile_size(self._network, height, width, dtype, int(free * MOST_SHARE), None, device)
            return 1
        with contextlib.suppress(RenderError):
            self.tile = tiles.choose_tile_size(
                self._network, height, width, dtype, budget // wanted, self.reach, device
            )
            return wanted
        self.tile = tiles.choose_tile_size(self._network, height, width, dtype, budget, self.reach, device)
        return 1

    def _square(self, side: int, height: int, width: int) -> tuple[int, int] | None:
        if side >= max(height, width):
            return None
        if self.reach is None:
            raise UsageError(
                f"--tile {side}: {self._network.architecture} looks at the whole picture (statistics of it, as "
                "InstanceNorm takes), so it cannot be cut into tiles"
            )
        multiple = self._network.multiple
        tile = tuple(min(length, -(-side // multiple) * multiple) for length in (height, width))
        try:
            self._cut(height, width, (tile[0], tile[1]))
        except ValueError as error:
            raise UsageError(f"--tile {side}: {error}") from error
        return tile[0], tile[1]

    def part(self, height: int, width: int) -> tuple[int, int]:
        """The size of what the network is given of such a picture."""
        if not self.tile:
            return height, width
        window = self._cut(height, width, self.tile)[0]
        return window.rows.stop - window.rows.start, window.columns.stop - window.columns.start

    def render(self, run: tiles.Run, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """What `run` makes of n h w 3, in as many parts as it takes: where memory runs out, half as many pictures at
        once are tried, then half the tile, and so on.

        The last error is raised where nothing smaller is left.
        """
        while True:
            try:
                parts = [self._tiled(run, part) for part in pixels.split(self.most or len(pixels))]
                return parts[0] if len(parts) == 1 else _joined(parts)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or not self._lower(*pixels.shape[:3]):
                    raise
            if pixels.is_cuda:
                torch.cuda.empty_cache()

    def _tiled(self, run: tiles.Run, pixels: Tensor) -> tuple[Tensor, Tensor]:
        height, width = pixels.shape[1:3]
        if not self.tile or (self.tile[0] >= height and self.tile[1] >= width):
            return run(pixels)
        return tiles.render_tiled(run, pixels, self._cut(height, width, self.tile), self._network.scale)

    def _lower(self, count: int, height: int, width: int) -> bool:
        """Half as many pictures at once, or half the tile; False where that cannot be."""
        if min(self.most or count, count) > 1:
            self.most = min(self.most or count, count) // 2
            return True
        if self.reach is None:
            return False
        multiple = self._network.multiple
        sides = [min(a, b) for a, b in zip(self.tile or (height, width), (height, width), strict=True)]
        longer = int(sides[1] > sides[0])
        sides[longer] = -(-sides[longer] // 2 // multiple) * multiple
        try:
            self._cut(height, width, (sides[0], sides[1]))
        except ValueError:
            return False
        self.tile = sides[0], sides[1]
        return True

    def _cut(self, height: int, width: int, tile: tuple[int, int]) -> tuple[tiles.Tile, ...]:
        key = height, width, tile
        if key not in self._windows:
            self._windows[key] = tiles.split_into_tiles(height, width, *tile, self.reach or 0, self._network.multiple)
        return self._windows[key]


def is_out_of_memory(error: Exception) -> bool:
    """Whether PyTorch, Python or OpenVINO got no memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    pictures, sums = zip(*parts, strict=True)
    return torch.cat(pictures), torch.cat(sums)

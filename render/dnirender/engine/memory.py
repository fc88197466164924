"""How many frames, and how large a part of a frame, are rendered at once so that memory suffices."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property

import torch

from dnirender.engine import memory_usage, receptive_field
from dnirender.engine.tiling import Tile, choose_tile_size, split_into_tiles
from dnirender.errors import RenderError, UsageError
from dnirender.frames import Batch
from dnirender.networks.network import Network

MEMORY_SHARE = 0.5
"""Of the free memory: allocators keep more than is in use, and frames are queued before and after the network."""
MAX_MEMORY_SHARE = 0.9
"""For a network that cannot be tiled: otherwise it could not be rendered at all."""


class MemoryPlanner:
    """The size of tiles and batches for one network. Where memory runs out they shrink, and stay small from then on.
    Several workers may share it.

    `requested_tile`: the side of tiles, or their height and width, in pixels of the source; None tiles only frames that
    do not fit into memory. `tile`: the height and width of tiles now, None for no tiling. `max_frames`: frames rendered
    at once, None for no limit.
    """

    def __init__(self, network: Network, requested_tile: int | tuple[int, int] | None = None) -> None:
        self.network = network
        self.tile: tuple[int, int] | None = None
        self.max_frames: int | None = None
        self._requested_tile = requested_tile
        self._splits: dict[tuple[object, ...], tuple[Tile, ...]] = {}
        self._shrinking = threading.Lock()

    @property
    def limits(self) -> tuple[int | None, tuple[int, int] | None]:
        """`max_frames` and `tile` as they are now."""
        return self.max_frames, self.tile

    @cached_property
    def receptive_radius(self) -> int | None:
        """`receptive_field.receptive_radius` of the network, measured when it is first needed."""
        return receptive_field.receptive_radius(self.network)

    def plan(self, height: int, width: int, dtype: torch.dtype, device: torch.device, max_workers: int) -> int:
        """Chooses the tile for frames of this size; returns how many workers, at most `max_workers`, fit into memory.

        RenderError: no tile fits. UsageError: the requested tile is not possible.
        """
        self.tile = None
        self.tile = self._requested_tile_size(height, width)
        free = memory_usage.free_memory(device)
        budget = int(free * MEMORY_SHARE)
        needed = memory_usage.peak_bytes(self.network, *(self.tile or (height, width)), dtype, device)
        if needed <= budget or self.tile:
            return max(1, min(max_workers, budget // needed))
        radius = self.receptive_radius
        if radius is None:
            choose_tile_size(self.network, height, width, dtype, int(free * MAX_MEMORY_SHARE), None, device)
            return 1
        with contextlib.suppress(RenderError):
            self.tile = choose_tile_size(self.network, height, width, dtype, budget // max_workers, radius, device)
            return max_workers
        self.tile = choose_tile_size(self.network, height, width, dtype, budget, radius, device)
        return 1

    def _requested_tile_size(self, height: int, width: int) -> tuple[int, int] | None:
        side = self._requested_tile
        if side is None or isinstance(side, tuple):
            return side
        if side >= max(height, width):
            return None
        if self.receptive_radius is None:
            raise UsageError(
                f"tile={side}: the output of {self.network.architecture} depends on the whole frame (it computes "
                "statistics over it, as InstanceNorm does), so it cannot be tiled"
            )
        multiple = self.network.multiple
        tile_height, tile_width = (min(length, -(-side // multiple) * multiple) for length in (height, width))
        try:
            self._split(height, width, (tile_height, tile_width))
        except ValueError as error:
            raise UsageError(f"tile={side}: {error}") from error
        return tile_height, tile_width

    def tile_shape(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the pixels that the network renders at once for a frame of this size."""
        if not self.tile:
            return height, width
        tile = self._split(height, width, self.tile)[0]
        return tile.rows.stop - tile.rows.start, tile.columns.stop - tile.columns.start

    def tiles(self, height: int, width: int) -> tuple[Tile, ...] | None:
        """The tiles of a frame of this size; None where it is rendered without tiling."""
        if not self.tile or (self.tile[0] >= height and self.tile[1] >= width):
            return None
        return self._split(height, width, self.tile)

    def shrink(self, limits: tuple[int | None, tuple[int, int] | None], count: int, height: int, width: int) -> bool:
        """Halves the frames that are rendered at once, or, for a single one, the longer side of the tile, after memory
        ran out under `limits` for `count` frames of this size; False where nothing smaller is possible. Of workers that
        fail at the same time, the first one changes the limits, and all of them try again."""
        with self._shrinking:
            return limits != self.limits or self._shrink(count, height, width)

    def _shrink(self, count: int, height: int, width: int) -> bool:
        if min(self.max_frames or count, count) > 1:
            self.max_frames = min(self.max_frames or count, count) // 2
            return True
        if self.receptive_radius is None:
            return False
        multiple = self.network.multiple
        sides = [min(a, b) for a, b in zip(self.tile or (height, width), (height, width), strict=True)]
        longer = int(sides[1] > sides[0])
        sides[longer] = -(-sides[longer] // 2 // multiple) * multiple
        try:
            self._split(height, width, (sides[0], sides[1]))
        except ValueError:
            return False
        self.tile = sides[0], sides[1]
        return True

    def _split(self, height: int, width: int, tile: tuple[int, int]) -> tuple[Tile, ...]:
        key = height, width, tile
        if key not in self._splits:
            radius = self.receptive_radius or 0
            self._splits[key] = split_into_tiles(height, width, *tile, radius, self.network.multiple)
        return self._splits[key]


def is_out_of_memory(error: Exception) -> bool:
    """Whether PyTorch, Python or OpenVINO could not allocate memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def render_errors(batch: Batch, device: str) -> Generator[None]:
    """Turns errors of the network on `device` into a RenderError that names the first frame of `batch`."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        frame, count = batch.frames[0], len(batch.frames)
        if not is_out_of_memory(error):
            raise RenderError(f"frame {frame.index}: the network failed on {device}: {error}") from error
        height, width = frame.image.shape[:2]
        advice = "use batch=1" if count > 1 and device != "cpu" else f"use a smaller width, such as width={width // 2}"
        raise RenderError(
            f"frame {frame.index}: out of memory on {device} for {count} x {width}x{height}; {advice}"
        ) from error

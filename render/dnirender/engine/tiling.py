"""Pictures too large for memory, cut into windows whose borders are rendered twice, so that nothing shows."""

from __future__ import annotations

import contextlib
import copy
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dnirender.errors import RenderError
from dnirender.networks.network import Network, grown

# A strip this long is tried first, then twice as long and so on. A reach is at most a quarter of the strip; a dilated
# convolution that skips more than SHORTEST pixels at once would not be seen.
SHORTEST, LONGEST = 256, 4096
STRIP_WIDTH = 16  # no convolution that reflects its border needs more
TOLERANCE = 1e-4  # of the largest value; rounding is a hundredth of it

PROBE_SIDE = 128  # PaintNet's repeated borders are 6 % of that
CPU = torch.device("cpu")
PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
UNKNOWN_MEMORY = 4 << 30


@dataclass(frozen=True)
class Window:
    """A part of the picture to render, and the part of that to keep; all in pixels of the source.

    `rows` and `columns` may end below and to the right of the picture, where it is to be mirrored. `inner_rows` and
    `inner_columns` lie in both.
    """

    rows: slice
    columns: slice
    inner_rows: slice
    inner_columns: slice


def reach(network: Network) -> int | None:
    """How many pixels of the source beside a window decide on what is in it, where windows start at multiples of
    `network.multiple`: the largest distance from an aligned block of multiple x multiple pixels to an output pixel
    that looks at it.

    It is found by experiment: a NaN goes everywhere that is looked at from. None: farther than LONGEST / 4, or
    everything (statistics over the picture), or the output depends on where a picture starts or ends by more than its
    border (positions, a network that pads by itself), or all pictures must be square.
    """
    if network.square:
        return None
    module = _with_random_weights(network.module)
    down, across = (_reach_along(network, module, axis) for axis in (2, 3))
    return None if down is None or across is None else max(down, across)


def _with_random_weights(module: nn.Module) -> nn.Module:
    """A copy whose weights are of He's size and none is zero: a weight that happens to be must not hide anything."""
    module = copy.deepcopy(module).float().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.normal_(0, math.sqrt(2 / parameter[0].numel()), generator=generator)
    return module


@torch.inference_mode()
def _reach_along(network: Network, module: nn.Module, axis: int) -> int | None:
    """The reach along axis 2 or 3 of n c h w, seen on a strip; taken for true when a strip that starts later agrees."""
    length = SHORTEST
    while length <= LONGEST:
        height, width = network.padded_size(*((length, STRIP_WIDTH) if axis == 2 else (STRIP_WIDTH, length)))
        x = torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(0))
        size, step = x.shape[axis], network.multiple
        start = size // step // 2 * step
        marked = x.clone()
        marked.narrow(axis, start, step).fill_(math.nan)
        y = _lines(network.forward(module, x), axis)
        changed = (_lines(network.forward(module, marked), axis) != y).any(1)  # NaN differs from all
        seen = changed.view(size, network.scale).any(1).nonzero().flatten()
        far = max(start - int(seen.min()), int(seen.max()) - (start + step - 1), 0) if len(seen) else 0
        if far <= length // 4:
            cut = _lines(network.forward(module, x.narrow(axis, step, size - step)), axis)
            apart = (cut - y[step * network.scale :])[far * network.scale :].abs().max()
            if apart <= TOLERANCE * y.abs().max():
                return far
        length *= 2
    return None


def _lines(y: Tensor, axis: int) -> Tensor:
    """1 c h w to what lies at each place along an axis, [places, values]."""
    return y.movedim(axis, 0).flatten(1)


def windows(
    height: int, width: int, tile_height: int, tile_width: int, reach: int, multiple: int
) -> tuple[Window, ...]:
    """Windows of one size, in rows from the top left, whose inner parts are the picture, every pixel once.

    A side that the tile covers is not cut. A side that is cut is thought to be grown to the next multiple, as
    `grown` grows the whole; windows start at multiples of `multiple`, the last ones end where it ends, and
    an inner part keeps `reach` from the sides of its window that are not the picture's.

    ValueError: a tile that is no multiple, or too small for the reach.
    """
    return tuple(
        Window(rows, columns, inner_rows, inner_columns)
        for rows, inner_rows in _cuts("height", height, tile_height, reach, multiple)
        for columns, inner_columns in _cuts("width", width, tile_width, reach, multiple)
    )


def _cuts(side: str, length: int, tile: int, reach: int, multiple: int) -> Iterator[tuple[slice, slice]]:
    if tile >= length:
        yield slice(0, length), slice(0, length)
        return
    overlap = _up(2 * reach, multiple)
    if tile % multiple or tile <= overlap:
        raise ValueError(
            f"tile {side} {tile}: expected a multiple of {multiple} above {overlap}, twice the reach of {reach}"
        )
    grown = _up(length, multiple)
    begin = 0
    for number in range(_count(grown, tile, overlap)):
        start = min(number * (tile - overlap), grown - tile)
        stop = start + tile
        end = length if stop == grown else stop - reach
        yield slice(start, stop), slice(begin, end)
        begin = end


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _count(length: int, tile: int, overlap: int) -> int:
    """How many tiles cover a length."""
    return 1 if tile >= length else 1 - (tile - length) // (tile - overlap)


Run = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Pixels n h w 3 to the same `scale` times as large, in their dtype, and n sums, as `Network.render` gives them."""


def render_tiled(run: Run, pixels: Tensor, windows: Sequence[Window], scale: int) -> tuple[Tensor, Tensor]:
    """What `run` makes of n h w 3 window by window, joined; the sums are added, so that a NaN or Inf stays one."""
    n, height, width, _ = pixels.shape
    bottom, right = max(window.rows.stop for window in windows), max(window.columns.stop for window in windows)
    whole = grown(pixels, bottom, right)
    out = torch.empty((n, height * scale, width * scale, 3), dtype=pixels.dtype, device=pixels.device)
    totals = torch.zeros(n, device=pixels.device)
    for window in windows:
        part, its_totals = run(whole[:, window.rows, window.columns].contiguous())
        rows, columns = _scaled(window.inner_rows, scale), _scaled(window.inner_columns, scale)
        top, left = window.rows.start * scale, window.columns.start * scale
        out[:, rows, columns] = part[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        totals += its_totals
    return out, totals


def _scaled(part: slice, scale: int) -> slice:
    return slice(part.start * scale, part.stop * scale)


def peak_bytes(network: Network, height: int, width: int, dtype: torch.dtype, device: torch.device = CPU) -> int:
    """The most bytes that tensors take at once while `network.render` makes one 8-bit picture, the picture and its
    result among them, the weights not.

    It is measured on PROBE_SIDE x PROBE_SIDE pixels, or fewer where the picture has fewer, and grows with them. What a
    kernel takes for itself (another memory order, as for a convolution to one channel) is not seen, nor what OpenCV
    returns or the allocator keeps.
    """
    module = copy.deepcopy(network.module).eval().to(device=device, dtype=dtype)
    probe = min(height, PROBE_SIDE), min(width, PROBE_SIDE)
    with torch.inference_mode(), _Peak() as peak:
        network.render(module, torch.zeros((1, *probe, 3), dtype=torch.uint8, device=device), dtype)
    return peak.bytes * math.prod(network.padded_size(height, width)) // math.prod(network.padded_size(*probe))


class _Peak(TorchDispatchMode):
    """Adds up the memory that operations return, until the last tensor in it is gone. `bytes` is the most so far."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or else PyTorch imports its compiler: 1.3 s and 150 MB

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self._now = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = [tensor.untyped_storage() for tensor in _tensors((args, kwargs))]
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if all(storage is not other for other in given):
                self._add(storage.nbytes())
                weakref.finalize(storage, self._add, -storage.nbytes())
        return result

    def _add(self, count: int) -> None:
        self._now += count
        self.bytes = max(self.bytes, self._now)


def choose(
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
    grown, overlap = _up(length, multiple), _up(2 * reach, multiple)
    sides = {length: grown}
    for count in range(2, (grown - overlap) // multiple + 1):
        tile = _up(max(-(-(grown + (count - 1) * overlap) // count), network.minimum), multiple)
        if tile < length:
            sides.setdefault(tile, count * tile)
    return sides


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB"


def free_memory(device: torch.device) -> int:
    """Bytes that can still be taken. On the CPU what Linux calls available, or less where control groups (containers)
    allow less; UNKNOWN_MEMORY, 4 GiB, where the system does not tell in /proc (macOS, Windows)."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    try:
        available = _numbers(PROC / "meminfo")["MemAvailable:"] * 1024
        groups = (PROC / "self/cgroup").read_text().splitlines()
    except (OSError, KeyError):
        return UNKNOWN_MEMORY
    return max(0, min([available, *(room for group in groups for room in _rooms(group))]))


def _rooms(group: str) -> Iterator[int]:
    """What the limits of a line of /proc/self/cgroup leave, from the root down; files in the page cache can go."""
    _, controllers, path = group.split(":", 2)
    if controllers and "memory" not in controllers.split(","):
        return
    folder = CGROUPS / "memory" if controllers else CGROUPS
    limit, usage = ("limit_in_bytes", "usage_in_bytes") if controllers else ("max", "current")
    for part in path.split("/"):
        folder /= part
        with contextlib.suppress(OSError, ValueError):  # ValueError: "max", which is no limit
            stat = _numbers(folder / "memory.stat")
            cached = stat.get("total_inactive_file", stat.get("inactive_file", 0))
            most, used = (int((folder / f"memory.{name}").read_text()) for name in (limit, usage))
            yield most - used + cached


def _numbers(path: Path) -> dict[str, int]:
    """The second word of every line by the first."""
    return {words[0]: int(words[1]) for words in map(str.split, path.read_text().splitlines())}


def _tensors(tree: Any) -> Iterator[Tensor]:
    """All tensors in what an operation takes or gives: lists, tuples and dicts within one another."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, list | tuple | dict):
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from _tensors(item)

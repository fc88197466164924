"""How much memory rendering needs, and how much is free."""

from __future__ import annotations

import contextlib
import copy
import math
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dnirender.networks.network import Network

MAX_MEASURED_SIDE = 128  # PaintNet pads 6 % of that
CPU = torch.device("cpu")
PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
UNKNOWN_MEMORY = 4 << 30


def peak_bytes(network: Network, height: int, width: int, dtype: torch.dtype, device: torch.device = CPU) -> int:
    """Peak memory of tensors, in bytes, while `network.render` renders one 8-bit frame, including the frame and its
    result, without the weights.

    It is measured on at most MAX_MEASURED_SIDE x MAX_MEASURED_SIDE pixels and scaled to the size of the frame. Not
    included are workspaces of kernels (another memory order, as for a convolution to one channel), results of OpenCV,
    and what the allocator keeps.
    """
    module = copy.deepcopy(network.module).eval().to(device=device, dtype=dtype)
    measured = min(height, MAX_MEASURED_SIDE), min(width, MAX_MEASURED_SIDE)
    with torch.inference_mode(), _Peak() as peak:
        network.render(module, torch.zeros((1, *measured, 3), dtype=torch.uint8, device=device), dtype)
    return peak.bytes * math.prod(network.padded_size(height, width)) // math.prod(network.padded_size(*measured))


class _Peak(TorchDispatchMode):
    """Counts the memory of every tensor that an operation returns until its storage is freed. `bytes` is the peak."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or else PyTorch imports its compiler: 1.3 s and 150 MB

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self._now = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        inputs = [tensor.untyped_storage() for tensor in _tensors((args, kwargs))]
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if all(storage is not other for other in inputs):
                self._add(storage.nbytes())
                weakref.finalize(storage, self._add, -storage.nbytes())
        return result

    def _add(self, count: int) -> None:
        self._now += count
        self.bytes = max(self.bytes, self._now)


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated. On the CPU the available memory of /proc/meminfo, or less where the limits of
    control groups (containers) are lower; UNKNOWN_MEMORY, 4 GiB, on systems without /proc (macOS, Windows)."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    try:
        available = _numbers(PROC / "meminfo")["MemAvailable:"] * 1024
        groups = (PROC / "self/cgroup").read_text().splitlines()
    except (OSError, KeyError):
        return UNKNOWN_MEMORY
    return max(0, min([available, *(headroom for group in groups for headroom in _cgroup_headrooms(group))]))


def _cgroup_headrooms(group: str) -> Iterator[int]:
    """Bytes left under each limit for a line of /proc/self/cgroup, from the root down. The page cache of files counts
    as free, as it can be evicted."""
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
            limit_bytes, used_bytes = (int((folder / f"memory.{name}").read_text()) for name in (limit, usage))
            yield limit_bytes - used_bytes + cached


def _numbers(path: Path) -> dict[str, int]:
    """Maps the first word of every line to the second."""
    return {words[0]: int(words[1]) for words in map(str.split, path.read_text().splitlines())}


def _tensors(tree: Any) -> Iterator[Tensor]:
    """All tensors in the arguments or results of an operation, which may be nested lists, tuples and dicts."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, list | tuple | dict):
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from _tensors(item)

"""How much memory rendering takes, and how much is free."""

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

PROBE_SIDE = 128  # PaintNet's repeated borders are 6 % of that
CPU = torch.device("cpu")
PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
UNKNOWN_MEMORY = 4 << 30


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

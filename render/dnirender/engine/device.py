"""Devices, and the dtypes that their hardware is fast in."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch

from dnirender.errors import UsageError


@contextmanager
def one_thread() -> Generator[None]:
    """PyTorch on one thread. What many small operations gain by several is less than what those lose by waiting for one
    another where other programs run: some hundred times as much."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_device(name: str) -> torch.device:
    """The device for auto, cpu, cuda or cuda:N; UsageError where it does not exist."""
    available = torch.cuda.is_available()
    if name == "cpu" or (name == "auto" and not available):
        return torch.device("cpu")
    number = {"auto": "0", "cuda": "0"}.get(name, name.removeprefix("cuda:"))
    if not number.isdecimal():
        raise UsageError(f"device={name!r}: expected auto, cpu, cuda or cuda:N")
    if not available:
        build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise UsageError(f"device={name!r}: PyTorch {torch.__version__} ({build}) finds no GPU; use device='cpu'")
    if int(number) >= torch.cuda.device_count():
        raise UsageError(f"device={name!r}: the last GPU here is cuda:{torch.cuda.device_count() - 1}")
    return torch.device("cuda", int(number))


def device_name(device: torch.device) -> str:
    """What tells a device from others that were in its place: the model of a GPU; `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def fast_dtypes(device: torch.device) -> list[str]:
    """The dtypes that the hardware computes faster than fp32, the most accurate first."""
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return ["fp16"] * (major >= 7) + ["bf16"] * (major >= 8)
    checks = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return ["bf16"] * any(check is not None and check() for check in checks)

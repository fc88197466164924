"""What was measured of a network on this machine, remembered between runs.

An entry holds for one network with one set of weights, on one machine, with one version of everything that computes.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from dnirender.cache import Cache, Key
from dnirender.networks.network import Network
from dnirender.networks.weights import WeightPath

LIBRARIES = ("openvino", "spandrel")
SOURCES = Path(__file__).parent, Path(__file__).parents[1] / "networks"


@dataclass(frozen=True)
class Measured:
    """Seconds per frame in PyTorch and in OpenVINO, seconds of compiling, and the largest mean error of OpenVINO at an
    endpoint, in 0..1 (Inf where its output is not finite); None is unknown. `failed`: OpenVINO cannot run it."""

    torch: float | None = None
    openvino: float | None = None
    compiling: float | None = None
    error: float | None = None
    failed: bool = False

    @classmethod
    def read(cls, value: dict[str, Any]) -> Measured:
        """From an entry; what is not as expected is unknown."""
        floats = {
            field.name: value[field.name]
            for field in fields(cls)
            if isinstance(value.get(field.name), float) and value[field.name] >= 0
        }
        return cls(**floats, failed=value.get("failed") is True)


class MeasurementCache:
    """The measurements of `network` with the weights of `path` in `cache`."""

    def __init__(self, cache: Cache, network: Network, path: WeightPath) -> None:
        self._cache = cache
        self._network, self._path = network, path

    @functools.cached_property
    def identity(self) -> Key:
        """What all measurements of this network depend on."""
        if not self._cache.is_on:
            return {}
        network, path = self._network, self._path
        properties = [
            network.architecture,
            network.scale,
            network.channels,
            network.luma,
            network.multiple,
            network.minimum,
        ]
        structure = [*properties, network.shuffle_factors, str(network.module), path.names, path.layout]
        structure += [path.segments] if path.groups else []
        return {
            "machine": _machine(),
            "structure": _short(repr(structure).encode()),
            "weights": _short(path.stack.cpu().numpy().data),
        }

    def read(self, what: str, **details: Any) -> dict[str, Any]:
        """The value that was found for `what` under these details; empty where there is none."""
        return self._cache.read({**self.identity, "what": what, **details}) if self._cache.is_on else {}

    def write(self, what: str, value: dict[str, Any], **details: Any) -> None:
        """Remembers a value."""
        if self._cache.is_on:
            self._cache.write({**self.identity, "what": what, **details}, value)

    def measured(self, details: dict[str, Any]) -> Measured:
        """What is known of the backends."""
        return Measured.read(self.read("backends", **details))

    def remember(self, measured: Measured, details: dict[str, Any]) -> None:
        """Replaces what is known of the backends."""
        value = {name: number for name, number in asdict(measured).items() if number is not None}
        self.write("backends", {k: v if isinstance(v, bool) else float(v) for k, v in value.items()}, **details)

    def graph(self, details: dict[str, Any]) -> bytes | None:
        """The network as OpenVINO compiled it."""
        return self._cache.read_bytes({**self.identity, "what": "graph", **details}) if self._cache.is_on else None

    def remember_graph(self, graph: bytes, details: dict[str, Any]) -> None:
        """Keeps a compiled network."""
        if self._cache.is_on:
            self._cache.write_bytes({**self.identity, "what": "graph", **details}, graph)


@functools.cache
def _machine() -> Key:
    """The processor, and all that computes."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch": torch.__version__,
        **{name: _version(name) for name in LIBRARIES},
        "program": _short(b"".join(path.read_bytes() for folder in SOURCES for path in sorted(folder.rglob("*.py")))),
    }


def _processor() -> str:
    """Its name and what it can do, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    found = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    names = {key.strip(): value.strip() for key, value in found.items()}
    return f"{platform.machine()} {names.get('model name', '')} {_short(names.get('flags', '').encode())}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _short(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()[:16]

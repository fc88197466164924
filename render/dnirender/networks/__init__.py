"""Checkpoints, networks, and the mixing of their weights."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dnirender.networks.loading import load
    from dnirender.networks.modules import from_modules
    from dnirender.networks.registry import register_architecture

# Imported when asked for: torch takes seconds.
_HOMES = {"from_modules": "modules", "load": "loading", "register_architecture": "registry"}

__all__ = ["from_modules", "load", "register_architecture"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"dnirender.networks.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'dnirender.networks' has no attribute {name!r}")

"""Render video transitions by deep network interpolation: the weights of networks are mixed, not their pixels.

from dnirender import Preset, Timeline, render

render("clip.mp4", "evening.mp4", keyframes="0:0, end:1")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dnirender.engine import Engine
    from dnirender.errors import (
        MediaError,
        ModelError,
        OutputError,
        PresetError,
        RenderError,
        TimelineError,
        UsageError,
    )
    from dnirender.pipeline import Report, render
    from dnirender.plan import Job
    from dnirender.preset import Preset
    from dnirender.timeline import Timeline
    from dnirender.weights import WeightPath

# Imported when asked for: torch takes seconds, and a Timeline needs none of it.
_HOMES = {
    "Engine": "engine",
    "Job": "plan",
    "MediaError": "errors",
    "ModelError": "errors",
    "OutputError": "errors",
    "Preset": "preset",
    "PresetError": "errors",
    "RenderError": "errors",
    "Report": "pipeline",
    "Timeline": "timeline",
    "TimelineError": "errors",
    "UsageError": "errors",
    "WeightPath": "weights",
    "render": "pipeline",
}

__all__ = [
    "Engine",
    "Job",
    "MediaError",
    "ModelError",
    "OutputError",
    "Preset",
    "PresetError",
    "RenderError",
    "Report",
    "Timeline",
    "TimelineError",
    "UsageError",
    "WeightPath",
    "render",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"dnirender.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'dnirender' has no attribute {name!r}")

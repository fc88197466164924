"""Render video transitions by deep network interpolation: the weights of networks are mixed, not their pixels.

from dnirender import Preset, Timeline, render

render("clip.mp4", "evening.mp4", keyframes="0:0, end:1")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dnirender.version import __version__ as __version__

if TYPE_CHECKING:
    from dnirender.decoding.clip import open_clip as open
    from dnirender.engine.engine import Engine
    from dnirender.errors import (
        Cancelled,
        MediaError,
        ModelError,
        OutputError,
        PresetError,
        RenderError,
        TimelineError,
        UsageError,
    )
    from dnirender.jobs.background import Render
    from dnirender.jobs.contact_sheet import Sheet, sheet
    from dnirender.jobs.frames import render_frames
    from dnirender.jobs.job import Job
    from dnirender.jobs.render import Report, render
    from dnirender.networks.weights import WeightPath
    from dnirender.preset import Preset
    from dnirender.progress import Progress
    from dnirender.timeline.timeline import Timeline

# Imported when asked for: torch takes seconds, and a Timeline needs none of it.
_HOMES = {
    "Cancelled": "errors",
    "Engine": "engine.engine",
    "Job": "jobs.job",
    "MediaError": "errors",
    "ModelError": "errors",
    "OutputError": "errors",
    "Preset": "preset",
    "PresetError": "errors",
    "Progress": "progress",
    "Render": "jobs.background",
    "RenderError": "errors",
    "Report": "jobs.render",
    "Sheet": "jobs.contact_sheet",
    "Timeline": "timeline.timeline",
    "TimelineError": "errors",
    "UsageError": "errors",
    "WeightPath": "networks.weights",
    "open": "decoding.clip",
    "render": "jobs.render",
    "render_frames": "jobs.frames",
    "sheet": "jobs.contact_sheet",
}
_NAMES = {"open": "open_clip"}  # where the name at home is another
_ROOMS = {"networks"}  # reachable after `import dnirender`

__all__ = [
    "Cancelled",
    "Engine",
    "Job",
    "MediaError",
    "ModelError",
    "OutputError",
    "Preset",
    "PresetError",
    "Progress",
    "Render",
    "RenderError",
    "Report",
    "Sheet",
    "Timeline",
    "TimelineError",
    "UsageError",
    "WeightPath",
    "open",
    "render",
    "render_frames",
    "sheet",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"dnirender.{_HOMES[name]}"), _NAMES.get(name, name))
    if name in _ROOMS:
        return importlib.import_module(f"dnirender.{name}")
    raise AttributeError(f"module 'dnirender' has no attribute {name!r}")

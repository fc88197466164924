"""How long a command will take, by what the same job took on this machine before."""

from __future__ import annotations

from typing import Any

from dnirender.engine.calibration import GRAPH_SECONDS
from dnirender.jobs.prepare import PreparedJob
from dnirender.progress import ProgressTracker

FEWEST_FRAMES = 12  # that tell how long a frame takes
OTHER = {"torch": "openvino", "openvino": "torch"}


def remember_run(prepared: PreparedJob, progress: ProgressTracker, frames: int) -> None:
    """Remembers how long rendering `frames` frames took."""
    seconds = progress.seconds
    if frames < FEWEST_FRAMES or progress.first_frame is None:
        return
    engine, details = prepared.engine, _details(prepared)
    found = engine.measurements.read("render", **details)
    found[engine.backend] = {
        "first": progress.first_frame,
        "frame": (seconds["rendering"] - progress.first_frame) / (frames - 1),
        "joining": seconds["joining"] / frames,
        "networks": engine.pace,
    }
    engine.measurements.write("render", found, **details)


def estimate_seconds(prepared: PreparedJob, elapsed: float) -> float | None:
    """Seconds that the whole command will take, of which what a dry run does takes `elapsed`; None where this job was
    not measured on this machine."""
    engine, plan = prepared.engine, prepared.plan
    frames = len(plan.selection.indices) - prepared.resumed
    found = engine.measurements.read("render", **_details(prepared))
    record = _numbers(found.get(engine.backend)) or _of_other(found, prepared)
    if engine.pace is None or record is None or frames < 1:
        return elapsed if frames < 1 else None
    loading = elapsed + (GRAPH_SECONDS if engine.backend == "openvino" else 0.0)
    return loading + record["first"] + (frames - 1) * record["frame"] + frames * record["joining"]


def _of_other(found: dict[str, Any], prepared: PreparedJob) -> dict[str, float] | None:
    """What the other backend took, with the networks' own time exchanged."""
    engine, plan = prepared.engine, prepared.plan
    record = _numbers(found.get(OTHER.get(engine.backend, "")))
    if record is None or engine.pace is None or "networks" not in record:
        return None
    forwards = plan.forwards / len(plan.selection.indices)
    difference = (engine.pace - record["networks"]) * forwards
    return record | {"frame": max(engine.pace * forwards, record["frame"] + difference)}


def _numbers(record: Any) -> dict[str, float] | None:
    """A record as it was written; None where it is not one."""
    if not isinstance(record, dict):
        return None
    numbers = {str(name): value for name, value in record.items() if isinstance(value, float)}
    return numbers if {"first", "frame", "joining"} <= set(numbers) else None


def _details(prepared: PreparedJob) -> dict[str, Any]:
    """What the time of a frame depends on, beside the networks."""
    plan, engine, spec = prepared.plan, prepared.engine, prepared.output.spec
    source = plan.source.metadata
    options = {name: value for name, value in spec.options.items() if name != "crf"} if spec else {}
    return {
        "device": prepared.devices,
        "dtype": engine.dtype,
        "threads": engine.threads,
        "batch": plan.job.engine.batch,
        "source": [source.codec, source.width, source.height, source.pix_fmt],
        "network size": plan.size,
        "output size": prepared.output.size,
        "panels": plan.job.preset.layout.panels,
        "format": plan.job.output.suffix.lower(),
        "encoder": [spec.codec, spec.pix_fmt, options] if spec else [],
        "filters": [plan.job.decode.deinterlace, plan.job.decode.hdr],
    }

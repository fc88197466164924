"""The fingerprint of a job: everything that its frames depend on, so that segments of another job are not reused."""

from __future__ import annotations

import hashlib
import sys
from importlib import metadata
from pathlib import Path

import av

from dnirender.files import short_sha256
from dnirender.jobs.options import JOB_OPTIONS
from dnirender.jobs.plan import Plan
from dnirender.jobs.workspace import Fingerprint
from dnirender.version import __version__

LIBRARIES = ("torch", "openvino", "opencv-python", "numpy")  # frames depend on their rounding
EXCLUDED = {
    "name": True,
    "about": True,
    "network": {"endpoints": True},
    "mask": {"files": True, "depth": True},
}
"""Files, by their content below, and what is only for people."""


def job_fingerprint(plan: Plan) -> Fingerprint:
    """The fingerprint. Files are identified by size, modification time and content, not by path."""
    job, preset = plan.job, plan.job.preset
    # Streams that are copied when segments are joined do not affect the segments.
    copied = {"audio": True, "subtitles": True}
    sections = preset.model_dump(mode="json", exclude=EXCLUDED | {"encoding": copied})
    for name, used in (("mask", plan.is_mapped), ("wipe", plan.front)):
        if not used:
            sections.pop(name)
    weights = {name: _content_hash(file) for name, file in preset.network.files.items()}
    places = ((one.name, one.level, one.position) for one in preset.network.endpoints)
    weights |= {f"{name} at": f"{where}" for name, *where in places if where != [None, None]}
    weights |= {f"style of {name}": _content_hash(file) for name, file in preset.network.styles.items() if file}
    libraries = [f"{name}-{'.'.join(map(str, number))}" for name, number in av.library_versions.items()]
    libraries += [f"{name}-{_version(name)}" for name in LIBRARIES]
    options = {
        name: getattr(getattr(job, group), field)
        for name, (group, (field, _, flag)) in JOB_OPTIONS.items()
        if flag.fingerprint
    }
    if job.own_timeline:
        sections["timeline"] = f"{job.own_timeline.keyframes} {job.own_timeline} {preset.timeline.tracks}"
    if plan.masking is not None:
        options["masks"] = plan.masking.identity
    if plan.front is not None and plan.front.identity:
        options["wipe picture"] = plan.front.identity
    if own := _architectures():
        options["architectures"] = own
    times = short_sha256(repr(plan.source.metadata.pts).encode())
    return {
        "input": f"{plan.source_hash} {job.input.stat().st_mtime_ns} {times}",
        "weights": " ".join(f"{name}={digest}" for name, digest in weights.items()),
        **{name: str(value) for name, value in sections.items()},
        **{name: str(value) for name, value in options.items() if value is not None},
        "format": job.output.suffix.lower(),
        "program": f"dnirender {__version__}, PyAV {av.__version__}, {' '.join(libraries)}",
    }


def _architectures() -> str:
    """The architectures that the program registered, with hashes of their settings and source."""
    registry = sys.modules.get("dnirender.networks.registry")  # where it was not imported, there are none
    found = registry.identities() if registry else {}
    return " ".join(f"{name}={short_sha256(text.encode())}" for name, text in sorted(found.items()))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _content_hash(path: Path) -> str:
    """A hash of the file; empty if it cannot be read, which its loader reports."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError:
        return ""

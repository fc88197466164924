"""What makes a job this one: all that its pictures depend on, so that no part of another job is taken for its."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path

import av

from dnirender.files import sample_hash, short_sha256
from dnirender.jobs.options import JOB_OPTIONS
from dnirender.jobs.plan import Plan
from dnirender.jobs.workspace import Identity
from dnirender.version import __version__

LIBRARIES = ("torch", "openvino", "opencv-python", "numpy")  # whose rounding pictures depend on


def job_fingerprint(plan: Plan) -> Identity:
    """The job's ingredients by name. Files are told apart by size, time and content, not by where they lie."""
    job, preset = plan.job, plan.job.preset
    # What is only joined to the pictures at the end is another matter.
    joined = {"audio": True, "subtitles": True}
    sections = preset.model_dump(
        mode="json", exclude={"name": True, "about": True, "network": {"endpoints": True}, "encoding": joined}
    )
    weights = {endpoint.name: _content(endpoint.weights) for endpoint in preset.network.endpoints}
    libraries = [f"{name}-{'.'.join(map(str, number))}" for name, number in av.library_versions.items()]
    libraries += [f"{name}-{_version(name)}" for name in LIBRARIES]
    options = {
        name: getattr(getattr(job, group), field)
        for name, (group, (field, _, flag)) in JOB_OPTIONS.items()
        if flag.fingerprint
    }
    if job.own_timeline:
        sections["timeline"] = f"{job.own_timeline.keyframes} {job.own_timeline}"
    times = short_sha256(repr(plan.source.metadata.pts).encode())
    return {
        "input": f"{sample_hash(job.input)} {job.input.stat().st_mtime_ns} {times}",
        "weights": " ".join(f"{name}={digest}" for name, digest in weights.items()),
        **{name: str(value) for name, value in sections.items()},
        **{name: str(value) for name, value in options.items() if value is not None},
        "format": job.output.suffix.lower(),
        "program": f"dnirender {__version__}, PyAV {av.__version__}, {' '.join(libraries)}",
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _content(path: Path) -> str:
    """What its loader says of a file that cannot be read is not said here."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError:
        return ""

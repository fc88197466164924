"""The files that a job writes, checked before it starts."""

from __future__ import annotations

import os
import re
from pathlib import Path

from dnirender.encoding.image_record import read_record
from dnirender.encoding.image_sequence import NUMBERED, numbered_path
from dnirender.encoding.output import IMAGE_SINKS
from dnirender.encoding.provenance import Provenance, read_provenance
from dnirender.errors import MediaError, OutputError, UsageError
from dnirender.jobs.job import Job
from dnirender.jobs.workspace import was_delivered
from dnirender.media.containers import CONTAINERS
from dnirender.media.image_files import is_still


def check_output(job: Job) -> None:
    """Raises UsageError if the format of the output is unknown, OutputError if it cannot be written."""
    suffix = job.output.suffix.lower()
    if job.numbered and not re.fullmatch(r"[^%]*%(0\d+)?d[^%]*", job.output.name):
        raise UsageError(f"{job.output.name}: expected one number in the pattern, as in frame_%04d{suffix}")
    if suffix not in CONTAINERS and suffix not in IMAGE_SINKS:
        known = " ".join(sorted(ext.lstrip(".") for ext in (*CONTAINERS, *IMAGE_SINKS)))
        raise UsageError(
            f"{job.output}: unknown output format {suffix or 'without extension'!r}; expected {known} or %04d.png"
        )
    check_target(numbered_path(job.output, 0), job)


def check_count(job: Job, start: int, stop: int) -> None:
    """Raises UsageError if the output is one picture and frames `start` to `stop` (exclusive) are more than one."""
    suffix, count = job.output.suffix.lower(), stop - start
    if count == 1 or job.numbered or suffix not in NUMBERED:
        return
    if is_still(job.input):
        value = job.preset.endpoints[min(1, len(job.preset.endpoints) - 1)]
        why, one = "the keyframes make", f"a constant value, such as keyframes='0:{value}', makes one"
    else:
        why, one = "the range has", f"start={start} end={start + 1} selects one"
    raise UsageError(
        f"{job.output}: holds one frame, and {why} {count}; {one}, and a pattern such as frame_%04d{suffix} holds all"
    )


def check_target(target: Path, job: Job) -> None:
    """Raises OutputError if `target` cannot be written, or exists and may not be overwritten."""
    try:
        target.exists()
    except OSError as error:  # a name that is too long
        raise OutputError(f"{target}: cannot be written ({error.strerror})") from error
    if not target.parent.is_dir():
        raise OutputError(f"{target.parent}: no such folder; create it first")
    if target.resolve() == job.input.resolve():
        raise OutputError(f"{target}: is the input itself; choose another name")
    if target.is_dir():
        raise OutputError(f"{target}: is a folder; name a file")
    if (target.exists() or target.is_symlink()) and not (job.encode.overwrite or was_delivered(job.output, target)):
        raise OutputError(f"{target}: exists already; overwrite=True replaces it")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"{target.parent}: this folder cannot be written to")


def rendered_by(path: Path) -> Provenance | None:
    """The provenance record of a file; None without one, or if it cannot be read."""
    try:
        return read_record(path)[0] if path.suffix.lower() in IMAGE_SINKS else read_provenance(path)
    except MediaError:
        return None

"""Disk space: checked before the first frame, and explained when it runs out."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from dnirender.encoding.output import COPIES
from dnirender.errors import OutputError

FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
MAX_OVERESTIMATE = 200  # the estimate may be this many times too high: flat images, a high crf


def check_space(target: Path, needed: int, is_resumed: bool = False) -> str | None:
    """A warning if the disk may be too small. Raises OutputError if it certainly is, unless the render is resumed."""
    usage = shutil.disk_usage(target.parent)
    if not usage.total:  # unknown on some file systems
        return None
    free = usage.free
    estimate = f"about {size_text(needed)} are needed, {size_text(free)} are free in {target.parent.resolve()}"
    if free < needed / MAX_OVERESTIMATE and not is_resumed:
        raise OutputError(f"{target}: the disk is too small: {estimate}; free some space or choose another folder")
    return f"{target}: the disk may be too small: {estimate}" if free < needed else None


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error was caused by a full disk or an exceeded quota."""
    while error is not None:
        if getattr(error, "errno", None) in FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def remaining_bytes(folder: Path, finished: int, total: int, estimate: int) -> int:
    """Bytes that the rest of a render needs: extrapolated from the segments in `folder`, or `estimate` without any."""
    used = sum(path.stat().st_size for path in folder.glob("*.part")) if folder.is_dir() else 0
    return max(0, round(used / finished * total * COPIES - used)) if finished else estimate


def disk_full_error(target: Path, folder: Path, finished: int, total: int, estimate: int) -> OutputError:
    """The error for a full disk."""
    more, free = remaining_bytes(folder, finished, total, estimate), shutil.disk_usage(target.parent).free
    return OutputError(
        f"{target}: the disk is full: about {size_text(more)} more are needed, {size_text(free)} are free; "
        f"free some space and run the same job again (without restart=True), which resumes after {finished} of {total} "
        "frames"
    )


def size_text(count: float) -> str:
    """A number of bytes with its unit."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"

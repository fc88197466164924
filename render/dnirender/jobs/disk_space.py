"""Room on the disk: estimated before the first frame, measured when it runs out."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from dnirender.errors import OutputError

# Bytes a pixel, to the order of magnitude: busy video at the default quality, and formats that lose little or nothing.
LOSSY, PNG = 0.06, 2.0
BULKY = {"ffv1": 1.5, "prores_ks": 0.7, "prores": 0.7, "mjpeg": 0.3, "dnxhd": 0.5, "huffyuv": 2.0, "utvideo": 2.0}
COPIES = 2  # the parts, and the file that they are joined into before they go
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
CERTAIN = 200  # times that the estimate may be too high: flat pictures, a high crf


def estimate_bytes(pixels: int, codec: str | None) -> int:
    """Bytes that rendering this many pixels takes until it is published; `codec` is None where they are kept as PNG."""
    return round(pixels * COPIES * (PNG if codec is None else BULKY.get(codec, LOSSY)))


def check_space(target: Path, needed: int, begun: bool = False) -> str | None:
    """A warning where the disk may be too small; OutputError where it certainly is, unless the render was `begun`."""
    usage = shutil.disk_usage(target.parent)
    if not usage.total:  # some file systems do not tell
        return None
    free = usage.free
    told = f"about {size_text(needed)} are needed, {size_text(free)} are free in {target.parent.resolve()}"
    if free < needed / CERTAIN and not begun:
        raise OutputError(f"{target}: the disk is too small: {told}; make room or name another folder")
    return f"{target}: the disk may be too small: {told}" if free < needed else None


def is_disk_full(error: BaseException | None) -> bool:
    """Whether a full disk, or a quota, is behind an error."""
    while error is not None:
        if getattr(error, "errno", None) in FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def remaining_bytes(folder: Path, done: int, total: int, guess: int) -> int:
    """Bytes that the rest of a render takes: by the measure of the `done` frames in `folder`, or, with none done, all
    that was estimated."""
    held = sum(path.stat().st_size for path in folder.glob("*.part")) if folder.is_dir() else 0
    return max(0, round(held / done * total * COPIES - held)) if done else guess


def disk_full_error(target: Path, folder: Path, done: int, total: int, guess: int) -> OutputError:
    """What is told of a full disk."""
    more, free = remaining_bytes(folder, done, total, guess), shutil.disk_usage(target.parent).free
    return OutputError(
        f"{target}: the disk is full: about {size_text(more)} more are needed, {size_text(free)} are free; "
        f"make room and run the same command again (without restart=True), which goes on behind the {done} of {total} "
        "frames that are done"
    )


def size_text(count: float) -> str:
    """Bytes as people write them."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"

"""Outputs appear under their name in one step, when they are whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sys
import zlib
from collections.abc import Generator
from pathlib import Path

import av.error

from dnirender.errors import MediaError, OutputError, RenderError

NO_FOLDERS = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}  # network file systems that cannot flush a folder


def part_path(target: Path) -> Path:
    """Where `target` grows: beside it, hidden, this process's own, never too long where the target's name is not."""
    mark = zlib.crc32(os.fsencode(target.name))
    return target.with_name(f".{target.name[:40]}.{mark:08x}.{os.getpid()}.part")


def publish(part: Path, target: Path) -> None:
    """Makes a finished file durable and gives it its name in one step."""
    with disk_errors(target):
        with part.open("rb+") as file:
            _flush(file.fileno())
        part.replace(target)
        if os.name == "posix":
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            except OSError as error:
                if error.errno not in NO_FOLDERS:
                    raise
            finally:
                os.close(folder)


def _flush(file: int) -> None:
    """To the medium; on macOS fsync alone leaves what the disk has in its cache."""
    if sys.platform == "darwin":
        import fcntl

        with contextlib.suppress(OSError):  # not on every file system
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)
            return
    os.fsync(file)


@contextlib.contextmanager
def disk_errors(target: Path) -> Generator[None]:
    """Turns whatever the disk or the muxer says into one OutputError about the target."""
    try:
        yield
    except RenderError:
        raise
    except (av.error.FFmpegError, OSError) as error:
        raise OutputError(f"{target}: cannot be written ({error_text(error)})") from error


def error_text(error: BaseException) -> str:
    """The system's or FFmpeg's own words for what happened."""
    return getattr(error, "strerror", None) or str(error)


SAMPLE = 1 << 16  # bytes of the source that are looked at, at each of three places


def sample_hash(path: Path) -> str:
    """Tells a file from others by its size and a look at three places. MediaError: it cannot be read."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            looks = b""
            for place in (0, size // 2, max(0, size - SAMPLE)):
                file.seek(place)
                looks += file.read(SAMPLE)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    return f"{size} {short_sha256(looks)}"


def short_sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]

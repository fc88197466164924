"""Atomic output: a file is written under a temporary name and renamed once it is complete."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sys
import zlib
from collections.abc import Generator
from pathlib import Path

from dnirender.errors import MediaError, OutputError, RenderError

# Raised by network file systems that do not support fsync on a directory.
NO_DIRECTORY_FSYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}


def temporary_path(target: Path) -> Path:
    """The hidden file next to `target` that this process writes first; its name stays within the length limit."""
    checksum = zlib.crc32(os.fsencode(target.name))
    return target.with_name(f".{target.name[:40]}.{checksum:08x}.{os.getpid()}.part")


def publish(temporary: Path, target: Path) -> None:
    """Flushes a finished file to disk and renames it to `target` atomically. Raises OutputError."""
    with disk_errors(target):
        with temporary.open("rb+") as file:
            _flush(file.fileno())
        temporary.replace(target)
        if os.name == "posix":
            directory = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            except OSError as error:
                if error.errno not in NO_DIRECTORY_FSYNC:
                    raise
            finally:
                os.close(directory)


def _flush(descriptor: int) -> None:
    """Writes a file to the medium. On macOS fsync alone does not flush the disk's own cache."""
    if sys.platform == "darwin":
        import fcntl

        with contextlib.suppress(OSError):  # some file systems do not support it
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


@contextlib.contextmanager
def disk_errors(target: Path, *others: type[Exception]) -> Generator[None]:
    """Converts errors of the disk, and those of `others`, to an OutputError that names `target`."""
    try:
        yield
    except RenderError:
        raise
    except (OSError, *others) as error:
        raise OutputError(f"{target}: cannot be written ({error_text(error)})") from error


def error_text(error: BaseException) -> str:
    """The message of the operating system or of FFmpeg."""
    return getattr(error, "strerror", None) or str(error)


SAMPLE_BYTES = 1 << 16  # read at the start, in the middle and at the end


def sample_hash(path: Path) -> str:
    """Identifies a file by its size and a hash of three samples of its content. Raises MediaError."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            samples = b""
            for position in (0, size // 2, max(0, size - SAMPLE_BYTES)):
                file.seek(position)
                samples += file.read(SAMPLE_BYTES)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    return f"{size} {short_sha256(samples)}"


def short_sha256(data: bytes) -> str:
    """The first 16 hex digits of a SHA-256 digest."""
    return hashlib.sha256(data).hexdigest()[:16]

"""The folder beside a target in which its render grows, and what is known of it: one process at a time.

.NAME.HASH.lock               held while a process renders to the target
.NAME.HASH.JOB.parts/         one for each job that was begun on the target and not brought to its end
    manifest.json             what the job is, what renders it, its segments
    00000000-00000063.part    the finished ones
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from dnirender.errors import OutputError
from dnirender.parts import is_whole
from dnirender.publish import disk_errors, publish

Identity = Mapping[str, str]
"""What makes a job this one, by the names of its ingredients: other values, other pictures."""


@dataclass(frozen=True)
class Segment:
    """Frames `start` to `stop`, exclusive, counted from the first of the render: what is lost at most."""

    start: int
    stop: int

    @property
    def numbers(self) -> range:
        """Its frames."""
        return range(self.start, self.stop)

    @property
    def name(self) -> str:
        """The file of its part."""
        return f"{self.start:08d}-{self.stop - 1:08d}.part"


def split(count: int, length: int) -> tuple[Segment, ...]:
    """`count` frames in segments of `length`."""
    return tuple(Segment(start, min(start + length, count)) for start in range(0, count, length))


@dataclass(frozen=True)
class Manifest:
    """A job that was begun: what it is, with which settings it is rendered, and in which segments.

    `delivered` is (bytes, mtime in ns) of the complete file just before it got the target's name.
    """

    job: Identity
    engine: Mapping[str, Any]
    segments: tuple[Segment, ...]
    delivered: tuple[int, int] | None = None

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """That of a folder; None where there is none that can be read."""
        try:
            data = json.loads((folder / "manifest.json").read_text("utf-8"))
            segments = tuple(Segment(int(start), int(stop)) for start, stop in data["segments"])
            delivered = data["delivered"]
            engine = {key: tuple(v) if isinstance(v, list) else v for key, v in data["engine"].items()}
            return cls(dict(data["job"]), engine, segments, tuple(delivered) if delivered else None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, folder: Path) -> None:
        """Puts it into a folder, in one step."""
        data = asdict(self) | {"segments": [(segment.start, segment.stop) for segment in self.segments]}
        growing = folder / "manifest.growing"
        with disk_errors(folder):
            growing.write_text(json.dumps(data, indent=1), "utf-8")
        publish(growing, folder / "manifest.json")


class Work:
    """The parts of one job on their way to its target. Enter it to hold the target; it is let go of on exit, and a
    folder without a finished part goes with it.

    OutputError: another process holds the target.
    """

    def __init__(self, target: Path, job: Identity) -> None:
        self._target = target
        self.job = job
        self.folder = target.with_name(f"{_stem(target)}.{mark_of(job)}.parts")
        self._lock_path = target.with_name(f"{_stem(target)}.lock")
        self._lock = FileLock(self._lock_path, timeout=0)

    @property
    def manifest(self) -> Manifest | None:
        """That of an earlier run of this very job."""
        found = Manifest.read(self.folder)
        return found if found and found.job == dict(self.job) else None

    def finished(self) -> tuple[Segment, ...]:
        """The segments whose parts are there."""
        found = self.manifest
        return tuple(s for s in found.segments if is_whole(self.folder / s.name)) if found else ()

    def others(self) -> list[tuple[str, ...]]:
        """For every other job that was begun on this target, what is different about it."""
        told: list[tuple[str, ...]] = []
        for folder in _folders(self._target):
            found = Manifest.read(folder)
            if folder != self.folder and found:
                keys = [*self.job, *(key for key in found.job if key not in self.job)]
                told.append(tuple(key for key in keys if self.job.get(key) != found.job.get(key)))
        return told

    def begin(self, engine: Mapping[str, Any], segments: tuple[Segment, ...]) -> Manifest:
        """The manifest, from now on or from an earlier run."""
        found = self.manifest
        if found is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            with disk_errors(self._target):
                self.folder.mkdir()
            found = Manifest(dict(self.job), dict(engine), segments)
            found.write(self.folder)
        return found

    def delivering(self, file: Path) -> None:
        """Notes down the complete file that is about to get the target's name."""
        found = self.manifest
        if found is not None:
            state = file.stat()
            replace(found, delivered=(state.st_size, state.st_mtime_ns)).write(self.folder)

    def forget(self) -> None:
        """Removes all parts of all jobs on this target."""
        for folder in _folders(self._target):
            # Without its manifest a folder is nothing any more, however far the rest is removed.
            (folder / "manifest.json").unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self) -> Self:
        with disk_errors(self._target):
            self._target.parent.stat()  # the lock would make the folder
            try:
                self._lock.acquire()
            except Timeout as error:
                raise OutputError(
                    f"{self._target}: another dnirender{self._holder()} is rendering to it; wait for it or name "
                    "another output"
                ) from error
        with contextlib.suppress(OSError):  # on Windows a locked file cannot be written by its name
            self._lock_path.write_text(str(os.getpid()), "ascii")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.folder.is_dir() and not any(self.folder.glob("*.part")):
            shutil.rmtree(self.folder, ignore_errors=True)
        # Unlinked while it is held: who opened it meanwhile finds that it has no name any more, and tries again.
        with contextlib.suppress(OSError):
            self._lock_path.unlink()
        self._lock.release()

    def _holder(self) -> str:
        try:
            return f" (process {int(self._lock_path.read_text('ascii'))})"
        except (OSError, ValueError):
            return ""


def mark_of(job: Identity) -> str:
    """Tells a job from others."""
    return hashlib.sha256(json.dumps(dict(job), sort_keys=True).encode()).hexdigest()[:8]


def was_delivered(target: Path) -> bool:
    """Whether a job that was stopped while it tidied up has put the file there that has the target's name now."""
    try:
        state = target.stat()
    except OSError:
        return False
    manifests = (Manifest.read(folder) for folder in _folders(target))
    return any(found.delivered == (state.st_size, state.st_mtime_ns) for found in manifests if found)


def _folders(target: Path) -> Iterator[Path]:
    stem = f"{_stem(target)}."
    with contextlib.suppress(OSError):
        for path in sorted(target.parent.iterdir()):
            if path.name.startswith(stem) and path.name.endswith(".parts"):
                yield path


def _stem(target: Path) -> str:
    """Hidden, told apart from other targets' and never too long."""
    return f".{target.name[:40]}.{zlib.crc32(os.fsencode(target.name)):08x}"

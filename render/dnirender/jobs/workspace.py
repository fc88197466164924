"""Working folders of unfinished renders, beside their target, and the lock that admits one process at a time.

.NAME.HASH.lock               held while a process renders to the target
.NAME.HASH.JOB.parts/         one for each unfinished job on the target
    manifest.json             the job's fingerprint, its engine settings and its segments
    00000000-00000063.part    a finished segment
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from dnirender.encoding.segment_file import is_complete
from dnirender.errors import OutputError
from dnirender.files import disk_errors, publish

Fingerprint = Mapping[str, str]
"""The fingerprint of a job: everything that its frames depend on, as name and value."""
MAX_MANIFEST_BYTES = 1 << 26  # a million segments of one frame are 35 MB


@dataclass(frozen=True)
class Segment:
    """Frames `start` to `stop`, exclusive, counted from the first of the render: the unit of resuming."""

    start: int
    stop: int

    @property
    def numbers(self) -> range:
        """The numbers of its frames."""
        return range(self.start, self.stop)

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.start:08d}-{self.stop - 1:08d}.part"


def split(count: int, length: int) -> tuple[Segment, ...]:
    """Divides `count` frames into segments of `length`; the last one may be shorter."""
    return tuple(Segment(start, min(start + length, count)) for start in range(0, count, length))


@dataclass(frozen=True)
class Manifest:
    """A job that was started: its fingerprint, its engine settings and its segments.

    paced_keyframes: those that were measured for an even pace, if the job asks for one
    concealed_frames: indices, in the source, of frames that could not be decoded and were replaced by others
    delivered: for each file of the result, by name, its size in bytes and its mtime in ns just before it was renamed
    partial: the same for what was published of it before it was complete
    """

    job: Fingerprint
    engine: Mapping[str, Any]
    segments: tuple[Segment, ...]
    paced_keyframes: str = ""
    concealed_frames: tuple[int, ...] = ()
    delivered: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    partial: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The manifest in a folder; None if there is none or it cannot be read."""
        try:
            file = folder / "manifest.json"
            if file.stat().st_size > MAX_MANIFEST_BYTES:
                return None
            data = json.loads(file.read_text("utf-8"))
            return cls(
                job=dict(data["job"]),
                engine={key: tuple(v) if isinstance(v, list) else v for key, v in data["engine"].items()},
                segments=tuple(Segment(int(start), int(stop)) for start, stop in data["segments"]),
                paced_keyframes=str(data.get("paced_keyframes", "")),
                concealed_frames=tuple(map(int, data["concealed_frames"])),
                delivered=_states(data["delivered"]),
                partial=_states(data.get("partial", {})),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def write(self, folder: Path) -> None:
        """Writes the manifest into a folder, atomically."""
        data = asdict(self) | {"segments": [(segment.start, segment.stop) for segment in self.segments]}
        growing = folder / "manifest.growing"
        with disk_errors(folder):
            growing.write_text(json.dumps(data, indent=1), "utf-8")
        publish(growing, folder / "manifest.json")

    def has_delivered(self, target: Path) -> bool:
        """Whether the file at `target` is the one that this job put there."""
        try:
            state = target.stat()
        except OSError:
            return False
        return self.delivered.get(target.name) == (state.st_size, state.st_mtime_ns)


class Workspace:
    """The working folder of one job. A context manager that locks the target.

    On exit, the target is unlocked, and the folder is removed if it has no finished segment. `published`: whether the
    result was renamed to its target. Entering raises OutputError if another process has locked the target.
    """

    def __init__(self, target: Path, job: Fingerprint) -> None:
        self._target = target
        self.job, self.published = job, False
        self.folder = target.with_name(f"{_stem(target)}.{short_hash(job)}.parts")
        self._lock_path = target.with_name(f"{_stem(target)}.lock")
        self._lock = FileLock(self._lock_path, timeout=0)
        self._updating = threading.Lock()

    @property
    def manifest(self) -> Manifest | None:
        """The manifest of an earlier run of this job, None if there is none."""
        found = Manifest.read(self.folder)
        return found if found and found.job == dict(self.job) else None

    def finished(self) -> tuple[Segment, ...]:
        """The finished segments."""
        found = self.manifest
        return tuple(s for s in found.segments if is_complete(self.folder / s.name)) if found else ()

    @property
    def num_finished_frames(self) -> int:
        """The number of frames in finished segments."""
        return sum(len(segment.numbers) for segment in self.finished())

    def others(self) -> list[tuple[str, ...]]:
        """For each other job with finished segments on this target, the names of the ingredients that differ."""
        differences: list[tuple[str, ...]] = []
        for folder in _folders(self._target):
            found = Manifest.read(folder)
            if folder != self.folder and found and any(folder.glob("*.part")):
                keys = [*self.job, *(key for key in found.job if key not in self.job)]
                differences.append(tuple(key for key in keys if self.job.get(key) != found.job.get(key)))
        return differences

    def begin(self, engine: Mapping[str, Any], segments: tuple[Segment, ...], paced_keyframes: str = "") -> Manifest:
        """The manifest of an earlier run, else a new one."""
        found = self.manifest
        if found is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            with disk_errors(self._target):
                self.folder.mkdir()
            found = Manifest(dict(self.job), dict(engine), segments, paced_keyframes)
            found.write(self.folder)
        return found

    def update(self, **changes: Any) -> None:
        """Changes fields of the manifest on disk; from any thread."""
        with self._updating:
            if (found := self.manifest) is not None:
                replace(found, **changes).write(self.folder)

    def record_outputs(self, files: Sequence[tuple[Path, Path]]) -> None:
        """Records the complete files, as (file, target), that are about to be renamed to their targets."""
        self.update(delivered=_file_states(files))

    def record_partial(self, files: Sequence[tuple[Path, Path]]) -> None:
        """Records the files of a partial result, as (file, target), that are about to be renamed to their targets."""
        found = self.manifest
        self.update(partial={**(found.partial if found else {}), **_file_states(files)})

    def partial_files(self) -> dict[str, tuple[int, int]]:
        """What jobs on this target have published of incomplete results, by name, with bytes and mtime in ns."""
        manifests = (Manifest.read(folder) for folder in _folders(self._target))
        return {name: state for found in manifests if found for name, state in found.partial.items()}

    def remove_partial(self) -> list[Path]:
        """Removes those of `partial_files` that are still what was published, and returns them."""
        removed: list[Path] = []
        for name, state in self.partial_files().items():
            path = self._target.with_name(Path(name).name)
            with contextlib.suppress(OSError):
                found = path.stat()
                if (found.st_size, found.st_mtime_ns) == state and path != self._target:
                    path.unlink()
                    removed.append(path)
        return removed

    def has_delivered(self, target: Path) -> bool:
        """Whether the file at `target` was put there by an earlier run of this job."""
        found = self.manifest
        return found is not None and found.has_delivered(target)

    def drop(self, segments: Iterable[Segment]) -> None:
        """Deletes the files of segments."""
        for segment in segments:
            (self.folder / segment.name).unlink(missing_ok=True)

    def discard(self) -> None:
        """Deletes the segments of all jobs on this target. Raises OutputError."""
        for folder in _folders(self._target):
            with disk_errors(folder):
                # A folder without a manifest is ignored, even if deleting the rest fails.
                (folder / "manifest.json").unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)

    def cleanup(self) -> None:
        """Like `discard`, for a published result: the manifests are deleted last, because they record that it is."""
        for folder in _folders(self._target):
            for segment in folder.glob("*.part"):
                with contextlib.suppress(OSError):
                    segment.unlink()
            shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self) -> Self:
        with disk_errors(self._target):
            self._target.parent.stat()  # FileLock would create a missing folder
            try:
                self._lock.acquire()
            except Timeout as error:
                raise OutputError(
                    f"{self._target}: another dnirender{self._holder()} is rendering to it; wait for it or name "
                    "another output"
                ) from error
        if type(self._lock) is FileLock:  # not the fallback for systems without locks, which uses the file's content
            with contextlib.suppress(OSError):  # on Windows a locked file cannot be written
                self._lock_path.write_text(str(os.getpid()), "ascii")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.folder.is_dir() and not any(self.folder.glob("*.part")):
            shutil.rmtree(self.folder, ignore_errors=True)
        # Unlinked while it is locked: a process that has opened it notices that it was unlinked, and tries again.
        with contextlib.suppress(OSError):
            self._lock_path.unlink()
        self._lock.release()

    def _holder(self) -> str:
        try:
            return f" (process {int(self._lock_path.read_text('ascii'))})"
        except (OSError, ValueError):
            return ""


def _states(data: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, int]]:
    return {str(name): (int(size), int(time)) for name, (size, time) in data.items()}


def _file_states(files: Sequence[tuple[Path, Path]]) -> dict[str, tuple[int, int]]:
    """Bytes and mtime in ns of files, by the names that they are about to get; a rename changes neither."""
    states = [(target.name, file.stat()) for file, target in files]
    return {name: (state.st_size, state.st_mtime_ns) for name, state in states}


def short_hash(job: Fingerprint) -> str:
    """8 hex digits that identify a job."""
    return hashlib.sha256(json.dumps(dict(job), sort_keys=True).encode()).hexdigest()[:8]


def was_delivered(output: Path, target: Path) -> bool:
    """Whether the file at `target` was put there by a job on `output` that was stopped during `Workspace.cleanup`."""
    manifests = (Manifest.read(folder) for folder in _folders(output))
    return any(found.has_delivered(target) for found in manifests if found)


def _folders(target: Path) -> Iterator[Path]:
    stem = f"{_stem(target)}."
    with contextlib.suppress(OSError):
        for path in sorted(target.parent.iterdir()):
            if path.name.startswith(stem) and path.name.endswith(".parts"):
                yield path


def _stem(target: Path) -> str:
    """A hidden name, unique to the target and within the length limit."""
    name = os.path.normcase(target.name)
    name = name.casefold() if sys.platform == "darwin" else name  # whose file systems ignore case
    return f".{target.name[:40]}.{zlib.crc32(os.fsencode(name)):08x}"

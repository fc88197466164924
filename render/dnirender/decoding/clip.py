"""A source as a sequence: `len`, iteration, slices by frame and by time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, overload

from dnirender.decoding.metadata import VideoMetadata
from dnirender.decoding.open import open_source
from dnirender.decoding.source import Source
from dnirender.errors import UsageError
from dnirender.frames import Image


@dataclass(frozen=True)
class ClipFrame:
    """A decoded frame: index in the file, pts in units of `Clip.metadata.time_base`, seconds from the first frame.

    `image` is RGB [h, w, 3], uint8 (0..255) or uint16 (0..65535).
    """

    index: int
    pts: int
    seconds: Fraction
    image: Image


class Clip:
    """Frames of a file, decoded when they are iterated or indexed; a slice is a Clip of the same file.

    `clip[3]`, `clip[-1]`, `clip[10:20]`, `clip[::2]`, `clip.between(1.5, 4)`. MediaError: a frame cannot be decoded.
    """

    def __init__(self, source: Source, indices: range) -> None:
        self._source, self._indices = source, indices

    @property
    def path(self) -> Path:
        """The file."""
        return self._source.path

    @property
    def metadata(self) -> VideoMetadata:
        """Size, color, time base, all timestamps and streams of the whole file."""
        return self._source.metadata

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[ClipFrame]:
        times, base = self.metadata.seconds, self.metadata.pts[0] * self.metadata.time_base
        for frame in self._source.frames(self._indices):
            yield ClipFrame(frame.index, frame.pts, times[frame.index] - base, frame.image)

    @overload
    def __getitem__(self, key: int) -> ClipFrame: ...
    @overload
    def __getitem__(self, key: slice) -> Clip: ...
    def __getitem__(self, key: int | slice) -> ClipFrame | Clip:
        if isinstance(key, slice):
            chosen = self._indices[key]
            if chosen.step < 0:
                raise UsageError(f"step {chosen.step}: expected 1 or more; a clip is decoded forward")
            return Clip(self._source, chosen)
        index = self._indices[key]  # IndexError ends an iteration by number
        return next(iter(Clip(self._source, range(index, index + 1))))

    def between(self, start: float | Fraction, stop: float | Fraction) -> Clip:
        """The frames shown at or after `start` and before `stop`, in seconds from the file's first frame."""
        first, times = self.metadata.seconds[0], self.metadata.seconds
        own = [times[index] - first for index in self._indices]
        return self[bisect_left(own, Fraction(start)) : bisect_left(own, Fraction(stop))]


def open_clip(path: str | Path, **options: Any) -> Clip:
    """Opens a video or a still image. `options` are those of `open_source`: stream, deinterlace, hdr, ignore_errors.

    MediaError: no such file, or one that is not supported, truncated or corrupt.
    """
    source = open_source(Path(path), **options)
    return Clip(source, range(len(source.metadata.pts)))

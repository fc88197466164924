"""What all outputs share: the times of their frames, and the protocols of sinks and segment encoders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from av.video.frame import VideoFrame

from dnirender.encoding.segment_file import EncodedPacket, SegmentReader
from dnirender.frames import Image
from dnirender.media.containers import container_of


def timestamp_tolerance(target: Path) -> Fraction:
    """Seconds that the times in a file may be off: Matroska and WebM count whole milliseconds."""
    return Fraction(0) if container_of(target) in ("mp4", "mov") else Fraction(1, 2000)


class SegmentEncoder(Protocol):
    """Makes packets of the pictures of one segment, in order; `header` is what a container needs to know of it."""

    @property
    def header(self) -> bytes: ...
    def record(self, index: int, picture: Any) -> Iterator[EncodedPacket]: ...
    def flush(self) -> Iterator[EncodedPacket]: ...


class Sink(Protocol):
    """How rendered pictures become a file: each is `converted` as the recorders take it, on any thread; a recorder for
    each segment makes packets of them, and when all are there, `deliver` makes the files of them.
    """

    def convert(self, image: Image) -> Image | VideoFrame: ...
    def new_encoder(self) -> SegmentEncoder: ...
    def finalize(self, parts: SegmentReader, folder: Path) -> list[tuple[Path, Path]]:
        """Every file, complete, read back and still in `folder`, with the name that it is to get."""
        ...


@dataclass(frozen=True)
class FrameTiming:
    """When each picture is shown: one pts per picture in `time_base`, and how long the last one stands."""

    pts: tuple[int, ...]
    time_base: Fraction
    last_duration: int

    @property
    def frame_rate(self) -> Fraction:
        """Pictures per second on average."""
        length = (self.pts[-1] - self.pts[0] + self.last_duration) * self.time_base
        return Fraction(len(self.pts)) / length

    def duration(self, index: int) -> int:
        """How long picture `index` stands, in units of `time_base`."""
        return self.pts[index + 1] - self.pts[index] if index + 1 < len(self.pts) else self.last_duration

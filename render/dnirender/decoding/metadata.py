"""Metadata of a source, known before its frames are decoded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from dnirender.media.colorspace import ColorSpec


@dataclass(frozen=True)
class StreamMetadata:
    """One stream of a container, as `dnirender info` shows it."""

    index: int
    kind: str
    codec: str
    language: str | None
    detail: str


@dataclass(frozen=True)
class VideoMetadata:
    """Metadata of one video stream, or of a still image.

    width, height: size in pixels of the upright image
    sampling: luma samples per chroma sample, (horizontally, vertically); None for RGB and gray
    rotation, mirrored: a coded frame becomes upright by rotating it by `rotation` degrees counterclockwise, then, if
        `mirrored`, by flipping it horizontally
    pts: one presentation time per frame, strictly increasing, in units of `time_base`
    last_duration: duration of the last frame, in units of `time_base`
    clock_start: seconds on the file's clock when its first stream begins, if that means nothing: a render starts at 0
    stream_pts: presentation times as the decoder returns them, in units of `stream_time_base`; empty if the file has
        none and frames are identified by their order (see `timestamps`)
    opacity: whether frames have alpha
    parity: which field of interlaced frames is displayed first, as a value of bwdif's `parity`; None if progressive
    timecode: time code of the first frame, "" without one
    profile: ICC profile of a still image, b"" without one
    mastering_peak: peak luminance of the mastering display in cd/m2, None if unknown
    """

    width: int
    height: int
    pix_fmt: str
    depth: int
    sampling: tuple[int, int] | None
    color: ColorSpec
    sample_aspect_ratio: Fraction
    rotation: int
    time_base: Fraction
    pts: tuple[int, ...]
    last_duration: int
    streams: tuple[StreamMetadata, ...] = ()
    video_index: int = -1
    format: str = ""
    codec: str = ""
    warnings: tuple[str, ...] = ()
    still: bool = False
    mirrored: bool = False
    stream_pts: tuple[int, ...] = ()
    stream_time_base: Fraction = Fraction(1)
    opacity: bool = False
    parity: str | None = None
    mastering_peak: float | None = None
    clock_start: Fraction = Fraction(0)
    timecode: str = ""
    profile: bytes = b""

    @property
    def has_streams(self) -> bool:
        """Whether the source is a container, with other streams to copy and tags; else it is pictures only."""
        return self.video_index >= 0

    @property
    def seconds(self) -> tuple[Fraction, ...]:
        """The presentation time of every frame in seconds."""
        return tuple(pts * self.time_base for pts in self.pts)

    @property
    def duration(self) -> Fraction:
        """Seconds from the start of the first frame to the end of the last one."""
        return (self.pts[-1] + self.last_duration - self.pts[0]) * self.time_base

    @property
    def frame_rate(self) -> Fraction:
        """Average frames per second; 25 if the duration is zero."""
        return Fraction(len(self.pts)) / self.duration if self.duration else Fraction(25)

    @property
    def variable_frame_rate(self) -> bool:
        """Whether frame durations differ by more than the rounding of the time base."""
        steps = [after - before for before, after in zip(self.pts, self.pts[1:], strict=False)]
        return bool(steps) and max(steps) - min(steps) > 1

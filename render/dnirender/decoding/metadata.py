"""What is known of a source before its frames are decoded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from dnirender.media.colorspace import ColorSpec


@dataclass(frozen=True)
class StreamMetadata:
    """One stream of a container, as `dnirender info` tells it."""

    index: int
    kind: str
    codec: str
    language: str | None
    detail: str


@dataclass(frozen=True)
class VideoMetadata:
    """What is known of a source before its first frame is rendered.

    `width` and `height` are those of the upright picture; `pts` has one entry per frame, strictly increasing, in units
    of `time_base`; `last_duration` is how long the last frame stands, in the same units. `sampling` is (luma samples
    per chroma sample across, down), None for RGB and gray. A coded picture becomes upright by `rotation` degrees
    counter-clockwise and then, where `mirrored`, by exchanging left and right. `stamps` are the frames' pts as the file
    writes them, in `stream_time_base`; none where frames are told apart by their order alone (see `stamps`). `opacity`:
    frames say how opaque each pixel is. `parity` is that of interlaced frames: which lines are shown first, in bwdif's
    words. `mastering_peak` is the brightest that the display of an HDR grading could show, in cd/m2, where the file
    says so.
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
    stamps: tuple[int, ...] = ()
    stream_time_base: Fraction = Fraction(1)
    opacity: bool = False
    parity: str | None = None
    mastering_peak: float | None = None

    @property
    def seconds(self) -> tuple[Fraction, ...]:
        """The time of every frame in seconds."""
        return tuple(pts * self.time_base for pts in self.pts)

    @property
    def duration(self) -> Fraction:
        """Seconds from the first frame's start to the last frame's end."""
        return (self.pts[-1] + self.last_duration - self.pts[0]) * self.time_base

    @property
    def frame_rate(self) -> Fraction:
        """Frames per second on average."""
        return Fraction(len(self.pts)) / self.duration if self.duration else Fraction(25)

    @property
    def variable_frame_rate(self) -> bool:
        """Whether frames stand for lengths that differ by more than the rounding of the time base."""
        steps = [after - before for before, after in zip(self.pts, self.pts[1:], strict=False)]
        return bool(steps) and max(steps) - min(steps) > 1

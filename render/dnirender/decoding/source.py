"""What is known of a source, and what every source can do: give its frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from dnirender.frames import Frame
from dnirender.media.colorspace import Colour


@dataclass(frozen=True)
class StreamFacts:
    """One stream of a container, as `dnirender info` tells it."""

    index: int
    kind: str
    codec: str
    language: str | None
    detail: str


@dataclass(frozen=True)
class Facts:
    """What is known of a source before its first frame is rendered.

    `width` and `height` are those of the upright picture; `pts` has one entry per frame, strictly increasing, in units
    of `time_base`; `last_duration` is how long the last frame stands, in the same units. `sampling` is (luma samples
    per chroma sample across, down), None for RGB and gray. A coded picture becomes upright by `rotation` degrees
    counter-clockwise and then, where `mirrored`, by exchanging left and right. `stamps` are the frames' pts as the file
    writes them, in `stream_base`; none where frames are told apart by their order alone (see `stamps`). `opacity`:
    frames say how opaque each pixel is. `parity` is that of interlaced frames: which lines are shown first, in bwdif's
    words. `mastering_peak` is the brightest that the display of an HDR grading could show, in cd/m2, where the file
    says so.
    """

    width: int
    height: int
    pix_fmt: str
    depth: int
    sampling: tuple[int, int] | None
    colour: Colour
    sample_aspect_ratio: Fraction
    rotation: int
    time_base: Fraction
    pts: tuple[int, ...]
    last_duration: int
    streams: tuple[StreamFacts, ...] = ()
    video_index: int = -1
    format: str = ""
    codec: str = ""
    warnings: tuple[str, ...] = ()
    still: bool = False
    mirrored: bool = False
    stamps: tuple[int, ...] = ()
    stream_base: Fraction = Fraction(1)
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


class Source:
    """Something that gives frames: a video file, or a still picture held for a number of frames."""

    def __init__(self, path: Path, facts: Facts) -> None:
        self.path = path
        self.facts = facts
        self.repaired: set[int] = set()  # with --ignore-errors: the frames given so far that show another one

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """The frames at `indices`, which must increase, decoded in one pass from the nearest keyframe.

        Raises MediaError where the file yields other frames than the scan promised, unless errors are ignored: then a
        frame that cannot be decoded shows the one before it (at the beginning: the first that can), and is counted in
        `repaired`.
        """
        raise NotImplementedError

    def repairs(self) -> tuple[str, ...]:
        """What to tell the user of the frames given so far, when all have been."""
        if not self.repaired:
            return ()
        first, facts = min(self.repaired), self.facts
        at = float((facts.pts[first] - facts.pts[0]) * facts.time_base)
        return (
            f"{self.path.name}: {len(self.repaired)} of {len(facts.pts)} frames could not be decoded, the first at "
            f"frame {first}, {at:.1f} s: each shows the one before it",
        )

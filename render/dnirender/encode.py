"""Writing what was rendered: a video with its companions and exact times.

A file is written beside its place, read back and counted, and only then renamed into place: the target's name holds
nothing, the old file or the complete new one.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, cast

import av.error
import cv2
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dnirender.containers import create_container, fraction, open_container
from dnirender.encoders import VideoSpec, configure
from dnirender.errors import MediaError, OutputError
from dnirender.frames import Image
from dnirender.pixels import to_frame
from dnirender.publish import disk_errors, part_path, publish
from dnirender.streams import Companions, Cut, StreamPlan

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


class Sink(Protocol):
    """Takes rendered pictures in order; publishes on a clean exit, leaves nothing on any other.

    `converted` does the part of `write` that may be done ahead and on another thread; `write` takes both.
    """

    def converted(self, image: Image) -> Image | VideoFrame: ...
    def write(self, image: Image | VideoFrame) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True)
class Times:
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


def container_of(target: Path) -> str:
    """The FFmpeg name of the container that the target's extension asks for."""
    return CONTAINERS[target.suffix.lower()]


class VideoSink:
    """A video file with exact times.

    Frames are encoded with their index as pts and restamped when muxed: the packet of frame i gets pts T[i], the n-th
    packet in decoding order dts T[n - D], where D is the encoder's reorder delay. So every pts is the source's own,
    whatever the encoder would have made of a variable frame rate. No container has frames before time zero: a video
    that begins there begins at zero, and its companions move with it.
    """

    def __init__(
        self,
        target: Path,
        spec: VideoSpec,
        times: Times,
        companions: tuple[Path, tuple[StreamPlan, ...], Cut] | None = None,
    ) -> None:
        early = min(0, times.pts[0])
        self._target, self._spec = target, spec
        self._times = replace(times, pts=tuple(pts - early for pts in times.pts))
        self._part = part_path(target)
        if companions:
            path, plans, cut = companions
            companions = path, plans, replace(cut, shift=cut.shift + early * times.time_base)
        self._plan = companions
        self._companions: Companions | None = None
        self._written = self._muxed = self._delay = 0

    def __enter__(self) -> Self:
        with disk_errors(self._target):
            self._out = create_container(self._part, container_of(self._target), self._container_options())
            try:
                self._open_streams()
            except BaseException:
                self._discard()
                raise
        return self

    def converted(self, image: Image) -> VideoFrame:
        """The picture [h, w, 3] as the encoder takes it; one of odd size is padded by repeating its edge."""
        below, right = self._spec.height - image.shape[0], self._spec.width - image.shape[1]
        if below or right:
            image = cast(Image, cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE))
        return to_frame(image, self._spec.pix_fmt, self._spec.colour)

    def write(self, image: Image | VideoFrame) -> None:
        """Encodes the next picture."""
        if self._written == len(self._times.pts):
            raise OutputError(f"{self._target}: {self._written} frames were due, and one more came")
        with disk_errors(self._target):
            frame = image if isinstance(image, VideoFrame) else self.converted(image)
            frame.pts, frame.time_base = self._written, 1 / self._spec.rate
            self._written += 1
            for packet in self._stream.encode(frame):
                self._mux(packet)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    def _container_options(self) -> dict[str, str]:
        if container_of(self._target) in ("mp4", "mov"):
            scale = self._times.time_base.denominator
            # Starts are counted in units of the movie: in milliseconds, unless told, and those round the video's ticks.
            movie = scale * -(-48000 // scale)
            return {"movflags": "+faststart", "video_track_timescale": str(scale), "movie_timescale": str(movie)}
        # Else the priming of AAC, which lies before zero, moves everything by 21 ms.
        return {"avoid_negative_ts": "disabled"}

    def _open_streams(self) -> None:
        self._stream = cast(VideoStream, self._out.add_stream(self._spec.codec, rate=self._spec.rate))
        configure(self._stream.codec_context, self._spec)
        self._stream.time_base = self._times.time_base
        if self._plan:
            self._companions = Companions(*self._plan, self._out)

    def _discard(self) -> None:
        """Lets go of everything; the part is gone unless it has been published."""
        if self._companions:
            self._companions.close()
        with contextlib.suppress(av.error.FFmpegError, ValueError, OSError):
            self._out.close()
        self._part.unlink(missing_ok=True)

    def _finish(self) -> None:
        due = len(self._times.pts)
        if self._written != due:
            raise OutputError(f"{self._target}: {due} frames were due, {self._written} came; nothing was published")
        with disk_errors(self._target):
            for packet in self._stream.encode(None):
                self._mux(packet)
            if self._companions:
                self._companions.finish()
            self._out.close()
        self._verify()
        publish(self._part, self._target)

    def _mux(self, packet: Packet[Any]) -> None:
        times = self._times
        index, order = cast(int, packet.pts), self._muxed
        if order == 0 and packet.dts is not None:
            # Of clips shorter than its delay x265 gives any number; more than all other frames it cannot be.
            self._delay = min(max(0, index - packet.dts), len(times.pts) - 1)
        behind = order - self._delay
        dts = times.pts[behind] if behind >= 0 else times.pts[0] + behind * times.duration(0)
        packet.pts, packet.dts, packet.duration = times.pts[index], dts, times.duration(index)
        packet.time_base = times.time_base
        self._muxed += 1
        if self._muxed == len(times.pts) and container_of(self._target) in ("mp4", "mov"):
            # MP4 adds up the steps between dts, which begin D steps early: the last one makes the sum the true length.
            packet.duration = max(1, times.pts[-1] + times.last_duration - dts - self._delay * times.duration(0))
        self._out.mux_one(packet)
        if self._companions:
            self._companions.advance(dts * times.time_base)

    def _verify(self) -> None:
        """Reads the packets back: the file that is published has every frame at its time."""
        found = self._read_back()
        due = [pts * self._times.time_base for pts in self._times.pts]
        # Matroska and WebM count whole milliseconds.
        slack = Fraction(0) if container_of(self._target) in ("mp4", "mov") else Fraction(1, 2000)
        wrong = next((i for i, (a, b) in enumerate(zip(found, due, strict=False)) if abs(a - b) > slack), None)
        if len(found) != len(due) or wrong is not None:
            at = f", the first difference at frame {wrong}" if wrong is not None else ""
            raise OutputError(f"{self._target}: read back {len(found)} of {len(due)} frames{at}; nothing was published")

    def _read_back(self) -> list[Fraction]:
        try:
            with open_container(self._part) as written:
                stream: Any = written.streams.video[0]
                base = fraction(stream.time_base, Fraction(1))
                shown = [p.pts for p in written.demux(stream) if p.size and not p.is_discard and p.pts is not None]
        except (MediaError, av.error.FFmpegError) as error:
            raise OutputError(f"{self._target}: cannot be read back ({error}); nothing was published") from error
        return sorted(pts * base for pts in shown)

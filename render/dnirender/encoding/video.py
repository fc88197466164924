"""Writing what was rendered: a video with its companions and exact times.

Pictures are encoded segment by segment into parts. When all are there, their packets are joined with all else of the
source into a file that is read back and counted, and only then renamed into place: the target's name holds nothing, the
old file or the complete new one.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Generator, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, cast

import av.error
import cv2
from av.codec.context import CodecContext, Flags
from av.container import OutputContainer
from av.packet import Packet as AvPacket
from av.packet import PacketSideData, packet_sidedata_type_from_literal
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dnirender.encoding.encoders import VideoSpec, configure
from dnirender.encoding.provenance import TAG, Provenance, append_box, to_json
from dnirender.encoding.segment_file import EncodedPacket, SegmentReader, check_numbers
from dnirender.encoding.sink import FrameTiming, SegmentEncoder, timestamp_tolerance
from dnirender.encoding.stream_copy import StreamCopier, StreamPlan, TimeRange
from dnirender.errors import MediaError, OutputError, UsageError
from dnirender.files import disk_errors, error_text
from dnirender.frames import Image
from dnirender.media.containers import container_of, create_container, frame_times_and_crc32
from dnirender.media.pixel_formats import to_frame

OPACITY = "matroska_block_additional"  # where VP9 in Matroska and WebM keeps it


class _VideoSegmentEncoder:
    """An encoder whose packets carry the numbers of their frames."""

    def __init__(self, spec: VideoSpec) -> None:
        self._codec, self._rate, self._first = spec.codec, spec.rate, 0
        self._count = 0
        self._context = cast(VideoCodecContext, CodecContext.create(spec.codec, "w"))
        configure(self._context, spec)
        self._context.flags |= Flags.global_header
        self._context.open(strict=False)

    @property
    def header(self) -> bytes:
        return self._context.extradata or b""

    def record(self, index: int, picture: Any) -> Iterator[EncodedPacket]:
        if not self._count:
            self._first = index
        picture.pts, picture.time_base = self._count, 1 / self._rate
        self._count += 1
        return self._packets(picture)

    def flush(self) -> Iterator[EncodedPacket]:
        return self._packets(None)

    def _packets(self, picture: VideoFrame | None) -> Iterator[EncodedPacket]:
        try:
            packets = self._context.encode(picture)
        except av.error.FFmpegError as error:
            at = self._first + self._count - 1
            raise OutputError(f"{self._codec} failed at frame {at} of the render ({error_text(error)})") from error
        for packet in packets:
            beside = (bytes(cast(Any, side)) for side in packet.iter_sidedata() if side.data_type == OPACITY)
            index = self._first + cast(int, packet.pts)
            yield EncodedPacket(index, packet.is_keyframe, bytes(packet), b"".join(beside))


class VideoSink:
    """A video file with exact times.

    Frames are encoded with their number as pts and restamped when they are joined: the packet of frame i gets pts T[i],
    the n-th packet in decoding order dts T[n - D], where D is by how much packets run ahead of their frames. So every
    pts is the source's own, whatever the encoder would have made of a variable frame rate. No container has frames
    before time zero: a video that begins there begins at zero, and its companions move with it.

    MediaError, OutputError: what `deliver` meets.
    """

    def __init__(
        self,
        target: Path,
        spec: VideoSpec,
        times: FrameTiming,
        companions: tuple[Path, tuple[StreamPlan, ...], TimeRange] | None = None,
        provenance: Provenance | None = None,
        *,
        ignore_errors: bool = False,
    ) -> None:
        self._target, self._spec, self._provenance = target, spec, provenance
        self._ignore_errors = ignore_errors
        self._times = self.shown(times)
        if companions:
            path, plans, cut = companions
            early = (times.pts[0] - self._times.pts[0]) * times.time_base
            companions = path, plans, replace(cut, shift=cut.shift + early)
        self._plan = companions

    @staticmethod
    def shown(times: FrameTiming) -> FrameTiming:
        """The times in the file: none is before zero."""
        early = min(0, times.pts[0])
        return replace(times, pts=tuple(pts - early for pts in times.pts))

    def convert(self, image: Image) -> VideoFrame:
        """The picture [h, w, 3] as the encoder takes it; one of odd size is padded by repeating its edge."""
        below, right = self._spec.height - image.shape[0], self._spec.width - image.shape[1]
        if below or right:
            image = cast(Image, cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE))
        return to_frame(image, self._spec.pix_fmt, self._spec.color)

    def new_encoder(self) -> SegmentEncoder:
        """An encoder that has seen nothing yet."""
        return _VideoSegmentEncoder(self._spec)

    def check(self) -> None:
        """Writes a header with all the streams to memory; UsageError where the container cannot hold them together."""
        try:
            with self._opened(io.BytesIO()) as (out, _, _):
                out.start_encoding()
        except (av.error.FFmpegError, ValueError) as error:
            raise UsageError(
                f"{self._target}: {container_of(self._target)} does not hold these streams together "
                f"({error_text(error)}); name a .mkv, or leave some out with --no-subtitles or --no-audio"
            ) from error

    def finalize(self, parts: SegmentReader, folder: Path) -> list[tuple[Path, Path]]:
        """Joins the packets with the companions, at their times, and reads the file back."""
        check_numbers(parts, len(self._times.pts), self._target)
        joined = folder / f"joined{self._target.suffix}"
        with disk_errors(self._target):
            with self._opened(joined) as (out, stream, companions):
                self._mux(parts, out, stream, companions)
                out.close()
            crc32 = self._verify(joined)
            if self._provenance and self._boxed:
                append_box(joined, to_json(self._provenance.model_copy(update={"crc32": crc32})))
        return [(joined, self._target)]

    @property
    def _boxed(self) -> bool:
        """Whether the file consists of the boxes of MP4."""
        return container_of(self._target) in ("mp4", "mov")

    @contextlib.contextmanager
    def _opened(self, file: Path | BinaryIO) -> Generator[tuple[OutputContainer, VideoStream, StreamCopier | None]]:
        """A container with all its streams, before its header is written; closed in any case."""
        with contextlib.ExitStack() as open_things:
            out = create_container(file, container_of(self._target), self._container_options())
            open_things.callback(_close, out)
            stream = cast(VideoStream, out.add_stream(self._spec.codec, rate=self._spec.rate))
            configure(stream.codec_context, self._spec)
            stream.time_base = self._times.time_base
            companions = StreamCopier(*self._plan, out, ignore_errors=self._ignore_errors) if self._plan else None
            if companions:
                open_things.callback(companions.close)
            if self._provenance and not self._boxed:
                out.metadata[TAG] = to_json(self._provenance)
            yield out, stream, companions

    def _container_options(self) -> dict[str, str]:
        if self._boxed:
            scale = self._times.time_base.denominator
            # Starts are counted in units of the movie: in milliseconds, unless told, and those round the video's ticks.
            movie = scale * -(-48000 // scale)
            return {"movflags": "+faststart", "video_track_timescale": str(scale), "movie_timescale": str(movie)}
        # Else the priming of AAC, which lies before zero, moves everything by 21 ms.
        options = {"avoid_negative_ts": "disabled"}
        # Else a track is called the default where the source calls none so.
        return options | ({"default_mode": "passthrough"} if container_of(self._target) == "matroska" else {})

    def _mux(
        self, parts: SegmentReader, out: OutputContainer, stream: VideoStream, companions: StreamCopier | None
    ) -> None:
        times = self._times
        out.start_encoding()
        if (stream.codec_context.extradata or b"") != parts.header:
            raise OutputError(f"{self._target}: the encoder is not the one of the finished parts; use --restart")
        delay = max(place - index for place, index in enumerate(parts.indices))
        early = delay * times.duration(0)  # how far before the first frame is shown decoding begins
        for place, packet in enumerate(parts):
            twin = _muxable(packet)
            behind = place - delay
            twin.dts = times.pts[behind] if behind >= 0 else times.pts[0] + behind * times.duration(0)
            twin.pts, twin.duration = times.pts[packet.index], times.duration(packet.index)
            if place == len(parts) - 1 and self._boxed:
                # MP4 adds up the steps between dts: the last one makes the sum the true length.
                twin.duration = max(1, times.pts[-1] + times.last_duration - twin.dts - early)
            twin.time_base, twin.is_keyframe, twin.stream = times.time_base, packet.key, stream
            reached = twin.dts * times.time_base  # muxing rescales it
            out.mux_one(twin)
            if companions:
                companions.advance(reached)
        if companions:
            companions.finish()

    def _verify(self, joined: Path) -> int:
        """Reads the packets back: the file that is published has every frame at its time. Returns their checksum."""
        found, check = self._read_back(joined)
        due = [pts * self._times.time_base for pts in self._times.pts]
        slack = timestamp_tolerance(self._target)
        wrong = next((i for i, (a, b) in enumerate(zip(found, due, strict=False)) if abs(a - b) > slack), None)
        if len(found) != len(due) or wrong is not None:
            at = f", the first difference at frame {wrong}" if wrong is not None else ""
            raise OutputError(f"{self._target}: read back {len(found)} of {len(due)} frames{at}; nothing was published")
        return check

    def _read_back(self, joined: Path) -> tuple[list[Fraction], int]:
        try:
            return frame_times_and_crc32(joined)
        except (MediaError, av.error.FFmpegError) as error:
            raise OutputError(f"{self._target}: cannot be read back ({error}); nothing was published") from error


def _muxable(packet: EncodedPacket) -> AvPacket[Any]:
    twin = AvPacket(packet.data)
    if packet.side:
        side = cast(Any, PacketSideData)(packet_sidedata_type_from_literal(OPACITY), len(packet.side))
        side.update(packet.side)
        twin.set_sidedata(side)
    return twin


def _close(out: OutputContainer) -> None:
    with contextlib.suppress(av.error.FFmpegError, ValueError, OSError):
        out.close()

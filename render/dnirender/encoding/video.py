"""Video output with exact timestamps and the other streams of the source.

Frames are encoded segment by segment. When all segments are finished, their packets are muxed together with the copied
streams, and the file is read back and its frames counted. The caller renames it into place only then, so the target is
either absent, the old file or the complete new one.
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
import numpy as np
from av.codec.context import CodecContext, Flags
from av.container import OutputContainer
from av.packet import Packet as AvPacket
from av.packet import PacketSideData, packet_sidedata_type_from_literal
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dnirender.encoding.encoders import VideoSpec, configure, usual_scheduling
from dnirender.encoding.provenance import TAG, Provenance, append_box, to_json
from dnirender.encoding.segment_file import EncodedPacket, SegmentReader, check_frame_indices
from dnirender.encoding.sink import FrameTiming, SegmentEncoder, timestamp_tolerance
from dnirender.encoding.stream_copy import StreamCopier, TimeRange
from dnirender.encoding.stream_plan import StreamPlan
from dnirender.errors import MediaError, OutputError, RenderError, UsageError
from dnirender.files import disk_errors, error_text
from dnirender.frames import Image
from dnirender.media.containers import container_of, create_container, frame_times_and_crc32, logged_errors
from dnirender.media.pixel_formats import to_frame

# What FFmpeg raises for a stream it does not take, with the options that leave it out.
REFUSALS = (
    av.error.ArgumentError,
    av.error.InvalidDataError,
    av.error.PatchWelcomeError,
    av.error.ExperimentalError,
    ValueError,
)
STREAM_FIELDS = {"audio": "audio", "subtitle": "subtitles"}
KEPT = "no frame is lost: the same command with {fields} joins the finished ones"
OPACITY = "matroska_block_additional"  # side data with the alpha channel of VP8 and VP9 in Matroska and WebM


class _VideoSegmentEncoder:
    """A video encoder whose packets carry the frame numbers passed to `encode`."""

    def __init__(self, spec: VideoSpec) -> None:
        self._codec, self._rate, self._first = spec.codec, spec.rate, 0
        self._count = 0
        self._context = cast(VideoCodecContext, CodecContext.create(spec.codec, "w"))
        configure(self._context, spec)
        self._context.flags |= Flags.global_header
        with usual_scheduling():
            self._context.open(strict=False)

    @property
    def header(self) -> bytes:
        return self._context.extradata or b""

    def encode(self, index: int, frame: Any) -> Iterator[EncodedPacket]:
        if not self._count:
            self._first = index
        frame.pts, frame.time_base = self._count, 1 / self._rate
        self._count += 1
        return self._packets(frame)

    def flush(self) -> Iterator[EncodedPacket]:
        return self._packets(None)

    def _packets(self, frame: VideoFrame | None) -> Iterator[EncodedPacket]:
        try:
            packets = self._context.encode(frame)
        except av.error.FFmpegError as error:
            where = self._first + self._count - 1
            raise OutputError(f"{self._codec} failed at frame {where} of the render ({error_text(error)})") from error
        for packet in packets:
            side_data = (bytes(cast(Any, side)) for side in packet.iter_sidedata() if side.data_type == OPACITY)
            index = self._first + cast(int, packet.pts)
            yield EncodedPacket(index, packet.is_keyframe, bytes(packet), b"".join(side_data))


class VideoSink:
    """A video file whose timestamps are exactly those of the source.

    Frames are encoded with their number as pts, and packets get their timestamps when they are muxed: the packet of
    frame i gets pts T[i], and the n-th packet in decoding order gets dts T[n - D], where D is the reordering delay in
    frames. So every pts is that of the source, and the encoder never sees a variable frame rate. Containers have no
    frames before time zero: a video that begins earlier is shifted to zero, together with the copied streams.

    `copied_streams` is (source file, stream plans, time range), or None for video only. With `ignore_errors`, corrupt
    packets of the source are left out.
    """

    def __init__(
        self,
        target: Path,
        spec: VideoSpec,
        times: FrameTiming,
        copied_streams: tuple[Path, tuple[StreamPlan, ...], TimeRange] | None = None,
        provenance: Provenance | None = None,
        *,
        ignore_errors: bool = False,
    ) -> None:
        self._target, self._spec, self._provenance = target, spec, provenance
        self._ignore_errors = ignore_errors
        self._times = self.shown(times)
        if copied_streams:
            path, plans, time_range = copied_streams
            lead = (times.pts[0] - self._times.pts[0]) * times.time_base
            copied_streams = path, plans, replace(time_range, shift=time_range.shift + lead)
        self._copied_streams = copied_streams

    @staticmethod
    def shown(times: FrameTiming) -> FrameTiming:
        """The timing in the output file, shifted so that no pts is negative."""
        lead = min(0, times.pts[0])
        return replace(times, pts=tuple(pts - lead for pts in times.pts))

    def convert(self, image: Image) -> VideoFrame:
        """Converts an image [h, w, 3 or 4] to the encoder's pixel format; odd sizes are padded by repeating the
        edge."""
        below, right = self._spec.height - image.shape[0], self._spec.width - image.shape[1]
        if below or right:
            image = cast(Image, cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE))
        return to_frame(image, self._spec.pix_fmt, self._spec.color)

    def new_encoder(self) -> SegmentEncoder:
        """A new encoder with the settings of this video."""
        return _VideoSegmentEncoder(self._spec)

    def check(self) -> None:
        """Writes a file with one frame and the first packets of all streams to memory, to its end.

        Raises:
            UsageError: the container does not support this combination of streams, or the encoder fails.
            MediaError: audio that must be transcoded cannot be decoded.
        """
        with self._muxer_errors(UsageError, "use .mkv, or leave some out with {fields}"):
            encoder = self.new_encoder()
            blank = np.zeros((self._spec.height, self._spec.width, 3), np.uint8)
            packets = [*encoder.encode(0, self.convert(blank)), *encoder.flush()]
            with self._open(io.BytesIO()) as (out, stream, copier):
                _start(out)
                for packet in packets:
                    av_packet = _muxable(packet)
                    av_packet.pts = av_packet.dts = self._times.pts[0]
                    av_packet.time_base, av_packet.stream = self._times.time_base, stream
                    av_packet.duration, av_packet.is_keyframe = self._times.duration(0), True
                    out.mux_one(av_packet)
                if copier:
                    copier.probe()
                out.close()

    @contextlib.contextmanager
    def _muxer_errors(self, kind: type[RenderError], advice: str) -> Generator[None]:
        """Raises what the muxer refuses as `kind`, in its own words; other errors are the disk's."""
        messages = list[str]()
        try:
            with logged_errors() as messages:
                yield
        except RenderError:  # some are a ValueError too
            raise
        except REFUSALS as error:
            plans = self._copied_streams[1] if self._copied_streams else ()
            copied = {plan.kind for plan in plans if plan.action != "drop"}
            fields = [field for name, field in STREAM_FIELDS.items() if name in copied]
            container, reason = container_of(self._target), "; ".join([*messages[-2:], error_text(error)])
            hint = advice.format(fields=" or ".join(f"{field}=False" for field in fields) or "another codec")
            raise kind(
                f"{self._target}: {container} does not support this combination of streams ({reason}); {hint}"
            ) from error

    def finalize(self, segments: SegmentReader, folder: Path) -> list[tuple[Path, Path]]:
        """Muxes the segments and the copied streams into one file in `folder`, and reads it back.

        Raises:
            OutputError: frames are missing or duplicated, a segment is corrupt or from another encoder, writing fails,
                the muxer refuses a stream, or the file read back differs.
            MediaError: the other streams of the source cannot be read.
        """
        check_frame_indices(segments, len(self._times.pts), self._target)
        joined = folder / f"joined{self._target.suffix}"
        with disk_errors(self._target, av.error.FFmpegError):
            with self._muxer_errors(OutputError, KEPT), self._open(joined) as (out, stream, copier):
                self._mux(segments, out, stream, copier)
                out.close()
            crc32 = self._verify(joined)
            if self._provenance and self._is_isobmff:
                append_box(joined, to_json(self._provenance.model_copy(update={"crc32": crc32})))
        return [(joined, self._target)]

    @property
    def _is_isobmff(self) -> bool:
        """Whether the container is MP4 or MOV (ISO base media file format)."""
        return container_of(self._target) in ("mp4", "mov")

    @contextlib.contextmanager
    def _open(self, file: Path | BinaryIO) -> Generator[tuple[OutputContainer, VideoStream, StreamCopier | None]]:
        """Opens the output with all its streams; the header is not written yet. Closed on exit, also on errors."""
        with contextlib.ExitStack() as stack:
            options = self._container_options()
            if not isinstance(file, Path):  # moves the index to the front, for which the muxer opens the file again
                options.pop("movflags", None)
            out = create_container(file, container_of(self._target), options)
            stack.callback(_close, out)
            stream = cast(VideoStream, out.add_stream(self._spec.codec, rate=self._spec.rate))
            configure(stream.codec_context, self._spec, container_of(self._target))
            stream.time_base = self._times.time_base
            copier = (
                StreamCopier(*self._copied_streams, out, ignore_errors=self._ignore_errors)
                if self._copied_streams
                else None
            )
            if copier:
                stack.callback(copier.close)
            if self._provenance and not self._is_isobmff:
                out.metadata[TAG] = to_json(self._provenance)
            yield out, stream, copier

    def _container_options(self) -> dict[str, str]:
        if self._is_isobmff:
            timescale = self._times.time_base.denominator
            # Start times are stored in the movie time scale; its default, milliseconds, would round them.
            movie_timescale = timescale * -(-48000 // timescale)
            return {
                "movflags": "+faststart",
                "video_track_timescale": str(timescale),
                "movie_timescale": str(movie_timescale),
            }
        # Otherwise AAC priming, which is before time zero, would shift all streams by 21 ms.
        options = {"avoid_negative_ts": "disabled"}
        # Otherwise the muxer marks a track as default even if the source has none.
        return options | ({"default_mode": "passthrough"} if container_of(self._target) == "matroska" else {})

    def _mux(
        self, segments: SegmentReader, out: OutputContainer, stream: VideoStream, copier: StreamCopier | None
    ) -> None:
        times = self._times
        _start(out)
        if (stream.codec_context.extradata or b"") != segments.header:
            raise OutputError(
                f"{self._target}: the encoder differs from the one of the finished segments; use restart=True"
            )
        delay = max(position - index for position, index in enumerate(segments.indices))
        lead = delay * times.duration(0)  # from the first dts to the first pts
        for position, packet in enumerate(segments):
            av_packet = _muxable(packet)
            dts_index = position - delay
            av_packet.dts = times.pts[dts_index] if dts_index >= 0 else times.pts[0] + dts_index * times.duration(0)
            av_packet.pts, av_packet.duration = times.pts[packet.index], times.duration(packet.index)
            if position == len(segments) - 1 and self._is_isobmff:
                # MP4 sums the differences of dts: the last duration corrects the total length.
                av_packet.duration = max(1, times.pts[-1] + times.last_duration - av_packet.dts - lead)
            av_packet.time_base, av_packet.is_keyframe, av_packet.stream = times.time_base, packet.is_keyframe, stream
            time = av_packet.dts * times.time_base  # read before mux_one rescales it
            out.mux_one(av_packet)
            if copier:
                copier.advance(time)
        if copier:
            copier.finish()

    def _verify(self, joined: Path) -> int:
        """Reads the file back and checks the time of every frame. Returns the CRC-32 of the video packets."""
        times_read, crc32 = self._read_back(joined)
        expected = [pts * self._times.time_base for pts in self._times.pts]
        tolerance = timestamp_tolerance(self._target)
        first_wrong = next(
            (i for i, (a, b) in enumerate(zip(times_read, expected, strict=False)) if abs(a - b) > tolerance), None
        )
        if len(times_read) != len(expected) or first_wrong is not None:
            where = f", the first difference at frame {first_wrong}" if first_wrong is not None else ""
            raise OutputError(
                f"{self._target}: read back {len(times_read)} of {len(expected)} frames{where}; nothing was published"
            )
        return crc32

    def _read_back(self, joined: Path) -> tuple[list[Fraction], int]:
        try:
            return frame_times_and_crc32(joined)
        except (MediaError, av.error.FFmpegError) as error:
            raise OutputError(f"{self._target}: cannot be read back ({error}); nothing was published") from error


def _start(out: OutputContainer) -> None:
    """Opens the encoder of the video, for its header, and writes the header of the file."""
    with usual_scheduling():
        out.start_encoding()


def _muxable(packet: EncodedPacket) -> AvPacket[Any]:
    av_packet = AvPacket(packet.data)
    if packet.side_data:
        side = cast(Any, PacketSideData)(packet_sidedata_type_from_literal(OPACITY), len(packet.side_data))
        side.update(packet.side_data)
        av_packet.set_sidedata(side)
    return av_packet


def _close(out: OutputContainer) -> None:
    with contextlib.suppress(av.error.FFmpegError, ValueError, OSError):
        out.close()

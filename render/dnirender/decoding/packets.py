"""Demuxes and decodes one video stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dnirender.decoding.timestamps import PacketTimestamps
from dnirender.errors import MediaError
from dnirender.media.containers import MAX_PIXELS, codec_of, demux, fraction, opacity_decoder

# Frames decoded to check where a seek landed, and to detect interlacing: a broadcast may begin with one not flagged.
PROBE_FRAMES = 5
MAX_READ_ERRORS = 32  # reading stops after this many failures
STREAMABLE = {"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v", "obu"}


@dataclass(frozen=True)
class PacketList:
    """The timestamps of the packets that produce frames, in decoding order, and the beginning and end of the file.

    `start` and `end` are the times in seconds at which the first audio or video stream begins, without packets that
    are not shown, and the last of all streams ends. `truncated`: the last packet of a stream is
    incomplete. `error`: the message of the error that ended reading early.
    """

    frames: list[PacketTimestamps]
    start: Fraction
    end: Fraction
    truncated: bool
    error: str | None


def codec_context_of(stream: VideoStream) -> VideoCodecContext | None:
    """The stream's codec context, None if there is no decoder for its codec (missing in PyAV's types)."""
    return cast("VideoCodecContext | None", stream.codec_context)


def read_packets(container: InputContainer, stream: VideoStream) -> PacketList:
    """Reads all packets of the file without decoding them. Does not raise FFmpegError."""
    frames: list[PacketTimestamps] = []
    start: Fraction | None = None
    end, position, error = Fraction(0), 0, None
    last_is_corrupt: dict[int, bool] = {}
    try:
        for packet in demux(container):
            if packet.size:
                last_is_corrupt[packet.stream.index] = packet.is_corrupt
                position = (packet.pos or 0) + packet.size
            if packet.pts is not None:
                base = fraction(packet.time_base, Fraction(0))
                end = max(end, (packet.pts + (packet.duration or 0)) * base)
                if packet.size and not packet.is_discard and packet.stream.type in ("audio", "video"):
                    start = packet.pts * base if start is None else min(start, packet.pts * base)
            if packet.stream.index == stream.index and _has_frame(packet, stream):
                frames.append(PacketTimestamps(packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe))
    except av.error.FFmpegError as failure:
        error = failure.strerror
    if frames and last_is_corrupt[stream.index]:
        frames.pop()
    # FFmpeg skips an incomplete last frame of this format without an error.
    remainder = container.format.name == "yuv4mpegpipe" and container.size > position
    truncated = any(last_is_corrupt.values()) or remainder
    return PacketList(frames, start or Fraction(0), end, truncated, error)


def _has_frame(packet: Packet[Any], stream: VideoStream) -> bool:
    """Whether decoding the packet produces a frame that is displayed."""
    if packet.is_discard or not packet.size:
        return False
    # VP8 stores reference frames that are not displayed in packets of their own; bit 4 is set for displayed frames.
    return codec_of(stream) != "vp8" or bool(bytes(packet)[0] & 0x10)


def decode_first_frames(
    container: InputContainer, stream: VideoStream, path: Path, ignore_errors: bool
) -> tuple[list[VideoFrame], int | None]:
    """Decodes the first PROBE_FRAMES frames; also returns the pts of the first frame to display.

    With `ignore_errors` that is the pts of the first keyframe, because frames before it may be corrupt; else the least
    pts of these frames. Raises MediaError if no frame can be decoded.
    """
    keyframe_pts, first = None, list[VideoFrame]()
    try:
        for packet, frames in decode_packets(container, stream, ignore_errors=ignore_errors):
            if keyframe_pts is None and (packet.is_keyframe or not may_start_mid_gop(container)):
                keyframe_pts = packet.pts
            first += frames or ()
            if len(first) >= PROBE_FRAMES:
                break
    except av.error.FFmpegError as error:
        if not first:
            raise MediaError(f"{path}: its first frame cannot be decoded ({error.strerror})") from error
    if not first:
        raise MediaError(f"{path}: none of its frames can be decoded")
    least = None if first[0].pts is None else min(frame.pts for frame in first if frame.pts is not None)
    return first[:PROBE_FRAMES], keyframe_pts if ignore_errors else least


def decode_packets(
    container: InputContainer, stream: VideoStream, *, ignore_errors: bool = False
) -> Iterator[tuple[Packet[Any], list[VideoFrame] | None]]:
    """Yields every packet of the stream with the frames that the decoder returned for it.

    By default any decoding error raises FFmpegError (`err_detect` is set to `explode`, because FFmpeg's decoders
    conceal errors otherwise). Only if a recording starts between two keyframes may packets fail, until the first frame
    has been decoded. With `ignore_errors`, a packet that cannot be decoded is yielded with None, and decoding uses one
    thread, so that the error is attributed to the right packet. Errors that a decoder conceals without reporting them
    or marking the frame as corrupt are not detected.
    """
    context = codec_context_of(stream)
    if context is None:
        raise av.error.DecoderNotFoundError(0, "there is no decoder for it")
    alpha_context = opacity_decoder(stream)
    context = alpha_context or context
    context.thread_type = "NONE" if ignore_errors else "AUTO"
    # The size is limited here too because the stream may declare another one than the container.
    context.options = {"max_pixels": str(MAX_PIXELS)} | ({} if ignore_errors else {"err_detect": "explode"})
    has_frame, starts_at_keyframe = False, None
    for packet in _demux_one(container, stream, ignore_errors):
        if starts_at_keyframe is None:
            starts_at_keyframe = packet.is_keyframe or not may_start_mid_gop(container)
        try:
            frames = cast("list[VideoFrame]", alpha_context.decode(packet) if alpha_context else packet.decode())
        except av.error.FFmpegError:
            if not ignore_errors and (has_frame or starts_at_keyframe):
                raise
            yield packet, None
            continue
        has_frame = has_frame or bool(frames)
        yield packet, frames


def may_start_mid_gop(container: InputContainer) -> bool:
    """Whether files of this format may begin between two keyframes, as recordings of broadcasts do."""
    return container.format.name in STREAMABLE


def _demux_one(container: InputContainer, stream: VideoStream, ignore_errors: bool) -> Iterator[Packet[Any]]:
    """The packets of one stream, then an empty packet to flush the decoder. `ignore_errors` covers read errors too."""
    for _ in range(MAX_READ_ERRORS):
        try:
            yield from demux(container, stream)
            return
        except av.error.FFmpegError:
            if not ignore_errors:
                raise
    flush: Packet[Any] = Packet()
    flush.stream = stream
    yield flush

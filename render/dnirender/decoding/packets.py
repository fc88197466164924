"""The packets of one video stream and the frames that the decoder makes of them."""

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

LOOKED_AT = 5  # frames: a broadcast may begin with one that is not flagged as interlaced
MAX_ERRORS = 32  # failures of reading, one after the other, before a file counts as ended
STREAMED = {"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v", "obu"}


@dataclass(frozen=True)
class PacketList:
    """What the packets of a file say: those that give frames in decoding order; the time at which any stream ends.

    `torn`: a stream's last packet is shorter than it should be. `error` ended the reading early.
    """

    frames: list[PacketTimestamps]
    end: Fraction
    torn: bool
    error: str | None


def codec_context_of(stream: VideoStream) -> VideoCodecContext | None:
    """None where no decoder answers to the stream's codec, which the types do not say."""
    return cast("VideoCodecContext | None", stream.codec_context)


def read_packets(container: InputContainer, stream: VideoStream) -> PacketList:
    frames: list[PacketTimestamps] = []
    end, behind, error = Fraction(0), 0, None
    torn: dict[int, bool] = {}
    try:
        for packet in demux(container):
            if packet.size:
                torn[packet.stream.index] = packet.is_corrupt
                behind = (packet.pos or 0) + packet.size
            if packet.pts is not None:
                end = max(end, (packet.pts + (packet.duration or 0)) * fraction(packet.time_base, Fraction(0)))
            if packet.stream.index == stream.index and _gives_frame(packet, stream):
                frames.append(PacketTimestamps(packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe))
    except av.error.FFmpegError as stop:
        error = stop.strerror
    if frames and torn[stream.index]:
        frames.pop()
    rest = container.format.name == "yuv4mpegpipe" and container.size > behind  # FFmpeg passes over a torn picture
    return PacketList(frames, end, any(torn.values()) or rest, error)


def _gives_frame(packet: Packet[Any], stream: VideoStream) -> bool:
    if packet.is_discard or not packet.size:
        return False
    # VP8 stores pictures that are only referred to as packets of their own; bit 4 says whether one is shown.
    return codec_of(stream) != "vp8" or bool(bytes(packet)[0] & 0x10)


def decode_first_frames(
    container: InputContainer, stream: VideoStream, path: Path, ignore_errors: bool
) -> tuple[list[VideoFrame], int | None]:
    """The first few frames that can be decoded, and the pts at which showing should begin: the first keyframe's."""
    begin, first = None, list[VideoFrame]()
    try:
        for packet, frames in decode_packets(container, stream, forgiving=ignore_errors):
            if begin is None and (packet.is_keyframe or not may_start_mid_gop(container)):
                begin = packet.pts
            first += frames or ()
            if len(first) >= LOOKED_AT:
                break
    except av.error.FFmpegError as error:
        if not first:
            raise MediaError(f"{path}: its first frame cannot be decoded ({error.strerror})") from error
    if not first:
        raise MediaError(f"{path}: none of its frames can be decoded")
    return first[:LOOKED_AT], begin if ignore_errors else first[0].pts


def decode_packets(
    container: InputContainer, stream: VideoStream, *, forgiving: bool = False
) -> Iterator[tuple[Packet[Any], list[VideoFrame] | None]]:
    """Every packet of the stream with the frames that came out of the decoder behind it.

    A decoder on its own conceals damage where it can. Strictly, it stops at the least of it, and its FFmpegError is
    raised; only where a recording began between two keyframes may packets fail, until a frame has come out. Forgiving,
    a packet that cannot be decoded comes with None; one thread decodes, so that the failure is that packet's and always
    the same. What a decoder conceals without an error or a mark on the frame passes for a frame.
    """
    context = codec_context_of(stream)
    if context is None:
        raise av.error.DecoderNotFoundError(0, "there is no decoder for it")
    aside = opacity_decoder(stream)
    context = aside or context
    context.thread_type = "NONE" if forgiving else "AUTO"
    # The size is checked here too, because that of the stream may be another than that of the container's header.
    context.options = {"max_pixels": str(MAX_PIXELS)} | ({} if forgiving else {"err_detect": "explode"})
    begun, keyed = False, None
    for packet in _demuxed(container, stream, forgiving):
        keyed = packet.is_keyframe or not may_start_mid_gop(container) if keyed is None else keyed
        try:
            frames = cast("list[VideoFrame]", aside.decode(packet) if aside else packet.decode())
        except av.error.FFmpegError:
            if not forgiving and (begun or keyed):
                raise
            yield packet, None
            continue
        begun = begun or bool(frames)
        yield packet, frames


def may_start_mid_gop(container: InputContainer) -> bool:
    """Whether files of this format may begin between two keyframes, as recordings of broadcasts do."""
    return container.format.name in STREAMED


def _demuxed(container: InputContainer, stream: VideoStream, forgiving: bool) -> Iterator[Packet[Any]]:
    """The packets of one stream, the empty one that flushes the decoder last. Forgiving: over errors of reading too."""
    for _ in range(MAX_ERRORS):
        try:
            yield from demux(container, stream)
            return
        except av.error.FFmpegError:
            if not forgiving:
                raise
    flush: Packet[Any] = Packet()
    flush.stream = stream
    yield flush

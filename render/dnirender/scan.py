"""The facts of a video, from its packets and its first frame: no more than that is decoded."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dnirender.colour import KR_KB, UNSPECIFIED, Colour, guess_matrix
from dnirender.containers import fraction, open_container
from dnirender.errors import MediaError, UsageError
from dnirender.pixels import depth_of, is_yuv, sampling_of
from dnirender.source import Facts, StreamFacts

# How much earlier than its header says a file may end before it counts as cut off.
SLACK = Fraction(1, 2)
HEADER_DURATIONS = {"mov", "matroska"}  # other formats' durations are estimates


@dataclass(frozen=True)
class _Times:
    """Every frame's pts in order of showing, how long the last one stands, and the seconds a cut-off file lacks."""

    pts: tuple[int, ...]
    last_duration: int
    missing: Fraction


def scan(path: Path, number: int | None = None) -> Facts:
    """The facts of one video stream: the best one, or number `number` among the video streams.

    Raises MediaError if there is none, or none that can be decoded and told apart by its times; UsageError for a
    number that is not there.
    """
    with open_container(path) as container:
        chosen = _choose(container, path, number)
        index = chosen.index  # a stream must not be asked anything after its container is closed
        times = _scan(container, chosen, path)
    with open_container(path) as container:
        chosen = cast(VideoStream, container.streams[index])
        return _facts(container, chosen, _first_frame(container, chosen, path), times, path)


def is_cover(stream: Any) -> bool:
    """Whether a video stream is an attached picture: one to FFmpeg, but not one to render."""
    return bool(stream.disposition & Disposition.attached_pic)


def _choose(container: InputContainer, path: Path, number: int | None) -> VideoStream:
    streams = [stream for stream in container.streams.video if not is_cover(stream)]
    if not streams:
        raise MediaError(f"{path}: has no video stream")
    if number is not None:
        if not 0 <= number < len(streams):
            raise UsageError(f"--video-stream {number}: {path} has {len(streams)} video stream(s), numbered from 0")
        return streams[number]
    best = container.streams.best("video")
    return best if isinstance(best, VideoStream) and best in streams else streams[0]


def _scan(container: InputContainer, stream: VideoStream, path: Path) -> _Times:
    shown: list[tuple[int, int]] = []
    end = Fraction(0)
    try:
        for packet in container.demux():
            if packet.pts is not None:
                end = max(end, (packet.pts + (packet.duration or 0)) * fraction(packet.time_base, Fraction(0)))
            if packet.stream.index == stream.index and _gives_frame(packet, stream):
                if packet.pts is None:
                    raise MediaError(f"{path}: frame {len(shown)} has no timestamp; remux the file to mp4 or mkv first")
                shown.append((packet.pts, packet.duration or 0))
    except av.error.FFmpegError as error:
        raise MediaError(f"{path}: cannot be read to its end ({error.strerror})") from error
    if not shown:
        raise MediaError(f"{path}: its video stream has no frames")
    shown.sort()
    pts = tuple(time for time, _ in shown)
    _check_distinct(pts, path)
    return _Times(pts, shown[-1][1] or _typical_step(pts, stream), _declared_end(container) - end)


def _gives_frame(packet: Packet[Any], stream: VideoStream) -> bool:
    if packet.is_discard or not packet.size:
        return False
    # VP8 stores pictures that are only referred to as packets of their own; bit 4 says whether one is shown.
    return codec_of(stream) != "vp8" or bool(bytes(packet)[0] & 0x10)


def _check_distinct(pts: tuple[int, ...], path: Path) -> None:
    for index, (before, after) in enumerate(pairwise(pts)):
        if before == after:
            raise MediaError(f"{path}: frames {index} and {index + 1} have the same timestamp; remux the file first")


def _typical_step(pts: tuple[int, ...], stream: VideoStream) -> int:
    if len(pts) > 1:
        return pts[-1] - pts[-2]
    rate, base = fraction(stream.average_rate, Fraction(25)), fraction(stream.time_base, Fraction(1))
    return max(1, round(1 / (rate * base)))


def _declared_end(container: InputContainer) -> Fraction:
    """The time at which the header says that the file ends, 0 if it does not say."""
    if container.duration is None or not HEADER_DURATIONS & set(container.format.name.split(",")):
        return Fraction(0)
    return Fraction((container.start_time or 0) + container.duration, av.time_base)


def _first_frame(container: InputContainer, stream: VideoStream, path: Path) -> VideoFrame:
    try:
        frame = next(container.decode(stream), None)
    except av.error.FFmpegError as error:
        raise MediaError(f"{path}: its first frame cannot be decoded ({error.strerror})") from error
    if frame is None or frame.pts is None:
        raise MediaError(f"{path}: none of its frames can be decoded")
    return frame


def _facts(container: InputContainer, stream: VideoStream, first: VideoFrame, times: _Times, path: Path) -> Facts:
    rotation, mirrored = orientation(first)
    sideways = rotation % 180 == 90
    ratio = fraction(stream.sample_aspect_ratio, Fraction(1))
    # Frames that refer to pictures before the beginning (a cut recording, an open GOP) are never shown by any player.
    leading = bisect_left(times.pts, cast(int, first.pts)) % len(times.pts)
    colour = _colour(first, stream, path)
    return Facts(
        width=first.height if sideways else first.width,
        height=first.width if sideways else first.height,
        pix_fmt=first.format.name,
        depth=depth_of(first.format),
        sampling=sampling_of(first.format),
        colour=colour,
        sample_aspect_ratio=1 / ratio if sideways else ratio,
        rotation=rotation,
        mirrored=mirrored,
        time_base=fraction(stream.time_base, Fraction(1, 90000)),
        pts=times.pts[leading:],
        last_duration=times.last_duration,
        streams=tuple(_stream_facts(other) for other in container.streams),
        video_index=stream.index,
        format=container.format.name,
        codec=stream.codec_context.name,
        warnings=tuple(f"{path.name}: {text}" for text in _warnings(first, colour, leading, times)),
    )


def _warnings(first: VideoFrame, colour: Colour, leading: int, times: _Times) -> Iterator[str]:
    if times.missing > SLACK:
        yield f"is cut off, {float(times.missing):.1f} s before the end that it announces; what is there is rendered"
    if leading:
        yield f"its first {leading} frame(s) refer to what came before the file begins; they are left out"
    if first.interlaced_frame:
        yield "is interlaced; fields are rendered as they are, deinterlace it first for best results"
    if colour.hdr:
        yield f"is HDR ({colour.hdr}); the networks see its code values and the tags are kept"
    if any(component.is_alpha for component in first.format.components):
        yield "transparency is dropped"
    if colour.guessed:
        yield f"carries no colour tags; read as {colour}"


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """How a coded picture becomes upright: degrees counter-clockwise, then whether left and right are exchanged.

    The display matrix sends the pixel (x, y) to (a x + c y, b x + d y), y down; it lies in the order a b u c d v.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 0, False
    a, b, _, c, d = (int(value) for value in np.frombuffer(data, "<i4", 5))
    if abs(a) >= abs(b):
        rotation, flips = (0 if d > 0 else 180), a * d < 0
    else:
        rotation, flips = (90 if b < 0 else 270), b * c > 0
    return rotation, flips


def _colour(frame: VideoFrame, stream: VideoStream, path: Path) -> Colour:
    context, form = stream.codec_context, frame.format
    matrix, codes = int(frame.colorspace), int(frame.color_range)
    primaries, transfer = int(context.color_primaries), int(context.color_trc)
    if form.is_rgb or form.has_palette or matrix == 0:
        return Colour(guess_matrix(frame.height), full_range=False, primaries=primaries, transfer=transfer)
    guessed = matrix == UNSPECIFIED
    matrix = guess_matrix(frame.height) if guessed else matrix
    if matrix not in KR_KB:
        raise MediaError(f"{path}: colour matrix {matrix} (H.273) is not supported; convert the file to BT.709 first")
    # Gray without a tag is full range by convention: FFmpeg writes it and reads it so.
    full = codes == 2 or form.name.startswith("yuvj") or (codes == 0 and not is_yuv(form))
    return Colour(matrix, full, primaries, transfer, guessed)


def _stream_facts(stream: Any) -> StreamFacts:
    context = stream.codec_context
    detail = ""
    if context is not None and stream.type == "video":
        rate = fraction(stream.average_rate, Fraction(0))
        detail = f"{context.width}x{context.height} {context.pix_fmt}, {float(rate):.3f} frames/s"
    elif context is not None and stream.type == "audio":
        detail = f"{context.sample_rate} Hz, {context.layout.name}"
    return StreamFacts(stream.index, stream.type, codec_of(stream), stream.metadata.get("language"), detail)


def codec_of(stream: Any) -> str:
    """The name of a stream's codec, `unknown` where no decoder answers to it."""
    return stream.codec_context.name if stream.codec_context is not None else "unknown"

"""Reads the metadata of a video from its packets and first frames; other frames are not decoded."""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import dropwhile, pairwise
from pathlib import Path
from typing import Any, cast

import av.error
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dnirender.decoding.deinterlace import detect_parity
from dnirender.decoding.metadata import StreamMetadata, VideoMetadata
from dnirender.decoding.packets import PacketList, codec_context_of, decode_first_frames, decode_packets, read_packets
from dnirender.decoding.timestamps import FrameTimestamps, resolve_timestamps
from dnirender.errors import MediaError, UsageError
from dnirender.media.channels import channel_layout
from dnirender.media.colorspace import KR_KB, UNSPECIFIED, ColorSpec, guess_matrix
from dnirender.media.containers import check_pixel_count, codec_of, fraction, is_cover, open_container
from dnirender.media.pixel_formats import depth_of, has_opacity, is_yuv, opacity_of, sampling_of
from dnirender.media.timecode import read_timecode
from dnirender.media.truncation import declared_sample_count, is_truncated

# A file that ends this many seconds earlier than its header declares counts as truncated.
MAX_MISSING_SECONDS = Fraction(1, 2)
HEADER_DURATIONS = {"mov", "matroska", "flv"}  # other formats' durations are estimates
# Formats of broadcasts, discs and live streams, whose clocks start anywhere. In other files a start after zero is meant
# to be there, up to MAX_LEAD seconds: fragments and excerpts of longer recordings start later.
FREE_CLOCKS = {"mpegts", "mpeg", "flv", "asf", "ogg", "rm"}
MAX_LEAD = 10
PTS_IN_DECODING_ORDER = {"avi"}  # formats that store pts in decoding order


def scan(path: Path, number: int | None = None, *, ignore_errors: bool = False) -> VideoMetadata:
    """Reads the metadata of one video stream: the best one, or number `number` among the video streams.

    Raises MediaError if there is no video stream, if it cannot be decoded, if its timestamps are unusable, or if the
    file is truncated; with `ignore_errors` a truncated file gets a warning and the metadata of its remaining frames.
    Raises UsageError if stream `number` does not exist.
    """
    size = path.stat().st_size
    if (declared := declared_sample_count(path)) > size:
        raise MediaError(f"{path}: declares {declared} samples in {size} bytes: refused")
    with _open(path) as container:
        stream = _select_stream(container, path, number)
        index = stream.index  # a stream must not be used after its container is closed
        if (context := codec_context_of(stream)) is not None:
            check_pixel_count(path, context.width, context.height)
        packets = read_packets(container, stream)
        truncation = _describe_truncation(container, stream, packets, path)
        if truncation and not ignore_errors:
            raise MediaError(f"{path}: {truncation}; ignore_errors=True renders them")
        times = _frame_timestamps(container, stream, packets, path)
    with open_container(path) as container:
        stream = cast(VideoStream, container.streams[index])
        frames, first_pts = decode_first_frames(container, stream, path, ignore_errors)
        metadata = _metadata(container, stream, frames[0], first_pts, times, truncation, path)
        start = packets.start if container.format.name in FREE_CLOCKS or packets.start > MAX_LEAD else Fraction(0)
        metadata = replace(metadata, clock_start=max(start, Fraction(0)))
        metadata = replace(metadata, parity=detect_parity(frames, int(stream.codec_context.field_order)))
    return replace(metadata, opacity=metadata.opacity and not _is_opaque(metadata, path))


def _open(path: Path) -> InputContainer:
    try:
        return open_container(path)
    except MediaError as error:
        if is_truncated(path):
            raise MediaError(f"{path}: is truncated and its index is missing; no frame can be decoded") from error
        raise


def _select_stream(container: InputContainer, path: Path, number: int | None) -> VideoStream:
    streams = [stream for stream in container.streams.video if not is_cover(stream)]
    if not streams and is_truncated(path):
        raise MediaError(f"{path}: is truncated before its video stream begins")
    if not streams:
        raise MediaError(f"{path}: has no video stream")
    if number is not None:
        if not 0 <= number < len(streams):
            raise UsageError(f"video_stream={number}: {path} has {len(streams)} video stream(s), numbered from 0")
        return streams[number]
    best = container.streams.best("video")
    return best if isinstance(best, VideoStream) and best in streams else streams[0]


def _describe_truncation(container: InputContainer, stream: VideoStream, packets: PacketList, path: Path) -> str:
    """A message with the frames and seconds that a truncated file still has; empty if the file seems complete."""
    missing = _declared_end(container) - packets.end
    if not (packets.error or packets.truncated or missing > MAX_MISSING_SECONDS or is_truncated(path)):
        return ""
    if not packets.frames:
        raise MediaError(f"{path}: is truncated before the first frame of its video")
    base, rate = fraction(stream.time_base, Fraction(1, 90000)), _rate(stream)
    pts = [frame.pts for frame in packets.frames if frame.pts is not None] or [0]
    present = max(Fraction(0), (max(pts) - min(pts)) * base + 1 / rate)
    declared = Fraction(container.duration or 0, av.time_base) if _declares_duration(container) else Fraction(0)
    exact = "mov" in container.format.name and len(stream.index_entries)
    total = exact or round(declared * rate)
    about = "" if exact else "about "
    count = len(packets.frames)
    frames = f"{count} of {about}{total} frames" if total > count else f"{count} frame(s)"
    seconds = f"{float(present):.1f} of {float(declared):.1f} s" if declared > present else f"{float(present):.1f} s"
    problem = f"cannot be read to its end ({packets.error})" if packets.error else "is cut off"
    return f"{problem}: {frames}, {seconds} are there"


def _frame_timestamps(
    container: InputContainer, stream: VideoStream, packets: PacketList, path: Path
) -> FrameTimestamps:
    frames = packets.frames
    if not frames:
        raise MediaError(f"{path}: its video stream has no frames")
    pts = [frame.pts for frame in frames if frame.pts is not None]
    increasing = len(pts) == len(frames) and all(before < after for before, after in pairwise(pts))
    context = codec_context_of(stream)
    reordered = (
        context is not None and context.has_b_frames and increasing and container.format.name in PTS_IN_DECODING_ORDER
    )
    if reordered or len(pts) < len(frames):
        # Packets before the first keyframe produce no frame, which could not be detected without timestamps.
        frames = list(dropwhile(lambda frame: not frame.is_keyframe, frames))
        if not frames:
            raise MediaError(f"{path}: its frames have neither timestamps nor a keyframe; remux the file first")
    try:
        times = resolve_timestamps(
            frames, fraction(stream.time_base, Fraction(1, 90000)), _rate(stream), ordered=reordered
        )
    except MediaError as error:
        raise MediaError(f"{path}: {error}") from error
    if container.format.name in PTS_IN_DECODING_ORDER and times.stream_pts and frames[0].dts is not None:
        # AVI counts the frames as they are shown; FFmpeg adds the delay of a decoder that reorders.
        delay = (times.stream_pts[0] - frames[0].dts) * (
            times.pts[0] // times.stream_pts[0] if times.stream_pts[0] else 1
        )
        times = replace(times, pts=tuple(pts - delay for pts in times.pts))
    return times


def _rate(stream: VideoStream) -> Fraction:
    """The frame rate in the header, 25 if it is missing or implausible."""
    rate = fraction(stream.average_rate, Fraction(0)) or fraction(stream.guessed_rate, Fraction(0))
    return rate if Fraction(1, 3600) <= rate <= 1000 else Fraction(25)


def _declares_duration(container: InputContainer) -> bool:
    return bool(HEADER_DURATIONS & set(container.format.name.split(",")))


def _declared_end(container: InputContainer) -> Fraction:
    """The end of the file in seconds according to its header, 0 if unknown."""
    if container.duration is None or not _declares_duration(container):
        return Fraction(0)
    return Fraction((container.start_time or 0) + container.duration, av.time_base)


def _metadata(
    container: InputContainer,
    stream: VideoStream,
    first: VideoFrame,
    first_pts: int | None,
    times: FrameTimestamps,
    truncation: str,
    path: Path,
) -> VideoMetadata:
    rotation, mirrored = orientation(first)
    sideways = rotation % 180 == 90
    ratio = fraction(stream.sample_aspect_ratio, Fraction(1))
    # Leading frames that refer to frames before the start (a cut recording, an open GOP) are not shown by any player.
    leading = 0
    if times.stream_pts and first_pts is not None:
        leading = bisect_left(times.stream_pts, first_pts) % len(times.pts)
    color = _color(first, stream, path)
    return VideoMetadata(
        width=first.height if sideways else first.width,
        height=first.width if sideways else first.height,
        pix_fmt=first.format.name,
        depth=depth_of(first.format),
        sampling=sampling_of(first.format),
        color=color,
        sample_aspect_ratio=1 / ratio if sideways else ratio,
        rotation=rotation,
        mirrored=mirrored,
        opacity=has_opacity(first.format),
        mastering_peak=_mastering_peak(first),
        time_base=times.time_base,
        pts=times.pts[leading:],
        last_duration=times.last_duration,
        streams=tuple(_stream_metadata(other) for other in container.streams),
        video_index=stream.index,
        format=container.format.name,
        codec=stream.codec_context.name,
        warnings=tuple(f"{path.name}: {text}" for text in _warnings(color, leading, truncation, times)),
        stream_pts=times.stream_pts[leading:],
        stream_time_base=fraction(stream.time_base, Fraction(1, 90000)),
        timecode=read_timecode(container, stream),
    )


def _is_opaque(metadata: VideoMetadata, path: Path) -> bool:
    """Whether a GIF or palette video has no transparent pixel: FFmpeg decodes every one of them with alpha.

    Decodes up to the first frame with a pixel that is not opaque. False for other formats.
    """
    if metadata.codec != "gif" and not av.VideoFormat(metadata.pix_fmt).has_palette:
        return False
    with open_container(path) as container, contextlib.suppress(av.error.FFmpegError):  # rendering reports it
        stream = cast(VideoStream, container.streams[metadata.video_index])
        decoded = decode_packets(container, stream, ignore_errors=True)
        return all(int(opacity_of(frame).min()) == 255 for _, frames in decoded for frame in frames or ())
    return True


def _warnings(color: ColorSpec, leading: int, truncation: str, times: FrameTimestamps) -> Iterator[str]:
    if truncation:
        yield f"{truncation} and rendered"
    yield from times.warnings
    if leading:
        yield f"its first {leading} frame(s) reference frames before the start of the file; they are skipped"
    if color.guessed:
        yield f"has no color tags; read as {color}"


def _mastering_peak(frame: VideoFrame) -> float | None:
    """The peak luminance of the mastering display in cd/m2, None if unknown.

    FFmpeg's AVMasteringDisplayMetadata holds rationals: three primaries (x, y), the white point, minimum and maximum
    luminance; then two flags, the last of which says whether the luminance is set.
    """
    data = frame.side_data.get("MASTERING_DISPLAY_METADATA")
    if data is None:
        return None
    *_, numerator, denominator, _, has_luminance = (int(value) for value in np.frombuffer(data, "<i4", 22))
    return numerator / denominator if has_luminance and numerator > 0 and denominator > 0 else None


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """How a coded frame becomes upright: rotation in degrees counterclockwise, then whether to flip horizontally.

    The display matrix maps the pixel (x, y) to (a x + c y, b x + d y), y pointing down; it is stored as a b u c d v.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 0, False
    a, b, _, c, d = (int(value) for value in np.frombuffer(data, "<i4", 5))
    if abs(a) >= abs(b):
        rotation, mirrored = (0 if d > 0 else 180), a * d < 0
    else:
        rotation, mirrored = (90 if b < 0 else 270), b * c > 0
    return rotation, mirrored


def _color(frame: VideoFrame, stream: VideoStream, path: Path) -> ColorSpec:
    context, form = stream.codec_context, frame.format
    matrix, codes = int(frame.colorspace), int(frame.color_range)
    primaries, transfer = int(context.color_primaries), int(context.color_trc)
    if form.is_rgb or form.has_palette or matrix == 0:
        return ColorSpec(guess_matrix(frame.height), full_range=False, primaries=primaries, transfer=transfer)
    guessed = matrix == UNSPECIFIED
    matrix = guess_matrix(frame.height) if guessed else matrix
    if matrix not in KR_KB:
        raise MediaError(f"{path}: color matrix {matrix} (H.273) is not supported; convert the file to BT.709 first")
    # Untagged gray is full range by convention, in FFmpeg too.
    full = codes == 2 or form.name.startswith("yuvj") or (codes == 0 and not is_yuv(form))
    return ColorSpec(matrix, full, primaries, transfer, guessed)


def _stream_metadata(stream: Any) -> StreamMetadata:
    context = stream.codec_context
    detail = ""
    if context is not None and stream.type == "video":
        rate = fraction(stream.average_rate, Fraction(0))
        detail = f"{context.width}x{context.height} {context.pix_fmt}, {float(rate):.3f} frames/s"
    elif context is not None and stream.type == "audio":
        detail = f"{context.sample_rate} Hz, {channel_layout(context).name}"
    return StreamMetadata(stream.index, stream.type, codec_of(stream), stream.metadata.get("language"), detail)

"""The facts of a video, from its packets and its first few frames: no more than that is decoded."""

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

from dnirender.decoding.deinterlace import parity
from dnirender.decoding.metadata import StreamMetadata, VideoMetadata
from dnirender.decoding.packets import PacketList, codec_context_of, decode_first_frames, decode_packets, read_packets
from dnirender.decoding.timestamps import FrameTimestamps, resolve_timestamps
from dnirender.errors import MediaError, UsageError
from dnirender.media.colorspace import KR_KB, UNSPECIFIED, ColorSpec, guess_matrix
from dnirender.media.containers import check_pixel_count, codec_of, fraction, is_cover, open_container
from dnirender.media.pixel_formats import depth_of, has_opacity, is_yuv, opacity_of, sampling_of
from dnirender.media.truncation import declared_sample_count, is_truncated

# How much earlier than its header says a file may end before it counts as cut off.
SLACK = Fraction(1, 2)
HEADER_DURATIONS = {"mov", "matroska", "flv"}  # other formats' durations are estimates
IN_DECODING_ORDER = {"avi"}  # formats whose pts are those of decoding


def scan(path: Path, number: int | None = None, *, ignore_errors: bool = False) -> VideoMetadata:
    """The facts of one video stream: the best one, or number `number` among the video streams.

    Raises MediaError if there is none, or none that can be decoded and told apart by its times, or if the file is cut
    off (with `ignore_errors` a warning says so, and the facts are those of what is there); UsageError for a number that
    is not there.
    """
    size = path.stat().st_size
    if (claimed := declared_sample_count(path)) > size:
        raise MediaError(f"{path}: announces {claimed} samples in {size} bytes: refused")
    with _open(path) as container:
        chosen = _choose(container, path, number)
        index = chosen.index  # a stream must not be asked anything after its container is closed
        if (context := codec_context_of(chosen)) is not None:
            check_pixel_count(path, context.width, context.height)
        packets = read_packets(container, chosen)
        warnings = _damage(container, chosen, packets, path)
        if warnings and not ignore_errors:
            raise MediaError(f"{path}: {warnings}; --ignore-errors renders them")
        times = _clock(container, chosen, packets, path)
    with open_container(path) as container:
        chosen = cast(VideoStream, container.streams[index])
        frames, begin = decode_first_frames(container, chosen, path, ignore_errors)
        metadata = _metadata(container, chosen, frames[0], begin, times, warnings, path)
        metadata = replace(metadata, parity=parity(frames, int(chosen.codec_context.field_order)))
    return replace(metadata, opacity=metadata.opacity and not _all_opaque(metadata, path))


def _open(path: Path) -> InputContainer:
    try:
        return open_container(path)
    except MediaError as error:
        if is_truncated(path):
            raise MediaError(f"{path}: is cut off, its index with it; nothing in it can be decoded") from error
        raise


def _choose(container: InputContainer, path: Path, number: int | None) -> VideoStream:
    streams = [stream for stream in container.streams.video if not is_cover(stream)]
    if not streams and is_truncated(path):
        raise MediaError(f"{path}: is cut off before its video stream begins")
    if not streams:
        raise MediaError(f"{path}: has no video stream")
    if number is not None:
        if not 0 <= number < len(streams):
            raise UsageError(f"--video-stream {number}: {path} has {len(streams)} video stream(s), numbered from 0")
        return streams[number]
    best = container.streams.best("video")
    return best if isinstance(best, VideoStream) and best in streams else streams[0]


def _damage(container: InputContainer, stream: VideoStream, packets: PacketList, path: Path) -> str:
    """What is missing at the end of the file and what is there; empty if it is whole as far as can be known."""
    missing = _declared_end(container) - packets.end
    if not (packets.error or packets.torn or missing > SLACK or is_truncated(path)):
        return ""
    if not packets.frames:
        raise MediaError(f"{path}: is cut off before the first frame of its video")
    base, rate = fraction(stream.time_base, Fraction(1, 90000)), _rate(stream)
    stamps = [frame.pts for frame in packets.frames if frame.pts is not None] or [0]
    there = max(Fraction(0), (max(stamps) - min(stamps)) * base + 1 / rate)
    declared = Fraction(container.duration or 0, av.time_base) if _declares_duration(container) else Fraction(0)
    exact = "mov" in container.format.name and len(stream.index_entries)
    total = exact or round(declared * rate)
    about = "" if exact else "about "
    count = len(packets.frames)
    frames = f"{count} of {about}{total} frames" if total > count else f"{count} frame(s)"
    seconds = f"{float(there):.1f} of {float(declared):.1f} s" if declared > there else f"{float(there):.1f} s"
    what = f"cannot be read to its end ({packets.error})" if packets.error else "is cut off"
    return f"{what}: {frames}, {seconds} are there"


def _clock(container: InputContainer, stream: VideoStream, packets: PacketList, path: Path) -> FrameTimestamps:
    frames = packets.frames
    if not frames:
        raise MediaError(f"{path}: its video stream has no frames")
    pts = [frame.pts for frame in frames if frame.pts is not None]
    rising = len(pts) == len(frames) and all(before < after for before, after in pairwise(pts))
    context = codec_context_of(stream)
    reordered = context is not None and context.has_b_frames and rising and container.format.name in IN_DECODING_ORDER
    if reordered or len(pts) < len(frames):  # what comes before the first keyframe gives no frame, and no stamp says so
        frames = list(dropwhile(lambda frame: not frame.key, frames))
        if not frames:
            raise MediaError(f"{path}: its frames have neither time stamps nor a keyframe; remux the file first")
    try:
        return resolve_timestamps(
            frames, fraction(stream.time_base, Fraction(1, 90000)), _rate(stream), ordered=reordered
        )
    except MediaError as error:
        raise MediaError(f"{path}: {error}") from error


def _rate(stream: VideoStream) -> Fraction:
    """Frames per second as the file states them, 25 where it states none that can be."""
    rate = fraction(stream.average_rate, Fraction(0)) or fraction(stream.guessed_rate, Fraction(0))
    return rate if Fraction(1, 3600) <= rate <= 1000 else Fraction(25)


def _declares_duration(container: InputContainer) -> bool:
    return bool(HEADER_DURATIONS & set(container.format.name.split(",")))


def _declared_end(container: InputContainer) -> Fraction:
    """The time at which the header says that the file ends, 0 if it does not say."""
    if container.duration is None or not _declares_duration(container):
        return Fraction(0)
    return Fraction((container.start_time or 0) + container.duration, av.time_base)


def _metadata(
    container: InputContainer,
    stream: VideoStream,
    first: VideoFrame,
    begin: int | None,
    times: FrameTimestamps,
    damage: str,
    path: Path,
) -> VideoMetadata:
    rotation, mirrored = orientation(first)
    sideways = rotation % 180 == 90
    ratio = fraction(stream.sample_aspect_ratio, Fraction(1))
    # Frames that refer to pictures before the beginning (a cut recording, an open GOP) are never shown by any player.
    leading = bisect_left(times.stamps, begin) % len(times.pts) if times.stamps and begin is not None else 0
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
        warnings=tuple(f"{path.name}: {text}" for text in _warnings(color, leading, damage, times)),
        stamps=times.stamps[leading:],
        stream_time_base=fraction(stream.time_base, Fraction(1, 90000)),
    )


def _all_opaque(metadata: VideoMetadata, path: Path) -> bool:
    """Whether nothing can be seen through a video whose format does not tell: every GIF is decoded with opacity.

    Those are decoded up to the first pixel that is not opaque.
    """
    if metadata.codec != "gif" and not av.VideoFormat(metadata.pix_fmt).has_palette:
        return False
    with open_container(path) as container, contextlib.suppress(av.error.FFmpegError):  # decoding tells of damage
        decoded = decode_packets(container, cast(VideoStream, container.streams[metadata.video_index]), forgiving=True)
        return all(int(opacity_of(frame).min()) == 255 for _, frames in decoded for frame in frames or ())
    return True


def _warnings(color: ColorSpec, leading: int, damage: str, times: FrameTimestamps) -> Iterator[str]:
    if damage:
        yield f"{damage} and rendered"
    yield from times.notes
    if leading:
        yield f"its first {leading} frame(s) refer to what came before the file begins; they are left out"
    if color.guessed:
        yield f"carries no color tags; read as {color}"


def _mastering_peak(frame: VideoFrame) -> float | None:
    """The luminance of the mastering display's white in cd/m2: in FFmpeg's struct the fractions of three primaries,
    white and black come before it, and whether it was given is the last of all."""
    data = frame.side_data.get("MASTERING_DISPLAY_METADATA")
    if data is None:
        return None
    *_, top, unit, _, given = (int(value) for value in np.frombuffer(data, "<i4", 22))
    return top / unit if given and top > 0 and unit > 0 else None


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
    # Gray without a tag is full range by convention: FFmpeg writes it and reads it so.
    full = codes == 2 or form.name.startswith("yuvj") or (codes == 0 and not is_yuv(form))
    return ColorSpec(matrix, full, primaries, transfer, guessed)


def _stream_metadata(stream: Any) -> StreamMetadata:
    context = stream.codec_context
    detail = ""
    if context is not None and stream.type == "video":
        rate = fraction(stream.average_rate, Fraction(0))
        detail = f"{context.width}x{context.height} {context.pix_fmt}, {float(rate):.3f} frames/s"
    elif context is not None and stream.type == "audio":
        detail = f"{context.sample_rate} Hz, {context.layout.name}"
    return StreamMetadata(stream.index, stream.type, codec_of(stream), stream.metadata.get("language"), detail)

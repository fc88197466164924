"""Opens media files for reading and writing, in the same way with every supported version of PyAV."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Generator, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import av.error
import av.logging
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from dnirender.errors import MediaError

# Demuxers that may be used. Playlists and network formats are left out because they can open other files.
READABLE_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,nut,gif,apng,mxf,wav,"
    "h264,hevc,obu,ivf,m4v,yuv4mpegpipe,dv,rm"
)
READABLE_NAMES = (
    "MP4, MOV, MKV, WebM, AVI, MPEG, TS, FLV, WMV, OGG, MXF, NUT, DV, Y4M, GIF, and PNG, WebP, JPEG, BMP, TIFF images"
)
# Before version 19 PyAV cannot open files whose tags are not UTF-8 without this option.
METADATA_ERRORS: dict[str, Any] = (
    {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}
)


# 8192x8192, twice the area of 8K video. A file of a kilobyte can declare more, and a frame of this size takes 0.2 GB in
# each step of the pipeline.
MAX_PIXELS = 1 << 26


def check_pixel_count(path: Path, width: int, height: int, limit: int = MAX_PIXELS) -> None:
    """Raises MediaError if a header declares an implausibly large frame."""
    if width * height > limit:
        raise MediaError(f"{path}: declares {width}x{height} pixels, expected at most {limit}; scale it down first")


def fraction(value: Any, default: Fraction) -> Fraction:
    """Converts PyAV's rational: a Fraction or None in version 18, an AVRational that is falsy when unset in 19."""
    return Fraction(value.numerator, value.denominator) if value else default


def open_container(path: Path) -> InputContainer:
    """Opens a media file for reading. Protocols, playlists and devices are refused. Raises MediaError."""
    options = {"format_whitelist": READABLE_FORMATS, "protocol_whitelist": "file"}
    try:
        return av.open(f"file:{path.resolve()}", "r", options=options, **METADATA_ERRORS)
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaError(
            f"{path}: cannot be opened as a video or image ({_reason(error)}); readable are {READABLE_NAMES}"
        ) from error


def demux(container: InputContainer, *streams: Any) -> Iterator[Packet[Any]]:
    """The packets of these streams (default: all), then an empty packet for each stream.

    PyAV raises IndexError at the end if a stream appeared after the file was opened; it is ignored.
    """
    with contextlib.suppress(IndexError):
        yield from container.demux(*streams)


def create_container(file: Path | BinaryIO, form: str, options: Mapping[str, str] | None = None) -> OutputContainer:
    """Opens a media file of FFmpeg's format `form` for writing; writing starts with its header."""
    name = f"file:{file.resolve()}" if isinstance(file, Path) else file
    return av.open(name, "w", format=form, container_options=dict(options or {}), **METADATA_ERRORS)


def opacity_decoder(stream: VideoStream) -> VideoCodecContext | None:
    """A decoder that also decodes the alpha channel of VP8 and VP9; None for other streams.

    VP8 and VP9 store alpha as side data of their packets, which only libvpx reads.
    """
    context: Any = stream.codec_context  # None if there is no decoder for the codec
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(context.name if context else "")
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    if name is None or tags.get("alpha_mode") != "1":
        return None
    return cast(VideoCodecContext, av.CodecContext.create(name, "r"))


@contextlib.contextmanager
def logged_errors() -> Generator[list[str]]:
    """The error messages that FFmpeg logs meanwhile: "width not divisible by 2" where it raises "Invalid argument"."""
    before, messages = (av.logging.get_level(), av.logging.get_skip_repeated()), list[str]()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture(local=False) as logs:
            try:
                yield messages
            finally:
                texts = (text.strip() for level, _, text in logs if level <= av.logging.ERROR)
                messages += dict.fromkeys(text for text in texts if text)
    finally:
        av.logging.set_level(before[0])
        av.logging.set_skip_repeated(before[1])


def _reason(error: Exception) -> str:
    # FFmpeg reports a format that is not in the whitelist as an invalid argument.
    if isinstance(error, av.error.ArgumentError):
        return "its content is a playlist or does not match its file extension"
    return getattr(error, "strerror", None) or str(error)


def is_cover(stream: Any) -> bool:
    """Whether a video stream is cover art, which is not rendered."""
    return bool(stream.disposition & Disposition.attached_pic)


def codec_of(stream: Any) -> str:
    """The name of a stream's codec, `unknown` if there is no decoder for it."""
    return stream.codec_context.name if stream.codec_context is not None else "unknown"


CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


def frame_times_and_crc32(path: Path) -> tuple[list[Fraction], int]:
    """The sorted times in seconds of a file's video frames, and the CRC-32 of its video packets."""
    frame_pts: list[int] = []
    crc32 = 0
    with open_container(path) as container:
        stream = container.streams.video[0]
        base = fraction(stream.time_base, Fraction(1))
        for packet in demux(container, stream):
            crc32 = zlib.crc32(bytes(packet), crc32)
            if packet.size and not packet.is_discard and packet.pts is not None:
                frame_pts.append(packet.pts)
    return sorted(pts * base for pts in frame_pts), crc32


def container_of(target: Path) -> str:
    """FFmpeg's name of the container that the extension of `target` selects. Raises KeyError for other extensions."""
    return CONTAINERS[target.suffix.lower()]

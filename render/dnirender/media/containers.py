"""Media files opened for reading and for writing, alike in every supported version of PyAV."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import av.error
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from dnirender.errors import MediaError

# Containers of media files; playlists and network formats, which could pull in other files, are left out.
READABLE = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,nut,gif,apng,mxf,wav,"
    "h264,hevc,obu,ivf,m4v,yuv4mpegpipe,dv,rm"
)
# From version 19 on PyAV reads tags that are not UTF-8 by itself; before, such a file would not open without this.
TAGS: dict[str, Any] = {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}


# 8192x8192, twice the largest format of video. A header can claim more, and a kilobyte of packets can mean it: every
# frame of this size costs 0.2 GB here, and as much for each step on its way.
MAX_PIXELS = 1 << 26


def check_pixels(path: Path, width: int, height: int, most: int = MAX_PIXELS) -> None:
    """MediaError if a header announces a picture that is too large to be true."""
    if width * height > most:
        raise MediaError(f"{path}: announces {width}x{height} pixels, expected at most {most}; scale it down first")


def fraction(value: Any, default: Fraction) -> Fraction:
    """A rational of any PyAV: 18 gives Fraction or None, 19 AVRational that is falsy when unset."""
    return Fraction(value.numerator, value.denominator) if value else default


def open_container(path: Path) -> InputContainer:
    """Opens a media file for reading: a file only, never a protocol, a playlist or a device; else MediaError."""
    options = {"format_whitelist": READABLE, "protocol_whitelist": "file"}
    try:
        return av.open(f"file:{path.resolve()}", "r", options=options, **TAGS)
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaError(f"{path}: cannot be opened as a video or picture ({_why(error)})") from error


def demux(container: InputContainer, *streams: Any) -> Iterator[Packet[Any]]:
    """The packets of these streams, or of all, then an empty one for each.

    PyAV raises IndexError behind the last of them where a stream began that was not there when the file was opened.
    """
    with contextlib.suppress(IndexError):
        yield from container.demux(*streams)


def create_container(file: Path | BinaryIO, form: str, options: Mapping[str, str] | None = None) -> OutputContainer:
    """Opens a media file of FFmpeg's format `form` for writing; nothing is written before its header."""
    name = f"file:{file.resolve()}" if isinstance(file, Path) else file
    return av.open(name, "w", format=form, container_options=dict(options or {}), **TAGS)


def opacity_decoder(stream: VideoStream) -> VideoCodecContext | None:
    """What decodes a stream whose opacity the stream's own decoder would not see: VP8 and VP9 hide it in packets beside
    their packets, which only libvpx looks at. None for all others."""
    known: Any = stream.codec_context  # None where no decoder answers to the codec
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(known.name if known else "")
    marks = {key.lower(): value for key, value in stream.metadata.items()}
    if name is None or marks.get("alpha_mode") != "1":
        return None
    return cast(VideoCodecContext, av.CodecContext.create(name, "r"))


def _why(error: Exception) -> str:
    # What the whitelist refuses FFmpeg calls an invalid argument.
    if isinstance(error, av.error.ArgumentError):
        return "its content is a playlist, or of another format than its name says"
    return getattr(error, "strerror", None) or str(error)


def is_cover(stream: Any) -> bool:
    """Whether a video stream is an attached picture: one to FFmpeg, but not one to render."""
    return bool(stream.disposition & Disposition.attached_pic)


def codec_of(stream: Any) -> str:
    """The name of a stream's codec, `unknown` where no decoder answers to it."""
    return stream.codec_context.name if stream.codec_context is not None else "unknown"


CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


def read_video(path: Path) -> tuple[list[Fraction], int]:
    """The times in seconds, in order, at which a file's video has a frame, and the CRC-32 of the video's packets."""
    shown: list[int] = []
    check = 0
    with open_container(path) as container:
        stream = container.streams.video[0]
        base = fraction(stream.time_base, Fraction(1))
        for packet in demux(container, stream):
            check = zlib.crc32(bytes(packet), check)
            if packet.size and not packet.is_discard and packet.pts is not None:
                shown.append(packet.pts)
    return sorted(pts * base for pts in shown), check


def container_of(target: Path) -> str:
    """The FFmpeg name of the container that the target's extension asks for."""
    return CONTAINERS[target.suffix.lower()]

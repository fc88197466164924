"""A source, scanned once: its streams, its colour, one pts per frame; then its frames in any range."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.error
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dnirender.colour import KR_KB, UNSPECIFIED, Colour, Plane, guess_matrix, planes_to_rgb
from dnirender.errors import MediaError, UsageError
from dnirender.frames import Frame, Image

STILL_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}

# Containers of media files; playlists and network formats, which could pull in other files, are left out.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,nut,gif,apng,mxf,wav,"
    "h264,hevc,obu,ivf,ivf,m4v,yuv4mpegpipe,dv,rm,webp_pipe"
)


@dataclass(frozen=True)
class StreamFacts:
    """One stream of a container, as `dnirender info` tells it."""

    index: int
    kind: str
    codec: str
    language: str | None
    detail: str


@dataclass(frozen=True)
class Facts:
    """What is known of a source before its first frame is rendered.

    `width` and `height` are those of the upright picture; `pts` has one entry per frame, strictly increasing, in units
    of `time_base`; `last_duration` is how long the last frame stands, in the same units. `sampling` is (luma samples
    per chroma sample across, down), None for RGB and gray. `rotation` is in degrees counter-clockwise, as applied.
    """

    width: int
    height: int
    pix_fmt: str
    depth: int
    sampling: tuple[int, int] | None
    colour: Colour
    sample_aspect_ratio: Fraction
    rotation: int
    time_base: Fraction
    pts: tuple[int, ...]
    last_duration: int
    streams: tuple[StreamFacts, ...] = ()
    video_index: int = -1
    format: str = ""
    codec: str = ""
    warnings: tuple[str, ...] = ()
    still: bool = False

    @property
    def seconds(self) -> tuple[Fraction, ...]:
        """The time of every frame in seconds."""
        return tuple(pts * self.time_base for pts in self.pts)

    @property
    def duration(self) -> Fraction:
        """Seconds from the first frame's start to the last frame's end."""
        return (self.pts[-1] + self.last_duration - self.pts[0]) * self.time_base

    @property
    def frame_rate(self) -> Fraction:
        """Frames per second on average."""
        return Fraction(len(self.pts)) / self.duration if self.duration else Fraction(25)

    @property
    def variable_frame_rate(self) -> bool:
        """Whether frames stand for lengths that differ by more than the rounding of the time base."""
        steps = [after - before for before, after in zip(self.pts, self.pts[1:], strict=False)]
        return bool(steps) and max(steps) - min(steps) > 1


class Source:
    """Something that gives frames: a video file, or a still picture held for a number of frames."""

    def __init__(self, path: Path, facts: Facts) -> None:
        self.path = path
        self.facts = facts

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """The frames at `indices`, which must increase, decoded in one pass from the nearest keyframe.

        Raises MediaError where the file yields other frames than the scan promised.
        """
        raise NotImplementedError


class Still(Source):
    """A picture, held: every frame is the same pixels."""

    def __init__(self, path: Path, num_frames: int, rate: Fraction) -> None:
        self._image, warnings = read_picture(path)
        depth = 8 if self._image.dtype == np.uint8 else 16
        height, width = self._image.shape[:2]
        facts = Facts(
            width=width,
            height=height,
            pix_fmt="rgb24" if depth == 8 else "rgb48le",
            depth=depth,
            sampling=None,
            colour=Colour(matrix=1, full_range=False, primaries=1, transfer=1),
            sample_aspect_ratio=Fraction(1),
            rotation=0,
            time_base=1 / rate,
            pts=tuple(range(num_frames)),
            last_duration=1,
            format="image",
            codec=path.suffix.lower().lstrip("."),
            warnings=warnings,
            still=True,
        )
        super().__init__(path, facts)

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        for index in indices:
            yield Frame(index, self.facts.pts[index], self._image)


class Video(Source):
    """A video file: `Video.open` scans it without decoding more than its first frame."""

    @classmethod
    def open(cls, path: Path, stream: int | None = None) -> Video:
        """Scans the packets of one video stream: the best one, or number `stream` among the video streams."""
        with open_container(path) as container:
            chosen = _choose(container, path, stream)
            number = chosen.index  # a stream must not be asked anything after its container is closed
            pts, last_duration = _scan(container, chosen, path)
        with open_container(path) as container:
            chosen = cast(VideoStream, container.streams[number])
            first = _first_frame(container, chosen, path)
            return cls(path, _facts(container, chosen, first, pts, last_duration, path))

    def frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        if not indices:
            return
        wanted = iter(indices)
        want = next(wanted)
        with open_container(self.path) as container:
            stream = cast(VideoStream, container.streams[self.facts.video_index])
            stream.thread_type = "AUTO"
            for index, frame in self._decoded(container, stream, indices[0]):
                if index < want:
                    continue
                yield Frame(index, self.facts.pts[index], self._picture(frame, index))
                following = next(wanted, None)
                if following is None:
                    return
                want = following
        raise self._damaged(want)

    def _decoded(self, container: InputContainer, stream: VideoStream, start: int) -> Iterator[tuple[int, VideoFrame]]:
        """Frames with their index, checked one by one against the scan."""
        pts = self.facts.pts
        if start > 0:
            with contextlib.suppress(av.error.FFmpegError):
                container.seek(pts[start], stream=stream, backward=True)
        expected: int | None = None
        try:
            for frame in container.decode(stream):
                if expected is None:
                    expected = self._index_of(frame, start)
                if expected >= len(pts) or frame.pts != pts[expected]:
                    raise self._damaged(min(expected, len(pts) - 1))
                yield expected, frame
                expected += 1
        except av.error.FFmpegError as error:
            raise self._damaged(expected or 0, error) from error

    def _index_of(self, frame: VideoFrame, start: int) -> int:
        """Where decoding came in after the seek; raises MediaError if behind the frame that was asked for."""
        pts = self.facts.pts
        index = int(np.searchsorted(np.asarray(pts[: start + 1], np.int64), frame.pts or 0))
        if frame.pts is None or index > start or pts[index] != frame.pts:
            at = float(pts[start] * self.facts.time_base)
            raise MediaError(
                f"{self.path}: cannot seek to frame {start} ({at:.3f} s): the file's index is broken; remux it"
            )
        return index

    def _picture(self, frame: VideoFrame, index: int) -> Image:
        facts = self.facts
        image = to_rgb(frame, facts.colour, self.path)
        image = np.ascontiguousarray(np.rot90(image, facts.rotation // 90)) if facts.rotation else image
        if image.shape[:2] != (facts.height, facts.width):
            raise MediaError(
                f"{self.path}: the picture changes from {facts.width}x{facts.height} to "
                f"{image.shape[1]}x{image.shape[0]} at frame {index}; cut the file there and render the parts"
            )
        return image

    def _damaged(self, decoded: int, error: Exception | None = None) -> MediaError:
        pts, base = self.facts.pts, self.facts.time_base
        reached = float((pts[min(decoded, len(pts) - 1)] - pts[0]) * base)
        why = f" ({getattr(error, 'strerror', None) or error})" if error else ""
        return MediaError(
            f"{self.path}: damaged: {decoded} of {len(pts)} frames could be decoded "
            f"({reached:.1f} of {float(self.facts.duration):.1f} s){why}; use --end {decoded} to render what is whole"
        )


def open_source(
    path: Path, *, stream: int | None = None, still_frames: int = 1, still_rate: Fraction = Fraction(24)
) -> Source:
    """A video, or a still picture held for `still_frames` frames. Raises MediaError if it is neither."""
    if not path.exists():
        raise MediaError(f"{path}: no such file")
    if path.is_dir():
        raise MediaError(f"{path}: is a folder, expected a video or a picture")
    if path.stat().st_size == 0:
        raise MediaError(f"{path}: is empty")
    if path.suffix.lower() in STILL_SUFFIXES:
        return Still(path, still_frames, still_rate)
    return Video.open(path, stream)


def is_still(path: Path) -> bool:
    """Whether the name is that of a picture rather than a video."""
    return path.suffix.lower() in STILL_SUFFIXES


def read_picture(path: Path) -> tuple[Image, tuple[str, ...]]:
    """An upright RGB picture of 8 or 16 bits, and what was lost in reading it."""
    data = np.fromfile(path, np.uint8)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise MediaError(f"{path}: cannot be read as a picture ({error.err})") from error
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise MediaError(f"{path}: cannot be read as a picture of 8 or 16 bits")
    raw = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    has_alpha = raw is not None and raw.ndim == 3 and raw.shape[2] == 4
    lost = (f"{path.name}: transparency is dropped",) if has_alpha else ()
    return cast(Image, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), lost


def to_rgb(frame: VideoFrame, colour: Colour, path: Path) -> Image:
    """A decoded frame as an RGB picture: 8 bits where the source has 8, else 16."""
    form = frame.format
    depth = max(component.bits for component in form.components)
    if form.is_rgb or form.has_palette:
        return frame.to_ndarray(format="rgb24" if depth <= 8 else "rgb48le")
    if depth < 8 or depth > 16:
        raise MediaError(f"{path}: pixels of format {form.name} are not supported")
    if not _one_plane_each(frame):
        frame = frame.reformat(format=_planar_name(frame))
    return planes_to_rgb(_planes(frame, depth), depth, colour)


def fraction(value: Any, default: Fraction) -> Fraction:
    """A rational of either PyAV: 18 gives Fraction or None, 19 AVRational that is falsy when unset."""
    return Fraction(value.numerator, value.denominator) if value else default


def open_container(path: Path) -> InputContainer:
    """Opens a media file for reading: a file only, never a protocol, a playlist or a device."""
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    extra: dict[str, Any] = {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}
    try:
        return av.open(f"file:{path.resolve()}", "r", options=options, **extra)
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{path}: cannot be opened as a video or picture ({reason})") from error


def _choose(container: InputContainer, path: Path, number: int | None) -> VideoStream:
    # An attached cover is a video stream to FFmpeg, but not one to render.
    streams = [s for s in container.streams.video if not _is_cover(s)]
    if not streams:
        raise MediaError(f"{path}: has no video stream")
    if number is not None:
        if not 0 <= number < len(streams):
            raise UsageError(f"--video-stream {number}: {path} has {len(streams)} video stream(s), numbered from 0")
        return streams[number]
    best = container.streams.best("video")
    return best if isinstance(best, VideoStream) and best in streams else streams[0]


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _scan(container: InputContainer, stream: VideoStream, path: Path) -> tuple[tuple[int, ...], int]:
    """Every frame's pts in order of showing, and the last frame's duration, from the packets alone."""
    times: list[tuple[int, int]] = []
    try:
        for packet in container.demux(stream):
            if packet.is_discard or not packet.size:
                continue
            if packet.pts is None:
                raise MediaError(f"{path}: frame {len(times)} has no timestamp; remux the file to mp4 or mkv first")
            times.append((packet.pts, packet.duration or 0))
    except av.error.FFmpegError as error:
        raise MediaError(f"{path}: cannot be read to its end ({error.strerror})") from error
    if not times:
        raise MediaError(f"{path}: its video stream has no frames")
    times.sort()
    pts = tuple(time for time, _ in times)
    for index, (before, after) in enumerate(zip(pts, pts[1:], strict=False)):
        if before == after:
            raise MediaError(f"{path}: frames {index} and {index + 1} have the same timestamp; remux the file first")
    typical = pts[-1] - pts[-2] if len(pts) > 1 else 0
    fallback = typical or round(
        1 / (fraction(stream.average_rate, Fraction(25)) * fraction(stream.time_base, Fraction(1)))
    )
    return pts, times[-1][1] or fallback or 1


def _first_frame(container: InputContainer, stream: VideoStream, path: Path) -> VideoFrame:
    try:
        frame = next(container.decode(stream), None)
    except av.error.FFmpegError as error:
        raise MediaError(f"{path}: its first frame cannot be decoded ({error.strerror})") from error
    if frame is None:
        raise MediaError(f"{path}: none of its frames can be decoded")
    return frame


def _facts(
    container: InputContainer,
    stream: VideoStream,
    first: VideoFrame,
    pts: tuple[int, ...],
    last_duration: int,
    path: Path,
) -> Facts:
    rotation = round(first.rotation / 90) * 90 % 360
    width, height = (first.height, first.width) if rotation % 180 else (first.width, first.height)
    colour = _colour(first, stream, path)
    ratio = fraction(stream.sample_aspect_ratio, Fraction(1))
    form = first.format
    depth = max(component.bits for component in form.components)
    warnings: list[str] = []
    if first.interlaced_frame:
        warnings.append(
            f"{path.name}: is interlaced; fields are rendered as they are, deinterlace it first for best results"
        )
    if colour.hdr:
        warnings.append(f"{path.name}: is HDR ({colour.hdr}); the networks see its code values and the tags are kept")
    if any(component.is_alpha for component in form.components):
        warnings.append(f"{path.name}: transparency is dropped")
    if colour.guessed:
        warnings.append(f"{path.name}: carries no colour tags; read as {colour}")
    return Facts(
        width=width,
        height=height,
        pix_fmt=form.name,
        depth=depth,
        sampling=_sampling(first),
        colour=colour,
        sample_aspect_ratio=1 / ratio if rotation % 180 else ratio,
        rotation=rotation,
        time_base=fraction(stream.time_base, Fraction(1, 90000)),
        pts=pts,
        last_duration=last_duration,
        streams=tuple(_stream_facts(s) for s in container.streams),
        video_index=stream.index,
        format=container.format.name,
        codec=stream.codec_context.name,
        warnings=tuple(warnings),
    )


def _colour(frame: VideoFrame, stream: VideoStream, path: Path) -> Colour:
    context = stream.codec_context
    matrix = int(frame.colorspace)
    guessed = matrix == UNSPECIFIED and not frame.format.is_rgb
    matrix = guess_matrix(frame.height) if guessed else matrix
    if frame.format.is_rgb or frame.format.has_palette or matrix == 0:
        return Colour(matrix=guess_matrix(frame.height), full_range=False)
    if matrix not in KR_KB:
        raise MediaError(f"{path}: colour matrix {matrix} (H.273) is not supported; convert the file to BT.709 first")
    full = int(frame.color_range) == 2 or frame.format.name.startswith("yuvj")
    return Colour(matrix, full, int(context.color_primaries), int(context.color_trc), guessed)


def _sampling(frame: VideoFrame) -> tuple[int, int] | None:
    form = frame.format
    if form.is_rgb or form.has_palette or len(form.components) < 3:
        return None
    return round(1024 / form.chroma_width(1024)), round(1024 / form.chroma_height(1024))


def _stream_facts(stream: Any) -> StreamFacts:
    context = stream.codec_context
    codec = context.name if context is not None else "unknown"
    detail = ""
    if stream.type == "video":
        rate = fraction(stream.average_rate, Fraction(0))
        detail = f"{context.width}x{context.height} {context.pix_fmt}, {float(rate):.3f} frames/s"
    elif stream.type == "audio":
        detail = f"{context.sample_rate} Hz, {context.layout.name}"
    return StreamFacts(stream.index, stream.type, codec, stream.metadata.get("language"), detail)


def _one_plane_each(frame: VideoFrame) -> bool:
    form = frame.format
    return (
        form.is_planar == (len(form.components) > 1)
        and not form.is_big_endian
        and len(frame.planes) == len(form.components)
    )


def _planar_name(frame: VideoFrame) -> str:
    """The planar little-endian format with the same sampling and depth: a rearrangement, not a conversion."""
    depth = max(component.bits for component in frame.format.components)
    sampling = _sampling(frame)
    suffix = "" if depth == 8 else f"{depth}le"
    if sampling is None:
        return f"gray{suffix}"
    names = {(2, 2): "420", (2, 1): "422", (1, 1): "444", (4, 1): "411", (1, 2): "440", (4, 4): "410"}
    return f"yuv{names[sampling]}p{suffix}"


def _planes(frame: VideoFrame, depth: int) -> list[Plane]:
    """The planes of luma and chroma, without line padding; a copy, since the decoder may reuse its memory."""
    kind = np.dtype(np.uint8 if depth == 8 else "<u2")
    count = 3 if len(frame.format.components) >= 3 else 1
    planes: list[Plane] = []
    for plane in frame.planes[:count]:
        rows = np.frombuffer(cast(Any, plane), kind).reshape(-1, plane.line_size // kind.itemsize)
        planes.append(rows[: plane.height, : plane.width].copy())
    return planes

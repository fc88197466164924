"""Writing what was rendered: a video with its companions and exact times, or numbered pictures.

A file is written beside its place, read back and counted, and only then renamed into place: the target's name holds
nothing, the old file or the complete new one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, cast

import av
import av.error
import cv2
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from dnirender.colour import Colour, rgb_to_planes
from dnirender.decode import fraction, open_container
from dnirender.errors import OutputError, RenderError, UsageError
from dnirender.frames import Image
from dnirender.streams import Companions, Cut, StreamPlan

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
CRF = {"libx264": 18, "libx265": 20, "libvpx-vp9": 30, "libsvtav1": 28}
CODEC_OPTIONS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "medium"},
    "libx265": {"preset": "medium", "x265-params": "log-level=error"},
    "libvpx-vp9": {"deadline": "good", "cpu-used": "3", "row-mt": "1"},
}
SWSCALE = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
SPACE_LEFT = 32 << 20  # bytes that must remain free before a file is started


class Sink(Protocol):
    """Takes rendered pictures in order; publishes on a clean exit, leaves nothing on any other."""

    def write(self, image: Image) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True)
class Times:
    """When each picture is shown: one pts per picture in `time_base`, and how long the last one stands."""

    pts: tuple[int, ...]
    time_base: Fraction
    last_duration: int

    @property
    def frame_rate(self) -> Fraction:
        """Pictures per second on average."""
        length = (self.pts[-1] - self.pts[0] + self.last_duration) * self.time_base
        return Fraction(len(self.pts)) / length

    def duration(self, index: int) -> int:
        """How long picture `index` stands, in units of `time_base`."""
        return self.pts[index + 1] - self.pts[index] if index + 1 < len(self.pts) else self.last_duration


@dataclass(frozen=True)
class VideoSpec:
    """How pixels become a stream. `options` are the encoder's own, crf among them."""

    codec: str
    pix_fmt: str
    width: int
    height: int
    colour: Colour
    sample_aspect_ratio: Fraction
    options: Mapping[str, str]
    rate: Fraction


def container_of(target: Path) -> str:
    """The FFmpeg name of the container that the target's extension asks for."""
    return CONTAINERS[target.suffix.lower()]


def encoder_options(codec: str, crf: int | None, options: Mapping[str, str]) -> dict[str, str]:
    """The encoder's options: ours, then crf, then the user's, each overriding what came before."""
    chosen = dict(CODEC_OPTIONS.get(codec, {}))
    crf = CRF.get(codec) if crf is None else crf
    if crf is not None:
        chosen["crf"] = str(crf)
    return chosen | dict(options)


def choose_pix_fmt(codec: str, sampling: tuple[int, int] | None, depth: int, asked: str | None) -> str:
    """The format asked for, else the source's chroma sampling and depth, else the nearest that `codec` takes."""
    formats = [form.name for form in _encoder(codec).video_formats or ()]
    if asked:
        if asked not in formats:
            raise UsageError(f"--pix-fmt {asked}: {codec} takes {', '.join(formats)}")
        return asked
    names = {(2, 2): ["420"], (2, 1): ["422", "420"], (1, 1): ["444", "422", "420"]}
    for bits in ("12le", "10le", "") if depth > 10 else ("10le", "12le", "") if depth > 8 else ("", "10le"):
        for name in names.get(sampling or (2, 2), ["444", "420"]):
            if f"yuv{name}p{bits}" in formats:
                return f"yuv{name}p{bits}"
    return "yuv422p10le" if "yuv422p10le" in formats else formats[0]


def even_size(codec: str, pix_fmt: str, width: int, height: int) -> tuple[int, int]:
    """The size that is encoded: H.264 and H.265 with subsampled chroma round odd sizes up."""
    if codec in ("libvpx-vp9", "ffv1") or not pix_fmt.startswith(("yuv4", "yuvj4", "nv")):
        return width, height
    form = av.VideoFormat(pix_fmt)
    across, down = 1024 // form.chroma_width(1024), 1024 // form.chroma_height(1024)
    return -(-width // across) * across, -(-height // down) * down


def check_encoder(spec: VideoSpec) -> None:
    """Opens the encoder with these very settings: names in a table are no promise (an nvenc without a driver)."""
    context = cast(av.VideoCodecContext, av.CodecContext.create(spec.codec, "w"))
    _configure(context, spec)
    try:
        context.open(strict=False)
    except (av.error.FFmpegError, PermissionError, ValueError) as error:
        options = " ".join(f"{key}={value}" for key, value in spec.options.items())
        raise UsageError(
            f"--codec {spec.codec}: cannot encode {spec.width}x{spec.height} {spec.pix_fmt}"
            f"{' with ' + options if options else ''} ({_reason(error)})"
        ) from error
    unknown = set(context.options) & set(spec.options)
    if unknown:
        raise UsageError(f"{spec.codec} has no option {', '.join(sorted(unknown))}; see ffmpeg -h encoder={spec.codec}")


class VideoSink:
    """A video file with exact times.

    Frames are encoded with their index as pts and restamped when muxed: the packet of frame i gets pts T[i], the n-th
    packet in decoding order dts T[n - D], where D is the encoder's reorder delay. So every pts is the source's own,
    whatever the encoder would have made of a variable frame rate.
    """

    def __init__(
        self,
        target: Path,
        spec: VideoSpec,
        times: Times,
        companions: tuple[Path, tuple[StreamPlan, ...], Cut] | None = None,
    ) -> None:
        self._target, self._spec, self._times = target, spec, times
        self._part = target.with_name(f".{target.name}.{os.getpid()}.part")
        self._plan = companions
        self._companions: Companions | None = None
        self._written = self._muxed = self._delay = 0

    def __enter__(self) -> Self:
        with disk_errors(self._target):
            container = container_of(self._target)
            options = {"movflags": "+faststart", "video_track_timescale": str(self._times.time_base.denominator)}
            self._out = av.open(
                f"file:{self._part.resolve()}",
                "w",
                format=container,
                container_options=options if container in ("mp4", "mov") else {},
            )
            self._stream = cast(VideoStream, self._out.add_stream(self._spec.codec, rate=self._spec.rate))
            _configure(self._stream.codec_context, self._spec)
            self._stream.time_base = self._times.time_base
            self._stream.sample_aspect_ratio = self._spec.sample_aspect_ratio
            if self._plan:
                self._companions = Companions(*self._plan, self._out)
        return self

    def write(self, image: Image) -> None:
        """Encodes the next picture [h, w, 3]; one of odd size is padded to the encoded one by repeating its edge."""
        with disk_errors(self._target):
            frame = to_frame(image, self._spec)
            frame.pts, frame.time_base = self._written, 1 / self._spec.rate
            self._written += 1
            for packet in self._stream.encode(frame):
                self._mux(packet)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._companions:
                self._companions.close()
            with contextlib.suppress(av.error.FFmpegError, ValueError, OSError):
                self._out.close()
            self._part.unlink(missing_ok=True)

    def _finish(self) -> None:
        with disk_errors(self._target):
            for packet in self._stream.encode(None):
                self._mux(packet)
            if self._companions:
                self._companions.finish()
            self._out.close()
        if self._written != len(self._times.pts) or self._muxed != self._written:
            raise OutputError(
                f"{self._target}: {len(self._times.pts)} frames were due, {self._written} came, {self._muxed} were muxed"
            )
        self._verify()
        publish(self._part, self._target)

    def _mux(self, packet: Packet) -> None:
        times = self._times
        index, order = cast(int, packet.pts), self._muxed
        if order == 0:
            self._delay = index - cast(int, packet.dts) if packet.dts is not None else 0
        behind = order - self._delay
        step = times.duration(0)
        packet.time_base = times.time_base
        packet.pts = times.pts[index]
        packet.dts = times.pts[behind] if behind >= 0 else times.pts[0] + behind * step
        packet.duration = times.duration(index)
        self._muxed += 1
        reached = (packet.dts or 0) * times.time_base
        self._out.mux_one(packet)
        if self._companions:
            self._companions.advance(reached)

    def _verify(self) -> None:
        """Reads the packets back: the file that is published has every frame at its time."""
        with open_container(self._part) as written:
            stream = written.streams.video[0]
            base = fraction(stream.time_base, Fraction(1))
            found = sorted(
                packet.pts * base for packet in written.demux(stream) if packet.size and packet.pts is not None
            )
        due = [pts * self._times.time_base for pts in self._times.pts]
        # Matroska and WebM count whole milliseconds.
        slack = Fraction(0) if container_of(self._target) in ("mp4", "mov") else Fraction(1, 2000)
        wrong = next((i for i, (a, b) in enumerate(zip(found, due, strict=False)) if abs(a - b) > slack), None)
        if len(found) != len(due) or wrong is not None:
            at = f", the first difference at frame {wrong}" if wrong is not None else ""
            raise OutputError(f"{self._target}: read back {len(found)} of {len(due)} frames{at}; nothing was published")


class PictureSink:
    """Numbered PNG files after a pattern such as `frame_%04d.png`, numbered from 0; 16 bits where the picture has."""

    def __init__(self, pattern: Path) -> None:
        self._pattern = pattern
        self._count = 0
        self._made: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def write(self, image: Image) -> None:
        """Writes the next picture, whole or not at all."""
        target = numbered(self._pattern, self._count)
        write_png(target, image)
        self._made.append(target)
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            for path in self._made:
                path.unlink(missing_ok=True)


def numbered(pattern: Path, number: int) -> Path:
    """The path of picture `number`."""
    return pattern.with_name(pattern.name % number)


def write_png(target: Path, image: Image) -> None:
    """Writes one picture under its name when it is whole."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise OutputError(f"{target}: the picture could not be encoded as PNG")
    try:
        with disk_errors(target):
            part.write_bytes(data.tobytes())
        publish(part, target)
    finally:
        part.unlink(missing_ok=True)


def publish(part: Path, target: Path) -> None:
    """Makes a finished file durable and gives it its name in one step."""
    with disk_errors(target):
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
        if os.name == "posix":
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def to_frame(image: Image, spec: VideoSpec) -> VideoFrame:
    """An RGB picture as a frame of the encoder's format, tagged with its colour."""
    image = _padded(image, spec.width, spec.height)
    form = av.VideoFormat(spec.pix_fmt)
    if form.is_rgb or len(form.components) < 3 or not form.is_planar or len(form.components) > 3 or "nv" in form.name:
        frame = VideoFrame.from_ndarray(image, format="rgb24" if image.dtype == np.uint8 else "rgb48le")
        to_range = "JPEG" if spec.colour.full_range else "MPEG"
        space = "ITU709" if spec.colour.matrix == 1 else "ITU601"
        frame = frame.reformat(
            format=spec.pix_fmt, dst_colorspace=space, dst_color_range=to_range, interpolation=SWSCALE
        )
    else:
        frame = _planar_frame(image, spec, form)
    if not form.is_rgb:
        frame.colorspace, frame.color_range = spec.colour.matrix, 2 if spec.colour.full_range else 1
    return frame


def _planar_frame(image: Image, spec: VideoSpec, form: Any) -> VideoFrame:
    depth = form.components[0].bits
    across, down = 1024 // form.chroma_width(1024), 1024 // form.chroma_height(1024)
    frame = VideoFrame(spec.width, spec.height, spec.pix_fmt)
    for plane, values in zip(frame.planes, rgb_to_planes(image, (across, down), depth, spec.colour), strict=True):
        rows = np.frombuffer(cast(Any, plane), values.dtype).reshape(-1, plane.line_size // values.itemsize)
        rows[: values.shape[0], : values.shape[1]] = values
    return frame


def _padded(image: Image, width: int, height: int) -> Image:
    below, right = height - image.shape[0], width - image.shape[1]
    if not below and not right:
        return image
    return cast(Image, cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE))


def _configure(context: Any, spec: VideoSpec) -> None:
    context.width, context.height, context.pix_fmt = spec.width, spec.height, spec.pix_fmt
    context.time_base, context.framerate = 1 / spec.rate, spec.rate
    context.sample_aspect_ratio = spec.sample_aspect_ratio
    if not av.VideoFormat(spec.pix_fmt).is_rgb:
        context.color_range = 2 if spec.colour.full_range else 1
        context.colorspace = spec.colour.matrix
        context.color_primaries, context.color_trc = spec.colour.primaries, spec.colour.transfer
    context.options = dict(spec.options)


def _encoder(codec: str) -> av.Codec:
    try:
        found = av.Codec(codec, "w")
    except ValueError as error:
        raise UsageError(
            f"--codec {codec}: unknown encoder; libx264, libx265, libvpx-vp9, libsvtav1, ffv1 are there"
        ) from error
    if found.type != "video":
        raise UsageError(f"--codec {codec}: encodes {found.type}, expected a video encoder")
    return found


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)


@contextlib.contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turns whatever the disk or the muxer says into one error about the target."""
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        if isinstance(error, RenderError):
            raise
        raise OutputError(f"{target}: cannot be written ({_reason(error)})") from error

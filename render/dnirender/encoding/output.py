"""Opens an output: chooses format, codec and size, tries them, and says what is lost, before the first frame."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from av.error import FFmpegError
from av.video.frame import VideoFrame

from dnirender.decoding.metadata import VideoMetadata
from dnirender.encoding.animation import FORMATS, AnimationSink
from dnirender.encoding.boomerang import BoomerangSink
from dnirender.encoding.encoders import (
    VideoSpec,
    check_container,
    check_encoder,
    choose_pix_fmt,
    container_keeps_opacity,
    encodable_color,
    encoder_name,
    encoder_options,
    even_size,
    keeps_shape,
)
from dnirender.encoding.image_sequence import NUMBERED, ImageSequenceSink, keeps_opacity
from dnirender.encoding.provenance import Provenance
from dnirender.encoding.segment_file import CorruptSegmentError, SegmentReader, SegmentWriter
from dnirender.encoding.sink import FrameTiming, Sink
from dnirender.encoding.size_estimate import encoded_bytes
from dnirender.encoding.stream_copy import TimeRange
from dnirender.encoding.stream_plan import StreamPlan
from dnirender.encoding.video import VideoSink
from dnirender.files import disk_errors
from dnirender.frames import Image
from dnirender.media.containers import CONTAINERS, container_of
from dnirender.media.pixel_formats import carries_opacity, planar_format
from dnirender.media.planar import PlanarFormat
from dnirender.preset import Encoding

PNG = 2.0  # bytes per pixel, to the order of magnitude
COPIES = 2  # the segments, and the file that they are joined into before they are removed


@dataclass(frozen=True)
class OutputRequest:
    """What is to be written.

    target: the file, or a pattern of numbered pictures; its extension selects the format
    size: (width, height) in pixels of the images passed to `Output.convert`
    has_opacity: whether these images have an alpha channel
    source: metadata of the source, whose depth, chroma subsampling, color and pixel shape the output follows
    timing: when each frame of the output is shown
    order: for each frame of the output, the number of the rendered frame in it
    settings: codec, quality, pixel format and encoder options of videos
    boomerang: whether `order` lists frames twice, so that a video is encoded when all of them are rendered
    dither: how animations with a palette are dithered, one of `animation.DITHERS`
    copied_streams: (source file, stream plans, time range) of the streams that a video gets from its source
    provenance: the record that a video gets
    ignore_errors: whether corrupt packets of copied streams are left out
    """

    target: Path
    size: tuple[int, int]
    has_opacity: bool
    source: VideoMetadata
    timing: FrameTiming
    order: Sequence[int]
    settings: Encoding
    boomerang: bool = False
    dither: str = "bayer"
    copied_streams: tuple[Path, tuple[StreamPlan, ...], TimeRange] | None = None
    provenance: Provenance | None = None
    ignore_errors: bool = False


@dataclass(frozen=True)
class Output:
    """An output whose encoder and container accept its settings. Made by `open_output`.

    spec: the settings of the video stream; None for animations and pictures
    losses: what the output cannot hold of the source's frames, one sentence each
    warnings: `losses`, and what is changed without a loss
    """

    request: OutputRequest
    spec: VideoSpec | None
    sink: Sink
    losses: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the encoded frames, which may be padded to even numbers."""
        return (self.spec.width, self.spec.height) if self.spec else self.request.size

    @property
    def codec(self) -> str:
        """The encoder of a video, else the format by its extension."""
        return self.spec.codec if self.spec else self.request.target.suffix.lstrip(".").lower()

    @property
    def estimated_bytes(self) -> int:
        """Disk space that segments and result take until the segments are removed, to the order of magnitude."""
        count = max(self.request.order) + 1
        if self.spec is not None and not self.request.boomerang:
            return round(COPIES * encoded_bytes(self.spec, count))
        width, height = self.request.size  # segments are PNG
        return round(COPIES * width * height * count * PNG)

    @property
    def planar_format(self) -> PlanarFormat | None:
        """The planes of the encoder, which images may have already that `convert` gets; None where they must be RGB."""
        spec, request = self.spec, self.request
        if spec is None or request.boomerang or request.has_opacity or self.size != request.size:
            return None
        return planar_format(spec.pix_fmt, spec.width, spec.height, spec.color)

    def convert(self, image: Image) -> Image | VideoFrame:
        """Converts a rendered image to what `open_segment` writes. See `Sink.convert`."""
        return self.sink.convert(image)

    @contextlib.contextmanager
    def open_segment(self, path: Path) -> Generator[Callable[[int, Any], None]]:
        """Encodes the frames of one segment to the file `path`, which appears when the block exits without an error.

        Yields a function of (frame number, converted image), to be called in increasing order.

        Raises:
            OutputError: the encoder or the disk fails.
        """
        with disk_errors(self.request.target, FFmpegError):
            encoder = self.sink.new_encoder()
        with SegmentWriter(path, encoder.header) as writer:
            yield lambda number, image: writer.extend(encoder.encode(number, image))
            writer.extend(encoder.flush())

    def finalize(self, segments: Sequence[Path], folder: Path) -> list[tuple[Path, Path]]:
        """Joins all segments into files in `folder`, and returns (file, target) for each. See `Sink.finalize`.

        On an error its files are removed, and a corrupt segment too, so that the next run renders it again.

        Raises:
            OutputError: a frame is missing, a segment is corrupt, or writing or reading back fails.
            MediaError: the streams to be copied cannot be read.
        """
        try:
            with SegmentReader(segments) as reader:
                return self.sink.finalize(reader, folder)
        except BaseException as error:
            remove_unpublished(folder)
            if isinstance(error, CorruptSegmentError):
                error.path.unlink(missing_ok=True)
            raise


def remove_unpublished(folder: Path) -> None:
    """Removes the files that `Output.finalize` has written and that were not renamed to their targets."""
    for file in folder.glob("joined.*"):
        file.unlink(missing_ok=True)


def open_output(request: OutputRequest) -> Output:
    """Chooses codec, pixel format and encoded size, and tries encoder and container with them.

    Raises:
        UsageError: the encoder or the container does not support what is asked for.
    """
    is_video = request.target.suffix.lower() in CONTAINERS
    spec = _choose_spec(request) if is_video else None
    sink = _make_sink(request, spec)
    if isinstance(sink, VideoSink):
        sink.check()
    losses = tuple(f"{request.target.name}: {loss}" for loss in _losses(request, spec))
    return Output(request, spec, sink, losses, (*losses, *_changes(request, spec)))


def _choose_spec(request: OutputRequest) -> VideoSpec:
    """The settings of the video stream, tried."""
    source, settings, container = request.source, request.settings, container_of(request.target)
    default = "libvpx-vp9" if container == "webm" else "libx264"
    codec = encoder_name(settings.codec if settings.codec != "auto" else default)
    opacity = request.has_opacity and container_keeps_opacity(codec, container)
    pix_fmt = choose_pix_fmt(codec, source.sampling, source.depth, settings.pix_fmt, opacity)
    width, height = even_size(codec, pix_fmt, *request.size)
    spec = VideoSpec(
        codec=codec,
        pix_fmt=pix_fmt,
        width=width,
        height=height,
        color=encodable_color(codec, source.color),
        sample_aspect_ratio=source.sample_aspect_ratio,
        options=encoder_options(codec, settings.crf, settings.options, pix_fmt),
        rate=request.timing.frame_rate.limit_denominator(100_000),
    )
    check_encoder(spec)
    return replace(spec, color=check_container(spec, container))


def _animation(request: OutputRequest) -> Sink:
    target, timing = request.target, request.timing
    return AnimationSink(target, timing, dither=request.dither, order=request.order, provenance=request.provenance)


def _pictures(request: OutputRequest) -> Sink:
    sink = ImageSequenceSink(request.target, request.order, request.provenance, request.source.profile)
    sink.check(*request.size)
    return sink


def _webp(request: OutputRequest) -> Sink:
    """One frame is a picture."""
    return _pictures(request) if len(request.order) == 1 else _animation(request)


IMAGE_SINKS: dict[str, Callable[[OutputRequest], Sink]] = {
    **dict.fromkeys(FORMATS, _animation),
    **dict.fromkeys(NUMBERED, _pictures),
    ".webp": _webp,
}
"""Makes the sink of an output that is not a video, by its extension."""


def _make_sink(request: OutputRequest, spec: VideoSpec | None) -> Sink:
    target, streams, provenance = request.target, request.copied_streams, request.provenance
    if spec is None:
        return IMAGE_SINKS[target.suffix.lower()](request)
    video = VideoSink(target, spec, request.timing, streams, provenance, ignore_errors=request.ignore_errors)
    return BoomerangSink(video, request.order) if request.boomerang else video


def _losses(request: OutputRequest, spec: VideoSpec | None) -> Iterator[str]:
    if spec and not keeps_shape(spec, container_of(request.target)):
        yield f"{spec.codec} does not store the pixel aspect ratio {spec.sample_aspect_ratio} in this container"
    if request.source.opacity and not _keeps_opacity(request, spec):
        yield "transparency is dropped"


def _keeps_opacity(request: OutputRequest, spec: VideoSpec | None) -> bool:
    """Whether the alpha channel of the images is stored, as every format of images but JPEG does."""
    if not request.has_opacity or spec is None:
        return request.has_opacity and keeps_opacity(request.target)
    return carries_opacity(spec.pix_fmt) and container_keeps_opacity(spec.codec, container_of(request.target))


def _changes(request: OutputRequest, spec: VideoSpec | None) -> Iterator[str]:
    width, height = request.size
    if spec and (spec.width, spec.height) != (width, height):
        yield (
            f"{request.target.name}: {spec.codec} with {spec.pix_fmt} cannot encode {width}x{height}; "
            f"padded to {spec.width}x{spec.height} by repeating the edge"
        )
    if spec and spec.color != request.source.color:
        yield (
            f"{request.target.name}: {spec.codec} in this container does not store {request.source.color}; "
            f"converted to {spec.color}, which players assume"
        )

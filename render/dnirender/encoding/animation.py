"""Animated images (GIF, WebP, APNG) from rendered frames."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import av
import av.error
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dnirender.encoding.image_record import append_record
from dnirender.encoding.image_sequence import ImageSegmentEncoder
from dnirender.encoding.provenance import Provenance
from dnirender.encoding.segment_file import SegmentReader, check_frame_indices
from dnirender.encoding.sink import FrameTiming
from dnirender.errors import UsageError
from dnirender.files import disk_errors
from dnirender.frames import Image, to_uint8
from dnirender.media.colorspace import ColorSpec
from dnirender.media.containers import create_container
from dnirender.media.images import decode_png
from dnirender.media.pixel_formats import to_frame

FORMATS = {".gif": "gif", ".webp": "webp", ".apng": "apng"}
# GIF stores durations in 1/100 s; the other two are written in 1/1000 s.
TIME_BASES = {"gif": Fraction(1, 100), "webp": Fraction(1, 1000), "apng": Fraction(1, 1000)}
PIX_FMTS = {"gif": "pal8", "webp": "yuv420p", "apng": "rgb24"}
OPACITY_PIX_FMTS = {"gif": "pal8", "webp": "yuva420p", "apng": "rgba"}
BT601 = ColorSpec(matrix=6, full_range=False)  # the color space of WebP by definition
DITHERS = ("none", "bayer", "floyd_steinberg", "sierra2_4a")
# palettegen holds every input frame in memory, so long clips are sampled: 64 frames of 480x270 are 33 MB.
PALETTE_FRAMES = 64


def check_rate(target: Path, times: FrameTiming) -> list[tuple[int, int]]:
    """(start, stop) of each frame in the time base of the target's format.

    Boundaries are rounded one by one, so that rounding errors do not add up.

    Raises:
        UsageError: the frame rate is so high that a frame would have no duration.
    """
    name = FORMATS[target.suffix.lower()]
    unit = times.time_base / TIME_BASES[name]
    boundaries = [round(pts * unit) for pts in (*times.pts, times.pts[-1] + times.last_duration)]
    intervals = list(pairwise(boundaries))
    if any(stop <= start for start, stop in intervals):
        limit = TIME_BASES[name].denominator
        raise UsageError(f"{target.name}: {name} shows at most {limit} frames/s; set fps={limit} or lower")
    return intervals


class AnimationSink:
    """An animated image that loops forever, encoded from lossless segments when all frames are rendered.

    `order` gives, for each output frame, the rendered frame to show; a boomerang lists frames twice. A GIF has one
    global palette, so that static areas do not flicker. Its pixels are fully opaque or fully transparent, with the
    threshold at half opacity.

    Raises:
        UsageError: the format cannot show that many frames per second.
    """

    def __init__(
        self,
        target: Path,
        times: FrameTiming,
        *,
        dither: str = "bayer",
        order: Sequence[int] | None = None,
        provenance: Provenance | None = None,
    ) -> None:
        self._provenance = provenance
        self._target, self._times, self._dither = target, times, dither
        self._format = FORMATS[target.suffix.lower()]
        self._time_base = TIME_BASES[self._format]
        self._intervals = check_rate(target, times)
        self._order = range(len(times.pts)) if order is None else order

    def convert(self, image: Image) -> Image:
        """Converts the image to uint8."""
        return to_uint8(image)

    def new_encoder(self) -> ImageSegmentEncoder:
        """A new PNG encoder."""
        return ImageSegmentEncoder()

    def finalize(self, segments: SegmentReader, folder: Path) -> list[tuple[Path, Path]]:
        """Encodes the animation from the PNG segments.

        Raises:
            OutputError: a frame is missing or duplicated, a segment is corrupt, or encoding or writing fails.
        """
        check_frame_indices(segments, max(self._order) + 1, self._target)
        path = folder / f"joined{self._target.suffix}"
        with disk_errors(self._target, av.error.FFmpegError):
            frames = self._frames(segments)
            first = next(frames)
            with create_container(path, self._format, self._container_options()) as out:
                stream = self._add_stream(out, first)
                for frame in _chain(first, frames):
                    out.mux(stream.encode(frame))
                out.mux(stream.encode(None))
            if self._format == "webp":
                start, stop = self._intervals[-1]
                _set_last_duration(path, stop - start)
            if self._provenance:
                append_record(path, self._provenance)
        return [(path, self._target)]

    def _container_options(self) -> dict[str, str]:
        """Loop forever, and set the duration of the last frame, for which muxers would repeat the one before it."""
        start, stop = self._intervals[-1]
        if self._format == "apng":
            return {"plays": "0", "final_delay": f"{stop - start}/{self._time_base.denominator}"}
        return {"loop": "0"} | ({"final_delay": str(stop - start)} if self._format == "gif" else {})

    def _add_stream(self, out: Any, first: VideoFrame) -> VideoStream:
        codec = {"gif": "gif", "webp": "libwebp_anim", "apng": "apng"}[self._format]
        options = {"gif": {}, "webp": {"quality": "82"}, "apng": {"pred": "mixed"}}[self._format]
        stream = cast(
            VideoStream, out.add_stream(codec, rate=self._times.frame_rate.limit_denominator(100_000), options=options)
        )
        stream.width, stream.height = first.width, first.height
        stream.pix_fmt = first.format.name
        stream.codec_context.time_base = cast(Fraction, first.time_base)
        return stream

    def _frames(self, segments: SegmentReader) -> Iterator[VideoFrame]:
        images = (decode_png(segments[number].data) for number in self._order)
        if self._format == "gif":
            frames = apply_palette(images, self._make_palette(segments), self._dither)
        else:
            pix_fmt = (OPACITY_PIX_FMTS if decode_png(segments[0].data).shape[2] == 4 else PIX_FMTS)[self._format]
            frames = (to_frame(image, pix_fmt, BT601) for image in images)
        for frame, (start, stop) in zip(frames, self._intervals, strict=True):
            frame.pts, frame.time_base, frame.duration = start, self._time_base, stop - start
            yield frame

    def _make_palette(self, segments: SegmentReader) -> VideoFrame:
        count = len(segments)
        sampled = sorted({round(i * (count - 1) / max(1, PALETTE_FRAMES - 1)) for i in range(PALETTE_FRAMES)})
        return make_palette(decode_png(segments[number].data) for number in sampled)


def make_palette(images: Iterator[Image]) -> VideoFrame:
    """The best 256 colors for all images by median cut, as a frame of 16x16 pixels.

    With an alpha channel, one of the colors is reserved for transparent pixels.
    """
    graph = Graph()
    source: Any = None
    for image in images:
        if source is None:
            source = _add_buffer(graph, image.shape[1], image.shape[0], _packed_format(image))
            palettegen = graph.add("palettegen", f"stats_mode=full:reserve_transparent={image.shape[2] - 3}")
            sink = graph.add("buffersink")
            source.link_to(palettegen)
            palettegen.link_to(sink)
            graph.configure()
        source.push(VideoFrame.from_ndarray(image, format=_packed_format(image)))
    source.push(None)
    return graph.vpull()


def apply_palette(images: Iterator[Image], colors: VideoFrame, dither: str) -> Iterator[VideoFrame]:
    """Quantizes the images to one palette; yields frames in pix_fmt pal8. `colors` is from `make_palette`."""
    graph: Graph | None = None
    source: Any = None
    for index, image in enumerate(images):
        if graph is None:
            graph = Graph()
            source = _add_buffer(graph, image.shape[1], image.shape[0], _packed_format(image))
            palette_source = _add_buffer(graph, colors.width, colors.height, colors.format.name)
            scale = ":bayer_scale=4" if dither == "bayer" else ""
            paletteuse = graph.add("paletteuse", f"dither={dither}{scale}:diff_mode=rectangle:alpha_threshold=128")
            sink = graph.add("buffersink")
            source.link_to(paletteuse, 0, 0)
            palette_source.link_to(paletteuse, 0, 1)
            paletteuse.link_to(sink)
            graph.configure()
            colors.pts, colors.time_base = 0, Fraction(1, 25)
            palette_source.push(colors)
            palette_source.push(None)
        frame = VideoFrame.from_ndarray(image, format=_packed_format(image))
        frame.pts, frame.time_base = index, Fraction(1, 25)
        source.push(frame)
        yield from _drain(graph)
    if graph is not None:
        source.push(None)
        yield from _drain(graph)


def _set_last_duration(webp: Path, milliseconds: int) -> None:
    """Sets the duration of the last frame of an animated WebP, where the encoder writes the mean of the others.

    A file of one frame is a still image without a duration. A chunk is its name, its length and its data, padded to an
    even length; in an ANMF chunk, 3 bytes of duration follow 12 bytes of position and size.
    """
    with webp.open("rb+") as file:
        offset, last_frame, size = 12, None, webp.stat().st_size
        while offset + 8 <= size:
            file.seek(offset)
            name, length = file.read(4), int.from_bytes(file.read(4), "little")
            last_frame = offset if name == b"ANMF" else last_frame
            offset += 8 + length + length % 2
        if last_frame is not None:
            file.seek(last_frame + 8 + 12)
            file.write(milliseconds.to_bytes(3, "little"))


def _packed_format(image: Image) -> str:
    return "rgba" if image.shape[2] == 4 else "rgb24"


def _add_buffer(graph: Graph, width: int, height: int, pix_fmt: str) -> Any:
    return graph.add_buffer(width=width, height=height, format=av.VideoFormat(pix_fmt), time_base=Fraction(1, 25))


def _drain(graph: Graph) -> Iterator[VideoFrame]:
    with contextlib.suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            yield graph.vpull()


def _chain(first: VideoFrame, rest: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    yield first
    yield from rest

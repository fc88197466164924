"""Animated pictures - GIF, WebP, APNG - from rendered frames."""

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

from dnirender.encoding.image_sequence import PngSegmentEncoder
from dnirender.encoding.segment_file import SegmentReader, check_numbers
from dnirender.encoding.sink import FrameTiming
from dnirender.errors import UsageError
from dnirender.files import disk_errors
from dnirender.frames import Image, to_uint8
from dnirender.media.colorspace import ColorSpec
from dnirender.media.containers import create_container
from dnirender.media.images import decode_png
from dnirender.media.pixel_formats import to_frame

FORMATS = {".gif": "gif", ".webp": "webp", ".apng": "apng"}
# GIF counts hundredths of a second; the others are told to count thousandths.
BASES = {"gif": Fraction(1, 100), "webp": Fraction(1, 1000), "apng": Fraction(1, 1000)}
PIX_FMTS = {"gif": "pal8", "webp": "yuv420p", "apng": "rgb24"}
OPACITY_PIX_FMTS = {"gif": "pal8", "webp": "yuva420p", "apng": "rgba"}
BT601 = ColorSpec(matrix=6, full_range=False)  # what WebP's Y'CbCr is by definition
DITHERS = ("none", "bayer", "floyd_steinberg", "sierra2_4a")
# palettegen keeps every frame it is shown, so a long cycle is sampled: 64 frames of 480x270 are 33 MB.
PALETTE_FRAMES = 64


def check_rate(target: Path, times: FrameTiming) -> list[tuple[int, int]]:
    """When each picture comes and goes in the units of the target's format, rounded one by one, so that errors do not
    add up; UsageError where one would not be shown at all."""
    form = FORMATS[target.suffix.lower()]
    unit = times.time_base / BASES[form]
    edges = [round(pts * unit) for pts in (*times.pts, times.pts[-1] + times.last_duration)]
    shown = list(pairwise(edges))
    if any(stop <= start for start, stop in shown):
        raise UsageError(f"{target.name}: {form} shows at most {BASES[form].denominator} frames/s; lower --fps")
    return shown


class AnimationSink:
    """An animated picture that loops forever, made when all its pictures are there.

    `order` lists the number of each frame's picture, where frames come back. A GIF has one palette for the whole cycle,
    so that still parts do not shimmer. Its pixels are opaque or not there: those less than half opaque are not.
    """

    def __init__(
        self, target: Path, times: FrameTiming, *, dither: str = "bayer", order: Sequence[int] | None = None
    ) -> None:
        self._target, self._times, self._dither = target, times, dither
        self._format = FORMATS[target.suffix.lower()]
        self._base = BASES[self._format]
        self._shown = check_rate(target, times)
        self._order = range(len(times.pts)) if order is None else order

    def convert(self, image: Image) -> Image:
        """The picture in 8 bits."""
        return to_uint8(image)

    def new_encoder(self) -> PngSegmentEncoder:
        """One that makes PNG."""
        return PngSegmentEncoder()

    def finalize(self, parts: SegmentReader, folder: Path) -> list[tuple[Path, Path]]:
        """Makes the animation of the pictures."""
        check_numbers(parts, max(self._order) + 1, self._target)
        made = folder / f"joined{self._target.suffix}"
        with disk_errors(self._target):
            frames = self._frames(parts)
            first = next(frames)
            with create_container(made, self._format, self._container_options()) as out:
                stream = self._add_stream(out, first)
                for frame in _chain(first, frames):
                    out.mux(stream.encode(frame))
                out.mux(stream.encode(None))
            if self._format == "webp":
                start, stop = self._shown[-1]
                _set_last_duration(made, stop - start)
        return [(made, self._target)]

    def _container_options(self) -> dict[str, str]:
        """Loops forever, and shows the last picture as long as it is due; muxers repeat the delay before it."""
        start, stop = self._shown[-1]
        if self._format == "apng":
            return {"plays": "0", "final_delay": f"{stop - start}/{self._base.denominator}"}
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

    def _frames(self, parts: SegmentReader) -> Iterator[VideoFrame]:
        pictures = (decode_png(parts[number].data) for number in self._order)
        if self._format == "gif":
            frames = paletted(pictures, self._palette(parts), self._dither)
        else:
            pix_fmt = (OPACITY_PIX_FMTS if decode_png(parts[0].data).shape[2] == 4 else PIX_FMTS)[self._format]
            frames = (to_frame(image, pix_fmt, BT601) for image in pictures)
        for frame, (start, stop) in zip(frames, self._shown, strict=True):
            frame.pts, frame.time_base, frame.duration = start, self._base, stop - start
            yield frame

    def _palette(self, parts: SegmentReader) -> VideoFrame:
        count = len(parts)
        chosen = sorted({round(i * (count - 1) / max(1, PALETTE_FRAMES - 1)) for i in range(PALETTE_FRAMES)})
        return palette(decode_png(parts[number].data) for number in chosen)


def palette(pictures: Iterator[Image]) -> VideoFrame:
    """The 256 colors (16x16 pixels) that serve all the pictures best, by median cut; one is kept for holes."""
    graph = Graph()
    source: Any = None
    for image in pictures:
        if source is None:
            source = _buffer(graph, image.shape[1], image.shape[0], _packed(image))
            made = graph.add("palettegen", f"stats_mode=full:reserve_transparent={image.shape[2] - 3}")
            sink = graph.add("buffersink")
            source.link_to(made)
            made.link_to(sink)
            graph.configure()
        source.push(VideoFrame.from_ndarray(image, format=_packed(image)))
    source.push(None)
    return graph.vpull()


def paletted(pictures: Iterator[Image], colors: VideoFrame, dither: str) -> Iterator[VideoFrame]:
    """The pictures in the colors of one palette, format pal8."""
    graph: Graph | None = None
    source: Any = None
    for index, image in enumerate(pictures):
        if graph is None:
            graph = Graph()
            source = _buffer(graph, image.shape[1], image.shape[0], _packed(image))
            swatches = _buffer(graph, colors.width, colors.height, colors.format.name)
            scale = ":bayer_scale=4" if dither == "bayer" else ""
            used = graph.add("paletteuse", f"dither={dither}{scale}:diff_mode=rectangle:alpha_threshold=128")
            sink = graph.add("buffersink")
            source.link_to(used, 0, 0)
            swatches.link_to(used, 0, 1)
            used.link_to(sink)
            graph.configure()
            colors.pts, colors.time_base = 0, Fraction(1, 25)
            swatches.push(colors)
            swatches.push(None)
        frame = VideoFrame.from_ndarray(image, format=_packed(image))
        frame.pts, frame.time_base = index, Fraction(1, 25)
        source.push(frame)
        yield from _pulled(graph)
    if graph is not None:
        source.push(None)
        yield from _pulled(graph)


def _set_last_duration(webp: Path, milliseconds: int) -> None:
    """Corrects the last frame of an animated WebP, to which the encoder gives the mean of the others' durations.

    A file of one frame is a still picture and has none. Chunks: name, length, padded to an even length; the duration
    are 3 bytes behind the 12 of a frame's place and size.
    """
    with webp.open("rb+") as file:
        place, last, size = 12, None, webp.stat().st_size
        while place + 8 <= size:
            file.seek(place)
            name, length = file.read(4), int.from_bytes(file.read(4), "little")
            last = place if name == b"ANMF" else last
            place += 8 + length + length % 2
        if last is not None:
            file.seek(last + 8 + 12)
            file.write(milliseconds.to_bytes(3, "little"))


def _packed(image: Image) -> str:
    return "rgba" if image.shape[2] == 4 else "rgb24"


def _buffer(graph: Graph, width: int, height: int, form: str) -> Any:
    return graph.add_buffer(width=width, height=height, format=av.VideoFormat(form), time_base=Fraction(1, 25))


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    with contextlib.suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            yield graph.vpull()


def _chain(first: VideoFrame, rest: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    yield first
    yield from rest
